"""Checks of a transport at work: frames arrive whole, once, in order, unchanged, and no faster than they are taken."""

from __future__ import annotations

import array
import itertools
import select
from collections.abc import Callable
from functools import partial

from harness.api.transport import Buffer, Link, Transport
from harness.testing.transport_rig import LIMIT_BYTES, End, NotApplicableError, Rig, payload

KIB, MIB = 1 << 10, 1 << 20
_SIZES = (0, 1, 7, 8, 9, 63, 64, 100, 1000, 4096, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 256 * KIB + 8, MIB, 3 * MIB + 5)
#: Mostly small, some of every kind; coprime to the number of links, so that every link gets every size.
_MIX = (64, 8, 0, 1, 200, 7, 1000, 64, 4096, 8, 33, 64, 20_000, 8, 64, 16, 70_001)
#: Nobody buffers so much: a `send` that still says True there does not hold back.
_MORE_THAN_ANY_BUFFER = 256 * MIB


def protocol(rig: Rig) -> None:
    """It is a Transport, an endpoint has an address exactly where it listens, links are hashable and name their peer."""
    assert isinstance(rig.transport, Transport), "it lacks a method of harness.api.transport.Transport"
    leaf, root = rig.pair()
    assert root.address, "an endpoint that listens has no address"
    assert not leaf.address, f"an endpoint that does not listen has the address {leaf.address!r}"
    assert leaf.link.peer == 0, f"node 1 connected to node 0; its link names peer {leaf.link.peer}"
    assert root.link.peer == 1, f"node 1 connected to node 0, whose link names peer {root.link.peer}"
    assert leaf.sink.initiated[leaf.link] is True, "on_link did not say initiated on the side that connected"
    assert root.sink.initiated[root.link] is False, "on_link said initiated on the side that listened"
    assert leaf.link.backlog_bytes == 0, "a new link has a backlog"
    assert len({leaf.link, root.link}) == 2, "the two ends of a link are equal"


def round_trip(rig: Rig) -> None:
    """Frames of every size arrive whole and unchanged, both ways."""
    leaf, root = rig.pair()
    for i, size in enumerate(_SIZES):
        for there, back in ((leaf, root), (root, leaf)):
            back.frames.clear()
            there.link.send((payload(i, size),))
            rig.pump(f"a frame of {size} bytes has arrived", partial(bool, back.frames), leaf, root)
            assert len(back.frames) == 1, f"one frame of {size} bytes became {len(back.frames)}"
            assert bytes(back.frames[0]) == payload(i, size), f"a frame of {size} bytes arrived changed"


def gathered(rig: Rig) -> None:
    """A frame is the concatenation of its parts: bytes, bytearray, memoryview of any item type, empty ones, thousands."""
    leaf, root = rig.pair()
    doubles = array.array("d", range(100))
    noise = payload(3, 100_000)
    frames: list[list[Buffer]] = [
        [],
        [b""],
        [b"", b"", b""],
        [b"head", bytearray(b"body"), memoryview(b"tail")],
        [b"\1" * 24, memoryview(doubles)],
        [memoryview(doubles).cast("B").cast("i", (20, 10)), b"x"],
        [memoryview(noise)[1:99_999], b"", memoryview(noise)[5:6]],
        [noise[i : i + 1] for i in range(3000)],
        [noise[i : i + 50] for i in range(0, 100_000, 50)],
    ]
    for parts in frames:
        leaf.link.send(parts)
    rig.pump("all frames have arrived", lambda: len(root.frames) == len(frames), leaf, root)
    for parts, frame in zip(frames, root.frames, strict=True):
        assert bytes(frame) == b"".join(parts), f"a frame of {len(parts)} parts is not their concatenation"


class _Stream:
    """Numbered frames over one direction of a link: sends while the link takes them, compares what arrives."""

    def __init__(self, link: Link, count: int) -> None:
        self.link = link
        self.count = count
        self.sent = 0
        self.got = 0

    def push(self, *_: object) -> None:
        while self.sent < self.count:
            self.sent += 1
            if not self.link.send((_prefix(self.sent - 1), _numbered(self.sent - 1))):
                return

    def take(self, frame: memoryview) -> None:
        expected = _prefix(self.got) + _numbered(self.got)
        assert frame == expected, f"frame {self.got} of {self.count} is not the right one: {_about(frame, self.got)}"
        self.got += 1


def _prefix(index: int) -> bytes:
    return index.to_bytes(4, "little")


def _numbered(index: int) -> bytes:
    return payload(index, _MIX[index % len(_MIX)])


def _about(frame: memoryview, due: int) -> str:
    number = int.from_bytes(frame[:4], "little")
    if bytes(frame[4:]) == _numbered(number):
        return f"number {number} came when {due} was due"
    return f"its {len(frame)} bytes are not those of any frame that was sent as number {number}"


def order_under_load(rig: Rig) -> None:
    """Thousands of frames of mixed sizes over several links, both ways at once: each once, in order, unchanged."""
    root = rig.endpoint(0)
    leaves = [rig.endpoint(i, listen=False) for i in (1, 2, 3)]
    for leaf in leaves:
        rig.join(leaf, root)
    up = {root.sink.links[i]: _Stream(leaf.link, 3000) for i, leaf in enumerate(leaves)}
    down = {leaf.link: _Stream(root.sink.links[i], 1500) for i, leaf in enumerate(leaves)}
    streams = [*up.values(), *down.values()]
    by_sender = {stream.link: stream for stream in streams}
    for end, due in ((root, up), *((leaf, down) for leaf in leaves)):
        end.sink.on = {
            "on_frame": lambda link, frame, due=due: due[link].take(frame),
            "on_writable": lambda link: by_sender[link].push(),
        }
    for stream in streams:
        stream.push()
    rig.pump("all frames have arrived", lambda: all(s.got == s.count for s in streams), root, *leaves)
    rig.settle(root, *leaves, for_s=0.02)


def views_stay(rig: Rig) -> None:
    """A frame's memory is unchanged for as long as it is kept: after later traffic, and after link and endpoint are gone."""
    leaf, root = rig.pair()
    sizes = (64, 1000, 8, 5000, 1, 70_000, 300_000)
    kept = 60
    for i in range(kept):
        leaf.link.send((payload(i, sizes[i % len(sizes)]),))
    frames = root.frames
    rig.pump("the frames to keep have arrived", lambda: len(frames) == kept, leaf, root)
    for turn in range(15):
        for i in range(20):
            leaf.link.send((payload(turn + i, sizes[i % len(sizes)]),))
        rig.pump("later frames have arrived", lambda: len(frames) == kept + 20, leaf, root)
        del frames[kept:]
    _unchanged(frames, sizes, "later traffic")
    leaf.sink.close(leaf.link)
    rig.pump("the loss is noticed", lambda: bool(root.sink.lost), root)
    root.endpoint.close()
    _unchanged(frames, sizes, "the endpoint was closed")


def _unchanged(frames: list[memoryview], sizes: tuple[int, ...], after: str) -> None:
    for i, frame in enumerate(frames):
        assert bytes(frame) == payload(i, sizes[i % len(sizes)]), f"the memory of kept frame {i} had changed after {after}"


def back_pressure(rig: Rig) -> None:
    """A peer that does not poll: `send` says False, the backlog is no more than was sent, everything arrives in the end."""
    leaf, root = rig.pair()
    link, size = leaf.link, 16_000
    sent = 0
    while True:
        taken = link.send((payload(sent, size),))
        sent += 1
        if not taken:
            break
        assert link.backlog_bytes == 0, f"send said True, but the backlog is {link.backlog_bytes} bytes"
        assert sent * size < _MORE_THAN_ANY_BUFFER, f"send still says True after {sent} frames that nobody fetched"
    for _ in range(20):
        taken = link.send((payload(sent, size),))
        sent += 1
        assert not taken, "send says True although earlier frames are still queued"
    # What the transport puts around a frame is its own affair, within reason.
    most = sent * (size + 256)
    backlog = link.backlog_bytes
    assert 19 * size <= backlog <= most, f"the backlog of {backlog} bytes is not within {19 * size}..{most}"
    assert leaf.poll(0) == 0, "a callback although the peer has not fetched anything"
    rig.pump("everything has arrived", lambda: len(root.frames) == sent and bool(leaf.sink.writable), leaf, root)
    for i, frame in enumerate(root.frames):
        assert frame == payload(i, size), f"frame {i} of {sent} was changed, lost or reordered under back-pressure"
    assert link.backlog_bytes == 0, f"after on_writable the backlog is {link.backlog_bytes} bytes"
    assert leaf.sink.writable == [link], f"on_writable {len(leaf.sink.writable)} times for one queue that has gone out"
    assert link.send((b"after",)), "send says False although nothing is queued"
    rig.pump("the frame after on_writable has arrived", lambda: len(root.frames) == sent + 1, leaf, root)


def limit(rig: Rig) -> None:
    """The largest frame passes; a larger one is a ValueError for its sender, and harms nothing."""
    leaf, root = rig.pair()
    largest = bytes(LIMIT_BYTES)
    try:
        leaf.link.send((largest, b"x"))
    except ValueError:
        pass
    else:
        raise AssertionError(f"no ValueError for a frame of {LIMIT_BYTES + 1} bytes; the limit is {LIMIT_BYTES}")
    leaf.link.send((largest[:-1], b"x"))
    rig.pump("the largest frame has arrived", lambda: bool(root.frames), leaf, root)
    assert bytes(root.frames[0]) == largest[:-1] + b"x", "the largest frame arrived changed"


def readiness(rig: Rig) -> None:
    """The descriptor is readable when poll(0) would find something: a link, a frame, room, a loss, a refusal."""
    root, leaf = rig.endpoint(0), rig.endpoint(1, listen=False)
    ends, within_s = (root, leaf), rig.patience_s
    if any(end.endpoint.fileno() < 0 for end in ends):
        raise NotApplicableError("this transport has no descriptor")
    leaf.endpoint.connect(0, root.address, 10.0)
    _driven("both have a link", lambda: bool(leaf.sink.links and root.sink.links), ends, within_s)
    _quiet(ends)
    leaf.link.send((b"frame",))
    _driven("a frame has arrived", lambda: bool(root.frames), ends, within_s)
    _quiet(ends)
    count = next(i for i in itertools.count(1) if not leaf.link.send((payload(i, 50_000),)))
    _driven("all frames have arrived", lambda: len(root.frames) == 1 + count, ends, within_s)
    _driven("on_writable", lambda: bool(leaf.sink.writable), ends, within_s)
    _quiet(ends)
    root.sink.close(root.link)
    _driven("the loss is noticed", lambda: bool(leaf.sink.lost), ends, within_s)
    gone = root.address
    root.endpoint.close()
    leaf.endpoint.connect(0, gone, 0.2)
    _driven("the refusal is noticed", lambda: bool(leaf.sink.refused), (leaf,), within_s)
    _quiet((leaf,))


def _driven(what: str, done: Callable[[], bool], ends: tuple[End, ...], within_s: float) -> None:
    """Poll nothing but what its descriptor says is ready."""
    by_fd = {end.endpoint.fileno(): end for end in ends}
    while not done():
        ready, _, _ = select.select(list(by_fd), [], [], within_s)
        assert ready, f"no descriptor was readable for {within_s:g} s before {what}"
        for fd in ready:
            by_fd[fd].poll(0)


def _quiet(ends: tuple[End, ...]) -> None:
    """Nothing to find: then a descriptor that stays readable would make its owner spin."""
    for _ in range(100):
        ready, _, _ = select.select([end.endpoint.fileno() for end in ends], [], [], 0.02)
        if not ready:
            break
        for end in ends:
            end.poll(0)
    else:
        raise AssertionError("the descriptor stays readable although poll(0) finds nothing")
    assert sum([end.poll(0) for end in ends]) == 0, "poll(0) finds something although the descriptor was not readable"
