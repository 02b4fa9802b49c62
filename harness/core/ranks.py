"""Sets of back-end ranks, kept as sorted half-open ranges.

A subtree of a depth-first numbered tree is one range, so a set stays small on the wire whatever the size of the tree; only
adoptions split it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Final

_PAIR: Final = struct.Struct("<II")


class RankSet:
    """An immutable set of ranks. Equality and hashing are by content; all operations are linear in the number of ranges."""

    __slots__ = ("_hash", "_len", "encoded", "ranges")

    ranges: tuple[tuple[int, int], ...]
    encoded: bytes

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        merged: list[tuple[int, int]] = []
        for start, stop in sorted(ranges):
            if start < 0 or stop > 0xFFFFFFFF:
                raise ValueError(f"rank range {start}..{stop} is outside 0..2^32-1")
            if start >= stop:
                continue
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
            else:
                merged.append((start, stop))
        self.ranges = tuple(merged)
        self.encoded = b"".join(_PAIR.pack(a, b) for a, b in merged)
        self._len = sum(b - a for a, b in merged)
        self._hash = hash(self.ranges)

    @classmethod
    def of(cls, ranks: Iterable[int]) -> RankSet:
        """The set of the given ranks."""
        return cls((r, r + 1) for r in ranks)

    @staticmethod
    def decode(data: bytes | bytearray | memoryview) -> RankSet:
        """The inverse of `encoded`. Raises ValueError for anything that `encoded` could not have produced."""
        return _decode(bytes(data))

    def __reduce__(self) -> tuple[Callable[[bytes], RankSet], tuple[bytes]]:
        return RankSet.decode, (self.encoded,)

    def __len__(self) -> int:
        return self._len

    def __bool__(self) -> bool:
        return self._len > 0

    def __iter__(self) -> Iterator[int]:
        for start, stop in self.ranges:
            yield from range(start, stop)

    def __contains__(self, rank: object) -> bool:
        return isinstance(rank, int) and any(a <= rank < b for a, b in self.ranges)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, RankSet) and self.ranges == other.ranges)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"RankSet({self})"

    def __str__(self) -> str:
        return ",".join(str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in self.ranges) or "none"

    def __or__(self, other: RankSet) -> RankSet:
        if not other._len or other is self:
            return self
        if not self._len:
            return other
        return RankSet(self.ranges + other.ranges)

    def __and__(self, other: RankSet) -> RankSet:
        return RankSet((max(a, c), min(b, d)) for a, b in self.ranges for c, d in other.ranges if max(a, c) < min(b, d))

    def __sub__(self, other: RankSet) -> RankSet:
        if not self._len or not other._len:
            return self
        low, high = self.ranges[0][0], self.ranges[-1][1]
        cut = [(c, d) for c, d in other.ranges if c < high and d > low]
        if not cut:
            return self
        left = list(self.ranges)
        for c, d in cut:
            left = [piece for a, b in left for piece in ((a, min(b, c)), (max(a, d), b)) if piece[0] < piece[1]]
        return RankSet(left)

    def isdisjoint(self, other: RankSet) -> bool:
        """Whether the two sets share no rank."""
        return all(b <= c or d <= a for a, b in self.ranges for c, d in other.ranges)

    def issubset(self, other: RankSet) -> bool:
        """Whether every rank of this set is in `other`."""
        return not (self - other)


EMPTY: Final = RankSet()


@lru_cache(maxsize=4096)
def _decode(data: bytes) -> RankSet:
    if len(data) % _PAIR.size:
        raise ValueError(f"a rank set of {len(data)} bytes is not a whole number of {_PAIR.size}-byte ranges")
    pairs = list(_PAIR.iter_unpack(data))
    result = RankSet(pairs)
    if result.encoded != data:
        raise ValueError("a rank set whose ranges are empty, unsorted or touching")
    return result


def union(sets: Iterable[RankSet]) -> RankSet:
    """The union of many sets."""
    return RankSet(pair for s in sets for pair in s.ranges)
