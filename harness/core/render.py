"""A tree as text for a terminal, and as a few numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from harness.core.ranks import RankSet
from harness.core.tree import Role, Tree

MIN_LINES = 3


class _Strokes(NamedTuple):
    """What branches are drawn with."""

    tee: str
    corner: str
    pipe: str
    blank: str
    more: str


_UNICODE = _Strokes("├── ", "└── ", "│   ", "    ", "… ")
_ASCII = _Strokes("|-- ", "`-- ", "|   ", "    ", "... ")


class _Below(NamedTuple):
    """What one or more neighbouring subtrees hold. A subtree's ranks are consecutive, since back-ends are numbered depth
    first."""

    nodes: int
    back_ends: int
    first_rank: int

    def __str__(self) -> str:
        ranks = RankSet([(self.first_rank, self.first_rank + self.back_ends)])
        ends = f"rank{'s' * (self.back_ends > 1)} {ranks}"
        return ends if self.nodes == self.back_ends else f"{self.nodes} nodes, {ends}"


def describe(tree: Tree) -> dict[str, Any]:
    """nodes, links, depth, back_ends, communication, max_fanout and hosts as numbers; levels: nodes at each depth, from the
    front-end down."""
    levels = [0] * (tree.depth + 1)
    for node in tree.nodes:
        levels[node.depth] += 1
    return {
        "nodes": len(tree.nodes),
        "links": len(tree.nodes) - 1,
        "depth": tree.depth,
        "back_ends": len(tree.back_ends),
        "communication": len(tree.communication),
        "max_fanout": max(len(n.children) for n in tree.nodes),
        "hosts": len({n.host for n in tree.nodes}),
        "levels": levels,
    }


def render(tree: Tree, max_lines: int = 40, ascii_only: bool = False) -> list[str]:
    """Draw the tree in at most `max_lines` lines (at least 3), one node a line, children indented below their parent.

    Where it does not fit, every node shows at most so many children as let the whole fit, and a line says what is left out;
    where one child each is still too much, levels are left out from the bottom.
    """
    max_lines = max(max_lines, MIN_LINES)
    strokes = _ASCII if ascii_only else _UNICODE
    below = _count_below(tree)

    def attempt(width: int, depth: int) -> list[str] | None:
        lines = list(islice(_lines(tree, below, width, depth, strokes), max_lines + 1))
        return lines if len(lines) <= max_lines else None

    widest = max(len(n.children) for n in tree.nodes)
    if attempt(1, tree.depth) is not None:
        return _most(lambda width: attempt(width, tree.depth), 1, widest)
    return _most(lambda depth: attempt(1, depth), 0, tree.depth)


def _most(attempt: Callable[[int], list[str] | None], least: int, most: int) -> list[str]:
    """The attempt with the largest argument in [least, most] that fits; `least` does."""
    best = attempt(least) or []
    while least < most:
        middle = (least + most + 1) // 2
        lines = attempt(middle)
        if lines is None:
            most = middle - 1
        else:
            least, best = middle, lines
    return best


def _count_below(tree: Tree) -> list[_Below]:
    """What the subtree of each node holds, the node included."""
    below = [_Below(1, 0, 0)] * len(tree.nodes)
    for node in sorted(tree.nodes, key=lambda n: -n.depth):
        below[node.id] = _Below(1, 1, node.rank) if node.rank is not None else _sum(below, node.children, 1)
    return below


def _sum(below: list[_Below], nodes: tuple[int, ...], extra: int = 0) -> _Below:
    held = [below[n] for n in nodes]
    return _Below(extra + sum(b.nodes for b in held), sum(b.back_ends for b in held), min(b.first_rank for b in held))


def _shown(tree: Tree, node: int, width: int) -> tuple[int, ...]:
    """The children of a node that are drawn: `width` of them, and one more where the last is a back-end, since a line that
    stands for one back-end saves nothing."""
    children = tree.nodes[node].children
    spare = len(children) == width + 1 and not tree.nodes[children[-1]].children
    return children if spare else children[:width]


def _lines(tree: Tree, below: list[_Below], width: int, depth: int, strokes: _Strokes) -> Iterator[str]:
    """The drawing with at most `width` children a node, down to level `depth`."""
    placed = any(n.host for n in tree.nodes)

    def label(i: int) -> str:
        node = tree.nodes[i]
        rank = f", rank {node.rank}" if node.role is Role.BACK_END else ""
        return f"{node.role} {i}{rank}{f', host {node.host}' if placed else ''}"

    # An entry is (node, or None for a line of text; the text; the indent of its line; whether it is its parent's last).
    stack: list[tuple[int | None, str, str, bool]] = []
    yield label(0)
    node, indent = 0, ""
    while True:
        children = tree.nodes[node].children
        if children:
            shown = _shown(tree, node, width) if tree.nodes[node].depth < depth else ()
            hidden = children[len(shown) :]
            if hidden:
                what = "child" if len(hidden) == 1 else "children"
                more = "" if not shown else "more "
                text = f"{strokes.more}{len(hidden)} {more}{what} ({_sum(below, hidden)})"
                stack.append((None, text, indent, True))
            for k, child in enumerate(reversed(shown)):
                stack.append((child, "", indent, k == 0 and not hidden))
        while stack:
            entry, text, indent, last = stack.pop()
            yield indent + (strokes.corner if last else strokes.tee) + (text if entry is None else label(entry))
            if entry is not None:
                node, indent = entry, indent + (strokes.blank if last else strokes.pipe)
                break
        else:
            return
