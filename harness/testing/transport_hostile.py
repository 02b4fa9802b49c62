"""Checks of a transport among the dead, the silent and the strange."""

from __future__ import annotations

import contextlib
import socket
import time
from functools import partial

from harness.testing.transport_rig import End, Peer, Rig, payload, sockets

_GARBAGE = bytes(range(255, -1, -1)) * 64


def _befriend(rig: Rig, end: End, peer: Peer) -> None:
    """Connect to a peer process and exchange a frame with it."""
    end.endpoint.connect(peer.node, peer.address, 10.0)
    rig.pump("there is a link to the peer process", lambda: bool(end.sink.links), end)
    end.link.send((b"echo",))
    rig.pump("the peer process has answered", lambda: bool(end.frames), end)
    end.frames.clear()


def _converses(rig: Rig, leaf: End, root: End) -> None:
    """The only link between the two still works, both ways."""
    before = len(leaf.frames), len(root.frames)
    leaf.link.send((b"up",))
    root.link.send((b"down",))
    rig.pump("another link still works", lambda: (len(leaf.frames), len(root.frames)) > before, leaf, root)


def dead_peer(rig: Rig) -> None:
    """A peer process killed by SIGKILL, idle and in the middle of traffic: on_lost soon, once, with a reason."""
    for busy in (False, True):
        end, peer = rig.endpoint(0, listen=False), rig.peer(1)
        _befriend(rig, end, peer)
        if busy:
            for i in range(100):
                end.link.send((payload(i, 60_000),))
        peer.kill()
        rig.pump("the killed peer is noticed", partial(bool, end.sink.lost), end, within_s=5.0)
        end.link.send((b"swallowed",))
        rig.settle(end)


def silent_peer(rig: Rig) -> None:
    """A peer process that stands still (SIGSTOP) holds nobody else up, and goes on where it was when it wakes."""
    root, leaf = rig.endpoint(0), rig.endpoint(2, listen=False)
    rig.join(leaf, root)
    friend, peer = rig.endpoint(3, listen=False), rig.peer(1)
    _befriend(rig, friend, peer)
    peer.stop()
    sent = 0
    while friend.link.send((payload(sent, 40_000),)) and sent < 200:
        sent += 1
    sent += 1
    _converses(rig, leaf, root)
    start = time.monotonic()
    friend.poll(0.05)
    assert time.monotonic() - start < 5.0, "poll(0.05) was held up by a peer that stands still"
    assert not friend.sink.lost, "a peer that stands still for a moment is not lost"
    peer.resume()
    rig.pump("everything has come back", lambda: len(friend.frames) == sent, friend)
    for i, frame in enumerate(friend.frames):
        assert frame == payload(i, 40_000), f"frame {i} of {sent} did not survive the standstill"


def black_hole(rig: Rig) -> None:
    """Somebody who is there and does not answer: connect times out, and nothing else is held up meanwhile."""
    rig.needs_processes()
    root, leaf, caller = rig.endpoint(0), rig.endpoint(2, listen=False), rig.endpoint(3, listen=False)
    rig.join(leaf, root)
    hole = rig.endpoint(1)  # never polled: it cannot answer
    caller.endpoint.connect(1, hole.address, 0.3)
    _converses(rig, leaf, root)
    rig.pump("the connect has timed out", lambda: bool(caller.sink.refused), caller)
    peer = rig.peer(4)
    peer.stop()
    caller.endpoint.connect(4, peer.address, 0.3)
    rig.pump("the connect to a stopped process has timed out", lambda: len(caller.sink.refused) == 2, caller)
    assert not caller.sink.links, "on_link for somebody who did not answer"


def stranger(rig: Rig) -> None:
    """Who sends garbage, half a word, nothing, or too much before any proof is shut out; the endpoint works on, unmoved."""
    before = sockets()
    root = rig.endpoint(0)
    words = (_GARBAGE, b"", b"\0", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(100_000), b"\xff" * 8)
    strangers = [rig.stranger(before) for _ in words]
    leaf = rig.endpoint(1, listen=False)
    rig.join(leaf, root)
    for caller, word in zip(strangers, words, strict=True):
        caller.setblocking(False)
        # It may have hung up on us already.
        with contextlib.suppress(OSError):
            caller.send(word)
    _converses(rig, leaf, root)
    rig.settle(root, leaf)
    for caller in strangers:
        caller.close()
    rig.settle(root, leaf)
    _converses(rig, leaf, root)
    assert len(root.sink.links) == 1, "a stranger became a link"
    assert not root.sink.refused and not root.sink.lost, "the endpoint reported a stranger"


def crowd(rig: Rig) -> None:
    """A hundred strangers who connect and say nothing do not keep one of us out."""
    before = sockets()
    root = rig.endpoint(0)
    held = [rig.stranger(before) for _ in range(100)]
    leaf = rig.endpoint(1, listen=False)
    rig.join(leaf, root)
    _converses(rig, leaf, root)
    assert len(held) == 100 and len(root.sink.links) == 1, "a stranger became a link"


def garbage_after(rig: Rig) -> None:
    """Garbage on a link that was sound: lost for a protocol error, and the endpoint works on."""
    root, other = rig.endpoint(0), rig.endpoint(2)
    leaf = rig.endpoint(1, listen=False)
    rig.join(leaf, other, node=2)
    before = sockets()
    target, talker = rig.endpoint(3), rig.endpoint(4, listen=False)
    rig.join(talker, target, node=3)
    wire = rig.stream_under(before)
    wire.setblocking(False)
    wire.send(_GARBAGE)
    wire.close()
    rig.pump("the garbage is noticed", lambda: bool(target.sink.lost), target, root)
    reason = target.sink.lost[target.link]
    assert "protocol" in reason, f"the reason does not speak of the protocol: {reason!r}"
    assert not target.frames, "garbage was taken for a frame"
    rig.pump("the other side has lost the link", lambda: bool(talker.sink.lost), talker)
    again = rig.endpoint(5, listen=False)
    again.endpoint.connect(3, target.address, 10.0)
    rig.pump("the endpoint takes a new link", lambda: len(target.sink.links) == 2, target, again)
    _converses(rig, leaf, other)


def half_close(rig: Rig) -> None:
    """A peer that has shut down its sending side is lost, after what it sent."""
    before = sockets()
    root, leaf = rig.endpoint(0), rig.endpoint(1, listen=False)
    rig.join(leaf, root)
    wire = rig.stream_under(before)
    leaf.link.send((b"last words",))
    wire.shutdown(socket.SHUT_WR)
    rig.pump("the half close is noticed", lambda: bool(root.sink.lost), root)
    assert [bytes(f) for f in root.frames] == [b"last words"], "what came before the half close is missing"
    # Ours is the last other descriptor of that connection.
    wire.close()
    rig.pump("the other side has lost the link", lambda: bool(leaf.sink.lost), leaf)
