"""Topologies from a few numbers: flat, k-ary, k-nomial."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.api.topology import Tree
from harness_plugins.topologies.shape import MAX_NODES, at_least, breadth_first, too_large


@dataclass(frozen=True)
class Flat:
    """A front-end with `back_ends` back-ends and nothing in between."""

    back_ends: int = field(metadata={"example": 8})

    def build(self) -> Tree:
        """The tree; back-end of rank r is node r + 1."""
        at_least("flat", "back_ends", self.back_ends, 1)
        if self.back_ends >= MAX_NODES:
            raise too_large("flat", f"lower back_ends = {self.back_ends}")
        return Tree.from_parents([None, *[0] * self.back_ends])


@dataclass(frozen=True)
class Kary:
    """A complete tree: `fanout` children for every node above level `depth`, whose nodes are the back-ends.

    MRNet calls it balanced, fanout^depth. fanout = 4, depth = 2 is the 4x4 tree: 1 + 4 + 16 nodes.
    """

    fanout: int = field(metadata={"example": 4})
    depth: int = field(metadata={"example": 2})

    def build(self) -> Tree:
        """The tree, numbered breadth first."""
        at_least("kary", "fanout", self.fanout, 1)
        at_least("kary", "depth", self.depth, 1)
        nodes = level = 1
        for _ in range(self.depth):
            level *= self.fanout
            nodes += level
            if nodes > MAX_NODES:
                raise too_large("kary", f"lower fanout = {self.fanout} or depth = {self.depth}")
        return Tree.from_parents([None, *((i - 1) // self.fanout for i in range(1, nodes))])


@dataclass(frozen=True)
class Knomial:
    """A k-nomial tree of `nodes` nodes in all, as MRNet builds it for k@nodes.

    It grows in rounds: in each, every node that was there before, oldest first, gets k - 1 more children, until there are
    `nodes` nodes, so a full round multiplies their number by k (k = 2: the binomial tree). In MPI's k-nomial collectives
    every node also holds data; in an overlay only the leaves are back-ends, the others being the front-end and communication
    processes (MRNet's source, Tree.C: the leaves are the nodes without children). With k = 2 and 2^n nodes, half are
    back-ends. Nodes are numbered breadth first afterwards.
    """

    k: int = field(metadata={"example": 2})
    nodes: int = field(metadata={"example": 16})

    def build(self) -> Tree:
        """The tree, numbered breadth first; a node's children in the order in which they came."""
        at_least("knomial", "k", self.k, 2)
        at_least("knomial", "nodes", self.nodes, 2)
        if self.nodes > MAX_NODES:
            raise too_large("knomial", f"lower nodes = {self.nodes}")
        children: list[list[int]] = [[] for _ in range(self.nodes)]
        there = 1
        while there < self.nodes:
            for parent in range(there):
                new = range(there, min(there + self.k - 1, self.nodes))
                children[parent].extend(new)
                there += len(new)
                if there == self.nodes:
                    break
        return breadth_first(children)
