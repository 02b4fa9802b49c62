"""What a node knows of its subtree: who is attached to whom, and how recent that news is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Edge = tuple[int, int, int]


class Below:
    """Edges (node, parent, incarnation) of the subtree below one node. The incarnation counts how often the node has attached;
    news about an earlier one is old news, however late it comes. `version` changes with every change."""

    def __init__(self) -> None:
        self._edges: dict[int, tuple[int, int]] = {}
        self.version = 0

    def edges(self) -> list[Edge]:
        """All edges, plain values for the wire."""
        return [(n, by, inc) for n, (by, inc) in self._edges.items()]

    def learn(self, notice: dict[str, Any]) -> None:
        """Take in a notice that passes through: joined, lost, or the whole subtree of a node."""
        self.version += 1
        node = int(notice["node"])
        if notice["op"] == "lost":
            if node in self._edges and int(notice["inc"]) >= self._edges[node][1]:
                for n in self.subtree(node):
                    self._edges.pop(n, None)
            return
        edges = [(int(n), int(by), int(inc)) for n, by, inc in notice["below"]]
        listed = {n for n, _, _ in edges}
        for n in self.subtree(node)[1:]:
            if n not in listed:
                self._edges.pop(n, None)
        if notice["op"] == "joined":
            edges.append((node, int(notice["by"]), int(notice["inc"])))
        for n, by, inc in edges:
            if n not in self._edges or inc >= self._edges[n][1]:
                self._edges[n] = (by, inc)

    def subtree(self, node: int) -> list[int]:
        """`node` and everything below it."""
        return descend(node, ((n, by) for n, (by, _) in self._edges.items()))


def descend(node: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """`node` and everything below it in a tree of (child, parent) pairs, parents before children."""
    children: dict[int, list[int]] = {}
    for child, parent in pairs:
        children.setdefault(parent, []).append(child)
    found = [node]
    for n in found:
        found.extend(children.get(n, ()))
    return found
