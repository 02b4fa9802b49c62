"""Bytes that are no frame, from a peer that proved itself: the node tells it as it tells garbage inside a frame."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testbed_parts import make_spec

from harness.core import frames
from harness.core.ranks import RankSet
from harness.core.tree import Tree
from harness.testbeds.loop import Loop, NodeBoot
from harness.testing.transport_rig import SECRET, End
from harness_plugins.transports import Tcp
from harness_plugins.transports.tcp_handshake import DATA, PREFIX

LIMIT = 1 << 20
ATTACH = {"ranks": RankSet.of([0]).encoded, "inc": 1, "below": [], "lost": -1, "control": 0, "streams": {}}


class Pair:
    """Node 1 of a tree in its real loop, turned by the test, and a child of it, node 3, that the test plays; over TCP."""

    def __init__(self, tree: Tree, control: int, scratch: Path) -> None:
        ours, theirs = (
            Tcp().endpoint(node=node, host="127.0.0.1", secret=SECRET, listen=listen, max_frame_bytes=LIMIT)
            for node, listen in ((1, True), (3, False))
        )
        self.loop = Loop(NodeBoot(1, make_spec(tree), ours, {}, 0.0, control, lambda event: None, scratch))
        self.child = End(theirs)
        theirs.connect(1, ours.address, 20.0)
        self.turn(lambda: self.child.sink.links)
        self.child.link.send([frames.object_frame(frames.ATTACH, ATTACH)])
        self.turn(lambda: self.loop.node.children)
        self.loop.node.out.events.clear()

    def turn(self, until: Callable[[], object]) -> list[dict[str, Any]]:
        """Until then; the node's events."""
        end = time.monotonic() + 20.0
        while not until():
            assert time.monotonic() < end, "it never came"
            self.loop.endpoint.poll(0.01, self.loop)
            self.child.poll(0)
        return self.loop.node.out.events

    def close(self) -> None:
        self.loop.close()
        self.child.endpoint.close()


@pytest.fixture
def pair(tree: Tree, tmp_path: Path) -> Iterator[Pair]:
    agent, control = socket.socketpair()
    with agent, control:
        made = Pair(tree, control.fileno(), tmp_path)
        yield made
        made.close()


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "b'GET ' begins no frame of this transport"),
        (PREFIX.pack(DATA, LIMIT + 1), f"a frame of {LIMIT + 1} bytes announced, the limit is {LIMIT}"),
    ],
    ids=["strange tag", "oversized"],
)
def test_garbage_below_the_frames_is_a_protocol_error(pair: Pair, sent: bytes, message: str) -> None:
    pair.child.link._sock.sendall(sent)  # type: ignore[attr-defined]
    told, lost = pair.turn(lambda: not pair.loop.node.children)
    assert (told["kind"], told["peer"], told["message"]) == ("protocol-error", 3, message)
    assert (lost["kind"], lost["peer"], lost["cause"]) == ("link-lost", 3, f"{frames.PROTOCOL_ERROR}: {message}")


def test_a_link_that_simply_ends_is_none(pair: Pair) -> None:
    pair.child.link.close()
    (lost,) = pair.turn(lambda: not pair.loop.node.children)
    assert (lost["kind"], lost["peer"]) == ("link-lost", 3)
