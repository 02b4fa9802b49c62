"""Weighted percentiles are those of the expanded data; the others are what their names say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness_results.statistics import median, nearest_rank, rounded, weighted_percentiles

QUANTILES = [0.0, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0]
rows = st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(0, 50)), min_size=1, max_size=40)


@given(rows=rows)
def test_weighted_percentiles_are_those_of_numpy_on_the_expanded_data(rows: list[tuple[float, int]]) -> None:
    values, weights = np.array([v for v, _ in rows]), np.array([w for _, w in rows], dtype=np.int64)
    found = weighted_percentiles(values, weights, QUANTILES)
    expanded = np.repeat(values, weights)
    if not len(expanded):
        assert all(math.isnan(f) for f in found)
        return
    assert found == pytest.approx(np.quantile(expanded, QUANTILES).tolist(), rel=1e-9, abs=1e-9)


def test_counts_may_be_larger_than_any_memory() -> None:
    values, weights = np.array([3.0, 1.0, 2.0]), np.array([2**40, 2**40, 2], dtype=np.int64)
    assert weighted_percentiles(values, weights, [0.0, 0.25, 0.5, 0.75, 1.0]) == [1.0, 1.0, 2.0, 3.0, 3.0]


def test_values_and_weights_must_fit() -> None:
    with pytest.raises(ValueError, match="weights"):
        weighted_percentiles(np.zeros(3), np.ones(2, dtype=np.int64), [0.5])


@pytest.mark.parametrize(
    ("quantile", "wanted"), [(0.0, 1.0), (0.5, 50.0), (0.9, 90.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0)]
)
def test_nearest_rank_of_a_hundred(quantile: float, wanted: float) -> None:
    assert nearest_rank([float(v) for v in range(100, 0, -1)], quantile) == wanted


def test_p99_of_few_values_is_the_worst_of_them() -> None:
    assert nearest_rank([3.0, 9.0, 1.0], 0.99) == 9.0
    with pytest.raises(ValueError, match="no values"):
        nearest_rank([], 0.5)


def test_median_and_rounded() -> None:
    assert median([4.0, 1.0, 2.0]) == 2.0
    assert median([1.0, math.inf]) == math.inf
    assert math.isnan(median([]))
    assert [rounded(1.23456), rounded(math.nan), rounded(math.inf), rounded(None)] == [1.235, None, None, None]
