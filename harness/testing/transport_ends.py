"""Checks of how links begin and end: who may connect, what closing means, what callbacks may do."""

from __future__ import annotations

import time

from harness.api.transport import Link
from harness.testing.transport_rig import LIMIT_BYTES, SECRET, End, Rig

_OTHER_SECRET = bytes(reversed(SECRET))


def _refused(rig: Rig, who: End, others: tuple[End, ...], why: str) -> str:
    """Wait for exactly one refusal; return its reason."""
    rig.pump(f"on_refused ({why})", lambda: bool(who.sink.refused), who, *others)
    rig.settle(who, *others)
    assert len(who.sink.refused) == 1, f"on_refused {len(who.sink.refused)} times for one connect ({why})"
    assert not who.sink.links, f"on_link although the connection was refused ({why})"
    for other in others:
        assert not other.sink.heard, f"the other side heard of a connection that must not be ({why})"
    return who.sink.refused[0][1]


def connect_refused(rig: Rig) -> None:
    """Nobody there: on_refused, from poll, with the peer and a reason. A bad address likewise."""
    root, leaf = rig.endpoint(0), rig.endpoint(1, listen=False)
    gone = root.address
    root.endpoint.close()
    leaf.endpoint.connect(5, gone, 5.0)
    assert not leaf.sink.heard, "connect itself made a callback"
    _refused(rig, leaf, (), "nobody listens there")
    assert leaf.sink.refused[0][0] == 5, f"on_refused names peer {leaf.sink.refused[0][0]} instead of 5"
    other = rig.endpoint(2, listen=False)
    other.endpoint.connect(5, "no address at all", 5.0)
    _refused(rig, other, (), "the address is nonsense")


def wrong_secret(rig: Rig) -> None:
    """Another secret: refused, and the listener hears nothing, and serves its own run as before."""
    root, ours = rig.endpoint(0), rig.endpoint(1, listen=False)
    stranger = rig.endpoint(1, listen=False, secret=_OTHER_SECRET)
    stranger.endpoint.connect(0, root.address, 5.0)
    _refused(rig, stranger, (root,), "wrong secret")
    rig.join(ours, root)
    ours.link.send((b"hello",))
    rig.pump("a frame of the own run has arrived", lambda: bool(root.frames), ours, root)


def runs_apart(rig: Rig) -> None:
    """Two runs side by side: each connects within itself, and neither to the other, whoever listens."""
    roots = [rig.endpoint(0, secret=secret) for secret in (SECRET, _OTHER_SECRET)]
    leaves = [rig.endpoint(1, listen=False, secret=secret) for secret in (SECRET, _OTHER_SECRET)]
    for i, leaf in enumerate(leaves):
        leaf.endpoint.connect(0, roots[1 - i].address, 5.0)
        leaf.endpoint.connect(0, roots[i].address, 5.0)
    ends = (*roots, *leaves)
    rig.pump("each leaf has one link and one refusal", lambda: all(e.sink.links and e.sink.refused for e in leaves), *ends)
    rig.pump("each root has its link", lambda: all(e.sink.links for e in roots), *ends)
    for i, leaf in enumerate(leaves):
        leaf.link.send((b"run %d" % i,))
    rig.pump("each root has a frame", lambda: all(e.frames for e in roots), *ends)
    rig.settle(*ends)
    for i, root in enumerate(roots):
        assert [bytes(f) for f in root.frames] == [b"run %d" % i], "a frame crossed from one run to the other"


def wrong_peer(rig: Rig) -> None:
    """Another node listens there than was asked for: refused, and it hears nothing."""
    root, leaf = rig.endpoint(0), rig.endpoint(1, listen=False)
    leaf.endpoint.connect(7, root.address, 5.0)
    _refused(rig, leaf, (root,), "wrong peer")


def oversized_frame(rig: Rig) -> None:
    """A frame beyond the receiver's limit: a protocol error there, a lost link here, and other links live on."""
    root = rig.endpoint(0, limit=1000)
    leaf, other = rig.endpoint(1, listen=False, limit=LIMIT_BYTES), rig.endpoint(2, listen=False, limit=1000)
    rig.join(leaf, root)
    rig.join(other, root)
    leaf.link.send((bytes(1000),))
    leaf.link.send((bytes(1001),))
    bad = next(link for link in root.sink.links if link.peer == 1)
    rig.pump("both sides have lost the link", lambda: bool(root.sink.lost and leaf.sink.lost), root, leaf)
    assert "protocol" in root.sink.lost[bad], f"the reason does not speak of the protocol: {root.sink.lost[bad]!r}"
    assert len(root.sink.frames[bad]) == 1, "the frame within the limit did not arrive, or the oversized one did"
    other.link.send((b"alive",))
    good = next(link for link in root.sink.links if link.peer == 2)
    rig.pump("another link's frame has arrived", lambda: bool(root.sink.frames[good]), root, other)


def close_delivers(rig: Rig) -> None:
    """What was sent before `close` arrives before the loss; closing again does nothing; neither side hears more."""
    leaf, root = rig.pair()
    root.link.send((b"not read by the side that closes",))
    words = [b"%d" % i for i in range(20)]
    taken = sum([leaf.link.send((word,)) for word in words])
    leaf.sink.close(leaf.link)
    leaf.link.close()
    rig.pump("the loss is noticed", lambda: bool(root.sink.lost), root, leaf)
    came = [bytes(f) for f in root.frames]
    assert came == words[: len(came)], "frames sent before close arrived changed"
    assert len(came) >= taken, f"send said True for {taken} frames before close, but {len(came)} arrived"
    assert leaf.link.send((b"swallowed",)) in (True, False), "send on a closed link does not answer"
    root.link.send((b"swallowed",))
    root.link.close()
    rig.settle(leaf, root)
    assert len(root.frames) == len(came), "a frame after close has arrived"


def endpoint_close(rig: Rig) -> None:
    """Closing an endpoint ends its links and its listening; closing it again does nothing."""
    leaf, root = rig.pair()
    root.sink.closed.add(root.link)
    root.endpoint.close()
    root.endpoint.close()
    root.link.close()
    rig.pump("the loss is noticed", lambda: bool(leaf.sink.lost), leaf)
    leaf.endpoint.connect(0, root.address, 2.0)
    rig.pump("the refusal is noticed", lambda: bool(leaf.sink.refused), leaf)
    leaf.endpoint.close()


def lost_once(rig: Rig) -> None:
    """Sending to a peer that has gone: swallowed without an error; on_lost once, from poll and never from within `send`."""
    leaf, root = rig.pair()
    root.endpoint.close()
    heard = leaf.sink.heard
    for i in range(200):
        leaf.link.send((bytes(20_000 + i),))
        assert leaf.sink.heard == heard, "send made a callback"
    rig.pump("the loss is noticed", lambda: bool(leaf.sink.lost), leaf)
    leaf.link.send((b"swallowed",))
    rig.settle(leaf)
    assert leaf.link.backlog_bytes == 0, "a lost link has a backlog"


def reentrant(rig: Rig) -> None:
    """Callbacks may send, connect and close, the link in hand and others, and the endpoint itself."""
    root, one, two = rig.endpoint(0), rig.endpoint(1), rig.endpoint(2, listen=False)
    rig.join(one, root)
    rig.join(two, root)
    first, second = root.sink.links

    def close_both(link: Link, frame: memoryview) -> None:
        root.sink.close(first)
        root.sink.close(second)
        root.endpoint.connect(1, one.address, 5.0)

    root.sink.on["on_frame"] = close_both
    for _ in range(50):
        one.link.send((b"x" * 100,))
        two.link.send((b"y" * 100,))
    rig.pump("both have lost the link", lambda: bool(one.sink.lost and two.sink.lost), root, one, two)
    rig.pump("the connection asked for in a callback is up", lambda: len(root.sink.links) == 3, root, one)
    again = root.sink.links[2]
    rig.pump("the other side knows", lambda: len(one.sink.links) == 2, root, one)

    def answer(link: Link, frame: memoryview) -> None:
        for i in range(10):
            link.send((b"%d" % i,))

    root.sink.on["on_frame"] = answer
    one.sink.links[1].send((b"question",))
    rig.pump("the answers have arrived", lambda: len(one.sink.frames[one.sink.links[1]]) == 10, root, one)

    def end(link: Link, frame: memoryview) -> None:
        root.sink.closed.update(root.sink.links)
        root.endpoint.close()

    root.sink.on["on_frame"] = end
    for _ in range(10):
        one.sink.links[1].send((b"last",))
    rig.pump("the endpoint has closed itself", lambda: again in root.sink.closed, root, one)
    rig.pump("the loss is noticed", lambda: len(one.sink.lost) == 2, one)


def first_words(rig: Rig) -> None:
    """Both sides may send from within on_link, and close from within it, too."""
    root, leaf = rig.endpoint(0), rig.endpoint(1, listen=False)
    for end in (root, leaf):
        end.sink.on["on_link"] = lambda link, initiated: link.send((b"first", b" words"))
    rig.join(leaf, root)
    rig.pump("both have a frame", lambda: bool(leaf.frames and root.frames), leaf, root)
    assert bytes(leaf.frames[0]) == bytes(root.frames[0]) == b"first words", "the first frame arrived changed"
    shy, host = rig.endpoint(3, listen=False), rig.endpoint(2)
    shy.sink.on["on_link"] = lambda link, initiated: shy.sink.close(link)
    shy.endpoint.connect(2, host.address, 5.0)
    rig.pump("the link has come and gone", lambda: bool(shy.sink.closed and host.sink.lost), shy, host)


def many_at_once(rig: Rig) -> None:
    """A listener takes many children that connect at the same moment, and hears each."""
    root = rig.endpoint(0)
    leaves = [rig.endpoint(i, listen=False) for i in range(1, 41)]
    for i, leaf in enumerate(leaves, start=1):
        leaf.sink.on["on_link"] = lambda link, initiated, i=i: link.send((b"%d" % i,))
        leaf.endpoint.connect(0, root.address, 20.0)
    rig.pump("every child has been heard", lambda: sum(map(len, root.sink.frames.values())) == 40, root, *leaves)
    for link in root.sink.links:
        words = [bytes(f) for f in root.sink.frames[link]]
        assert words == [b"%d" % link.peer], f"the link to node {link.peer} brought {words}"


def poll_waits(rig: Rig) -> None:
    """poll(0) comes back at once, poll(t) when something happens or t is over, whichever is first."""
    leaf, root = rig.pair()
    rig.settle(leaf, root, for_s=0.02)
    assert root.poll(0) == root.poll(-1.0) == 0, "a callback out of nothing"
    start = time.monotonic()
    assert root.poll(0.15) == 0, "a callback out of nothing"
    took = time.monotonic() - start
    assert took >= 0.1, f"poll(0.15) came back after {took:.3f} s with nothing"
    leaf.link.send((b"x",))
    rig.pump("the frame has arrived", lambda: bool(root.frames), leaf, root)
    leaf.link.send((b"y",))
    assert root.poll(10.0) == 1, "poll(10) did not report the frame that was there"
    leaf.link.send((b"z",))
    assert root.poll(None) == 1, "poll(None) did not report the frame that was there"
