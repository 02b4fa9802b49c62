"""Idempotent filters over numbers: min, max, top-k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np

from harness.api.filters import Algebra, Array, Codec, Items, RankSet

_MAX_K = 1_000_000
#: Keys are stored as float64, which holds every integer up to here.
_MAX_KEY = float(1 << 53)


@dataclass(frozen=True)
class _Extreme:
    algebra: ClassVar[Algebra] = Algebra(idempotent=True, invertible=False, keyed=False, ordered=False)
    codec: ClassVar[Codec] = Codec.ARRAY
    elementwise: ClassVar[bool] = True

    _better: ClassVar[np.ufunc]

    def lift(self, items: Items, rank: int) -> Items:
        """The items as they are, shape (waves, *item)."""
        return items

    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        """The element-wise extreme, shape (waves, *item), in the dtype of the parts. NaN wins over every number."""
        best: Any = parts[0]
        if len(parts) > 1:
            better = self._better
            best = better(best, parts[1])
            for part in parts[2:]:
                better(best, part, out=best)
        return cast("Items", best)

    def fold(self, items: Items) -> Items:
        """The extreme over all waves, shape (1, *item)."""
        return cast("Array", self._better.reduce(items, axis=0, keepdims=True))

    def lower(self, items: Items, contributors: RankSet) -> Items:
        """The extremes themselves."""
        return items


@dataclass(frozen=True)
class Minimum(_Extreme):
    """Element-wise minimum in the dtype of the items; NaN wins, so that a bad sample is seen."""

    _better: ClassVar[np.ufunc] = np.minimum


@dataclass(frozen=True)
class Maximum(_Extreme):
    """Element-wise maximum in the dtype of the items; NaN wins, so that a bad sample is seen."""

    _better: ClassVar[np.ufunc] = np.maximum


@dataclass(frozen=True)
class TopK(_Extreme):
    """The `k` largest values of each wave, each with its key; a key counts once, with its largest value.

    pairs = false: each number that a back-end offers is under the key of its rank (so its largest one stands for it).
    pairs = true: items have shape (n, 2), rows (value, key), keys whole numbers in 0..2^53.

    Aggregates and results have item shape (k, 2), float64, rows (value, key) by descending value, then ascending key; free
    places are (-inf, -1). NaN and -inf are no values: they are left out. Merging keeps, for each key, the largest value; what
    does not make the top of a part cannot make the top of the whole, since the keys above it only rise.
    """

    elementwise: ClassVar[bool] = False

    k: int = 10
    pairs: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.k <= _MAX_K:
            raise ValueError(f"top-k: k = {self.k} must be between 1 and {_MAX_K}")

    def lift(self, items: Items, rank: int) -> Items:
        """The best of each wave, shape (waves, k, 2). Raises ValueError for pairs of another shape or with impossible keys,
        TypeError for what is no real number."""
        values = np.asarray(items)
        if values.dtype.kind not in "biuf":
            raise TypeError(f"top-k: values of dtype {values.dtype} are no real numbers")
        if not self.pairs:
            waves = len(values)
            best = np.fmax.reduce(values.reshape(waves, -1), axis=1) if values.size else np.full(waves, -np.inf)
            rows = np.empty((waves, 1, 2))
            rows[:, 0, 0], rows[:, 0, 1] = best, rank
            return _best(rows, self.k)
        if values.ndim != 3 or values.shape[2] != 2:
            raise ValueError(f"top-k: with pairs = true, items have shape (n, 2), rows (value, key), not {values.shape[1:]}")
        rows = values.astype(np.float64)
        keys = rows[:, :, 1]
        if not np.all((keys >= 0) & (keys <= _MAX_KEY) & (keys == np.floor(keys))):
            raise ValueError("top-k: keys must be whole numbers in 0..2^53")
        return _best(rows, self.k)

    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        """The k best of all parts, shape (waves, k, 2)."""
        return parts[0] if len(parts) == 1 else _best(np.concatenate(parts, axis=1), self.k)

    def fold(self, items: Items) -> Items:
        """The k best over all waves, shape (1, k, 2)."""
        return _best(np.asarray(items).reshape(1, -1, 2), self.k)

    def example(self, rng: np.random.Generator, waves: int, rank: int) -> Items:
        """Input for the conformance check."""
        values = rng.integers(-9, 10, (waves, 4)).astype(np.float64)
        return np.stack([values, rng.integers(0, 12, (waves, 4))], axis=2) if self.pairs else values


def _best(rows: Array, k: int) -> Array:
    """The k best of rows (value, key), shape (waves, n, 2) to (waves, k, 2), for each wave alone."""
    value, key = rows[:, :, 0], rows[:, :, 1]
    absent = ~(value > -np.inf)
    value, key = np.where(absent, -np.inf, value), np.where(absent, -1.0, key)
    order = np.lexsort((-value, key), axis=-1)
    value, key = np.take_along_axis(value, order, 1), np.take_along_axis(key, order, 1)
    again = key[:, 1:] == key[:, :-1]
    value[:, 1:][again], key[:, 1:][again] = -np.inf, -1.0
    order = np.lexsort((key, -value), axis=-1)[:, :k]
    out = np.empty((len(rows), k, 2))
    out[:, :, 0], out[:, :, 1] = -np.inf, -1.0
    n = order.shape[1]
    out[:, :n, 0], out[:, :n, 1] = np.take_along_axis(value, order, 1), np.take_along_axis(key, order, 1)
    return out
