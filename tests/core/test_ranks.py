"""A RankSet behaves as a set of whole numbers, whatever its ranges."""

from __future__ import annotations

import pickle
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.ranks import EMPTY, RankSet, union

SETS = st.sets(st.integers(0, 30))
PAIRS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)))


@settings(max_examples=200, deadline=None)
@given(PAIRS)
def test_any_ranges_become_sorted_disjoint_and_apart(pairs: list[tuple[int, int]]) -> None:
    ranks = RankSet(pairs)
    assert set(ranks) == {r for a, b in pairs for r in range(a, b)}
    assert list(ranks) == sorted(set(ranks))
    assert len(ranks) == len(set(ranks))
    flat = [end for pair in ranks.ranges for end in pair]
    assert all(a < b for a, b in pairwise(flat))  # strictly: touching ranges were joined


@settings(max_examples=300, deadline=None)
@given(SETS, SETS)
def test_it_agrees_with_set(a: set[int], b: set[int]) -> None:
    x, y = RankSet.of(a), RankSet.of(b)
    assert set(x | y) == a | b
    assert set(x & y) == a & b
    assert set(x - y) == a - b
    assert x.isdisjoint(y) == a.isdisjoint(b)
    assert x.issubset(y) == a.issubset(b)
    assert (x == y) == (a == b)
    assert bool(x) == bool(a)
    assert all((r in x) == (r in a) for r in range(-1, 32))
    assert (x | y).ranges == union([x, y]).ranges == (y | x).ranges
    assert a != b or (hash(x) == hash(y) and x.encoded == y.encoded)
    assert (set(x), set(y)) == (a, b)


@settings(max_examples=100, deadline=None)
@given(st.lists(SETS, max_size=5))
def test_the_union_of_many(sets: list[set[int]]) -> None:
    assert set(union(map(RankSet.of, sets))) == set().union(*sets)


@settings(max_examples=100, deadline=None)
@given(SETS)
def test_it_travels(a: set[int]) -> None:
    ranks = RankSet.of(a)
    assert RankSet.decode(ranks.encoded) == ranks
    assert RankSet.decode(memoryview(bytearray(ranks.encoded))) == ranks
    assert pickle.loads(pickle.dumps(ranks)) == ranks
    assert len(ranks.encoded) == 8 * len(ranks.ranges)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=40) | st.lists(st.integers(0, 5), max_size=6).map(lambda v: b"".join(n.to_bytes(4, "little") for n in v))
)
def test_foreign_bytes_are_refused_or_canonical(data: bytes) -> None:
    try:
        ranks = RankSet.decode(data)
    except ValueError:
        return
    assert ranks.encoded == data


def test_a_subtree_is_one_range() -> None:
    assert RankSet([(4, 8)]).ranges == ((4, 8),)
    assert (RankSet([(0, 4)]) | RankSet([(4, 8)])).ranges == ((0, 8),)
    assert len(RankSet([(0, 2**32 - 1)])) == 2**32 - 1
    assert (RankSet([(0, 2**31)]) - RankSet([(5, 6)])).ranges == ((0, 5), (6, 2**31))


@pytest.mark.parametrize("pair", [(-1, 2), (0, 2**32)])
def test_ranks_that_do_not_fit(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="outside"):
        RankSet([pair])


def test_text() -> None:
    assert str(RankSet.of([0, 1, 2, 5, 7, 8])) == "0-2,5,7-8"
    assert str(EMPTY) == "none"
    assert repr(RankSet.of([3])) == "RankSet(3)"


def test_other_things_are_neither_equal_nor_members() -> None:
    assert RankSet.of([1]) != {1}
    assert "1" not in RankSet.of([1])
