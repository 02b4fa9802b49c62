"""What each downstream filter does to a message, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness_plugins.filters import Clamp, Quantize


def f8(*values: float) -> bytes:
    return np.array(values, dtype="<f8").tobytes()


def i8(*values: int) -> bytes:
    return np.array(values, dtype="<i8").tobytes()


def test_clamp_limits_floats() -> None:
    assert Clamp(-1, 2).apply(f8(-5, 0.5, 7, math.inf)) == f8(-1, 0.5, 2, 2)
    assert Clamp().apply(f8(-math.inf, 3)) == f8(-math.inf, 3)
    assert np.isnan(np.frombuffer(Clamp(-1, 2).apply(f8(math.nan)))).all()
    assert Clamp(0, 1).apply(b"") == b""


def test_clamp_limits_whole_numbers_without_rounding_them() -> None:
    big = (1 << 62) + 1
    assert Clamp(-1.5, 1e18, "<i8").apply(i8(-2, -1, 5, big)) == i8(-1, -1, 5, 10**18)
    assert Clamp(low=0, dtype="<i8").apply(i8(-(1 << 63), big)) == i8(0, big)
    assert Clamp(dtype="<i8").apply(i8(-(1 << 63), (1 << 63) - 1)) == i8(-(1 << 63), (1 << 63) - 1)


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(2, 1, "<f8"), (math.nan, 1, "<f8"), (math.nan, 1, "<i8"), (0.2, 0.8, "<i8"), (1e30, 1e31, "<i8"), (0, 1, ">f8")],
)
def test_impossible_clamps(low: float, high: float, dtype: str) -> None:
    with pytest.raises(ValueError, match="clamp: "):
        Clamp(low, high, dtype)


@pytest.mark.parametrize("filter_", [Clamp(), Quantize()])
def test_messages_of_no_whole_number_of_values(filter_: Any) -> None:
    with pytest.raises(ValueError, match="9 bytes is no whole number of <f8"):
        filter_.apply(b"123456789")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(width=32), max_size=5))
def test_quantize_to_23_bits_is_float32(values: list[float]) -> None:
    wide = [v * 1.0000001 for v in values if abs(v) < 1e38 and (v == 0 or abs(v) > 1e-37)]
    with np.errstate(over="ignore"):
        expected = np.array(wide, dtype="<f4").astype("<f8")
    assert Quantize(23).apply(f8(*wide)) == expected.tobytes()


def test_quantize_rounds_to_even_and_carries() -> None:
    assert Quantize(1).apply(f8(1.25, 1.75, 1.2, 1.3, -1.75, 0.0)) == f8(1, 2, 1, 1.5, -2, 0)
    assert Quantize(52).apply(f8(math.pi)) == f8(math.pi)
    kept = np.frombuffer(Quantize(2).apply(f8(math.inf, -math.inf, math.nan)))
    assert kept[:2].tolist() == [math.inf, -math.inf]
    assert math.isnan(kept[2])


@pytest.mark.parametrize(("bits", "dtype"), [(0, "<f8"), (53, "<f8"), (24, "<f4"), (7, "<i8")])
def test_impossible_quantize(bits: int, dtype: str) -> None:
    with pytest.raises(ValueError, match="quantize: "):
        Quantize(bits, dtype)
