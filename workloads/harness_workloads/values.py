"""What each back-end contributes: numbers that follow from the seed and betray every mistake in a reduction.

Rank r has two secret numbers a (odd) and b, and its contribution to a wave is x(r, k) = (a*k + b) mod 2^bits, where k is
known from the wave alone. So the contribution of one rank to one wave is a number of its own: a sum over a set of ranks shows
whether each was in it exactly once, and the difference between a wrong sum and the right one names the rank and the wave.

Two forms. Items of up to SMALL elements: k = wave + 1, and element e holds x(r, wave + 1) + y(e) with y(0) = 0. Larger items
are a window that slides over a ring of PERIOD random numbers: element e holds x(r, ring[(shift(wave) + e) mod PERIOD]), so that
a back-end offers a wave as a view and pays nothing for making it, and the front-end compares each element with one of
PERIOD expected ones. PERIOD is prime, so that chunks of a power of two never fall on the same numbers.

`bits` is chosen so that sums of integers in the item's type are exact: 64 (wrapping) for sums of i64, otherwise few enough
that the sum over all ranks fits the type's integers (2^53 for f64, 2^24 for f32, 2^31 for i32).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: The `item` key of a suite, and the numpy type that it means.
DTYPES = {"i64": "<i8", "f64": "<f8", "f32": "<f4", "i32": "<i4"}
#: Integers up to 2^EXACT_BITS are exact in the type, sums included.
EXACT_BITS = {"i64": 53, "f64": 53, "f32": 24, "i32": 31}
SMALL = 4096
PERIOD = 32771
_RAMP = 8192
_WORD = (1 << 64) - 1
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def scrambled(seed: int, numbers: Array) -> Array:
    """A random-looking 64-bit number for each of `numbers`, shape (n,), uint64: the finalizer of SplitMix64 (Steele, Lea and
    Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014). Not numpy.random, which costs each process 7 MB."""
    z = (np.asarray(numbers).astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN) + np.uint64(_finalized(seed))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_FIRST)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_SECOND)
    mixed: Array = z ^ (z >> np.uint64(31))
    return mixed


@lru_cache(maxsize=32)
def _sequence(key: int, count: int) -> Array:
    """`count` random-looking numbers. Kept, since in one process many back-ends may need the same; not to be changed."""
    made = scrambled(key, np.arange(count, dtype=np.uint64))
    made.setflags(write=False)
    return made


@lru_cache(maxsize=32)
def _secrets(first: int, second: int, ranks: int, bits: int) -> tuple[Array, Array]:
    a, b = _modulo(_sequence(first, ranks), bits) | np.uint64(1), _modulo(_sequence(second, ranks), bits)
    return a, b


def _finalized(z: int) -> int:
    z = (z + _GOLDEN) & _WORD
    z = ((z ^ (z >> 30)) * _FIRST) & _WORD
    z = ((z ^ (z >> 27)) * _SECOND) & _WORD
    return z ^ (z >> 31)


def _modulo(values: Array, bits: int) -> Array:
    """uint64 numbers modulo 2^bits."""
    return values if bits == 64 else values & np.uint64((1 << bits) - 1)


def value_bits(item: str, filter_: str, ranks: int) -> int:
    """How many bits a contribution may have so that every reduction over `ranks` ranks stays exact.

    Raises ValueError where there are too many ranks for the type to tell their contributions apart.
    """
    if item == "i64" and filter_ == "sum":
        return 64
    spread = max(1, (ranks - 1).bit_length())
    bits = min(32, EXACT_BITS[item] - spread - 1, 52 - 2 * spread)
    if bits < 8:
        raise ValueError(f"{ranks} back-ends are too many for exact reductions of {item}; use i64 or f64")
    return bits


@dataclass(frozen=True)
class Values:
    """The contributions of `ranks` ranks to one stream. `stream` numbers the workload's streams from 0: each has numbers of
    its own. `elements` is the number of array elements in an item."""

    seed: int
    stream: int
    ranks: int
    item: str
    filter: str
    elements: int = 1

    @cached_property
    def bits(self) -> int:
        """Bits of one contribution."""
        return value_bits(self.item, self.filter, self.ranks)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of an element."""
        return np.dtype(DTYPES[self.item])

    @property
    def sliding(self) -> bool:
        """Whether items are windows over the ring."""
        return self.elements > SMALL

    def _scrambled(self, kind: int, count: int) -> Array:
        return _sequence(self._key(kind), count)

    def _key(self, kind: int) -> int:
        return (self.seed ^ (self.stream << 40) ^ (kind << 56)) & _WORD

    def _draw(self, kind: int, count: int) -> Array:
        return _modulo(self._scrambled(kind, count), self.bits)

    @cached_property
    def sample(self) -> Array:
        """The elements that stand for an item, in order: all of a small one, SMALL of a large one, drawn one by one from equal
        stretches, so that each chunk has its share. Shape (n,), int64."""
        if not self.sliding:
            return np.arange(self.elements)
        edges = np.arange(SMALL + 1) * self.elements // SMALL
        return edges[:-1] + (self._scrambled(5, SMALL) % np.diff(edges).astype(np.uint64)).astype(np.int64)

    @cached_property
    def secrets(self) -> tuple[Array, Array]:
        """The numbers a and b of each rank: shape (ranks,) each, uint64."""
        return _secrets(self._key(1), self._key(2), self.ranks, self.bits)

    @cached_property
    def _pattern(self) -> Array:
        pattern = self._draw(3, min(self.elements, SMALL)).copy()
        pattern[0] = 0
        return pattern

    @cached_property
    def _ring(self) -> Array:
        return self._draw(4, PERIOD)

    @cached_property
    def _stride(self) -> int:
        return 1 + int(scrambled(self.seed & _WORD, np.array([self.stream], dtype=np.uint64))[0]) % (PERIOD - 1)

    def _typed(self, values: Array, dtype: Any) -> Array:
        """uint64 numbers as `dtype`; 64-bit ones wrap around to int64."""
        return values.view(np.int64) if self.bits == 64 else values.astype(dtype)

    def keys(self, waves: Array, element: int = 0) -> Array:
        """The k of each wave at one element: shape (n,), uint64."""
        waves = np.asarray(waves).astype(np.uint64)
        if not self.sliding:
            return waves + np.uint64(1)
        places = (waves % np.uint64(PERIOD) * np.uint64(self._stride) + np.uint64(element)) % np.uint64(PERIOD)
        picked: Array = self._ring[places]
        return picked

    def shift(self, wave: int) -> int:
        """Where the window of a wave starts on the ring."""
        return wave % PERIOD * self._stride % PERIOD

    def shifts(self, waves: Array) -> Array:
        """`shift` of several waves: shape (n,), int64."""
        return waves % PERIOD * self._stride % PERIOD

    def column(self, rank: int, waves: Array, element: int = 0) -> Array:
        """One element of what `rank` contributes to each wave: shape (n,), int64."""
        a, b = self.secrets
        found = self._typed(_modulo(self.keys(waves, element) * a[rank] + b[rank], self.bits), np.int64)
        if element and not self.sliding:
            found = found + self._pattern[element].astype(np.int64)
        return found

    def row(self, rank: int, wave: int) -> Array:
        """What `rank` contributes to one wave: shape (elements,), or the first PERIOD of a large item, int64."""
        if self.sliding:
            return np.roll(self.ring_of(rank), -self.shift(wave)).astype(np.int64)[: self.elements]
        return self.column(rank, np.array([wave])) + self.offsets.astype(np.int64)

    def head_sums(self, ranks: list[int], waves: Array) -> Array:
        """The sum over ranks of element 0, wrapping, in one multiply-add a wave: 64-bit values only. Shape (n,), int64."""
        a, b = self.secrets
        sums: Array = self.keys(waves) * a[ranks].sum(dtype=np.uint64) + b[ranks].sum(dtype=np.uint64)
        return sums.view(np.int64)

    @cached_property
    def offsets(self) -> Array:
        """y(e), small items only: shape (elements,), in the item's type."""
        return self._typed(self._pattern, self.dtype)

    def ring_of(self, rank: int) -> Array:
        """What `rank` has at each place of the ring: shape (PERIOD,), in the item's type. Large items only."""
        a, b = self.secrets
        return self._typed(_modulo(self._ring * a[rank] + b[rank], self.bits), self.dtype)


class Source:
    """What one back-end offers, ready to be made quickly: one multiply-add for a batch of small items, no copy at all for
    a large one (a read-only view)."""

    def __init__(self, values: Values, rank: int, item_shape: tuple[int, ...]) -> None:
        self.values = values
        self.shape = item_shape
        a, b = values.secrets
        self._a, self._b = int(a[rank]), int(b[rank])
        self._ring = np.zeros(0)
        self._ramp = np.zeros(0, dtype=np.uint64)
        if values.sliding:
            ring = values.ring_of(rank)
            self._ring = np.resize(ring, PERIOD + values.elements)
            self._ring.setflags(write=False)
        else:
            self._lengthen(1)

    def _lengthen(self, count: int) -> None:
        """Have the ramp reach `count` waves. It is as long as batches get, since a simulated tree has many back-ends."""
        self._ramp = np.arange(min(_RAMP, 1 << (count - 1).bit_length()), dtype=np.uint64) * np.uint64(self._a)

    def make(self, first: int, count: int) -> Array:
        """Up to `count` waves from `first` on, at least one: shape (n, *item)."""
        if self.values.sliding:
            start = self.values.shift(first)
            return self._ring[start : start + self.values.elements].reshape(1, *self.shape)
        count = min(count, _RAMP)
        if count > len(self._ramp):
            self._lengthen(count)
        start = (self._a * (first + 1) + self._b) & _WORD
        heads = self.values._typed(_modulo(self._ramp[:count] + np.uint64(start), self.values.bits), self.values.dtype)
        if self.values.elements == 1:
            return heads.reshape(count, *self.shape)
        return (heads[:, None] + self.values.offsets).reshape(count, *self.shape)


class Picked:
    """Some elements of what one back-end offers, as one-dimensional items: it costs what these cost, however large an item
    is."""

    def __init__(self, values: Values, rank: int, elements: Array) -> None:
        self._values = values
        self._elements = elements
        self._ring = values.ring_of(rank) if values.sliding else np.zeros(0)
        self._small = None if values.sliding else Source(values, rank, (values.elements,))

    def make(self, first: int, count: int) -> Array:
        """As Source.make: shape (n, number of elements)."""
        if self._small is not None:
            return self._small.make(first, count).reshape(-1, self._values.elements)[:, self._elements]
        places = self._values.shifts(np.arange(first, first + count))[:, None] + self._elements
        picked: Array = self._ring[places % PERIOD]
        return picked
