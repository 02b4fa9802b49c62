"""What a node knows of its subtree: who is attached to whom, and how recent that news is."""

from __future__ import annotations

from typing import Any

from harness.core.comers import WISHES

Edge = tuple[int, int, int]


class Below:
    """Edges (node, parent, incarnation) of the subtree below one node. The incarnation counts how often the node has attached;
    news about an earlier one is old news, however late it comes. `version` changes with every change."""

    def __init__(self) -> None:
        self._edges: dict[int, tuple[int, int]] = {}
        self._kin = Kin()
        self.version = 0

    def edges(self) -> list[Edge]:
        """All edges, plain values for the wire."""
        return [(n, by, inc) for n, (by, inc) in self._edges.items()]

    def learn(self, notice: dict[str, Any]) -> None:
        """Take in a notice that passes through: joined, lost, or the whole subtree of a node. A wish is none."""
        if notice["op"] in WISHES:
            return
        self.version += 1
        node = int(notice["node"])
        if notice["op"] == "lost":
            if node in self._edges and int(notice["inc"]) >= self._edges[node][1]:
                for n in self.subtree(node):
                    self._forget(n)
            return
        edges = [(int(n), int(by), int(inc)) for n, by, inc in notice["below"]]
        listed = {n for n, _, _ in edges}
        for n in self.subtree(node)[1:]:
            if n not in listed:
                self._forget(n)
        if notice["op"] == "joined":
            edges.append((node, int(notice["by"]), int(notice["inc"])))
        for n, by, inc in edges:
            if n not in self._edges or inc >= self._edges[n][1]:
                self._edges[n] = (by, inc)
                self._kin.place(n, by)

    def _forget(self, node: int) -> None:
        self._edges.pop(node, None)
        self._kin.remove(node)

    def subtree(self, node: int) -> list[int]:
        """`node` and everything below it."""
        return self._kin.subtree(node)


class Kin:
    """Who is below whom, as it changes: what is asked of a subtree costs what is in it, not what is in the tree."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}
        self._children: dict[int, dict[int, None]] = {}

    def place(self, node: int, by: int) -> None:
        """`node` is a child of `by` from now on."""
        old = self._parents.get(node)
        if old != by:
            if old is not None:
                del self._children[old][node]
            self._parents[node] = by
            self._children.setdefault(by, {})[node] = None

    def remove(self, node: int) -> None:
        """`node` is nobody's child any more."""
        old = self._parents.pop(node, None)
        if old is not None:
            del self._children[old][node]

    def subtree(self, node: int) -> list[int]:
        """`node` and everything below it, parents before children."""
        found = [node]
        for n in found:
            found.extend(self._children.get(n, ()))
        return found
