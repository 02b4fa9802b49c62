"""What comes over a TCP link byte by byte: any cut of the stream gives the same frames; anything else ends the link."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings

from harness.testing.transport_rig import SECRET, End, payload
from harness_plugins.transports import Tcp
from harness_plugins.transports.tcp_handshake import DATA, PREFIX, VERSION, Handshake
from harness_plugins.transports.tcp_link import ARENA_BYTES, BIG_BYTES, reason_of

LIMIT = 1 << 20


@pytest.fixture
def end() -> Iterator[End]:
    endpoint = Tcp().endpoint(node=0, host="127.0.0.1", secret=SECRET, listen=True, max_frame_bytes=LIMIT)
    yield End(endpoint)
    endpoint.close()


def encoded(frame: bytes) -> bytes:
    return PREFIX.pack(DATA, len(frame)) + frame + bytes(-len(frame) % 8)


SIZES = st.one_of(
    st.integers(0, 40),
    st.integers(0, 5000),
    st.sampled_from([*range(BIG_BYTES - 9, BIG_BYTES + 2), ARENA_BYTES - 8, ARENA_BYTES, 300_000]),
)
PIECES = st.one_of(st.integers(1, 30), st.integers(1, 3000), st.integers(1, 100_000))


@settings(max_examples=120)
@given(
    streams=st.lists(st.lists(SIZES, max_size=12), min_size=1, max_size=3),
    turns=st.lists(st.tuples(st.integers(0, 2), PIECES), min_size=1, max_size=60),
)
@example(streams=[[70_000, 70_000, 70_000, 8, 70_000], [3] * 12], turns=[(0, 10_000), (1, 5)])
@example(streams=[[60_000] * 12, [60_000] * 12], turns=[(0, 59_990), (1, 59_990)])
@example(streams=[[BIG_BYTES - 8] * 12, [1] * 12], turns=[(0, BIG_BYTES - 1), (1, 1)])
def test_any_cut_of_the_streams_gives_the_frames(streams: list[list[int]], turns: list[tuple[int, int]], wire: Any) -> None:
    """Several links take turns in pieces of any size. All frames are kept, so that one that is overwritten shows."""
    endpoint = Tcp(buffer_bytes=1 << 20).endpoint(node=0, host="127.0.0.1", secret=SECRET, listen=True, max_frame_bytes=LIMIT)
    end = End(endpoint)
    try:
        socks = [wire.connected(end, node) for node in range(1, len(streams) + 1)]
        frames = [[payload(i + 100 * k, size) for i, size in enumerate(sizes)] for k, sizes in enumerate(streams)]
        rest = [b"".join(map(encoded, each)) for each in frames]
        for turn, size in [*turns, *[(k, 1 << 19) for k in range(3)] * 20]:
            k = turn % len(socks)
            socks[k].sendall(rest[k][:size])
            rest[k] = rest[k][size:]
            while end.poll(0):
                pass
        while sum(map(len, end.sink.frames.values())) < sum(map(len, streams)):
            assert end.poll(10.0), f"waited in vain for {streams}"
        for link, expected in zip(end.sink.links, frames, strict=True):
            got = end.sink.frames[link]
            assert [bytes(f) for f in got] == expected
            assert all(aligned(f) for f in got if len(f))
    finally:
        endpoint.close()
        for sock in socks:
            sock.close()


def aligned(frame: memoryview) -> bool:
    return bool(np.frombuffer(frame, np.uint8).ctypes.data % 8 == 0)


def test_an_unfinished_frame_in_an_arena_that_has_been_left(end: End, wire: Any) -> None:
    """The next arena happens to be just as full as the old one was when the frame began."""
    slow, fast = wire.connected(end, 1), wire.connected(end, 2)
    half = encoded(payload(0, 10_000))
    slow.sendall(half[:5000])
    end.poll(0)
    sizes = [63_992, 63_992, 63_992, 4992]
    assert 5000 + sum(sizes[:3]) + 24 > ARENA_BYTES - BIG_BYTES, "the fourth needs a new arena"
    for i, size in enumerate(sizes):
        fast.sendall(encoded(payload(i, size)))
        assert end.poll(0) == 1
    slow.sendall(half[5000:])
    assert end.poll(1.0) == 1
    first, second = (end.sink.frames[link] for link in end.sink.links)
    assert [bytes(f) for f in first] == [payload(0, 10_000)]
    assert [bytes(f) for f in second] == [payload(i, size) for i, size in enumerate(sizes)]


def test_small_frames_share_a_buffer(end: End, wire: Any) -> None:
    sock = wire.connected(end)
    for _ in range(1000):
        sock.sendall(encoded(bytes(100)))
        end.poll(1.0)
    assert len({id(frame.obj) for frame in end.frames}) == 1


def test_arrays_over_frames_survive(end: End, wire: Any) -> None:
    """What keeps the memory is the array, not the view."""
    sock = wire.connected(end)
    arrays = []
    end.sink.on["on_frame"] = lambda link, frame: arrays.append(np.frombuffer(frame, "<i8"))
    for i in range(300):
        size = (10, 1000, 20_000)[i % 3]
        sock.sendall(encoded(np.full(size, i, "<i8").tobytes()))
        while len(arrays) <= i:
            end.poll(1.0)
    assert [(a.size, int(a.min()), int(a.max())) for a in arrays] == [((10, 1000, 20_000)[i % 3], i, i) for i in range(300)]
    assert all(a.flags.aligned for a in arrays)


def test_equal_big_frames_are_received_in_place(end: End, wire: Any) -> None:
    """From the second on there is no copy: each frame begins where a receive buffer begins."""
    sock = wire.connected(end)
    for i in range(4):
        sock.sendall(encoded(bytes([i]) * 100_000))
        while len(end.frames) <= i:
            end.poll(1.0)
    for frame in end.frames[1:]:
        assert frame.obj is not end.frames[0].obj
        assert bytes(frame.obj[:8]) == PREFIX.pack(DATA, 100_000)


def test_memory_is_used_again_once_nobody_looks(end: End, wire: Any) -> None:
    sock = wire.connected(end)
    seen = set()
    end.sink.on["on_frame"] = lambda link, frame: seen.add(id(frame.obj))
    for _ in range(100):
        sock.sendall(encoded(bytes(50_000)) * 2)
        end.poll(1.0)
    assert len(seen) <= 3, "a new buffer every time, although no frame was kept"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\0" * 8, "protocol error: b'\\x00\\x00\\x00\\x00' begins no frame of this transport"),
        (b"GET / HTTP/1.1\r\n\r\n", "protocol error: b'GET ' begins no frame"),
        (PREFIX.pack(DATA, LIMIT + 1), f"protocol error: a frame of {LIMIT + 1} bytes announced, the limit is {LIMIT}"),
        (PREFIX.pack(DATA, 0xFFFFFFFF), "protocol error: a frame of 4294967295 bytes announced"),
        (PREFIX.pack(DATA + (1 << 16), 8), f"protocol error: the peer speaks version {VERSION + 1} of the protocol, this side"),
        (PREFIX.pack(DATA + (1 << 24), 8), "protocol error: a message of kind 1 out of turn"),
    ],
)
@pytest.mark.parametrize("before", [0, 3])
def test_what_is_no_frame_ends_the_link_with_a_reason(end: End, raw: bytes, reason: str, before: int, wire: Any) -> None:
    sock = wire.connected(end)
    sock.sendall(encoded(b"good") * before + raw)
    while not end.sink.lost:
        end.poll(1.0)
    assert end.sink.lost[end.link].startswith(reason)
    assert [bytes(f) for f in end.frames] == [b"good"] * before


def test_reasons_of_losses(end: End, wire: Any) -> None:
    leave, half, reset = (wire.connected(end, node) for node in (1, 2, 3))
    leave.sendall(encoded(b"whole") + encoded(b"cut in two")[:11])
    leave.close()
    half.shutdown(socket.SHUT_WR)
    reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    reset.close()
    while len(end.sink.lost) < 3:
        end.poll(1.0)
    reasons = {link.peer: reason for link, reason in end.sink.lost.items()}
    assert reasons == {1: "closed by peer", 2: "closed by peer", 3: "reset"}
    assert [bytes(f) for f in end.sink.frames[end.sink.links[0]]] == [b"whole"]
    assert reason_of(OSError(errno.ETIMEDOUT, "")) == "timed out"
    assert reason_of(OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))) == "no route to host"


def test_a_receiver_that_stays_full_is_given_up_after_the_user_timeout(wire: Any) -> None:
    endpoint = Tcp(user_timeout_ms=200, buffer_bytes=16_384).endpoint(
        node=0, host="127.0.0.1", secret=SECRET, listen=True, max_frame_bytes=LIMIT
    )
    end = End(endpoint)
    sock = wire.connected(end)
    for _ in range(200):
        end.link.send((bytes(100_000),))
    while not end.sink.lost:
        assert end.poll(30.0), "not given up"
    assert end.sink.lost[end.link] == "timed out"
    sock.close()
    endpoint.close()


def test_frames_behind_the_loss_of_sending_are_still_read(end: End, wire: Any) -> None:
    """A peer that spoke and died: what it said is heard although sending to it fails first."""
    sock = wire.connected(end)
    sock.sendall(encoded(b"last words"))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    for _ in range(5):
        end.link.send((bytes(100_000),))
    while not end.sink.lost:
        end.poll(1.0)
    assert [bytes(f) for f in end.frames] == [b"last words"]
    assert end.sink.lost[end.link] in ("reset", "closed by peer")


def test_what_the_kernel_does_not_take_is_kept_by_reference(end: End, wire: Any) -> None:
    sock = wire.connected(end)
    block = np.arange(60_000, dtype="<i8")
    sent = 0
    while end.link.send((b"header..", block.data)):
        sent += 1
    for _ in range(10):
        end.link.send((b"header..", block.data))
    sent += 11
    assert any(view.obj is block for view in end.link._queue)
    expected = encoded(b"header.." + block.tobytes()) * sent
    got = bytearray()
    sock.settimeout(10)
    while len(got) < len(expected):
        end.poll(0)
        got += sock.recv(1 << 20)
    assert got == expected
    while not end.sink.writable:
        end.poll(1.0)
    assert end.link.backlog_bytes == 0


def test_half_a_frame(end: End, wire: Any) -> None:
    sock = wire.connected(end)
    sock.settimeout(10)
    frame = payload(5, 999)
    assert end.link.send_half((frame[:500], frame[500:])) is False
    whole = encoded(frame)
    assert sock.recv(1 << 20) == whole[: len(whole) // 2]
    assert end.link.backlog_bytes == len(whole) - len(whole) // 2
    assert end.link.send_half((b"queued behind",)) is False
    while not end.sink.writable:
        end.poll(1.0)
    rest = whole[len(whole) // 2 :] + encoded(b"queued behind")
    got = b""
    while len(got) < len(rest):
        got += sock.recv(1 << 20)
    assert got == rest
    sock.close()
    while not end.sink.lost:
        end.poll(1.0)
    assert end.link.send_half((b"swallowed",))


def test_close_sends_what_there_is_room_for_by_then(end: End, wire: Any) -> None:
    """Without another poll: the receiver has made room since the last one."""
    sock = wire.connected(end)
    sock.settimeout(10)
    sent = 1
    while end.link.send((bytes(50_000),)):
        sent += 1
    backlog, got = end.link.backlog_bytes, 0
    while got < sent * 50_008 - backlog:
        got += len(sock.recv(1 << 20))
    end.sink.close(end.link)
    while data := sock.recv(1 << 20):
        got += len(data)
    assert got == sent * 50_008


def test_an_error_of_sending_that_leaves_the_connection_up_ends_it(end: End, wire: Any) -> None:
    sock = wire.connected(end)
    end.link._break(OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)))
    assert end.link.send((b"swallowed",))
    while not end.sink.lost:
        assert end.poll(10.0), "nobody noticed"
    assert end.sink.lost[end.link] == "no buffer space available"
    sock.settimeout(10)
    assert sock.recv(10) == b""


def test_send_in_pieces_reads_the_same(end: End, wire: Any) -> None:
    """Joined or gathered, padded or not, of one part or two thousand: on the wire it is the same frame."""
    sock = wire.connected(end)
    sock.settimeout(10)
    for size in (0, 1, 8, 100, 4088, 4089, 5000, 20_001):
        whole = payload(size, size)
        for step in (1, 7, 5000):
            end.link.send([whole[i : i + step] for i in range(0, size, step)])
            expected, got = encoded(whole), b""
            while len(got) < len(expected):
                got += sock.recv(1 << 20)
            assert got == expected


def test_an_empty_array_of_any_shape_can_be_queued(end: End, wire: Any) -> None:
    sock = wire.connected(end)
    while end.link.send((bytes(100_000),)):
        pass
    assert end.link.send((np.empty((0, 3)).data, b"x")) is False
    sock.close()


def test_poll_from_within_a_callback_is_an_error(end: End, wire: Any) -> None:
    sock = wire.connected(end)
    caught: list[str] = []

    def again(link: object, frame: memoryview) -> None:
        with pytest.raises(RuntimeError) as error:
            end.endpoint.poll(0, end.sink)
        caught.append(str(error.value))

    end.sink.on["on_frame"] = again
    sock.sendall(encoded(b"x"))
    end.poll(1.0)
    assert caught == ["poll was called from one of its own callbacks"]


def test_bytes_that_follow_the_proof_at_once_are_frames(end: End, wire: Any) -> None:
    """The listener reads the handshake and not one byte more."""
    sock = wire.dial(end)
    shake = Handshake(1, SECRET, bytes(32), 0)
    sock.sendall(shake.opening())
    end.poll(0.2)
    end.poll(0.2)
    sock.settimeout(10)
    sock.sendall(shake.feed(sock.recv(shake.wanted)) + encoded(b"eager") * 2)
    while len(end.sink.links) < 1 or len(end.frames) < 2:
        end.poll(1.0)
    assert [bytes(f) for f in end.frames] == [b"eager"] * 2
    other = wire.dial(end)
    wire.prove(end, other, node=2)
    assert [link.peer for link in end.sink.links] == [1, 2]
