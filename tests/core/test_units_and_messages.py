"""How waves are numbered, and how messages are kept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import FILTERS, spec

from harness.core.downstream import WINDOW, DownStream, Message
from harness.core.ranks import RankSet
from harness.core.units import Units


def units(filter_: str = "sum", **fields: Any) -> Units:
    what = spec(filter_, **fields)
    return Units.of(what, FILTERS[filter_])


def test_a_small_item_is_one_unit_a_wave() -> None:
    u = units(window_waves=100, window_bytes=1 << 20, item_shape=(10,))
    assert (u.per_wave, u.unit_bytes, u.link_window, u.window, u.batch) == (1, 80, 100, 100, 50)


def test_a_large_item_is_cut_and_two_waves_fit_the_window() -> None:
    u = units(item_shape=(2 << 20,), chunk_bytes=1 << 20, window_bytes=4 << 20)  # 16 MB
    assert (u.per_wave, u.chunk, u.unit_bytes) == (16, 1 << 17, 1 << 20)
    assert (u.link_window, u.window, u.batch) == (4, 32, 1)


def test_windows_are_in_bytes_as_well() -> None:
    u = units(item_shape=(1000,), window_waves=8192, window_bytes=80_000, chunk_bytes=20_000)
    assert (u.link_window, u.batch) == (10, 2)
    least = units(item_shape=(1000,), window_bytes=1, chunk_bytes=20_000)
    assert (least.link_window, least.window) == (2, 2)


def test_an_ordered_filter_is_counted_with_the_rows_of_all() -> None:
    u = units("concat", item_shape=(100,), chunk_bytes=800, window_bytes=8000)
    assert u.unit_bytes <= 800  # 4 rows of 25 elements
    assert (u.per_wave, u.chunk, u.link_window) == (4, 25, 10)


def test_what_lift_makes_is_what_is_counted() -> None:
    assert units("count", item_shape=(100,)).unit_bytes == 8
    average = units("average", item_shape=(3,), dtype="<i4")
    assert (average.unit_bytes, str(average.dtype), average.shape) == (24, "float64", (3,))


@pytest.mark.parametrize("recovery", ["compose", "resume"])
def test_only_replay_waits_for_acknowledgements(recovery: str) -> None:
    for filter_ in ("max", "union"):
        assert units(filter_, recovery=recovery).window > 1 << 60
        assert units(filter_, recovery="replay").window <= 8192


def test_opaque_items_and_packets_that_travel_alone_are_never_cut() -> None:
    assert units("union", item_shape=(1 << 20,)).per_wave == 1
    assert units("sum", item_shape=(1 << 16,), chunk_bytes=8, sync="do-not-wait", recovery="resume").per_wave == 1


@given(
    st.lists(st.integers(1, 40), max_size=3).map(tuple),
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.integers(1, 300),
    st.sampled_from(["sum", "concat", "count", "average"]),
)
def test_whatever_the_item_its_chunks_are_all_of_it_and_bounded(
    shape: tuple[int, ...], chunk: int, window: int, waves: int, filter_: str
) -> None:
    u = units(filter_, item_shape=shape, chunk_bytes=chunk, window_bytes=window, window_waves=waves)
    assert (u.per_wave - 1) * u.chunk < u.elements <= u.per_wave * u.chunk
    one = 8 * (4 if filter_ == "concat" else 1)
    assert u.unit_bytes <= max(chunk, one) or filter_ == "count"
    assert u.link_window == 2 or u.link_window * u.unit_bytes <= window
    assert 2 <= u.link_window <= max(2, waves) * u.per_wave
    assert u.window >= max(u.link_window, u.per_wave)  # or no wave could ever be whole
    assert 1 <= u.batch <= u.link_window
    assert u.batch == 1 or u.batch * u.unit_bytes <= chunk


# -- messages --------------------------------------------------------------------------------------------------------------


def message(seq: int, size: int = 10) -> Message:
    return Message(seq, b"x" * size, RankSet(), b"")


def test_messages_come_once_and_without_a_gap() -> None:
    d = DownStream(1000)
    assert d.push(message(1))
    assert not d.push(message(1))
    with pytest.raises(ValueError, match="message 3 came after 1"):
        d.push(message(3))
    assert d.push(message(2))
    assert d.last == 2


def test_messages_are_kept_until_everybody_has_them() -> None:
    d = DownStream(1000)
    for n in range(1, 6):
        d.push(message(n))
    assert [m.seq for m in d.after(3)] == [4, 5]
    d.trim(3)
    assert ([m.seq for m in d.kept], d.bytes_kept) == ([4, 5], 20)
    assert [m.seq for m in d.after(3)] == [4, 5]
    with pytest.raises(ValueError, match="kept from 4 on only"):
        d.after(2)
    d.trim(2)
    assert d.trimmed == 3


def test_who_was_away_goes_on_behind_what_is_gone() -> None:
    d = DownStream(1000)
    d.push(message(1))
    d.trim(7)
    assert (d.last, d.trimmed, len(d.kept)) == (7, 7, 0)
    assert d.push(message(8))


def test_the_window_is_full_by_bytes_or_by_number_but_one_message_always_fits() -> None:
    d = DownStream(25)
    assert not d.full
    for n in range(1, 4):
        assert not d.full
        d.push(message(n))
    assert d.full
    d.trim(2)
    assert not d.full
    small = DownStream(1 << 30)
    for n in range(1, WINDOW + 1):
        assert not small.full
        small.push(message(n, 0))
    assert small.full
    tight = DownStream(1)
    assert not tight.full
    tight.push(message(1, 99))
    assert tight.full
