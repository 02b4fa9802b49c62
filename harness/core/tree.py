"""The static shape of an overlay tree: who is whose parent, at which depth, with which rank, on which host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from harness.core.ranks import RankSet

#: The depth of a front-end that its standby has replaced: nobody is below it.
_NOWHERE = 1 << 30


class Role(StrEnum):
    """What a node does: node 0 is the front-end, leaves are back-ends, all others are communication processes."""

    FRONT_END = "front-end"
    COMMUNICATION = "communication"
    BACK_END = "back-end"


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One node. `rank` numbers the back-ends depth first from 0; it is None for every other node."""

    id: int
    parent: int | None
    depth: int
    role: Role
    rank: int | None
    children: tuple[int, ...]
    host: int = 0


@dataclass(frozen=True)
class Tree:
    """A whole tree; `nodes[i].id == i`, and node 0 is the front-end. standby: the node that takes its place when it is lost, -1
    where none does. root: the front-end; 0 until the standby is in charge."""

    nodes: tuple[TreeNode, ...]
    standby: int = -1
    root: int = 0

    @classmethod
    def from_parents(cls, parents: Sequence[int | None]) -> Tree:
        """Build a tree from `parents[i]`, the parent of node i (None for node 0 alone).

        Raises ValueError where that is no tree: no or several roots, an unknown parent, a cycle, or no back-end.
        """
        n = len(parents)
        if n < 2:
            raise ValueError("a tree needs a front-end and at least one back-end")
        if parents[0] is not None:
            raise ValueError("node 0 is the front-end and has no parent")
        children: list[list[int]] = [[] for _ in range(n)]
        for i, p in enumerate(parents[1:], start=1):
            if p is None:
                raise ValueError(f"node {i} has no parent, but only node 0 may be a root")
            if not 0 <= p < n:
                raise ValueError(f"node {i} names parent {p}, which does not exist (0..{n - 1})")
            children[p].append(i)
        depth, rank = [-1] * n, [-1] * n
        stack, next_rank = [(0, 0)], 0
        while stack:
            i, d = stack.pop()
            depth[i] = d
            if not children[i]:
                rank[i] = next_rank
                next_rank += 1
            stack.extend((c, d + 1) for c in reversed(children[i]))
        lost = [i for i in range(n) if depth[i] < 0]
        if lost:
            raise ValueError(f"nodes {lost[:5]} form a cycle and are not reached from the front-end")
        nodes = []
        for i in range(n):
            leaf = not children[i]
            role = Role.FRONT_END if i == 0 else Role.BACK_END if leaf else Role.COMMUNICATION
            nodes.append(TreeNode(i, parents[i], depth[i], role, rank[i] if leaf else None, tuple(children[i])))
        return cls(tuple(nodes))

    def placed(self, hosts: Sequence[int]) -> Tree:
        """The same tree with node i on logical host `hosts[i]`."""
        if len(hosts) != len(self.nodes):
            raise ValueError(f"{len(hosts)} hosts given for {len(self.nodes)} nodes")
        return replace(self, nodes=tuple(replace(n, host=h) for n, h in zip(self.nodes, hosts, strict=True)))

    def with_standby(self, node: int) -> Tree:
        """The same tree with a standby of the front-end. Raises ValueError where `node` is no communication process right below
        the front-end: only such a one has no other parent, ever."""
        if not 0 <= node < len(self.nodes) or self.nodes[node].role is not Role.COMMUNICATION or self.nodes[node].depth != 1:
            fit = ", ".join(str(n.id) for n in self.communication if n.depth == 1) or "none"
            raise ValueError(f"node {node} is no communication process right below the front-end; those are {fit}")
        return replace(self, standby=node)

    def rooted(self) -> Tree:
        """The tree with its standby as the root and node 0 as nobody. All other nodes keep their depth."""
        found = self._rooted.get(self.standby)
        if found is None:
            new, old = self.nodes[self.standby], self.nodes[0]
            nodes = list(self.nodes)
            brothers = tuple(c for c in old.children if c != new.id)
            for c in brothers:
                nodes[c] = replace(nodes[c], parent=new.id)
            nodes[0] = replace(old, depth=_NOWHERE, children=())
            nodes[new.id] = replace(new, parent=None, depth=0, role=Role.FRONT_END, children=new.children + brothers)
            found = self._rooted[self.standby] = replace(self, nodes=tuple(nodes), root=self.standby)
        return found

    @cached_property
    def _rooted(self) -> dict[int, Tree]:
        return {}

    @cached_property
    def back_ends(self) -> tuple[TreeNode, ...]:
        """The back-ends, ordered by rank."""
        return tuple(sorted((n for n in self.nodes if n.role is Role.BACK_END), key=lambda n: n.rank or 0))

    @cached_property
    def communication(self) -> tuple[TreeNode, ...]:
        """The communication processes, by id."""
        return tuple(n for n in self.nodes if n.role is Role.COMMUNICATION)

    @property
    def depth(self) -> int:
        """The depth of the deepest node (a flat tree has depth 1)."""
        return max(n.depth for n in self.nodes)

    def ranks_below(self, node: int) -> RankSet:
        """The ranks of the back-ends in the subtree of `node`, itself included."""
        found, stack = [], [node]
        while stack:
            n = self.nodes[stack.pop()]
            if n.rank is not None:
                found.append(n.rank)
            stack.extend(n.children)
        return RankSet.of(found)

    def adopters(self, orphan: int, dead: int) -> tuple[int, ...]:
        """Candidate parents for `orphan` after the loss of its parent `dead`, best first.

        Every candidate is strictly nearer to the root than the orphan (by static depth), so that no sequence of adoptions,
        however they interleave, can form a cycle; the front-end, always a candidate, comes last. Siblings of the dead
        parent come first, rotated by the orphan's position so that the orphans spread; then the ancestors' levels. Who was
        right below a front-end that is lost asks its standby, which takes nobody in unless it is the root.
        """
        me = self.nodes[orphan]
        brothers = self.nodes[me.parent].children if me.parent is not None else ()
        turn = brothers.index(orphan) if orphan in brothers else orphan
        lost = self.nodes[dead]
        out = (dead, orphan)
        near = []
        if lost.parent is not None and lost.depth < me.depth:
            siblings = [self.nodes[c] for c in self.nodes[lost.parent].children]  # those of a new root are of two depths
            near = [c.id for c in siblings if c.id not in out and c.role is not Role.BACK_END and c.depth == lost.depth]
        groups = [near]
        for depth in range(me.depth - 1, 0, -1):
            others = set(near) if depth == lost.depth else ()
            groups.append([n for n in self._inner.get(depth, ()) if n not in out and n not in others])
        ranked: list[int] = []
        for g in groups:
            if g:
                ranked.extend(g[turn % len(g) :] + g[: turn % len(g)])
        if dead != self.root:
            return (*ranked, self.root)
        if me.depth == 1 and self.root == 0 and self.standby not in (-1, orphan):
            return (self.standby,)
        return tuple(ranked)

    @cached_property
    def heights(self) -> tuple[int, ...]:
        """How many levels are below each node, by id; 0 for a back-end."""
        found = [0] * len(self.nodes)
        for n in sorted(self.nodes, key=lambda n: -n.depth):
            if n.parent is not None:
                found[n.parent] = max(found[n.parent], found[n.id] + 1)
        return tuple(found)

    @cached_property
    def _inner(self) -> dict[int, list[int]]:
        """The communication processes of each depth, by id."""
        found: dict[int, list[int]] = {}
        for n in self.communication:
            found.setdefault(n.depth, []).append(n.id)
        return found
