"""Filters whose partial aggregates are added: sum, count, average, histogram.

Sums are distributive and averages algebraic (Gray et al., "Data Cube: A Relational Aggregation Operator Generalizing
Group-By, Cross-Tab, and Sub-Totals", 1997, section 5): both combine partial aggregates of a fixed size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from harness.api.filters import Algebra, Array, Codec, Items, RankSet

_MAX_BINS = 1_000_000


@dataclass(frozen=True)
class _Additive:
    """Partial aggregates of one shape and dtype, merged by element-wise addition."""

    algebra: ClassVar[Algebra] = Algebra(idempotent=False, invertible=True, keyed=False, ordered=False, decomposable=True)
    codec: ClassVar[Codec] = Codec.ARRAY
    elementwise: ClassVar[bool] = True

    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        """The element-wise sum, shape (waves, *item), in the dtype of the parts. Integers wrap."""
        total = parts[0]
        if len(parts) > 1:
            total = np.add(total, parts[1])
            for part in parts[2:]:
                np.add(total, part, total)
        return total

    def remove(self, total: Items, part: Items, contributors: RankSet, taken: RankSet) -> Items:
        """What `total`, the aggregate of `contributors`, would be without `part`, the aggregate of `taken`. Exact for
        integers, up to rounding for floats."""
        return np.subtract(total, part)

    def fold(self, items: Items) -> Items:
        """The sum over all waves, shape (1, *item), in the dtype of the items. Integers wrap."""
        summands = np.asarray(items)
        total: Array = np.add.reduce(summands, axis=0, dtype=summands.dtype, keepdims=True)
        return total

    def lower(self, items: Items, contributors: RankSet) -> Items:
        """The aggregate itself."""
        return items


@dataclass(frozen=True)
class Sum(_Additive):
    """Element-wise sum in the dtype of the items (booleans are counted as int64). Integers wrap silently."""

    def lift(self, items: Items, rank: int) -> Items:
        """The items as they are, shape (waves, *item)."""
        if isinstance(items, np.ndarray) and items.dtype.kind == "b":
            return items.astype(np.int64)
        return items


@dataclass(frozen=True)
class Average(_Additive):
    """Element-wise arithmetic mean over the contributors, in float64. On the way up it is a sum; only the root divides, so
    that the shape of the tree has no weight."""

    def lift(self, items: Items, rank: int) -> Items:
        """The items in float64, shape (waves, *item)."""
        return np.asarray(items, dtype=np.float64)

    def lower(self, items: Items, contributors: RankSet) -> Items:
        """The sums divided by the number of contributors, shape (waves, *item); NaN where nobody contributed."""
        return np.divide(items, len(contributors) or math.nan)

    def lower_fold(self, items: Items, contributions: int) -> Items:
        """The mean over that many contributions, shape (1, *item); NaN where there are none."""
        return np.divide(items, contributions or math.nan)


@dataclass(frozen=True)
class Count(_Additive):
    """How many back-ends contributed to each wave, whatever they offered: int64, item shape ()."""

    elementwise: ClassVar[bool] = False  # lift does away with the item, so that it has no elements to cut it into

    def lift(self, items: Items, rank: int) -> Items:
        """One 1 a wave, shape (waves,)."""
        return np.ones(len(items), dtype=np.int64)


@dataclass(frozen=True)
class Histogram(_Additive):
    """Counts of samples in `bins` equal bins over [low, high), with a bin for all below and one for all above.

    The result has item shape (bins + 2,), int64: index 0 counts samples < low, index i in 1..bins counts those in
    [edges[i - 1], edges[i]), and index bins + 1 counts samples >= high and NaN. Every sample is counted exactly once.
    """

    elementwise: ClassVar[bool] = False  # lift turns samples into bins

    low: float = 0.0
    high: float = 1.0
    bins: int = 10

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"histogram: low = {self.low} and high = {self.high} must be finite, low the smaller one")
        if not 1 <= self.bins <= _MAX_BINS:
            raise ValueError(f"histogram: bins = {self.bins} must be between 1 and {_MAX_BINS}")

    @property
    def edges(self) -> Array:
        """The bins + 1 edges, ascending, float64, read-only."""
        return _edges(self.low, self.high, self.bins)

    def lift(self, items: Items, rank: int) -> Items:
        """Count the samples of shape (waves, *item) into shape (waves, bins + 2). Raises TypeError for complex numbers and
        whatever else is no real number."""
        samples = np.asarray(items)
        if samples.dtype.kind not in "biuf":
            raise TypeError(f"histogram: samples of dtype {samples.dtype} are no real numbers")
        waves, width = len(samples), self.bins + 2
        flat = samples.reshape(waves, -1) if samples.size else np.empty((waves, 0))
        index = np.searchsorted(self.edges, flat, side="right")
        index += np.arange(waves)[:, None] * width
        counts = np.bincount(index.ravel(), minlength=waves * width)
        return counts.astype(np.int64, copy=False).reshape(waves, width)


@lru_cache(maxsize=64)
def _edges(low: float, high: float, bins: int) -> Array:
    edges = np.linspace(low, high, bins + 1)
    edges.flags.writeable = False
    return edges
