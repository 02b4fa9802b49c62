"""The laws of filters, one function each: it tests one generated example and raises LawError where the law does not hold.

Where an algebra denies a law, a witness is looked for instead: a function that tells whether an example breaks the law, so that
false modesty is found too (a filter that could be composed or reordered, but says that it cannot).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harness.api.filters import Codec, Filter, Items, RankSet
from harness.core.frames import DATA, FrameError, data_frame, decode_items, parse_header
from harness.core.ranks import union
from harness.testing.filter_inputs import (
    Inputs,
    LawError,
    Sample,
    UntestableError,
    as_array,
    copy_of,
    expect_same,
    random_tree,
    same,
    show,
)

#: What a filter should make of the offers of some ranks: the result after `lower`.
Reference = Callable[[Sequence[Items], Sequence[int]], Items]


@dataclass(frozen=True)
class Subject:
    """A filter under test with its input."""

    filter: Filter
    inputs: Inputs
    reference: Reference | None = None

    def whole(self, sample: Sample) -> Items:
        """All parts of a sample in one `combine`."""
        return self.filter.combine(sample.parts, sample.sets)


Example = Callable[[Subject, np.random.Generator], None]
Witness = Callable[[Subject, np.random.Generator], bool]


def one_part(s: Subject, rng: np.random.Generator) -> None:
    """One part is returned as it is."""
    sample = s.inputs.sample(rng, 1)
    expect_same("combine of one part", s.whole(sample), sample.parts[0])


def lengths(s: Subject, rng: np.random.Generator) -> None:
    """lift, combine and lower give one value a wave, arrays where the codec is array; combine keeps dtype and item shape."""
    sample = s.inputs.sample(rng, 1 if not merges(s.filter) else 3)
    whole = s.whole(sample)
    stages = {"lift": sample.parts[0], "combine": whole, "lower": s.filter.lower(whole, union(sample.sets))}
    for name, items in stages.items():
        if len(items) != sample.waves:
            raise LawError(f"{name} gives {len(items)} values for {sample.waves} waves: {show(items)}")
        if s.filter.codec is Codec.ARRAY:
            as_array(items, f"the result of {name}")
        elif not isinstance(items, list):
            raise LawError(f"{name} gives {type(items).__name__}, but the codec is {s.filter.codec}, so it must be a list")
    if s.filter.codec is Codec.ARRAY:
        part, merged, rows = as_array(sample.parts[0], "a part"), as_array(whole, "a merged part"), s.filter.algebra.ordered
        if part.dtype != merged.dtype:
            raise LawError(
                f"combine turns {part.dtype} into {merged.dtype}; a parent could not merge it with its other children"
            )
        if part.shape[1 + rows :] != merged.shape[1 + rows :] or part.ndim != merged.ndim:
            raise LawError(f"combine turns parts of shape {part.shape} into {merged.shape}")


def batching(s: Subject, rng: np.random.Generator) -> None:
    """Waves that travel in one batch give what each of them gives alone."""
    sample = s.inputs.sample(rng, 3 if merges(s.filter) else 1)
    everyone = union(sample.sets)
    together = s.filter.lower(s.whole(sample), everyone)
    for w in range(sample.waves):
        parts = [s.filter.lift(o[w : w + 1], r) for o, r in zip(sample.offers, sample.ranks, strict=True)]
        alone = s.filter.lower(s.filter.combine(parts, sample.sets), everyone)
        expect_same(f"wave {w} of {sample.waves}, alone and in the batch", alone, together[w : w + 1], sample.scale)


def associativity(s: Subject, rng: np.random.Generator) -> None:
    """(a b) c = a (b c) = a b c, where the ranks of a, b and c may be interleaved."""
    sample = s.inputs.sample(rng, 3)
    (a, b, c), (ra, rb, rc) = sample.parts, sample.sets
    f, flat = s.filter.combine, s.whole(sample)
    expect_same("(a b) c and a b c", f([f([a, b], [ra, rb]), c], [ra | rb, rc]), flat, sample.scale)
    expect_same("a (b c) and a b c", f([a, f([b, c], [rb, rc])], [ra, rb | rc]), flat, sample.scale)
    expect_same("(a c) b and a b c", f([f([a, c], [ra, rc]), b], [ra | rc, rb]), flat, sample.scale)


def arrival_order(s: Subject, rng: np.random.Generator) -> None:
    """The order in which parts arrive does not matter (the ranks may)."""
    sample = s.inputs.sample(rng, int(rng.integers(2, 6)))
    order = rng.permutation(len(sample.parts))
    turned = s.filter.combine([sample.parts[i] for i in order], [sample.sets[i] for i in order])
    expect_same(f"parts in the order {order.tolist()} and in rank order", turned, s.whole(sample), sample.scale)


def any_tree(s: Subject, rng: np.random.Generator) -> None:
    """Along any tree, the result is that of a flat one; and that of the reference, where one is given."""
    sample = s.inputs.sample(rng, int(rng.integers(2, 9)))
    merged, ranks = random_tree(s.filter, rng, sample.parts, sample.sets)
    result = s.filter.lower(merged, ranks)
    expect_same("along a tree and flat", result, s.filter.lower(s.whole(sample), ranks), sample.scale)
    if s.reference is not None:
        expect_same("along a tree and by the reference", result, s.reference(sample.offers, sample.ranks), sample.scale)


def idempotent(s: Subject, rng: np.random.Generator) -> None:
    """Repetition: x x = x and (x y) y = x y, so a state that is sent again changes nothing."""
    sample = s.inputs.sample(rng, 2)
    (x, y), (rx, ry) = sample.parts, sample.sets
    f, both = s.filter.combine, s.whole(sample)
    expect_same("x x and x", f([x, x], [rx, rx]), x, sample.scale)
    expect_same("(x y) y and x y", f([both, y], [rx | ry, ry]), both, sample.scale)
    expect_same("(x y) (x y) and x y", f([both, both], [rx | ry, rx | ry]), both, sample.scale)


def changes_when_repeated(s: Subject, rng: np.random.Generator) -> bool:
    """Whether x x is not x, or is refused."""
    sample = s.inputs.sample(rng, 1)
    x, r = sample.parts[0], sample.sets[0]
    try:
        return not same(s.filter.combine([x, x], [r, r]), x, sample.scale)
    except (TypeError, ValueError):
        return True


def swap_matters(s: Subject, rng: np.random.Generator) -> bool:
    """Whether the result changes when two ranks exchange what they offer."""
    sample = s.inputs.sample(rng, 2)
    (x, y), (p, q) = sample.offers, sample.ranks
    swapped = s.filter.combine([s.filter.lift(y, p), s.filter.lift(x, q)], sample.sets)
    return not same(swapped, s.whole(sample), sample.scale)


def invertible(s: Subject, rng: np.random.Generator) -> None:
    """Cancellation: c a = c b only where a = b; and `remove(total, part, contributors, taken)` leaves the rest."""
    sample = s.inputs.sample(rng, 2)
    other = s.inputs.again(rng, sample)
    c, a, b = sample.parts[0], sample.parts[1], other.parts[1]
    ca, cb = s.filter.combine([c, a], sample.sets), s.filter.combine([c, b], sample.sets)
    scale = max(sample.scale, other.scale)
    if same(ca, cb, scale) and not same(a, b, scale):
        raise LawError(f"c a = c b = {show(ca)}, though a = {show(a)} and b = {show(b)}: neither can be taken out again")
    remove = getattr(s.filter, "remove", None)
    if remove is None:
        raise UntestableError(
            "no counter-example to cancellation; a method remove(total, part, contributors, taken) would show it"
        )
    many = s.inputs.sample(rng, int(rng.integers(2, 7)))
    n = int(rng.integers(1, len(many.parts)))
    order = rng.permutation(len(many.parts))
    taken, kept = sorted(order[:n]), sorted(order[n:])

    def merged(chosen: list[int]) -> tuple[Items, RankSet]:
        sets = [many.sets[i] for i in chosen]
        return s.filter.combine([many.parts[i] for i in chosen], sets), union(sets)

    part, ranks = merged(taken)
    rest = remove(s.whole(many), part, union(many.sets), ranks)
    expect_same(f"all without [{ranks}] and the others alone", rest, merged(kept)[0], many.scale)


def keyed(s: Subject, rng: np.random.Generator) -> None:
    """Who offered what can be told: exchanging two different offers shows; and `pick(total, contributors, rank)` gives what
    `rank` put in."""
    sample = s.inputs.sample(rng, 2)
    (x, y), (p, q) = sample.offers, sample.ranks
    if not same(s.filter.lift(x, p), s.filter.lift(y, p), sample.scale):
        swapped = s.filter.combine([s.filter.lift(y, p), s.filter.lift(x, q)], sample.sets)
        if same(swapped, s.whole(sample), sample.scale):
            raise LawError(f"{show(x)} by rank {p} and {show(y)} by rank {q} give the same as the other way round")
    pick = getattr(s.filter, "pick", None)
    if pick is None:
        raise UntestableError("exchanged offers show; a method pick(total, contributors, rank) would prove the rest")
    many = s.inputs.sample(rng, int(rng.integers(1, 6)))
    total, contributors = s.whole(many), union(many.sets)
    for rank, part in zip(many.ranks, many.parts, strict=True):
        expect_same(f"what rank {rank} put in", pick(total, contributors, rank), part, many.scale)


def purity(s: Subject, rng: np.random.Generator) -> None:
    """Inputs stay unchanged, read-only arrays will do, and the same input gives the same output (fold is seen to there)."""
    sample = s.inputs.sample(rng, 3 if merges(s.filter) else 1)
    everyone = union(sample.sets)
    offers, parts = [copy_of(o) for o in sample.offers], [copy_of(p) for p in sample.parts]
    whole = s.filter.combine([copy_of(p) for p in parts], sample.sets)
    state = copy_of(whole)
    if rng.integers(2):
        for items in (*sample.offers, *sample.parts, whole):
            if isinstance(items, np.ndarray):
                items.flags.writeable = False
    for _ in range(2):
        expect_same("combine, done again", s.whole(sample), state)
        once, again = (copy_of(s.filter.lower(whole, everyone)) for _ in range(2))
        expect_same("lower, done again", once, again)
        for i, (offer, rank) in enumerate(zip(sample.offers, sample.ranks, strict=True)):
            expect_same("lift, done again", s.filter.lift(offer, rank), parts[i])
            expect_same(f"after lift, input {i}", offer, offers[i])
            expect_same(f"after combine, input {i}", sample.parts[i], parts[i])
    expect_same("after lower, the input", whole, state)


def elementwise(s: Subject, rng: np.random.Generator) -> None:
    """A large item may be cut, as the node does it: lifted and combined in chunks, put together and lowered, it gives what it
    gives as a whole."""
    sample = next((c for c in (s.inputs.sample(rng, 3) for _ in range(20)) if c.offers[0][0].size > 1), None)
    if sample is None:
        raise UntestableError("no input with more than one element is taken")
    item = np.shape(sample.offers[0])[1:]
    flat = [np.asarray(o).reshape(sample.waves, -1) for o in sample.offers]
    cuts = sorted({0, flat[0].shape[1], *rng.integers(1, flat[0].shape[1], 2).tolist()})
    everyone, rows = union(sample.sets), int(s.filter.algebra.ordered)
    pieces = []
    for start, stop in pairwise(cuts):
        parts = [s.filter.lift(o[:, start:stop], r) for o, r in zip(flat, sample.ranks, strict=True)]
        pieces.append(np.asarray(s.filter.combine(parts, sample.sets)))
        if pieces[-1].ndim != 2 + rows or pieces[-1].shape[-1] != stop - start:
            raise LawError(f"a chunk of {stop - start} elements becomes an aggregate of shape {pieces[-1].shape}")
    joined = np.concatenate(pieces, axis=-1)
    result = s.filter.lower(joined.reshape(*joined.shape[:-1], *item), everyone)
    expect_same(f"cut at {cuts} and whole", result, s.filter.lower(s.whole(sample), everyone), sample.scale)


def fold(s: Subject, rng: np.random.Generator) -> None:
    """A fold combines the waves into one, before or after they are combined with those of others."""
    sample = s.inputs.sample(rng, 2)
    (a, _), (ra, rb) = sample.parts, sample.sets
    f = s.filter
    waves = [a[w : w + 1] for w in range(sample.waves)]
    expect_same("fold and combine over the waves", f.fold(a), f.combine(waves, [ra] * len(waves)), sample.scale)
    expect_same("fold of a fold", f.fold(f.fold(a)), f.fold(a), sample.scale)
    untouched = copy_of(a)
    states = [f.fold(p) for p in sample.parts]
    expect_same("after fold, the input", a, untouched)
    expect_same("combined folds and the fold of all", f.combine(states, [ra, rb]), f.fold(s.whole(sample)), sample.scale)


def decomposable(s: Subject, rng: np.random.Generator) -> None:
    """The fold of all contributions is that of any parts that do not overlap, in any order; and `lower_fold` of one wave's fold
    is what `lower` makes of the wave."""
    if s.filter.algebra.idempotent or s.filter.algebra.ordered:
        raise LawError("it is idempotent, so that states are composed, or ordered, which waves are not: do not declare it")
    f = s.filter
    sample = s.inputs.sample(rng, int(rng.integers(2, 6)))
    folds: list[tuple[Items, RankSet]] = []
    for part, ranks in zip(sample.parts, sample.sets, strict=True):
        cut = int(rng.integers(0, sample.waves + 1))
        folds += [(f.fold(piece), ranks) for piece in (part[:cut], part[cut:]) if len(piece)]
    order = rng.permutation(len(folds))
    apart = f.combine([folds[i][0] for i in order], [folds[i][1] for i in order])
    whole = s.whole(sample)
    expect_same("the fold of parts and the fold of all", apart, f.fold(whole), sample.scale)
    everyone = union(sample.sets)
    lower = getattr(f, "lower_fold", None)
    one = f.fold(whole[:1])
    state = one if lower is None else lower(one, len(everyone))
    expect_same("lower_fold of one wave and lower", state, f.lower(whole[:1], everyone), sample.scale)


def travels(s: Subject, rng: np.random.Generator) -> None:
    """Parts that went through a frame are the parts that were sent, and combine to the same, to the last bit."""
    sample = s.inputs.sample(rng, 2 if merges(s.filter) else 1)
    arrived = []
    for part, ranks in zip(sample.parts, sample.sets, strict=True):
        try:
            frame = memoryview(b"".join(data_frame(DATA, 1, 0, 0, part, ranks, s.filter.codec)))
        except (FrameError, TypeError, ValueError, OverflowError) as e:
            raise LawError(f"{show(part)} cannot be put into a frame: {e}") from e
        _, _, _, _, _, count, _, meta_len, body_len = parse_header(frame)
        items, _ = decode_items(frame, count, meta_len, body_len, s.filter.codec)
        expect_same("what arrives and what was sent", items, part)
        arrived.append(items)
    here, there = s.whole(sample), s.filter.combine(arrived, sample.sets)
    if isinstance(here, np.ndarray) and isinstance(there, np.ndarray) and here.tobytes() != there.tobytes():
        raise LawError(f"combined after the journey: {show(there)} is not {show(here)}")
    expect_same("combined after the journey", there, here)


def merges(filter_: Filter) -> bool:
    """False for a filter with `aggregates = False`, such as null: it is never given more than one part."""
    return bool(getattr(filter_, "aggregates", True))
