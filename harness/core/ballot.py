"""Whom a node belongs to: the generation of the tree's root, the vote on it, and who may be taken in.

Generation 0 has node 0 as its root. There is one more, where the tree has a standby: its root is either the standby, or node 0
that goes on alone. Each node votes once, by the order `root` that it hears first, and keeps to it; a root is in charge of
generation 1 once more than half of the nodes have voted for it. Two halves of that size share a node, so there is one root
(the quorums of Lamport, "The Part-Time Parliament", ACM TOCS 1998, section 2, with one decree).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from harness.core import frames
from harness.core.actions import Neighbour
from harness.core.comers import LEFT
from harness.core.frames import FrameError
from harness.core.port import Port


class Ballot:
    """The vote of one node, and the votes that it knows of. generation: 0 until it has voted; root: for whom. log: how much of
    the front-end's log this node has (the standby only)."""

    def __init__(self, node: Port) -> None:
        self.node = node
        self.generation = 0
        self.root = 0
        self.votes: set[int] = set()
        self.log = 0
        #: By the number of an order: what tells this sequence of orders from another one.
        self._trail = [0]

    def heard(self, order: bytes) -> None:
        """The next order has come."""
        if self.node.tree.standby >= 0:
            self._trail.append(zlib.crc32(order, self._trail[-1]))

    def credentials(self, orders: int) -> dict[str, int]:
        """For an ATTACH; nothing where the tree has no standby."""
        if self.node.tree.standby < 0:
            return {}
        return {"generation": self.generation, "root": self.root, "trail": self._trail[orders], "log": self.log}

    def against(self, body: Mapping[str, Any]) -> str:
        """Why a node with these credentials is not taken in here; empty where it may be."""
        if body["generation"] > self.generation:
            return "of a later generation"
        if body["generation"] == self.generation and body["root"] != self.root:
            return f"node {self.root} is the root here"
        orders = body["control"]
        if self.node.tree.standby >= 0 and (orders >= len(self._trail) or body["trail"] != self._trail[orders]):
            return "it has heard other orders"
        return ""

    def cast(self, root: int) -> None:
        """Vote. Raises FrameError for a root that cannot be, or a second vote."""
        node = self.node
        if self.generation or root not in (0, node.tree.standby):
            raise FrameError(f"a vote for node {root} in generation {self.generation}")
        self.generation, self.root = 1, root
        if root:
            node.tree = node.tree.rooted()
            node.me = node.tree.nodes[node.id]
            node.dead = node.dead | {0}
        self._add({node.id})

    def _add(self, nodes: set[int]) -> None:
        new = nodes - self.votes
        if new:
            self.votes |= new
            self.tell(new)
            self.node.counted()

    def tell(self, nodes: Iterable[int]) -> None:
        """Pass votes on towards the root."""
        node = self.node
        if node.parent is not None and self.generation:
            body = {"root": self.root, "nodes": sorted(nodes)}
            node.out.send(node.parent, node.now, frames.object_frame(frames.VOTE, body))

    def on_vote(self, link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
        """Votes from below. Once cast they hold for ever, so they may come late, twice and by any way."""
        body = frames.decode_object(frame)
        nodes = {int(n) for n in body["nodes"]}
        if link.conn not in self.node.children or not self.generation or int(body["root"]) != self.root:
            raise FrameError("votes for another root than that of this tree")
        if not nodes <= set(range(len(self.node.tree.nodes))):
            raise FrameError(f"votes of nodes {sorted(nodes)}, which the tree does not have")
        self._add(nodes)


def why_not(node: Port, child: int, body: Mapping[str, Any], helpless: bool) -> str:
    """Why `child`, that attaches with this body, is not taken in by `node`, whatever its votes; empty where it is."""
    lives, life = node.lives, body["life"]
    if child in lives.away and life == lives.life(child):
        return LEFT
    if node.closing and lives.must_ask(child, life, node.settings.rejoin):  # nobody can let it in any more
        return "closing"
    if child in node.dead:
        return "fenced: it was declared dead"
    # Its waves would be taken for those of the process that contributes.
    if 0 <= child < len(node.tree.nodes) and node.tree.nodes[child].rank is not None and life != lives.life(child):
        return "fenced: another process contributed in its name"
    if node.closing:
        return "closing"
    if not 0 <= child < len(node.tree.nodes) or node.tree.nodes[child].depth <= node.me.depth:
        return "not below this node: adopting it could form a cycle"
    if body["lost"] >= 0 and helpless:  # its time of grace is shorter than the patience of those who start
        return "not attached itself yet"
    return ""
