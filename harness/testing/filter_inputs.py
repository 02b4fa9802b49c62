"""Generated input for the conformance check of filters, and when two results count as the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.api.filters import Array, Codec, Filter, Items, RankSet

#: What back-ends offer where the filter has no `example`: (name, function of (rng, waves)).
Kind = tuple[str, Callable[[np.random.Generator, int], Items]]

_DTYPES = ("<i8", "<f8", "<i4", "<f4", "|u1")
_SHAPES: tuple[tuple[int, ...], ...] = ((), (5,), (2, 3))
_WORDS = ("", "a", "b", "ab", "lost", "ranks")


class LawError(Exception):
    """A law does not hold; the message is the counter-example."""


class UntestableError(Exception):
    """A law cannot be tested; the message is the reason."""


@dataclass(frozen=True)
class Sample:
    """What some back-ends offer for the same waves: `offers[i]` by rank `ranks[i]`, ranks ascending. kind: how the offers were
    made. parts: the offers, lifted. scale: the largest magnitude in them, for comparing floats."""

    ranks: tuple[int, ...]
    offers: tuple[Items, ...]
    waves: int
    kind: Kind | None
    parts: tuple[Items, ...]
    scale: float

    @property
    def sets(self) -> list[RankSet]:
        """The rank set of each part."""
        return [RankSet.of([r]) for r in self.ranks]


class Inputs:
    """Makes samples that a filter takes: by its own `example(rng, waves, rank)` where it has one, and else of those kinds,
    among the usual ones of its codec, that `lift` and `combine` take without an error."""

    def __init__(self, filter_: Filter, merges: bool) -> None:
        self.filter = filter_
        self.example: Callable[[np.random.Generator, int, int], Items] | None = getattr(filter_, "example", None)
        self.kinds: list[Kind] = []
        if self.example is None:
            self._probe(merges)

    def _probe(self, merges: bool) -> None:
        first_error: Exception | None = None
        for kind in _kinds(self.filter.codec):
            rng = np.random.default_rng(0)
            try:
                sample = self.sample(rng, 2, kind)
                if merges:
                    self.filter.combine(sample.parts, sample.sets)
            except Exception as e:  # whatever a filter raises for input that it does not take
                first_error = first_error or e
            else:
                self.kinds.append(kind)
        if not self.kinds:
            raise LawError(
                f"no usual input is taken ({type(first_error).__name__}: {first_error}); give the filter a method "
                "example(rng, waves, rank) that returns what a back-end offers"
            )

    def __str__(self) -> str:
        if self.example:
            return "its own example()"
        if len(self.kinds) == len(_kinds(self.filter.codec)):
            return f"all usual input of the codec {self.filter.codec}"
        return ", ".join(name for name, _ in self.kinds)

    def sample(self, rng: np.random.Generator, ranks: int, kind: Kind | None = None) -> Sample:
        """`ranks` back-ends with 1 to 4 waves each."""
        chosen = tuple(int(r) for r in np.sort(rng.choice(40, ranks, replace=False)))
        if kind is None and self.example is None:
            kind = self.kinds[int(rng.integers(len(self.kinds)))]
        return self._make(rng, chosen, int(rng.integers(1, 5)), kind)

    def again(self, rng: np.random.Generator, sample: Sample) -> Sample:
        """Other offers by the same ranks for the same waves."""
        return self._make(rng, sample.ranks, sample.waves, sample.kind)

    def _make(self, rng: np.random.Generator, ranks: tuple[int, ...], waves: int, kind: Kind | None) -> Sample:
        if self.example is not None:
            make = self.example
            offers = tuple(make(rng, waves, rank) for rank in ranks)
        elif kind is not None:
            offers = tuple(kind[1](rng, waves) for _ in ranks)
        else:
            raise ValueError("a sample needs a kind where the filter has no example()")
        parts = tuple(self.filter.lift(offer, rank) for offer, rank in zip(offers, ranks, strict=True))
        return Sample(ranks, offers, waves, kind, parts, max(map(_magnitude, (*offers, *parts))))


def _kinds(codec: Codec) -> list[Kind]:
    if codec is Codec.ARRAY:
        return [(f"{dtype} of shape {shape}", _array_maker(dtype, shape)) for shape in _SHAPES for dtype in _DTYPES]
    if codec is Codec.BYTES:
        return [("bytes", lambda rng, waves: [rng.bytes(int(rng.integers(0, 12))) for _ in range(waves)])]
    makers = {"lists": _members, "maps": _map, "whole numbers": _whole, "strings": _word}
    return [(name, _object_maker(make)) for name, make in makers.items()]


def _array_maker(dtype: str, shape: tuple[int, ...]) -> Callable[[np.random.Generator, int], Items]:
    def make(rng: np.random.Generator, waves: int) -> Items:
        size = (waves, *shape)
        if np.dtype(dtype).kind == "f" and rng.integers(2):
            return rng.uniform(-100, 100, size).astype(dtype)
        low = 0 if np.dtype(dtype).kind == "u" else -9
        return rng.integers(low, 10, size).astype(dtype)

    return make


def _object_maker(make: Callable[[np.random.Generator], Any]) -> Callable[[np.random.Generator, int], Items]:
    return lambda rng, waves: [make(rng) for _ in range(waves)]


def _whole(rng: np.random.Generator) -> int:
    return int(rng.integers(-9, 10))


def _word(rng: np.random.Generator) -> str:
    return _WORDS[int(rng.integers(len(_WORDS)))]


def _members(rng: np.random.Generator) -> list[Any]:
    make = (_whole, _word, lambda r: _word(r).encode(), lambda r: [_whole(r), _word(r)])
    mixed = bool(rng.integers(2))
    kind = int(rng.integers(len(make)))
    return [make[int(rng.integers(len(make))) if mixed else kind](rng) for _ in range(int(rng.integers(0, 6)))]


def _map(rng: np.random.Generator) -> dict[str, int]:
    return {_word(rng): int(rng.integers(1, 10)) for _ in range(int(rng.integers(0, 5)))}


def _magnitude(items: Items) -> float:
    if not isinstance(items, np.ndarray) or items.dtype.kind not in "iuf" or not items.size:
        return 1.0
    finite = items[np.isfinite(items)]
    return max(1.0, float(np.abs(finite.astype(np.float64)).max())) if finite.size else 1.0


def same(a: Any, b: Any, scale: float = 1.0) -> bool:
    """Whether two results are equal: in kind, shape and dtype; floats up to rounding, measured by `scale`, the largest
    magnitude that went into them."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        if a.dtype.kind != "f":
            return bool(np.array_equal(a, b))
        slack = math.sqrt(float(np.finfo(a.dtype).eps))
        return bool(np.allclose(a, b, rtol=slack, atol=slack * scale, equal_nan=True))
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (a != a and b != b) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9 * scale)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k], scale) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y, scale) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and bool(a == b)


def show(items: Any) -> str:
    """A short form of a result for a message."""
    if isinstance(items, np.ndarray):
        values = np.array2string(items, threshold=12, edgeitems=2, precision=6, separator=",").replace("\n", "")
        text = f"{values} ({items.dtype}, shape {items.shape})"
    else:
        text = repr(items)
    return text if len(text) <= 160 else text[:157] + "..."


def expect_same(what: str, got: Any, wanted: Any, scale: float = 1.0) -> None:
    """Raises LawError where the two differ."""
    if not same(got, wanted, scale):
        raise LawError(f"{what}: {show(got)} is not {show(wanted)}")


def copy_of(items: Items) -> Items:
    """A deep copy."""
    return items.copy() if isinstance(items, np.ndarray) else [_copy(x) for x in items]


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _copy(v) for k, v in value.items()}
    return type(value)(map(_copy, value)) if isinstance(value, (list, tuple, set)) else value


def as_array(items: Items, what: str) -> Array:
    """The array that `items` must be. Raises LawError where it is none."""
    if not isinstance(items, np.ndarray):
        raise LawError(f"{what} is {type(items).__name__}, but the codec is array")
    return items


def random_tree(
    filter_: Filter, rng: np.random.Generator, parts: Sequence[Items], sets: Sequence[RankSet]
) -> tuple[Items, RankSet]:
    """The parts merged along a random tree: any two to four of those that are left, in any order, until one is left."""
    left = list(zip(parts, sets, strict=True))
    while len(left) > 1:
        left = [left[i] for i in rng.permutation(len(left))]
        n = int(rng.integers(2, min(4, len(left)) + 1))
        taken, left = left[:n], left[n:]
        together = RankSet(pair for _, ranks in taken for pair in ranks.ranges)
        left.append((filter_.combine([p for p, _ in taken], [r for _, r in taken]), together))
    return left[0]
