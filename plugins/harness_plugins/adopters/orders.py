"""Policies that sort the candidates by one figure of the plan. Orphans of one parent begin at different places among those that
are equal, so that they spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.api.adopter import Tree


@dataclass(frozen=True)
class SiblingsFirst:
    """The siblings of the lost parent, then the levels above the orphan from below, the front-end last. The default."""

    def rank(self, tree: Tree, orphan: int, lost: int, candidates: Sequence[int], seed: int) -> Sequence[int]:
        """The order of `Tree.adopters`."""
        return tree.adopters(orphan, lost)


@dataclass(frozen=True)
class FanOut:
    """Who has the fewest children in the plan first; of these the deepest."""

    def rank(self, tree: Tree, orphan: int, lost: int, candidates: Sequence[int], seed: int) -> Sequence[int]:
        """By the number of children, then from the orphan's level up."""
        return spread(tree, orphan, candidates, lambda n: (len(tree.nodes[n].children), -tree.nodes[n].depth))


@dataclass(frozen=True)
class Depth:
    """Who is nearest to the root first: the front-end, then level by level. The tree does not get deeper, only wider."""

    def rank(self, tree: Tree, orphan: int, lost: int, candidates: Sequence[int], seed: int) -> Sequence[int]:
        """By depth."""
        return spread(tree, orphan, candidates, lambda n: (tree.nodes[n].depth,))


@dataclass(frozen=True)
class Proximity:
    """Who is on the orphan's host first, then who is in its rack, then the others; of these the deepest.

    racks: the numbers of the hosts of each rack. A host that is in none is in a rack of its own.
    """

    racks: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        named = [host for rack in self.racks for host in rack]
        if len(set(named)) < len(named):
            raise ValueError("racks: a host is in two racks; name each once")
        if min(named, default=0) < 0:
            raise ValueError(f"racks: there is no host {min(named)}; hosts are numbered from 0")

    def rank(self, tree: Tree, orphan: int, lost: int, candidates: Sequence[int], seed: int) -> Sequence[int]:
        """By distance: 0 for the same host, 1 for the same rack, 2 for any other."""
        rack = {host: number for number, hosts in enumerate(self.racks) for host in hosts}
        here = tree.nodes[orphan].host

        def distance(n: int) -> int:
            there = tree.nodes[n].host
            if there == here:
                return 0
            return 1 if here in rack and rack[here] == rack.get(there) else 2

        return spread(tree, orphan, candidates, lambda n: (distance(n), -tree.nodes[n].depth))


def spread(tree: Tree, orphan: int, candidates: Sequence[int], key: Callable[[int], tuple[int, ...]]) -> list[int]:
    """The candidates by `key`, least first. Those with equal keys are by id, rotated by the orphan's place among siblings."""
    parent = tree.nodes[orphan].parent
    turn = 0 if parent is None else tree.nodes[parent].children.index(orphan)
    groups: dict[tuple[int, ...], list[int]] = {}
    for n in sorted(candidates):
        groups.setdefault(key(n), []).append(n)
    found: list[int] = []
    for each in sorted(groups):
        group = groups[each]
        at = turn % len(group)
        found += group[at:] + group[:at]
    return found
