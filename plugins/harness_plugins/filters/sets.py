"""Filters over opaque items: union and classes."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.api.filters import Algebra, Codec, Items, RankSet
from harness_plugins.filters.canonical import distinct, frozen, normal, order_key, plain

#: One wave of `classes`: [[key, [[rank, count], ...]], ...], keys in canonical order, ranks ascending, each count positive.
ClassList = list[list[Any]]


@dataclass(frozen=True)
class Union:
    """The union of the sets that the back-ends offer.

    A back-end offers a list, tuple or set of members for each wave: None, bool, int, float, str, bytes, or lists of these. An
    aggregate is the sorted list of distinct members (by type, then value), so equal sets have equal bytes.
    """

    algebra: ClassVar[Algebra] = Algebra(idempotent=True, invertible=False, keyed=False, ordered=False)
    codec: ClassVar[Codec] = Codec.MSGPACK
    elementwise: ClassVar[bool] = False

    def lift(self, items: Items, rank: int) -> Items:
        """One sorted list of distinct members a wave. Raises TypeError or ValueError for what cannot be a member."""
        return [_members(wave) for wave in items]

    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        """The union of the parts, wave by wave."""
        return parts[0] if len(parts) == 1 else [distinct(waves) for waves in zip(*parts, strict=True)]

    def fold(self, items: Items) -> Items:
        """The union of all waves: a list of one."""
        return [distinct(list(items))]

    def lower(self, items: Items, contributors: RankSet) -> Items:
        """The sorted lists themselves."""
        return items


def _members(wave: Any) -> list[Any]:
    if not isinstance(wave, (list, tuple, set, frozenset)):
        raise TypeError(f"union: a wave is a list, tuple or set of members, not {type(wave).__name__}")
    return distinct([[normal(member) for member in wave]])


@dataclass(frozen=True)
class Classes:
    """Equivalence classes: which back-ends saw how many members of which class.

    A back-end offers a mapping {class key: count} for each wave, where a count is the total that it has seen so far, so it
    never falls. An aggregate is the list [[key, [[rank, count], ...]], ...] (see `ClassList`): msgpack maps would restrict
    the keys and leave the order open. Parts are merged by the larger count of each (class, rank): every count is a grow-only
    counter, which makes the merge idempotent (Shapiro, Preguica, Baquero and Zawirski, "A comprehensive study of Convergent
    and Commutative Replicated Data Types", INRIA RR-7506, 2011, section 3.1).
    """

    algebra: ClassVar[Algebra] = Algebra(idempotent=True, invertible=True, keyed=True, ordered=False)
    codec: ClassVar[Codec] = Codec.MSGPACK
    elementwise: ClassVar[bool] = False

    def lift(self, items: Items, rank: int) -> Items:
        """Put the rank to each count. Raises TypeError or ValueError for impossible keys and counts."""
        return [class_list({key: {rank: count} for key, count in _mapping(wave).items()}) for wave in items]

    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        """The larger count of each (class, rank), wave by wave."""
        return parts[0] if len(parts) == 1 else [_merge(waves) for waves in zip(*parts, strict=True)]

    def remove(self, total: Items, part: Items, contributors: RankSet, taken: RankSet) -> Items:
        """`total` without the counts of the ranks `taken`."""
        return [_restrict(wave, contributors - taken) for wave in total]

    def pick(self, total: Items, contributors: RankSet, rank: int) -> Items:
        """What `rank` alone contributed to `total`."""
        return [_restrict(wave, RankSet.of([rank])) for wave in total]

    def fold(self, items: Items) -> Items:
        """All waves merged: a list of one."""
        return [_merge(list(items))]

    def lower(self, items: Items, contributors: RankSet) -> Items:
        """The lists themselves; `class_counts`, `class_totals` and `class_ranks` read one."""
        return items


def class_list(counts: Mapping[Hashable, Mapping[int, int]]) -> ClassList:
    """The canonical list for {key: {rank: count}}. Counts of 0 and classes without members are left out.

    Raises TypeError or ValueError for a key that `union` would not take as a member, and for a count that is no whole number
    in 0..2^63-1.
    """
    entries = [[normal(key), _pairs(ranks)] for key, ranks in counts.items()]
    return sorted((e for e in entries if e[1]), key=lambda e: order_key(e[0]))


def class_counts(value: ClassList) -> dict[Any, dict[int, int]]:
    """{key: {rank: count}} of one wave. Keys that are lists come as tuples; keys that Python holds equal (1, true) coincide."""
    return {frozen(key): dict(pairs) for key, pairs in value}


def class_totals(value: ClassList) -> dict[Any, int]:
    """{key: members over all ranks} of one wave."""
    return {frozen(key): sum(count for _, count in pairs) for key, pairs in value}


def class_ranks(value: ClassList) -> dict[Any, RankSet]:
    """{key: ranks that have members} of one wave."""
    return {frozen(key): RankSet.of(rank for rank, _ in pairs) for key, pairs in value}


def _mapping(wave: Any) -> Mapping[Hashable, int]:
    if not isinstance(wave, Mapping):
        raise TypeError(f"classes: a wave is a mapping of class keys to counts, not {type(wave).__name__}")
    return wave


def _pairs(ranks: Mapping[int, int]) -> list[list[int]]:
    pairs = []
    for rank, raw in sorted(ranks.items()):
        count = normal(raw)
        if type(count) is not int or not 0 <= count < 1 << 63:
            raise ValueError(f"classes: a count is a whole number in 0..2^63-1, not {raw!r}")
        if count:
            pairs.append([rank, count])
    return pairs


def _restrict(wave: ClassList, ranks: RankSet) -> ClassList:
    kept = ([key, [pair for pair in pairs if pair[0] in ranks]] for key, pairs in wave)
    return [entry for entry in kept if entry[1]]


def _merge(waves: Collection[ClassList]) -> ClassList:
    handle = _same if plain([key for wave in waves for key, _ in wave]) else order_key
    merged: dict[Any, list[Any]] = {}
    for wave in waves:
        for entry in wave:
            at = handle(entry[0])
            known = merged.get(at)
            merged[at] = entry if known is None else [entry[0], _larger(known[1], entry[1])]
    return [merged[at] for at in sorted(merged)]


def _same(key: Any) -> Any:
    return key


def _larger(a: list[list[int]], b: list[list[int]]) -> list[list[int]]:
    """Two lists of [rank, count] merged by the larger count; both are ascending and not empty."""
    if a[-1][0] < b[0][0]:
        return a + b
    if b[-1][0] < a[0][0]:
        return b + a
    counts = {pair[0]: pair[1] for pair in a}
    for rank, count in b:
        if count > counts.get(rank, 0):
            counts[rank] = count
    return [[rank, counts[rank]] for rank in sorted(counts)]
