"""One real node, driven frame by frame: the test plays all its neighbours."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack
import numpy as np
from small import DOWN, FILTERS, SETTINGS, TWO_BY_TWO

from harness.core import actions, frames
from harness.core.node import Node
from harness.core.ranks import RankSet
from harness.core.spec import StreamSpec
from harness.core.tree import Tree

_BOTH = ("DACK", "PING", "BYE")
_UP = ("DATA", "STATE", "SKIP", "ATTACH", "NOTICE", "KEPT", "VOTE")
KINDS = (*_BOTH, *_UP, "DOWN", "CREDIT", "REWIND", "WELCOME", "REFUSE", "LOG")
NAMES = {getattr(frames, k): k for k in KINDS}


class Frame(NamedTuple):
    """A frame that the node sent, taken apart. body: the object, where the kind carries one; bytes otherwise."""

    kind: str
    stream: int
    epoch: int
    count: int
    first: int
    body: Any


def take_apart(raw: memoryview) -> Frame:
    """What a frame holds."""
    head = frames.parse_header(raw)
    body: Any = bytes(raw[frames.HEADER_SIZE + head[7] :])
    objects = ("ATTACH", "WELCOME", "REFUSE", "NOTICE", "VOTE", "LOG")
    if NAMES[head[1]] in objects or (NAMES[head[1]] == "DOWN" and body and not head[3]):
        body = msgpack.unpackb(body, strict_map_key=False)
    return Frame(NAMES[head[1]], head[3], head[4], head[5], head[6], body)


class Hand:
    """`node` with its neighbours played by the test; a connection's name is the neighbour's id."""

    def __init__(self, node: Node | int = 1, parents: Any = TWO_BY_TWO) -> None:
        if isinstance(node, int):
            node = Node(node, Tree.from_parents(parents), SETTINGS, FILTERS, DOWN, 0.0)
        self.node = node
        self.now = 0.0
        self.orders = 0
        node.start(0.0)

    # -- what the neighbours do ------------------------------------------------------------------------------------------

    def feed(self, peer: Any, raw: Any) -> list[Any]:
        """A frame comes; what the node then wants done."""
        self.node.receive(peer, memoryview(bytes(raw)), self.now)
        return self.turn()

    def turn(self) -> list[Any]:
        """The node moves on; its actions, frames taken apart."""
        self.node.advance(self.now)
        done, self.node.out.actions = self.node.out.actions, []
        whole = []
        for op, a, b in done:
            raw = memoryview(b"".join(bytes(p) for p in b)) if op == actions.SEND else None
            whole.append((a, take_apart(raw)) if raw is not None else (op, a))
        return whole

    def wait(self, seconds: float) -> list[Any]:
        """Time passes."""
        self.now += seconds
        if self.now >= self.node.deadline():
            self.node.tick(self.now)
        return self.turn()

    def welcome(self, parent: int = 0, streams: dict[int, list[int]] | None = None) -> list[Any]:
        """The parent takes the node in."""
        self.node.link_up(parent, parent, True, self.now)
        return self.feed(parent, frames.object_frame(frames.WELCOME, {"streams": streams or {}}))

    def attach(self, child: int, ranks: list[int], **body: Any) -> list[Any]:
        """A child comes."""
        self.node.link_up(child, child, False, self.now)
        plain = {"ranks": RankSet.of(ranks).encoded, "inc": 1, "below": [], "lost": -1, "control": self.orders, "streams": {}}
        return self.feed(child, frames.object_frame(frames.ATTACH, {**plain, **body}))

    def order(self, order: dict[str, Any], parent: int = 0) -> list[Any]:
        """The front-end's next order comes down."""
        self.orders += 1
        return self.feed(parent, frames.control_frame(frames.DOWN, 0, self.orders, msgpack.packb(order)))

    def open(self, what: StreamSpec, stream: int = 1) -> list[Any]:
        """A stream is announced."""
        return self.order({"op": "open", "id": stream, "spec": what.to_wire()})

    def data(self, child: int, first: int, values: list[int], ranks: list[int], epoch: int = 0, stream: int = 1) -> list[Any]:
        """Units of int64 scalars come from a child."""
        return self.feed(child, data(first, values, ranks, epoch, stream))


def data(first: int, values: list[int], ranks: list[int], epoch: int = 0, stream: int = 1) -> bytes:
    """A DATA frame of int64 scalars."""
    items = np.array(values, "<i8")
    parts = frames.data_frame(frames.DATA, stream, epoch, first, items, RankSet.of(ranks), frames.Codec.ARRAY)
    return b"".join(bytes(p) for p in parts)


def sent(done: list[Any], kind: str, to: Any = None) -> list[Frame]:
    """The frames of one kind among actions."""
    return [f for a, f in done if isinstance(f, Frame) and f.kind == kind and (to is None or a == to)]
