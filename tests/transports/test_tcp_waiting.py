"""A node with one connection and nothing else to wait for waits in the read itself: the same frames, ends and time-outs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from harness.testing.transport_rig import SECRET, End, payload
from harness_plugins.transports import Tcp

HOST, LIMIT = "127.0.0.1", 8 << 20


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    """(root, leaf), connected; the leaf watches its one link and nothing else."""
    made = Tcp().endpoint(node=0, host=HOST, secret=SECRET, listen=True, max_frame_bytes=LIMIT)
    with closing(made), closing(Tcp().endpoint(node=1, host=HOST, secret=SECRET, listen=False, max_frame_bytes=LIMIT)) as other:
        root, leaf = End(made), End(other)
        other.connect(0, root.address, 10.0)
        while not (root.sink.links and leaf.sink.links):
            root.poll(0.01)
            leaf.poll(0.01)
        assert other._reactor._lone is not None
        yield root, leaf


def test_nothing_comes_for_as_long_as_was_said(ends: tuple[End, End]) -> None:
    _, leaf = ends
    for timeout_s in (0.0, 0.001, 0.03, 0.1, 0.02):
        began = time.monotonic()
        assert leaf.poll(timeout_s) == 0
        assert time.monotonic() - began >= timeout_s * 0.99


@pytest.mark.parametrize("size", [0, 5, 70_000, 3_000_000])
def test_a_frame_ends_the_wait(ends: tuple[End, End], size: int) -> None:
    root, leaf = ends
    link = root.sink.links[0]

    def send() -> None:
        if not link.send([payload(3, size)]):
            while not root.sink.writable:
                root.poll(0.01)

    sender = threading.Timer(0.05, send)
    sender.start()
    while not leaf.sink.frames[leaf.sink.links[0]]:
        assert leaf.poll(20.0) > 0
    sender.join()
    assert bytes(leaf.sink.frames[leaf.sink.links[0]][0]) == payload(3, size)


def test_sending_to_a_full_peer_does_not_block(ends: tuple[End, End]) -> None:
    root, leaf = ends
    link, sent = leaf.sink.links[0], 0
    while link.send([payload(sent, 1 << 20)]):
        sent += 1
    assert leaf.endpoint._reactor._lone is None, "it waits for room as well"
    while not leaf.sink.writable:
        root.poll(0.01)
        leaf.poll(0.01)
    assert leaf.endpoint._reactor._lone is not None
    there = root.sink.links[0]
    while len(root.sink.frames[there]) <= sent:
        root.poll(1.0)
    assert [bytes(f) for f in root.sink.frames[there]] == [payload(n, 1 << 20) for n in range(sent + 1)]


def test_the_end_of_the_peer_ends_the_wait(ends: tuple[End, End]) -> None:
    root, leaf = ends
    closer = threading.Timer(0.05, root.endpoint.close)
    closer.start()
    assert leaf.poll(20.0) == 1
    closer.join()
    assert list(leaf.sink.lost.values()) == ["closed by peer"]
    assert leaf.poll(0.01) == 0


def test_whoever_dials_again_waits_for_both(ends: tuple[End, End]) -> None:
    root, leaf = ends
    leaf.endpoint.connect(0, root.address, 10.0)
    assert leaf.endpoint._reactor._lone is None
    while len(leaf.sink.links) < 2:
        root.poll(0.01)
        leaf.poll(0.01)
    leaf.sink.links[0].close()
    assert leaf.endpoint._reactor._lone is not None
