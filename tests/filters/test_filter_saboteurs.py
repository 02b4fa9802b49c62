"""A filter that breaks a law is found out, by the check that is meant for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from harness.api.filters import Algebra, Codec, Filter, Items, RankSet
from harness.testing.filters import run_checks
from harness_plugins.filters import Average, Classes, Concat, Minimum, Sum, Union


def failures(filter_: Filter, **options: Any) -> dict[str, str]:
    return {o.name: o.message for o in run_checks(filter_, **options) if o.passed is False}


def algebra(**laws: bool) -> Algebra:
    return Algebra(**({"idempotent": False, "invertible": False, "keyed": False, "ordered": False} | laws))


@dataclass(frozen=True)
class MeanOfMeans(Sum):
    algebra: ClassVar[Algebra] = algebra()

    def lift(self, items: Items, rank: int) -> Items:
        return np.asarray(items, dtype=np.float64)

    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        return np.mean(np.stack(parts), axis=0)


@dataclass(frozen=True)
class IdempotentSum(Sum):
    algebra: ClassVar[Algebra] = algebra(idempotent=True, invertible=True)


@dataclass(frozen=True)
class MeanOfFold(Average):
    """Its state is divided by the contributors of the newest wave, so to speak."""

    def lower_fold(self, items: Items, contributions: int) -> Items:
        return items


@dataclass(frozen=True)
class FoldsByCount(Sum):
    """A fold that depends on how many waves there are."""

    def fold(self, items: Items) -> Items:
        return np.mean(np.asarray(items), axis=0, keepdims=True).astype(np.asarray(items).dtype)


@dataclass(frozen=True)
class DecomposableMinimum(Minimum):
    algebra: ClassVar[Algebra] = algebra(idempotent=True, decomposable=True)


@dataclass(frozen=True)
class KeyedSum(Sum):
    algebra: ClassVar[Algebra] = algebra(keyed=True, invertible=True)


@dataclass(frozen=True)
class OrderedSum(Sum):
    algebra: ClassVar[Algebra] = algebra(ordered=True)
    elementwise: ClassVar[bool] = False


@dataclass(frozen=True)
class InvertibleMinimum(Minimum):
    algebra: ClassVar[Algebra] = algebra(idempotent=True, invertible=True)


@dataclass(frozen=True)
class ModestMinimum(Minimum):
    algebra: ClassVar[Algebra] = algebra()


@dataclass(frozen=True)
class WrongRemove(Sum):
    def remove(self, total: Items, part: Items, contributors: RankSet, taken: RankSet) -> Items:
        return total


@dataclass(frozen=True)
class WrongPick(Concat):
    def pick(self, total: Items, contributors: RankSet, rank: int) -> Items:
        return np.asarray(total)[:, :1]


@dataclass(frozen=True)
class ConcatByArrival(Concat):
    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class MutatingMinimum(Minimum):
    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        best = np.asarray(parts[0])
        for part in parts[1:]:
            np.minimum(best, part, out=best)
        return best


@dataclass(frozen=True)
class MutatingUnion(Union):
    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        merged = super().combine(parts, ranks)
        for wave, result in zip(parts[0], merged, strict=True):
            wave[:] = result
        return merged


@dataclass(frozen=True)
class MutatingLower(Sum):
    def lower(self, items: Items, contributors: RankSet) -> Items:
        doubled = np.asarray(items)
        doubled *= 2
        return doubled


@dataclass(frozen=True)
class SumSortedWithinItems(Sum):
    """Adds the i-th smallest elements, so that an element's place matters."""

    def lift(self, items: Items, rank: int) -> Items:
        flat = np.asarray(items)
        return np.sort(flat, axis=-1) if flat.ndim > 1 else flat


@dataclass(frozen=True)
class WholeItemMaximum(Minimum):
    """Keeps the item whose first element is largest, as a whole."""

    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        rows = np.stack(parts)
        flat = rows.reshape(*rows.shape[:2], -1)
        best = np.array([max(range(len(parts)), key=lambda p: flat[p, w].tolist()) for w in range(rows.shape[1])])
        return rows[best, np.arange(rows.shape[1])]

    def fold(self, items: Items) -> Items:
        return self.combine([items[w : w + 1] for w in range(len(items))], [])


@dataclass(frozen=True)
class WideningSum(Sum):
    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        return super().combine(parts, ranks) if len(parts) == 1 else np.sum(np.stack(parts), axis=0, dtype=np.float64)


@dataclass(frozen=True)
class FoldsFirstWaveOnly(Minimum):
    def fold(self, items: Items) -> Items:
        return items[:1]


@dataclass(frozen=True)
class MixesWaves(Sum):
    def lift(self, items: Items, rank: int) -> Items:
        return np.cumsum(items, axis=0, dtype=np.float64)


@dataclass(frozen=True)
class LosesWaves(Sum):
    def lower(self, items: Items, contributors: RankSet) -> Items:
        return items[:1][:0]


@dataclass(frozen=True)
class UnionOfSets(Union):
    def lift(self, items: Items, rank: int) -> Items:
        return [{str(m) for m in wave} for wave in items]

    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        return [set().union(*waves) for waves in zip(*parts, strict=True)]


@dataclass(frozen=True)
class ForgetfulClasses(Classes):
    """Adds counts, so that a count that is sent twice counts twice."""

    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        merged = super().combine(parts, ranks)
        if len(parts) == 1 or parts[0] != parts[1]:
            return merged
        return [[[key, [[r, 2 * n] for r, n in pairs]] for key, pairs in wave] for wave in merged]


@dataclass(frozen=True)
class Raises(Sum):
    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        if len(parts) > 4:
            raise RuntimeError("too many")
        return super().combine(parts, ranks)


@pytest.mark.parametrize(
    ("saboteur", "law", "says"),
    [
        (MeanOfMeans(), "associativity", "(a b) c and a b c"),
        (MeanOfMeans(), "any tree", "along a tree and flat"),
        (IdempotentSum(), "idempotent", "x x and x"),
        (MeanOfFold(), "decomposable", "lower_fold of one wave"),
        (FoldsByCount(), "decomposable", "the fold of parts"),
        (FoldsByCount(), "fold", "fold and combine"),
        (DecomposableMinimum(), "decomposable", "do not declare it"),
        (KeyedSum(), "keyed", "the same as the other way round"),
        (OrderedSum(), "ordered", "not ordered"),
        (InvertibleMinimum(), "invertible", "neither can be taken out"),
        (ModestMinimum(), "idempotent", "declare idempotent"),
        (WrongRemove(), "invertible", "all without"),
        (WrongPick(), "keyed", "what rank"),
        (ConcatByArrival(), "arrival order", "parts in the order"),
        (ConcatByArrival(), "any tree", "along a tree and flat"),
        (MutatingMinimum(), "purity", ""),
        (MutatingUnion(), "purity", "after combine, input 0"),
        (MutatingLower(), "purity", ""),
        (SumSortedWithinItems(), "elementwise", "cut at"),
        (WholeItemMaximum(), "elementwise", "cut at"),
        (WideningSum(), "lengths", "into float64"),
        (FoldsFirstWaveOnly(), "fold", "fold and combine"),
        (MixesWaves(), "batching", "alone and in the batch"),
        (LosesWaves(), "lengths", "lower gives 0 values"),
        (UnionOfSets(), "frames", "cannot be put into a frame"),
        (ForgetfulClasses(), "idempotent", "x x and x"),
        (Raises(), "any tree", "raised RuntimeError: too many"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_saboteurs_are_caught(saboteur: Filter, law: str, says: str) -> None:
    found = failures(saboteur, seed=1, examples=30)
    assert law in found, found
    assert says in found[law]


@pytest.mark.parametrize(
    "saboteur", [IdempotentSum(), KeyedSum(), OrderedSum(), InvertibleMinimum(), ModestMinimum(), SumSortedWithinItems()]
)
def test_only_the_broken_law_is_reported(saboteur: Filter) -> None:
    assert len(failures(saboteur, examples=30)) == 1


def test_the_same_seed_gives_the_same_messages() -> None:
    def messages(seed: int) -> list[str]:
        return [o.message for o in run_checks(MeanOfMeans(), seed=seed, examples=20)]

    assert messages(1) == messages(1)
    assert messages(1) != messages(2)


@dataclass(frozen=True)
class RefusesAll(Sum):
    def lift(self, items: Items, rank: int) -> Items:
        raise ValueError("I want trees")


@dataclass(frozen=True)
class WithExample(Sum):
    """Takes whole triples only, and says so."""

    def lift(self, items: Items, rank: int) -> Items:
        if np.shape(items)[1:] != (7,):
            raise ValueError("items have shape (7,)")
        return items

    elementwise: ClassVar[bool] = False

    def example(self, rng: np.random.Generator, waves: int, rank: int) -> Items:
        return rng.integers(0, 5, (waves, 7))


def test_a_filter_that_takes_no_usual_input_is_told_to_give_an_example() -> None:
    outcomes = run_checks(RefusesAll())
    assert [o.name for o in outcomes] == ["protocol", "inputs"]
    assert "I want trees" in outcomes[1].message
    assert "example(rng, waves, rank)" in outcomes[1].message


def test_a_filter_with_its_own_example_is_checked_with_it() -> None:
    outcomes = {o.name: o for o in run_checks(WithExample(), examples=10)}
    assert outcomes["inputs"].message == "takes its own example()"
    assert not [o for o in outcomes.values() if o.passed is False]


def test_claims_without_a_proof_are_skipped_with_the_missing_method() -> None:
    @dataclass(frozen=True)
    class NoProof(Sum):
        remove: ClassVar[Any] = None

    outcome = next(o for o in run_checks(NoProof(), examples=10) if o.name == "invertible")
    assert outcome.passed is None
    assert "remove(total, part, contributors, taken)" in outcome.message


def test_something_that_is_no_filter_is_named() -> None:
    class Half:
        algebra = algebra()
        codec = Codec.ARRAY

    half: Any = Half()
    outcomes = run_checks(half)
    assert [(o.name, o.passed) for o in outcomes] == [("protocol", False)]
    assert "lacks elementwise, lift, combine, fold, lower" in outcomes[0].message


def test_opaque_items_cannot_be_elementwise() -> None:
    @dataclass(frozen=True)
    class CutsObjects(Union):
        elementwise: ClassVar[bool] = True

    assert "need the codec array" in failures(CutsObjects())["protocol"]
