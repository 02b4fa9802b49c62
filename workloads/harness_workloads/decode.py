"""From a wrong number to what happened: which contribution was lost, duplicated or mixed in from another wave.

Each hypothesis is tried by arithmetic: for sums, the difference between what came and what should have come is minus one
contribution (lost), plus one (duplicated), or one contribution's step from this wave to another (mixed). Suspects are
single ranks first, then whole subtrees, then pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from harness.api.records import Violation
from harness.core.tree import Role, Tree
from harness_workloads.oracle import LINEAR, Arithmetic, ByFilter
from harness_workloads.values import Array, Values

_MOST_PAIRED = 64
_REACH = 4096
_NEAR = 8


@dataclass(frozen=True)
class Wrong:
    """One number that is not what it should be: in which wave, at which element, with which contributors."""

    wave: int
    ranks: tuple[int, ...]
    value: Any
    wanted: Any
    element: int = 0


@dataclass(frozen=True)
class Finding:
    """What is to blame: lost, duplicated, mixed, misnamed or unexpected, and whose contribution it was."""

    what: str
    ranks: tuple[int, ...]
    story: str

    def violation(self, wave: int) -> Violation:
        """As the check reports it."""
        return Violation(self.what, f"wave {wave}: {self.story}", self.ranks[0] if self.ranks else None, wave)


def suspects(tree: Tree, ranks: Sequence[int]) -> list[tuple[int, ...]]:
    """Sets of ranks to try, likeliest first: each alone, each subtree, all, each pair."""
    inside = set(ranks)
    found: list[tuple[int, ...]] = [(r,) for r in ranks]
    for node in tree.nodes:
        if node.role is not Role.BACK_END:
            found.append(tuple(r for r in tree.ranks_below(node.id) if r in inside))
    if len(ranks) <= _MOST_PAIRED:
        found.extend(combinations(ranks, 2))
    return [s for s in dict.fromkeys(found) if s]


def ranks_text(ranks: Iterable[int]) -> str:
    """`rank 3`, or `ranks 0, 1, 2`."""
    listed = list(ranks)
    return f"rank {listed[0]}" if len(listed) == 1 else f"ranks {', '.join(map(str, listed))}"


def explain(oracle: Arithmetic, tree: Tree, wrong: Wrong) -> Finding:
    """The likeliest cause of a wrong number under sum, average, min, max or count."""
    values, filter_ = oracle.values, oracle.filter
    if filter_ == "count":
        return _explain_count(wrong)
    explain_as = _explain_linear if filter_ in LINEAR else _explain_extreme
    found = explain_as(values, filter_, tree, wrong) or _other_place(oracle, wrong) or _one_bit(values, filter_, wrong)
    what = f"holds {wrong.value}, not {wrong.wanted}"
    return found or Finding("unexpected", (), f"element {wrong.element} {what}, and no single mistake explains it")


def _explain_count(wrong: Wrong) -> Finding:
    less = wrong.wanted - wrong.value
    if less > 0:
        return Finding("lost", (), f"{less:g} of the {wrong.wanted:g} named contributors are not in it")
    return Finding("duplicated", (), f"{-less:g} contributions more than the {wrong.wanted:g} that are named")


def _explain_linear(values: Values, filter_: str, tree: Tree, wrong: Wrong) -> Finding | None:
    modulus = 1 << 64
    scaled = wrong.value * len(wrong.ranks) if filter_ == "average" else wrong.value
    if isinstance(scaled, float) and not (np.isfinite(scaled) and abs(scaled - round(scaled)) < 0.25):
        return None
    at = _reader(values, wrong.element)
    here = {r: at(r, wrong.wave) for r in range(values.ranks)}
    difference = (round(scaled) - sum(here[r] for r in wrong.ranks)) % modulus
    candidates = suspects(tree, wrong.ranks)
    for group in candidates:
        if (-sum(here[r] for r in group)) % modulus == difference:
            return _lost(group)
    for group in candidates:
        if sum(here[r] for r in group) % modulus == difference:
            return Finding("duplicated", group, f"holds the contribution of {ranks_text(group)} twice")
    for rank in set(here) - set(wrong.ranks):
        if here[rank] % modulus == difference:
            return _unnamed(rank)
    near = _neighbours(values, wrong.wave, len(candidates))
    steps = {r: values.column(r, near, wrong.element) - np.int64(here[r]) for r in wrong.ranks}
    wanted = np.uint64(difference).astype(np.int64)
    found: list[tuple[int, tuple[int, ...], int]] = []
    for group in candidates:
        hits = near[np.sum([steps[r] for r in group], axis=0, dtype=np.int64) == wanted]
        found.extend((abs(int(w) - wrong.wave), group, int(w)) for w in hits[:1])
    return _mixed(*min(found, key=lambda f: (len(f[1]), f[0]))[1:]) if found else None


def _explain_extreme(values: Values, filter_: str, tree: Tree, wrong: Wrong) -> Finding | None:
    at = _reader(values, wrong.element)
    best = min if filter_ == "min" else max
    here = {r: at(r, wrong.wave) for r in wrong.ranks}
    for group in suspects(tree, wrong.ranks):
        rest = [here[r] for r in wrong.ranks if r not in group]
        if rest and best(rest) == wrong.value:
            return _lost(group)
    for rank in set(range(values.ranks)) - set(wrong.ranks):
        if at(rank, wrong.wave) == wrong.value:
            return _unnamed(rank)
    near = _neighbours(values, wrong.wave, len(wrong.ranks))
    for rank in wrong.ranks:
        hits = near[values.column(rank, near, wrong.element) == wrong.value]
        if len(hits):
            return _mixed((rank,), int(hits[np.argmin(np.abs(hits - wrong.wave))]))
    return None


def explain_by_filter(oracle: ByFilter, tree: Tree, wrong: Wrong, fingerprint: Callable[[Any], Array]) -> Finding:
    """The likeliest cause under any other filter, by trial: contributions left out, or taken from a wave near by."""
    named = dict.fromkeys(wrong.ranks, wrong.wave)
    for group in suspects(tree, wrong.ranks):
        rest = {r: w for r, w in named.items() if r not in group}
        if rest and fingerprint(oracle.result(rest, 1))[0] == wrong.value:
            return _lost(group)
    for group in [(r,) for r in wrong.ranks] + [wrong.ranks]:
        for wave in range(max(0, wrong.wave - _NEAR), wrong.wave + _NEAR + 1):
            if fingerprint(oracle.result({**named, **dict.fromkeys(group, wave)}, 1))[0] == wrong.value:
                return _mixed(group, wave)
    return Finding("unexpected", (), "differs from what the filter gives for its contributors in one step")


def _reader(values: Values, element: int) -> Callable[[int, int], int]:
    return lambda rank, wave: int(values.column(rank, np.array([wave]), element)[0])


def _neighbours(values: Values, wave: int, candidates: int) -> Array:
    """Waves that may have been mixed in, nearest first: the fewer bits a contribution has, the fewer, lest chance finds one."""
    reach = min(_REACH, max(2, (1 << values.bits) // (64 * max(1, candidates))))
    steps = np.arange(1, reach + 1)
    near = np.stack([wave - steps, wave + steps], axis=1).reshape(-1)
    return near[near >= 0]


def _other_place(oracle: Arithmetic, wrong: Wrong) -> Finding | None:
    """Whether the number belongs to another element of the same wave: two chunks were swapped."""
    values = oracle.values
    if values.elements == 1:
        return None
    elements = np.flatnonzero(oracle.row(list(wrong.ranks), wrong.wave) == wrong.value)
    others = elements[elements != wrong.element]
    if not len(others):
        return None
    where = f"element {wrong.element} holds what belongs to element {others[0]}"
    return Finding("mixed", (), f"{where}: chunks of the item have changed places")


def _one_bit(values: Values, filter_: str, wrong: Wrong) -> Finding | None:
    if isinstance(wrong.value, float):
        kind = np.float32 if values.item == "f32" and filter_ != "average" else np.float64
        word = np.uint32 if kind is np.float32 else np.uint64
        difference = int(kind(wrong.value).view(word)) ^ int(kind(wrong.wanted).view(word))
    else:
        difference = (wrong.value ^ wrong.wanted) % (1 << 64)
    if difference.bit_count() != 1:
        return None
    bit = difference.bit_length() - 1
    return Finding("unexpected", (), f"element {wrong.element} differs from the right {wrong.wanted} in bit {bit} alone")


def _lost(group: tuple[int, ...]) -> Finding:
    return Finding("lost", group, f"names {ranks_text(group)}, but does not hold what it contributed")


def _unnamed(rank: int) -> Finding:
    return Finding("misnamed", (rank,), f"holds the contribution of rank {rank}, but does not name it")


def _mixed(group: tuple[int, ...], wave: int) -> Finding:
    return Finding("mixed", group, f"holds the contribution of {ranks_text(group)} to wave {wave} in place of this one's")
