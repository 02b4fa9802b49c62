"""The few statistics that the results need. Pure functions over numpy arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def weighted_percentiles(values: Floats, weights: NDArray[np.int64], quantiles: Sequence[float]) -> list[float]:
    """Quantiles of `values` where values[i] counts weights[i] times: what numpy.percentile (linear) says of the expanded data.

    values and weights have shape (n,), weights are counts >= 0, quantiles are in [0, 1]. NaN for each where nothing counts.
    Takes O(n log n) time and O(n) space, however large the counts are.
    """
    if values.shape != weights.shape:
        raise ValueError(f"{values.shape} values have {weights.shape} weights")
    order = np.argsort(values, kind="stable")
    ranked, ends = values[order], np.cumsum(weights[order], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    if total == 0:
        return [math.nan for _ in quantiles]
    found = []
    for q in quantiles:
        place = (total - 1) * q
        below = min(int(place), total - 1)
        low, high = (float(ranked[np.searchsorted(ends, i, side="right")]) for i in (below, min(below + 1, total - 1)))
        found.append(low + (high - low) * (place - below))
    return found


def nearest_rank(values: Sequence[float], quantile: float) -> float:
    """The ceil(quantile * n)-th smallest of n values, so that p99 of fewer than 100 trials is the worst of them. Raises
    ValueError where there are none."""
    if not values:
        raise ValueError("a percentile of no values")
    ranked = sorted(values)
    return ranked[max(0, math.ceil(round(quantile * len(ranked), 9)) - 1)]


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle. NaN where there are none."""
    return float(np.median(np.asarray(values, dtype=np.float64))) if values else math.nan


def rounded(value: float | None, digits: int = 3) -> float | None:
    """A figure as it goes into documents: rounded; None for what is unknown or infinite."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), digits)
