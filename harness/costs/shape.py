"""The shape of a tree without its numbering: nodes with alike subtrees are one class, so that large trees cost little."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.core.tree import Tree

#: The children of a class: (class, how many), ordered by class.
Children = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Shape:
    """`classes[i]` are the children of a node of class i, all of classes below i. Class 0 is a back-end, the last class the
    front-end."""

    classes: tuple[Children, ...]

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """How many nodes of each class the tree has."""
        counts = [0] * len(self.classes)
        counts[-1] = 1
        for i in range(len(self.classes) - 1, 0, -1):
            for child, number in self.classes[i]:
                counts[child] += counts[i] * number
        return tuple(counts)

    @cached_property
    def heights(self) -> tuple[int, ...]:
        """Links from a node of each class down to its deepest back-end."""
        heights: list[int] = []
        for children in self.classes:
            heights.append(1 + max(heights[c] for c, _ in children) if children else 0)
        return tuple(heights)

    def fanout(self, i: int) -> int:
        """Children of a node of class i."""
        return sum(number for _, number in self.classes[i])

    @cached_property
    def signature(self) -> int:
        """The same for two shapes of the same tree, however their classes are numbered, and (but for chance) for no others."""
        found: list[int] = []
        for children in self.classes:
            found.append(hash(tuple(sorted((found[c], number) for c, number in children))))
        return found[-1]

    @property
    def nodes(self) -> int:
        """All nodes."""
        return sum(self.counts)

    @property
    def back_ends(self) -> int:
        """The leaves."""
        return self.counts[0]

    @property
    def communication(self) -> int:
        """The nodes between front-end and back-ends."""
        return self.nodes - self.back_ends - 1

    @property
    def depth(self) -> int:
        """Links from the front-end to the deepest back-end (a flat tree has depth 1)."""
        return self.heights[-1]


class _Classes:
    def __init__(self) -> None:
        self.found: dict[Children, int] = {(): 0}

    def of(self, children: Iterable[int]) -> int:
        key = tuple(sorted(Counter(children).items()))
        return self.found.setdefault(key, len(self.found))

    def shape(self, root: int) -> Shape:
        """The shape whose front-end has class `root`, the newest."""
        return Shape(tuple(self.found)[: root + 1])


def shape_of(tree: Tree) -> Shape:
    """The shape of a tree."""
    classes = _Classes()
    mine = [0] * len(tree.nodes)
    for node in sorted(tree.nodes, key=lambda n: -n.depth):
        mine[node.id] = classes.of(mine[c] for c in node.children)
    return classes.shape(mine[0])


def shape_of_levels(levels: Sequence[Sequence[int]]) -> Shape:
    """The shape of a tree given level by level, from the front-end down: `levels[d][i]` children for node i at depth d, at
    least one each; what the last level has are back-ends."""
    classes = _Classes()
    below = [0] * sum(levels[-1])
    for level in reversed(levels):
        row, at = [], 0
        for fanout in level:
            row.append(classes.of(below[at : at + fanout]))
            at += fanout
        below = row
    return classes.shape(below[0])


def shape_of_fanouts(fanouts: Sequence[int]) -> Shape:
    """The shape of a tree in which every node at depth d has `fanouts[d]` children."""
    return Shape(((), *(((i, fanout),) for i, fanout in enumerate(reversed(fanouts)))))
