"""The frame format: a fixed header, a short description of the payload, and one contiguous payload.

    offset  size  field
    0       1     version (1)
    1       1     kind
    2       2     flags
    4       4     stream
    8       4     epoch      incarnation of the stream on the sender's uplink; a rewind starts a new one
    12      4     count      units in the payload
    16      8     first      first unit, sequence number, or mark, by kind
    24      4     meta_len   bytes of the description, a multiple of 8
    28      4     body_len   bytes of the payload

The description of array units is dtype (4 bytes of ASCII), ndim (u8), 1 pad byte, number of contributor ranges (u16), the
dimensions (u32 each, padded to 8), then the contributors as pairs of u32. All integers are little-endian. A unit is one wave,
or one chunk of a wave where items are larger than the stream's chunk.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgpack
import numpy as np

from harness.core.filters import Array, Codec, Items
from harness.core.ranks import EMPTY, RankSet

VERSION: Final = 1
HEADER = struct.Struct("<BBHIIIQII")
HEADER_SIZE: Final = 32
_pack: Final = HEADER.pack
_frombuffer: Final[Callable[..., Array]] = np.frombuffer
_META = struct.Struct("<4sBxH")
_U64 = struct.Struct("<Q")

# Kinds. Upward: DATA, SKIP, STATE, ATTACH, NOTICE, KEPT, VOTE. Downward: DOWN, CREDIT, REWIND, WELCOME, REFUSE, LOG. Both:
# DACK, PING, BYE.
DATA: Final = 1
DOWN: Final = 2
CREDIT: Final = 3
REWIND: Final = 4
ATTACH: Final = 5
WELCOME: Final = 6
REFUSE: Final = 7
PING: Final = 8
STATE: Final = 9
DACK: Final = 10
NOTICE: Final = 11
BYE: Final = 12
SKIP: Final = 13
LOG: Final = 14
KEPT: Final = 15
VOTE: Final = 16
KINDS: Final = range(DATA, VOTE + 1)

Buffer = bytes | bytearray | memoryview


#: How the cause of a link's end begins where the other side had sent garbage.
PROTOCOL_ERROR = "protocol error"
#: How the cause of a loss begins where a neighbour was not heard in time.
SILENT = "silent"


class FrameError(ValueError):
    """Bytes that are no frame of ours; the message says why."""


class Meta(NamedTuple):
    """What a payload is: `dtype` is None for opaque units (then `shape` is empty)."""

    dtype: np.dtype[Any] | None
    shape: tuple[int, ...]
    ranks: RankSet
    unit_bytes: int


_DTYPES = {
    name: np.dtype(name) for name in ("|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")
}
_OPAQUE = b"\0\0\0\0"


@lru_cache(maxsize=4096)
def _encode_meta(dtype: str, shape: tuple[int, ...], ranks: RankSet) -> bytes:
    name = _OPAQUE if not dtype else dtype.encode()
    if dtype and dtype not in _DTYPES:
        raise FrameError(f"dtype {dtype} does not travel; use one of {', '.join(_DTYPES)}")
    dims = struct.pack(f"<{len(shape)}I", *shape)
    dims += b"\0" * (-len(dims) % 8)
    return _META.pack(name, len(shape), len(ranks.ranges)) + dims + ranks.encoded


@lru_cache(maxsize=4096)
def _decode_meta(data: bytes) -> Meta:
    if len(data) < _META.size:
        raise FrameError(f"a description of {len(data)} bytes is too short")
    name, ndim, nranges = _META.unpack_from(data)
    dims_len = -(-4 * ndim // 8) * 8
    if len(data) != _META.size + dims_len + 8 * nranges:
        raise FrameError(f"a description of {len(data)} bytes does not hold {ndim} dimensions and {nranges} ranges")
    shape = struct.unpack_from(f"<{ndim}I", data, _META.size)
    try:
        ranks = RankSet.decode(data[_META.size + dims_len :])
    except ValueError as e:
        raise FrameError(str(e)) from e
    if name == _OPAQUE:
        return Meta(None, (), ranks, 0)
    dtype = _DTYPES.get(name.rstrip(b"\0").decode("ascii", "replace"))
    if dtype is None:
        raise FrameError(f"dtype {name!r} does not travel")
    unit = dtype.itemsize
    for d in shape:
        unit *= d
    return Meta(dtype, shape, ranks, unit)


class MetaCache:
    """The last description that was made: batches of one stream hardly ever differ in it."""

    __slots__ = ("dtype", "encoded", "ranks", "shape")

    def __init__(self) -> None:
        self.dtype: np.dtype[Any] | None = None
        self.shape: tuple[int, ...] = ()
        self.ranks: RankSet | None = None
        self.encoded = b""

    def meta(self, items: Array, ranks: RankSet) -> bytes:
        """The description of array units, as `data_frame` sends it."""
        shape = items.shape
        if ranks is not self.ranks or items.dtype is not self.dtype or shape[1:] != self.shape:
            self.dtype, self.shape, self.ranks = items.dtype, shape[1:], ranks
            self.encoded = _encode_meta(items.dtype.str, shape[1:], ranks)
        return self.encoded


class MetaReader:
    """The inverse of MetaCache at the receiver: what one sender's descriptions were found to mean, so that the next frame with
    the same description is an array at once. Only what has passed all checks is learnt."""

    __slots__ = ("_dtype", "_encoded", "_ranks", "_shape", "_unit_bytes")

    def __init__(self) -> None:
        self._encoded = b""
        self._dtype: np.dtype[Any] | None = None
        self._shape: tuple[int, ...] = ()
        self._ranks: RankSet = EMPTY
        self._unit_bytes = -1

    def learn(self, frame: memoryview, meta_len: int) -> None:
        """The array units of this frame were found to be good for the stream whatever their numbers."""
        encoded = bytes(frame[HEADER_SIZE : HEADER_SIZE + meta_len])
        meta = _decode_meta(encoded)
        if not meta.unit_bytes:
            return
        self._encoded = encoded
        self._dtype, self._shape, self._ranks, self._unit_bytes = meta.dtype, meta.shape, meta.ranks, meta.unit_bytes

    def read(self, frame: memoryview, count: int, meta_len: int, body_len: int) -> tuple[Array, RankSet] | None:
        """As `decode_items`; None where it has to be asked."""
        start = HEADER_SIZE + meta_len
        if count < 1 or count * self._unit_bytes != body_len or frame[HEADER_SIZE:start] != self._encoded:
            return None
        items = _frombuffer(frame, self._dtype, -1, start)
        return (items.reshape(count, *self._shape) if self._shape else items), self._ranks


def unit_frame(cache: MetaCache, stream: int, epoch: int, first: int, items: Array, ranks: RankSet) -> tuple[Buffer, ...]:
    """`data_frame` for DATA of arrays, made quickly."""
    meta, n = cache.meta(items, ranks), items.nbytes
    head = _pack(VERSION, DATA, 0, stream, epoch, items.shape[0], first, len(meta), n)
    if n <= 1024:
        return (head + meta + items.tobytes(),)
    if not items.flags.c_contiguous:
        items = np.ascontiguousarray(items)
    return head + meta, items.data.cast("B")


def data_frame(
    kind: int, stream: int, epoch: int, first: int, items: Items, ranks: RankSet, codec: Codec
) -> tuple[Buffer, ...]:
    """The parts of a DATA or STATE frame for `items` (shape (count, *item), or a list) of `ranks`."""
    if isinstance(items, np.ndarray):
        if not items.flags.c_contiguous:
            items = np.ascontiguousarray(items)
        meta = _encode_meta(items.dtype.str, items.shape[1:], ranks)
        n = items.nbytes
        head = HEADER.pack(VERSION, kind, 0, stream, epoch, items.shape[0], first, len(meta), n)
        return (head + meta, items.data.cast("B")) if n > 1024 else (head + meta + items.tobytes(),)
    blobs = [msgpack.packb(x) for x in items] if codec is Codec.MSGPACK else items
    meta = _encode_meta("", (), ranks)
    body = struct.pack(f"<{len(blobs)}I", *map(len, blobs)) + b"".join(blobs)
    return (HEADER.pack(VERSION, kind, 0, stream, epoch, len(blobs), first, len(meta), len(body)) + meta, body)


def opaque_frames(
    stream: int, epoch: int, first: int, items: Items, ranks: RankSet, codec: Codec, enough: int, most: int
) -> Iterator[tuple[int, int, tuple[Buffer, ...]]]:
    """DATA frames for opaque units, as (first, units, parts): a frame ends where it would grow beyond `enough` bytes, but holds
    one unit at least. Raises ValueError for a unit that does not fit a frame of `most` bytes."""
    blobs = [msgpack.packb(x) for x in items] if codec is Codec.MSGPACK else list(items)
    start = size = 0
    for i, blob in enumerate(blobs):
        n = len(blob)
        if n + 4096 > most:
            what = f"unit {first + i} of stream {stream}"
            raise ValueError(f"{what} has {n} bytes, a frame at most {most}: raise max_frame_bytes")
        if i > start and size + n > enough:
            batch = blobs[start:i]
            yield first + start, i - start, data_frame(DATA, stream, epoch, first + start, batch, ranks, Codec.BYTES)
            start, size = i, 0
        size += n
    yield first + start, len(blobs) - start, data_frame(DATA, stream, epoch, first + start, blobs[start:], ranks, Codec.BYTES)


def control_frame(kind: int, stream: int = 0, first: int = 0, body: bytes = b"", *, epoch: int = 0, meta: bytes = b"") -> bytes:
    """Any frame that carries no array."""
    return HEADER.pack(VERSION, kind, 0, stream, epoch, 0, first, len(meta), len(body)) + meta + body


def credit_frame(stream: int, limit: int, acked: int, epoch: int = 0) -> bytes:
    """Permission to send units below `limit`, in the receiver's `epoch`; everything below `acked` has left the tree."""
    return HEADER.pack(VERSION, CREDIT, 0, stream, epoch, 0, limit, 0, 8) + _U64.pack(acked)


def object_frame(kind: int, value: Any) -> bytes:
    """A frame with a msgpack body."""
    return control_frame(kind, body=msgpack.packb(value))


def parse_header(frame: memoryview) -> tuple[int, ...]:
    """The header's fields (version, kind, flags, stream, epoch, count, first, meta_len, body_len), checked.

    Raises FrameError for a wrong version, kind or length.
    """
    if len(frame) < HEADER_SIZE:
        raise FrameError(f"a frame of {len(frame)} bytes is shorter than its header")
    head = HEADER.unpack_from(frame)
    if head[0] != VERSION:
        raise FrameError(f"frame version {head[0]}, expected {VERSION}")
    if head[1] not in KINDS:
        raise FrameError(f"unknown frame kind {head[1]}")
    if HEADER_SIZE + head[7] + head[8] != len(frame):
        raise FrameError(f"a frame of {len(frame)} bytes announces {head[7]} + {head[8]}")
    return head


def decode_items(frame: memoryview, count: int, meta_len: int, body_len: int, codec: Codec) -> tuple[Items, RankSet]:
    """The units of a DATA or STATE frame: (array of shape (count, *item) over the frame's memory, or list; contributors)."""
    meta = _decode_meta(bytes(frame[HEADER_SIZE : HEADER_SIZE + meta_len]))
    if meta.dtype is not None and not meta.shape and codec is Codec.ARRAY and meta.unit_bytes * count == body_len and count:
        return np.frombuffer(frame, meta.dtype, -1, HEADER_SIZE + meta_len), meta.ranks
    start = HEADER_SIZE + meta_len
    if count < 1:
        raise FrameError("a data frame without units")
    if meta.dtype is not None:
        if codec is not Codec.ARRAY:
            raise FrameError("array units on a stream of opaque items")
        if meta.unit_bytes * count != body_len:
            raise FrameError(f"{count} units of {meta.unit_bytes} bytes do not fill {body_len}")
        flat: Array = np.frombuffer(frame, meta.dtype, offset=start) if body_len else np.empty(0, meta.dtype)
        return (flat if not meta.shape else flat.reshape(count, *meta.shape)), meta.ranks
    if codec is Codec.ARRAY:
        raise FrameError("opaque units on a stream of arrays")
    return decode_blobs(frame[start:], count, codec), meta.ranks


def decode_blobs(body: memoryview, count: int, codec: Codec) -> list[Any]:
    """`count` length-prefixed blobs; msgpack values are unpacked."""
    if 4 * count > len(body):
        raise FrameError(f"{count} opaque units do not fit {len(body)} bytes")
    sizes = struct.unpack_from(f"<{count}I", body)
    if 4 * count + sum(sizes) != len(body):
        raise FrameError("the sizes of opaque units do not add up")
    at, blobs = 4 * count, []
    for size in sizes:
        blobs.append(bytes(body[at : at + size]))
        at += size
    if codec is Codec.BYTES:
        return blobs
    try:
        return [msgpack.unpackb(b, strict_map_key=False) for b in blobs]
    except (TypeError, ValueError, msgpack.UnpackException) as e:
        raise FrameError(f"an opaque unit is no msgpack: {e}") from e


def decode_object(frame: memoryview) -> Any:
    """The msgpack body of an object frame. Raises FrameError."""
    try:
        return msgpack.unpackb(frame[HEADER_SIZE:], strict_map_key=False)
    except (TypeError, ValueError, msgpack.UnpackException) as e:
        raise FrameError(f"no msgpack in the body: {e}") from e


def decode_acked(frame: memoryview) -> int:
    """The acknowledged mark of a CREDIT frame."""
    if len(frame) != HEADER_SIZE + 8:
        raise FrameError("a credit frame of the wrong size")
    return int(_U64.unpack_from(frame, HEADER_SIZE)[0])


def concat_items(pieces: Sequence[Items]) -> Items:
    """Consecutive units joined into one batch."""
    if len(pieces) == 1:
        return pieces[0]
    if isinstance(pieces[0], np.ndarray):
        return np.concatenate([p for p in pieces if isinstance(p, np.ndarray)])
    return [x for p in pieces for x in p]


def decode_ranks(frame: memoryview, meta_len: int) -> RankSet:
    """The rank set that a DOWN frame carries as its description (empty: everybody)."""
    if not meta_len:
        return EMPTY
    try:
        return RankSet.decode(bytes(frame[HEADER_SIZE : HEADER_SIZE + meta_len]))
    except ValueError as e:
        raise FrameError(str(e)) from e
