"""Frames come back as they went, and garbage of every kind is a FrameError."""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.core import frames
from harness.core.filters import Codec
from harness.core.frames import HEADER, HEADER_SIZE, FrameError
from harness.core.ranks import RankSet

DTYPES = ["|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8"]
RANKS = st.sets(st.integers(0, 500), min_size=1, max_size=12).map(RankSet.of)
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**63)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def raw(parts: Any) -> memoryview:
    return memoryview(b"".join(bytes(p) for p in ([parts] if isinstance(parts, bytes) else parts)))


def arrays() -> st.SearchStrategy[Any]:
    def make(dtype: str, count: int, shape: tuple[int, ...], seed: int, strided: bool) -> Any:
        n = int(np.prod((count, *shape)))
        flat = np.frombuffer(np.random.default_rng(seed).bytes(2 * n * np.dtype(dtype).itemsize), dtype)
        flat = (flat & 1).view("|b1") if dtype == "|b1" else flat
        return (flat[::2] if strided else flat[:n]).reshape(count, *shape)

    shapes = st.lists(st.integers(1, 4), max_size=3).map(tuple)
    return st.builds(make, st.sampled_from(DTYPES[1:]), st.integers(1, 5), shapes, st.integers(0, 99), st.booleans())


@settings(max_examples=150)
@given(arrays(), RANKS, U32, U32, U64, st.sampled_from([frames.DATA, frames.STATE]))
def test_arrays_come_back(items: Any, ranks: RankSet, stream: int, epoch: int, first: int, kind: int) -> None:
    frame = raw(frames.data_frame(kind, stream, epoch, first, items, ranks, Codec.ARRAY))
    head = frames.parse_header(frame)
    assert head[:7] == (frames.VERSION, kind, 0, stream, epoch, len(items), first)
    back, who = frames.decode_items(frame, head[5], head[7], head[8], Codec.ARRAY)
    assert who == ranks
    assert isinstance(back, np.ndarray)
    assert back.dtype == items.dtype
    assert back.shape == items.shape
    assert back.tobytes() == items.tobytes()


@settings(max_examples=60)
@given(arrays(), st.lists(RANKS, min_size=1, max_size=4))
def test_the_quick_way_to_make_frames_makes_the_same(items: Any, sets: list[RankSet]) -> None:
    cache = frames.MetaCache()
    for n, ranks in enumerate([*sets, sets[0]]):
        one = items[: 1 + n % len(items)]
        plain = frames.data_frame(frames.DATA, 7, n, 9, one, ranks, Codec.ARRAY)
        assert raw(frames.unit_frame(cache, 7, n, 9, one, ranks)) == raw(plain)


@settings(max_examples=100)
@given(arrays(), RANKS, arrays(), RANKS)
def test_a_reader_reads_what_it_has_learnt_and_nothing_else(items: Any, ranks: RankSet, others: Any, more: RankSet) -> None:
    reader = frames.MetaReader()

    def read(units: Any, who: RankSet, short: int = 0) -> Any:
        frame = raw(frames.data_frame(frames.DATA, 1, 0, 0, units, who, Codec.ARRAY))
        head = frames.parse_header(frame)
        return frame, head, reader.read(frame[: len(frame) - short], head[5], head[7], head[8] - short)

    frame, head, known = read(items, ranks)
    assert known is None
    reader.learn(frame, head[7])
    _, _, known = read(items[:1], ranks)
    back, who = known
    assert who == ranks
    assert (back.dtype, back.shape, back.tobytes()) == (items.dtype, items[:1].shape, items[:1].tobytes())
    assert read(items, ranks, short=1)[2] is None, "a body of another length"
    same = (others.dtype, others.shape[1:], more) == (items.dtype, items.shape[1:], ranks)
    assert (read(others, more)[2] is None) != same


@settings(max_examples=100)
@given(st.lists(PLAIN, min_size=1, max_size=6), RANKS, U64, st.integers(1, 60))
def test_opaque_units_come_back(items: list[Any], ranks: RankSet, first: int, enough: int) -> None:
    back: list[Any] = []
    for start, units, parts in frames.opaque_frames(3, 5, first, items, ranks, Codec.MSGPACK, enough, 1 << 20):
        frame = raw(parts)
        head = frames.parse_header(frame)
        assert (head[5], head[6]) == (units, start) == (units, first + len(back))
        values, who = frames.decode_items(frame, head[5], head[7], head[8], Codec.MSGPACK)
        assert who == ranks
        back += values
    assert msgpack.packb(back) == msgpack.packb(items)


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6), RANKS)
def test_bytes_come_back(items: list[bytes], ranks: RankSet) -> None:
    frame = raw(frames.data_frame(frames.DATA, 1, 0, 0, items, ranks, Codec.BYTES))
    head = frames.parse_header(frame)
    assert frames.decode_items(frame, head[5], head[7], head[8], Codec.BYTES) == (items, ranks)


@settings(max_examples=60)
@given(PLAIN, U64, U64, RANKS)
def test_control_frames_come_back(value: Any, limit: int, acked: int, ranks: RankSet) -> None:
    frame = raw(frames.object_frame(frames.NOTICE, value))
    assert frames.parse_header(frame)[1] == frames.NOTICE
    assert msgpack.packb(frames.decode_object(frame)) == msgpack.packb(value)
    frame = raw(frames.credit_frame(4, limit, acked))
    assert (frames.parse_header(frame)[6], frames.decode_acked(frame)) == (limit, acked)
    frame = raw(frames.control_frame(frames.DOWN, 4, 6, b"payload", meta=ranks.encoded))
    head = frames.parse_header(frame)
    assert frames.decode_ranks(frame, head[7]) == ranks
    assert bytes(frame[HEADER_SIZE + head[7] :]) == b"payload"


# -- garbage -------------------------------------------------------------------------------------------------------------


def decode(frame: memoryview, codec: Codec) -> None:
    """Everything that a node does with a frame before it looks at what the frame means."""
    head = frames.parse_header(frame)
    if head[1] in (frames.DATA, frames.STATE):
        frames.decode_items(frame, head[5], head[7], head[8], codec)
    elif head[1] == frames.CREDIT:
        frames.decode_acked(frame)
    elif head[1] == frames.DOWN:
        frames.decode_ranks(frame, head[7])
    else:
        frames.decode_object(frame)


def good() -> list[memoryview]:
    ranks = RankSet.of([1, 2, 5])
    return [
        raw(frames.data_frame(frames.DATA, 1, 0, 4, np.arange(12, dtype="<i4").reshape(2, 3, 2), ranks, Codec.ARRAY)),
        raw(frames.data_frame(frames.DATA, 1, 0, 4, [[1, "two"], {"three": 4}], ranks, Codec.MSGPACK)),
        raw(frames.credit_frame(1, 5, 3)),
        raw(frames.control_frame(frames.DOWN, 1, 2, b"payload", meta=ranks.encoded)),
        raw(frames.object_frame(frames.ATTACH, {"ranks": b"", "streams": {1: [2, 3]}})),
    ]


@settings(max_examples=400)
@given(st.integers(0, 4), st.data(), st.sampled_from(list(Codec)))
def test_a_changed_frame_is_another_frame_or_a_frame_error(which: int, draw: st.DataObject, codec: Codec) -> None:
    frame = bytearray(good()[which])
    for _ in range(draw.draw(st.integers(1, 3))):
        frame[draw.draw(st.integers(0, len(frame) - 1))] = draw.draw(st.integers(0, 255))
    cut = draw.draw(st.integers(0, len(frame)))
    for candidate in (frame, frame[:cut], frame + frame[:cut]):
        try:
            decode(memoryview(bytes(candidate)), codec)
        except FrameError:
            continue


@settings(max_examples=200)
@given(st.binary(max_size=80))
def test_random_bytes_are_a_frame_error(junk: bytes) -> None:
    assume(not junk.startswith(b"\x01"))
    with pytest.raises(FrameError):
        decode(memoryview(junk), Codec.ARRAY)


def header(
    kind: int = frames.DATA, *, version: int = 1, count: int = 1, meta: bytes = b"", body: bytes = b"", lie: int = 0
) -> bytes:
    """A frame; its header may lie about the length of its body."""
    return HEADER.pack(version, kind, 0, 1, 0, count, 0, len(meta), len(body) + lie) + meta + body


META = struct.pack("<4sBxH", b"<i8\0", 0, 1) + RankSet.of([0]).encoded


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"", "shorter than its header"),
        (header()[:-1], "shorter than its header"),
        (header(version=2), "version 2"),
        (header(0), "unknown frame kind 0"),
        (header(17), "unknown frame kind 17"),
        (header(lie=1), "announces"),
        (header(meta=META, count=0), "without units"),
        (header(meta=META, body=b"x" * 7), "do not fill 7"),
        (header(meta=META[:7]), "too short"),
        (header(meta=META + b"\0" * 8, body=b"x" * 8), "does not hold"),
        (header(meta=b"<c8\0" + META[4:], body=b"x" * 8), "does not travel"),
        (header(meta=b"\xff\xff\xff\xff" + META[4:], body=b"x" * 8), "does not travel"),
        (header(meta=META[:8] + struct.pack("<II", 5, 5), body=b"x" * 8), "empty, unsorted or touching"),
        (header(meta=b"\0\0\0\0" + META[4:], body=b"x" * 8), "opaque units on a stream of arrays"),
        (header(frames.CREDIT), "wrong size"),
        (header(frames.NOTICE, body=b"\xc1"), "no msgpack"),
        (header(frames.NOTICE, body=b"\x01\x02"), "no msgpack"),
        (header(frames.NOTICE, body=b"\x81\x90\x01"), "no msgpack"),  # a list as a key
        (header(frames.DOWN, meta=b"1234"), "whole number"),
    ],
)
def test_each_kind_of_garbage_says_what_it_is(frame: bytes, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        decode(memoryview(frame), Codec.ARRAY)


@pytest.mark.parametrize(
    ("count", "body", "message"),
    [
        (9, b"\1\0\0\0x", "do not fit"),
        (1, b"\7\0\0\0x", "do not add up"),
        (1, b"\1\0\0\0\xc1", "no msgpack"),
        (1, b"\2\0\0\0\1\2", "no msgpack"),
        (1, b"\3\0\0\0\x81\x90\1", "no msgpack"),
    ],
)
def test_garbage_among_opaque_units(count: int, body: bytes, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        frames.decode_blobs(memoryview(body), count, Codec.MSGPACK)
    with pytest.raises(FrameError, match="array units on a stream of opaque items"):
        decode(memoryview(header(meta=META, body=b"x" * 8)), Codec.MSGPACK)


def test_what_does_not_travel_is_refused_by_the_sender() -> None:
    with pytest.raises(FrameError, match="does not travel"):
        frames.data_frame(frames.DATA, 1, 0, 0, np.zeros(2, ">i8"), RankSet.of([0]), Codec.ARRAY)
