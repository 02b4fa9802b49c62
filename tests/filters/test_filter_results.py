"""What each filter does at its edges: dtypes, NaN, shapes, parameters, canonical bytes, waves that are far apart."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api.filters import RankSet
from harness_plugins.filters import (
    FILTERS,
    Average,
    Classes,
    Concat,
    Count,
    Histogram,
    Maximum,
    Minimum,
    Null,
    Sum,
    TopK,
    Union,
)
from harness_plugins.filters.sets import class_counts, class_list, class_ranks, class_totals

R = [RankSet.of([r]) for r in range(8)]
EVERYONE = RankSet([(0, 8)])


def arrays(*rows: Any, dtype: Any = None) -> list[Any]:
    return [np.array(row, dtype=dtype) for row in rows]


# -- numbers ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["|i1", "|u1", "<i2", "<i4", "<i8", "<u8", "<f2", "<f4", "<f8"])
@pytest.mark.parametrize("kind", ["sum", "min", "max", "concat"])
def test_the_dtype_stays(kind: str, dtype: str) -> None:
    filter_ = FILTERS[kind]()
    parts = [filter_.lift(np.array([[1, 2], [3, 4]], dtype=dtype), r) for r in range(4)]
    assert np.asarray(filter_.combine(parts, R[:4])).dtype == np.dtype(dtype)


def test_integers_wrap_silently() -> None:
    with np.errstate(all="raise"):
        total = Sum().combine(arrays([127, 1], [1, 1], [1, 1], dtype=np.int8), R[:3])
    assert np.asarray(total).tolist() == [-127, 3]


def test_a_sum_is_a_fresh_array() -> None:
    parts = arrays([1, 2], [3, 4], [5, 6])
    total = Sum().combine(parts, R[:3])
    assert not any(np.shares_memory(np.asarray(total), p) for p in parts)
    assert [p.tolist() for p in parts] == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize("kind", sorted(FILTERS))
def test_one_part_is_not_copied(kind: str) -> None:
    part = [b"x"] if FILTERS[kind]().codec != "array" else np.ones((1, 10, 2))
    assert FILTERS[kind]().combine([part], R[:1]) is part


def test_booleans_are_counted() -> None:
    lifted = Sum().lift(np.array([True, False]), 0)
    assert np.asarray(lifted).dtype == np.int64
    assert np.asarray(Sum().combine([lifted] * 3, R[:3])).tolist() == [3, 0]


def test_an_average_weighs_back_ends_not_subtrees() -> None:
    a = Average()
    parts = [a.lift(np.array([v]), r) for r, v in enumerate((0, 0, 0, 8))]
    left = a.combine(parts[:3], R[:3])
    total = a.combine([left, parts[3]], [RankSet([(0, 3)]), R[3]])
    assert np.asarray(a.lower(total, RankSet([(0, 4)]))).tolist() == [2.0]
    assert math.isnan(np.asarray(a.lower(np.zeros(1), RankSet()))[0])


def test_a_count_is_the_number_of_contributors_whatever_they_offer() -> None:
    parts = [Count().lift(np.zeros((3, 4, 5)), r) for r in range(4)]
    total = np.asarray(Count().combine(parts, R[:4]))
    assert total.dtype == np.int64
    assert total.tolist() == [4, 4, 4]


def test_nan_wins_extremes() -> None:
    parts = arrays([1.0, math.nan], [math.nan, 2.0], [0.0, 3.0])
    for filter_ in (Minimum(), Maximum()):
        assert np.isnan(np.asarray(filter_.combine(parts, R[:3]))).all()


@pytest.mark.parametrize("filter_", [Concat(), Null()])
def test_fold_is_refused_with_a_hint(filter_: Any) -> None:
    with pytest.raises(TypeError, match='use recovery = "replay"'):
        filter_.fold(np.zeros(3))


def test_folds_add_up_in_the_type_of_the_items() -> None:
    items = np.array([[1, 2], [3, 4], [2**31 - 1, 0]], "<i4")
    assert Sum().fold(items).tolist() == [[4 - 2**31 + 1 - 2, 6]] and np.asarray(Sum().fold(items)).dtype == np.dtype("<i4")
    assert Count().fold(np.ones(7, np.int64)).tolist() == [7]
    assert Histogram(bins=2).fold(np.array([[1, 0, 2, 0], [0, 3, 0, 0]])).tolist() == [[1, 3, 2, 0]]
    mean = Average()
    assert np.asarray(mean.lower_fold(mean.fold(np.array([[8.0], [4.0]])), 6)).tolist() == [[2.0]]
    assert np.isnan(np.asarray(mean.lower_fold(np.zeros((1, 1)), 0))).all()


# -- histogram --------------------------------------------------------------------------------------------------------------


def test_histogram_bins_are_half_open_and_lose_nothing() -> None:
    h = Histogram(0, 3, 3)
    samples = np.array([[-1, -math.inf, 0, 0.5, 1, 2, 2.999, 3, math.inf, math.nan]])
    assert np.asarray(h.lift(samples, 0)).tolist() == [[2, 2, 1, 2, 3]]
    assert h.edges.tolist() == [0, 1, 2, 3]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(), min_size=3, max_size=3), min_size=1, max_size=4), st.integers(1, 9))
def test_histogram_counts_every_sample_once(rows: list[list[float]], bins: int) -> None:
    counts = np.asarray(Histogram(-2, 5, bins).lift(np.array(rows), 0))
    assert counts.shape == (len(rows), bins + 2)
    assert counts.dtype == np.int64
    assert counts.sum(axis=1).tolist() == [3] * len(rows)


def test_histogram_takes_scalars_and_empty_items() -> None:
    assert np.asarray(Histogram(0, 1, 1).lift(np.array([0.5, 7]), 0)).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert np.asarray(Histogram(0, 1, 1).lift(np.empty((2, 0)), 0)).tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("low", "high", "bins"), [(1, 1, 3), (2, 1, 3), (math.nan, 1, 3), (0, math.inf, 3), (0, 1, 0), (0, 1, 10**9)]
)
def test_impossible_histograms(low: float, high: float, bins: int) -> None:
    with pytest.raises(ValueError, match="histogram: "):
        Histogram(low, high, bins)


@pytest.mark.parametrize("filter_", [Histogram(), TopK()])
def test_no_real_numbers(filter_: Any) -> None:
    with pytest.raises(TypeError, match="complex128"):
        filter_.lift(np.zeros(2, dtype=complex), 0)


# -- top-k ------------------------------------------------------------------------------------------------------------------


def test_top_k_ties_padding_and_absent_values() -> None:
    t = TopK(3, pairs=True)
    rows = np.array([[[1, 9], [5, 2], [5, 1], [math.nan, 3], [-math.inf, 4]], [[1, 7], [2, 7], [3, 7], [0, 7], [1, 7]]])
    assert np.asarray(t.lift(rows, 0)).tolist() == [[[5, 1], [5, 2], [1, 9]], [[3, 7], [-math.inf, -1], [-math.inf, -1]]]


def test_top_k_by_rank() -> None:
    t = TopK(2)
    parts = [t.lift(np.array([v, -v]), r) for r, v in enumerate((3, 9, 5))]
    assert np.asarray(t.combine(parts, R[:3])).tolist() == [[[9, 1], [5, 2]], [[-3, 0], [-5, 2]]]
    assert np.asarray(t.fold(t.combine(parts, R[:3]))).tolist() == [[[9, 1], [5, 2]]]
    assert np.asarray(t.lift(np.array([math.nan]), 4)).tolist() == [[[-math.inf, -1]] * 2]


@pytest.mark.parametrize("rows", [[[[1, -1]]], [[[1, 0.5]]], [[[1, math.nan]]], [[[1, 2.0**60]]], [[1, 2]], [[[1, 2, 3]]]])
def test_top_k_refuses_impossible_pairs(rows: Any) -> None:
    with pytest.raises(ValueError, match="top-k: "):
        TopK(2, pairs=True).lift(np.array(rows), 0)


def test_top_k_needs_a_k() -> None:
    with pytest.raises(ValueError, match="k = 0"):
        TopK(0)


# -- concat -----------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(7)), st.lists(st.integers(0, 3), min_size=7, max_size=7), st.integers(1, 3))
def test_concat_rows_are_in_rank_order_for_any_partition(order: list[int], owner: list[int], waves: int) -> None:
    c = Concat()
    parts, sets = [], []
    for o in sorted(set(owner), key=order.index):
        ranks = [r for r in range(7) if owner[r] == o]
        parts.append(np.stack([np.full((waves, 2), r) for r in ranks], axis=1))
        sets.append(RankSet.of(ranks))
    merged = np.asarray(c.combine(parts, sets))
    assert merged.shape == (waves, 7, 2)
    assert (merged == np.arange(7)[None, :, None]).all()


def test_concat_after_an_adoption() -> None:
    mine, adopted = np.array([[[0], [1], [7]]]), np.array([[[2], [3], [4], [5], [6]]])
    merged = Concat().combine([mine, adopted], [RankSet.of([0, 1, 7]), RankSet([(2, 7)])])
    assert np.asarray(merged)[0, :, 0].tolist() == list(range(8))


def test_concat_refuses_a_rank_twice_and_missing_rows() -> None:
    row = np.zeros((1, 1, 2))
    with pytest.raises(ValueError, match="a rank is in two of the parts"):
        Concat().combine([row, row], [R[1], R[1]])
    with pytest.raises(ValueError, match="2 rows of 3 ranks"):
        Concat().combine([row, row], [R[1], RankSet([(2, 4)])])


# -- sets and classes -------------------------------------------------------------------------------------------------------

SCALARS: Any = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"), max_size=3)
    | st.binary(max_size=3)
)
MEMBERS = st.lists(st.recursive(SCALARS, lambda m: st.lists(m, max_size=2), max_leaves=4), max_size=6)


def packed(value: Any) -> bytes:
    data = msgpack.packb(value)
    assert isinstance(data, bytes)
    return data


@settings(max_examples=150, deadline=None)
@given(st.lists(MEMBERS, min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_equal_unions_have_equal_bytes_wherever_they_were_merged(offers: list[list[Any]], random: Any) -> None:
    u = Union()
    parts = [u.lift([o], r) for r, o in enumerate(offers)]
    flat = u.combine(parts, R[: len(parts)])
    random.shuffle(parts)
    travelled = [msgpack.unpackb(packed(p), strict_map_key=False) for p in parts]
    nested: Any = travelled[0]
    for part in travelled[1:]:
        nested = u.combine([part, nested, part], R[:3])
    assert packed(nested) == packed(flat)
    # By definition: -0.0 is 0.0, and what differs on the wire is distinct.
    plain = {packed(normalised(m)) for o in offers for m in o}
    assert {packed(m) for m in flat[0]} == plain
    assert len(flat[0]) == len(plain)


def normalised(member: Any) -> Any:
    return [normalised(m) for m in member] if isinstance(member, list) else member + 0.0 if type(member) is float else member


def test_union_orders_by_type_then_value_and_keeps_types_apart() -> None:
    wave = ["b", 10, b"a", True, None, 9, 1.0, 1, ["x", 2], ("x", 1), "aa", np.int32(9), "b"]
    assert Union().lift([wave], 0) == [[None, True, 1, 9, 10, 1.0, "aa", "b", b"a", ["x", 1], ["x", 2]]]
    assert [type(m) for m in Union().lift([{1, "a"}], 0)[0]] == [int, str]


@pytest.mark.parametrize("member", [math.nan, 2**64, -(2**63) - 1, [2**70]])
def test_union_refuses_members_that_have_no_bytes_or_no_equal(member: Any) -> None:
    with pytest.raises(ValueError, match=r"NaN|64 bits"):
        Union().lift([[member]], 0)


@pytest.mark.parametrize("wave", ["text", b"bytes", 3, {"a": 1}, [{"a": 1}], [object()], [1j]])
def test_union_refuses_what_is_no_set(wave: Any) -> None:
    with pytest.raises(TypeError):
        Union().lift([wave], 0)


def test_classes_keep_the_larger_count_of_each_rank() -> None:
    c = Classes()
    first = c.lift([{"slow": 2, ("io", 3): 1}], 4)
    assert first == [[["slow", [[4, 2]]], [["io", 3], [[4, 1]]]]]
    later = c.lift([{"slow": 5}], 4)
    other = c.lift([{"slow": 1, "lost": 7, "none": 0}], 2)
    merged = c.combine([first, other, later], [R[4], R[2], R[4]])
    assert merged == [[["lost", [[2, 7]]], ["slow", [[2, 1], [4, 5]]], [["io", 3], [[4, 1]]]]]
    assert class_counts(merged[0]) == {"lost": {2: 7}, "slow": {2: 1, 4: 5}, ("io", 3): {4: 1}}
    assert class_totals(merged[0]) == {"lost": 7, "slow": 6, ("io", 3): 1}
    assert class_ranks(merged[0])["slow"] == RankSet.of([2, 4])
    assert class_list(class_counts(merged[0])) == merged[0]


COUNTS = st.dictionaries(st.sampled_from(["a", "b", 1, True, ("a", 1), b"a"]), st.integers(0, 4), max_size=5)


@settings(max_examples=100, deadline=None)
@given(st.lists(COUNTS, min_size=4, max_size=4), st.permutations(range(4)))
def test_equal_classes_have_equal_bytes(offers: list[dict[Any, int]], order: list[int]) -> None:
    c = Classes()
    parts = [c.lift([o], r) for r, o in enumerate(offers)]
    flat = c.combine(parts, R[:4])
    nested: Any = parts[order[0]]
    for i in order[1:]:
        nested = c.combine([nested, msgpack.unpackb(packed(parts[i]), strict_map_key=False), parts[order[0]]], R[:3])
    assert packed(nested) == packed(flat)
    for key, pairs in flat[0]:
        wanted = {r: n for r, o in enumerate(offers) for k, n in o.items() if n and type(k) is kind(key) and k == tupled(key)}
        assert dict(pairs) == wanted
    assert len(flat[0]) == len({(type(k), k) for o in offers for k, n in o.items() if n})


def kind(key: Any) -> type:
    return tuple if isinstance(key, list) else type(key)


def tupled(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key


@pytest.mark.parametrize("count", [-1, 1.5, True, "3", 2**63])
def test_classes_refuse_impossible_counts(count: Any) -> None:
    with pytest.raises(ValueError, match="a count is a whole number"):
        Classes().lift([{"a": count}], 0)


def test_classes_refuse_what_is_no_mapping() -> None:
    with pytest.raises(TypeError, match="mapping of class keys"):
        Classes().lift([["a"]], 0)


# -- null -------------------------------------------------------------------------------------------------------------------


def test_null_refuses_to_merge() -> None:
    with pytest.raises(TypeError, match='sync = "do-not-wait"'):
        Null().combine([[b"a"], [b"b"]], R[:2])
    with pytest.raises(ValueError, match="carries"):
        Null("json")


@pytest.mark.parametrize("kind", sorted(FILTERS))
def test_filters_are_frozen_values(kind: str) -> None:
    filter_ = FILTERS[kind]()
    assert filter_ == FILTERS[kind]()
    assert hash(filter_) == hash(FILTERS[kind]())
    assert dataclasses.is_dataclass(filter_)
