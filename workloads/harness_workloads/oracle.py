"""What a reduction must give: recomputed from the seed, the contributors and the wave, without any tree.

sum, average, min, max and count are recomputed by arithmetic, millions of waves a second. Every other filter is its own
oracle: all contributions are lifted and combined in one step, in this process, and the results' fingerprints are compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from harness.core.filters import Filter, Items
from harness.core.ranks import RankSet
from harness_workloads.values import Array, Picked, Source, Values

#: Filters whose result has the shape of an item (count: of nothing), one known number an element.
ARITHMETIC = ("sum", "average", "min", "max", "count")
LINEAR = ("sum", "average")
_BLOCK = 1 << 13
#: So many numbers of a state are in memory at once, whatever an item has.
_NUMBERS = 1 << 22
_MIX = 0x9E3779B97F4A7C15


class Oracle(Protocol):
    """Recomputes the observed number of each wave."""

    def expected(self, ranks: list[int], waves: Array) -> Array:
        """What is observed where each of `ranks` contributed once to each of `waves`: shape (n,), int64 or float64."""
        ...


def observe(filter_: str, values: Items) -> Array:
    """One number a wave, int64 or float64: element 0 of the result where it is known by arithmetic, else a fingerprint."""
    if filter_ not in ARITHMETIC or not isinstance(values, np.ndarray):
        return fingerprint(values)
    # A copy, since a view would keep whole waves in memory until their samples are written.
    heads = values if values.ndim == 1 else values.reshape(len(values), -1)[:, 0].copy()
    if heads.dtype.itemsize == 8:
        return heads
    return heads.astype(np.float64 if heads.dtype.kind == "f" else np.int64)


def fingerprint(values: Items) -> Array:
    """One int64 a wave that depends on every byte of the wave's result and on its place."""
    if isinstance(values, np.ndarray):
        flat = np.ascontiguousarray(values).reshape(len(values), -1)
        words = flat.view(np.uint8).astype(np.uint64) if flat.dtype.itemsize < 8 else flat.view(np.uint64)
        return (words @ _weights(words.shape[1]) + np.uint64(words.shape[1])).view(np.int64)
    rows = [np.frombuffer(_plain_bytes(v), dtype=np.uint8).astype(np.uint64) for v in values]
    return np.array([w @ _weights(len(w)) + np.uint64(len(w)) for w in rows], dtype=np.uint64).view(np.int64)


def _weights(n: int) -> Array:
    """Odd numbers without a simple relation (the fractional parts of multiples of the golden ratio, 64 bits)."""
    return (np.arange(1, n + 1, dtype=np.uint64) * np.uint64(_MIX)) ^ np.uint64(_MIX >> 7) | np.uint64(1)


def _plain_bytes(value: Any) -> bytes:
    return bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else json.dumps(value, default=str).encode()


class Arithmetic:
    """The oracle of sum, average, min, max and count, for any one element."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.filter = values.filter
        floats = values.dtype.kind == "f" or self.filter == "average"
        self.dtype = np.dtype(np.float64 if floats and self.filter != "count" else np.int64)

    def expected(self, ranks: list[int], waves: Array, element: int = 0) -> Array:
        """See Oracle.expected."""
        if self.filter == "count":
            return np.full(len(waves), len(ranks), dtype=np.int64)
        if self.values.bits == 64 and element == 0:
            return self.values.head_sums(ranks, waves)
        return self._reduce(self.values.column(rank, waves, element) for rank in ranks)

    def row(self, ranks: list[int], wave: int) -> Array:
        """The elements of one wave's result, shape (elements,); of a large item the first PERIOD, after which they repeat."""
        return self._reduce(self.values.row(rank, wave) for rank in ranks)

    def _reduce(self, parts: Iterable[Array]) -> Array:
        merge = {"min": np.minimum, "max": np.maximum}.get(self.filter, np.add)
        rest = iter(parts)
        total, n = next(rest).copy(), 1
        for part in rest:
            merge(total, part, out=total)
            n += 1
        return total / n if self.filter == "average" else total.astype(self.dtype, copy=False)


class ByFilter:
    """The oracle of any filter: the filter itself, applied to all contributions at once. elements: where only these are asked
    for, as one-dimensional items; for filters to which each element is a matter of its own."""

    def __init__(self, values: Values, filter_: Filter, item_shape: tuple[int, ...], elements: Array | None = None) -> None:
        self.filter = filter_
        self._size = values.elements if elements is None else len(elements)
        self._sources: list[Source | Picked] = [
            Source(values, rank, item_shape) if elements is None else Picked(values, rank, elements)
            for rank in range(values.ranks)
        ]

    def expected(self, ranks: list[int], waves: Array) -> Array:
        """See Oracle.expected. Waves need not be consecutive."""
        if not len(waves):
            return np.zeros(0, dtype=np.int64)
        cuts = np.flatnonzero(np.diff(waves.astype(np.int64)) != 1) + 1
        parts: list[Array] = []
        for run in np.split(waves, cuts):
            start, stop = int(run[0]), int(run[-1]) + 1
            parts.extend(self._run(ranks, first, min(_BLOCK, stop - first)) for first in range(start, stop, _BLOCK))
        return np.concatenate(parts)

    def _run(self, ranks: list[int], first: int, count: int) -> Array:
        return fingerprint(self.result(dict.fromkeys(ranks, first), count))

    def result(self, firsts: dict[int, int], count: int) -> Items:
        """The result of `count` waves to which rank r contributes its waves from `firsts[r]` on."""
        order = sorted(firsts)
        lifted = [self.filter.lift(self._items(rank, firsts[rank], count), rank) for rank in order]
        merged = self.filter.combine(lifted, [RankSet.of([rank]) for rank in order])
        return self.filter.lower(merged, RankSet.of(order))

    def _items(self, rank: int, first: int, count: int) -> Array:
        made: list[Array] = []
        while count:
            made.append(self._sources[rank].make(first, count))
            first, count = first + len(made[-1]), count - len(made[-1])
        return made[0] if len(made) == 1 else np.concatenate(made)

    def state(self, ranks: list[int], waves: int, begin: int = 0) -> Items:
        """The filter state over all waves [begin, waves) of `ranks`, shape (1, *item): idempotent filters only."""
        folded: Items | None = None
        everyone = RankSet.of(ranks)
        block = max(1, min(_BLOCK, _NUMBERS // (self._size * max(1, len(ranks)))))
        for first in range(begin, waves, block):
            result = self.filter.fold(self.result(dict.fromkeys(ranks, first), min(block, waves - first)))
            folded = result if folded is None else self.filter.combine([folded, result], [everyone, everyone])
        if folded is None:
            raise ValueError("no wave has a state")
        return folded
