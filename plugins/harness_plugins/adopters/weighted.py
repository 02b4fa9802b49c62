"""MRNet's choice of an adopter: at random, weighted by fan-out, depth and proximity."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.api.adopter import Tree

#: So many candidates are drawn; those behind them, whom hardly anybody gets to, are in order of weight.
_DRAWN = 16
#: Weights are whole numbers of this part of the greatest score, so that every machine draws the same.
_GRAIN = 1_000_000


@dataclass(frozen=True)
class Weighted:
    """At random, weighted by few children, by how little the tree grows deeper, and by nearness, as MRNet does it.

    The score of a candidate is that of MRNet 5.0.1 (NetworkTopology.C, compute_AdoptionScore, ALG_WRS): the weighted sum of
    three figures between 0 and 1. Fan-out: 1 for the fewest children of the candidates, 0 for the most. Depth: how little
    higher the orphan's subtree is than one that the candidate has anyway. Proximity: how few edges of the tree are between the
    two. They are drawn without replacement, each with a chance in proportion to its score, which is what MRNet's random keys
    u^(1/score) come to (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", IPL 97(5), 2006).
    """

    fan_out: float = 1.0
    depth: float = 1.0
    proximity: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        weights = (self.fan_out, self.depth, self.proximity)
        if min(weights) < 0 or not any(weights):
            raise ValueError("fan_out, depth and proximity are weights: none is negative, and one of them is not 0")

    def rank(self, tree: Tree, orphan: int, lost: int, candidates: Sequence[int], seed: int) -> Sequence[int]:
        """A draw that follows from this seed, that of the trial, the orphan and the lost parent."""
        rng = random.Random(f"{self.seed} {seed} {orphan} {lost}")
        scores = self._scores(tree, orphan, candidates)
        # Nobody's chance is nothing: whoever may be the last that lives is ranked, too.
        left = {n: 1 + int(_GRAIN * score) for n, score in zip(candidates, scores, strict=True)}
        found: list[int] = []
        while left and len(found) < _DRAWN:
            drawn = _drawn(left, rng.randrange(sum(left.values())))
            del left[drawn]
            found.append(drawn)
        return [*found, *sorted(left, key=lambda n: (-left[n], n))]

    def _scores(self, tree: Tree, orphan: int, candidates: Sequence[int]) -> list[float]:
        fans = [len(tree.nodes[n].children) for n in candidates]
        least, most = min(fans, default=0), max(fans, default=0)
        deepest = tree.depth
        heights = tree.heights
        above = _ancestors(tree, orphan)
        found: list[float] = []
        for n, fan in zip(candidates, fans, strict=True):
            growth = max(0, heights[orphan] + 1 - heights[n])
            shallow = 1.0 - growth / max(1, deepest - 1)
            # MRNet's figure is 1 for the least distance between an orphan and another than its parent, 2 edges.
            near = (2 * deepest - 1 - _distance(tree, n, above)) / max(1, 2 * deepest - 3)
            few = 1.0 if most == least else (most - fan) / (most - least)
            found.append(sum(w * max(0.0, f) for w, f in ((self.fan_out, few), (self.depth, shallow), (self.proximity, near))))
        return found


def _drawn(weights: Mapping[int, int], at: int) -> int:
    """Whose part of the sum of all weights holds the number `at`."""
    for n, weight in weights.items():
        at -= weight
        if at < 0:
            return n
    raise ValueError("the number is not below the sum of the weights")


def _ancestors(tree: Tree, node: int) -> dict[int, int]:
    """Each node on the way to the root, and how many edges away it is."""
    found: dict[int, int] = {}
    at, steps = tree.nodes[node], 0
    while at.parent is not None:
        steps += 1
        found[at.parent] = steps
        at = tree.nodes[at.parent]
    return found


def _distance(tree: Tree, node: int, above: dict[int, int]) -> int:
    """Edges between `node` and the node whose ancestors are `above`."""
    at, steps = tree.nodes[node], 0
    while at.id not in above and at.parent is not None:
        steps += 1
        at = tree.nodes[at.parent]
    return steps + above[at.id]
