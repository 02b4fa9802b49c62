"""Memory to receive into: handed out by the piece, taken back when nobody looks at it any more, never overwritten before."""

from __future__ import annotations

import sys
from typing import Final

#: Buffers come in multiples of this, so that streams of nearly equal frames find each other's.
GRAIN_BYTES: Final = 16 << 10

#: What one pool remembers at most. A buffer beyond that is forgotten, and freed with its last view.
POOL_BYTES: Final = 8 << 20
POOL_COUNT: Final = 32


def _references(held: list[bytearray], index: int) -> int:
    return sys.getrefcount(held[index])


#: How many references a buffer has that only the pool holds.
_ONLY_OURS: Final = _references([bytearray(1)], 0)


class BufferPool:
    """Buffers that are used again once the last view on them is gone.

    A fresh bytearray has to be zeroed and faulted in, page by page; a used one is warm. Every view keeps its buffer alive
    with a reference, so a buffer to which only the pool refers is free.
    """

    __slots__ = ("_bytes", "_held")

    def __init__(self) -> None:
        self._held: list[bytearray] = []
        self._bytes = 0

    def take(self, size: int) -> memoryview:
        """A view of `size` bytes, 8-aligned, on which there is no other view. What is in them is left from earlier use."""
        rounded = -(-size // GRAIN_BYTES) * GRAIN_BYTES
        held = self._held
        for i in range(len(held)):
            if len(held[i]) == rounded and _references(held, i) == _ONLY_OURS and _resizable(held[i]):
                return memoryview(held[i])[:size]
        fresh = bytearray(rounded)
        if rounded <= POOL_BYTES:
            held.append(fresh)
            self._bytes += rounded
            while self._bytes > POOL_BYTES or len(held) > POOL_COUNT:
                self._bytes -= len(held.pop(0))
        return memoryview(fresh)[:size]


def _resizable(buffer: bytearray) -> bool:
    """Whether no view exists, by the language's own promise: a bytearray with a view refuses to be resized."""
    try:
        buffer.pop()
    except BufferError:
        return False
    buffer.append(0)
    return True


class Arena:
    """The buffer into which all links of an endpoint receive their small frames, one after another.

    view: the whole buffer. used: the end of what has been received into it. When too little is left a new one is taken; the
    old one lives for as long as a frame in it does.
    """

    __slots__ = ("pool", "size", "spare", "used", "view")

    def __init__(self, pool: BufferPool, size: int, spare: int) -> None:
        self.pool = pool
        self.size = size
        self.spare = spare
        self.view = pool.take(size)
        self.used = 0

    def renew(self) -> memoryview:
        """Take a new buffer."""
        self.view = memoryview(b"")  # the old one may be free with this
        self.view = self.pool.take(self.size)
        self.used = 0
        return self.view

    def move(self, tail: memoryview) -> tuple[memoryview, int, int]:
        """Copy an unfinished frame to where there is room for `spare` bytes; return the buffer, and its start and end in it.
        `used` is the caller's to set, once it has received behind it."""
        start = (self.used + 7) & -8
        if self.size - start < self.spare:
            self.renew()
            start = 0
        end = start + len(tail)
        self.view[start:end] = tail
        return self.view, start, end
