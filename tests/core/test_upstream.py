"""Merging: what a node makes of what its children send."""

from __future__ import annotations

import random
from typing import Any

import loads
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import FILTERS, spec

from harness.core.frames import FrameError
from harness.core.pieces import Outbox, Piece
from harness.core.ranks import RankSet
from harness.core.upstream import UpStream


def stream(filter_: str = "sum", members: Any = (0, 1, 2, 3), children: str = "ab", **fields: Any) -> UpStream:
    """A stream with children of these names, all of which begin at unit 0."""
    what = spec(filter_, members, **fields)
    s = UpStream(1, what, FILTERS[filter_])
    for c in children:
        s.add_child(c, 0, 0)
    return s


def piece(first: int, count: int, *ranks: int) -> Piece:
    """Units that hold the contributions of these ranks."""
    values = [sum(loads.number(r, w) for r in ranks) for w in range(first, first + count)]
    return Piece(first, count, np.array(values, "<i8"), RankSet.of(ranks))


def put(s: UpStream, child: str, first: int, count: int, *ranks: int) -> Piece | None:
    return s.accept(s.inboxes[child], piece(first, count, *ranks))


def step(s: UpStream, limit: int = 1 << 40) -> Piece | None:
    """The next merge, in the way that a node does it."""
    quick = s.merge_heads(limit)
    return quick if quick is not None else s.merge(limit)


def told(merged: Piece | None) -> tuple[int, int, str] | None:
    """(first, units, contributors), after a look at the values."""
    if merged is None:
        return None
    want = piece(merged.first, merged.units, *merged.ranks).items
    assert np.array_equal(np.asarray(merged.items), want)
    return merged.first, merged.units, str(merged.ranks)


def test_units_are_merged_when_every_child_has_them() -> None:
    s = stream()
    put(s, "a", 0, 3, 0, 1)
    assert told(step(s)) is None
    put(s, "b", 0, 2, 2, 3)
    assert told(step(s)) == (0, 2, "0-3")
    assert told(step(s)) is None
    put(s, "b", 2, 5, 2, 3)
    assert told(step(s)) == (2, 1, "0-3")
    put(s, "a", 3, 9, 0, 1)
    assert told(step(s)) == (3, 4, "0-3")


def test_batches_are_cut_where_contributors_change() -> None:
    s = stream()
    put(s, "a", 0, 4, 0, 1)
    put(s, "a", 4, 4, 0)  # rank 1 is dead from unit 4 on
    put(s, "b", 0, 2, 2, 3)
    put(s, "b", 2, 6, 2, 3)
    got = [told(step(s)) for _ in range(4)]
    assert [g for g in got if g] == [(0, 4, "0-3"), (4, 4, "0,2-3")]


def test_the_limit_and_the_batch_bound_a_merge() -> None:
    s = stream(children="a", members=[0], window_waves=20)
    put(s, "a", 0, 19, 0)
    assert s.units.batch == 10
    assert told(step(s, limit=4)) == (0, 4, "0")
    assert told(s.merge(1 << 40)) == (4, 10, "0")
    assert told(step(s, limit=14)) is None


def test_overlapping_sets_are_never_merged() -> None:
    s = stream()
    put(s, "a", 0, 1, 0, 1)
    put(s, "b", 0, 1, 1, 2)
    assert step(s) is None
    assert s.peek_ranks() is None
    assert (s.next, s.overlaps) == (0, 1)
    s.drop_child("a")  # the rewind that resolves it
    s.rewind()
    put(s, "b", 0, 1, 1, 2)
    assert told(step(s)) == (0, 1, "1-2")


@pytest.mark.parametrize("ranks", [(), (4,), (0, 9)])
def test_contributors_outside_the_stream_are_refused(ranks: tuple[int, ...]) -> None:
    s = stream()
    with pytest.raises(FrameError, match="no members"):
        put(s, "a", 0, 1, *ranks)


@pytest.mark.parametrize("items", [np.zeros(2, "<i4"), np.zeros((2, 3), "<i8"), np.zeros((2, 1), "<i8"), [1, 2]])
def test_units_of_another_kind_are_refused(items: Any) -> None:
    s = stream()
    with pytest.raises(FrameError, match="where the stream has"):
        s.accept(s.inboxes["a"], Piece(0, 2, items, RankSet.of([0])))


def test_rows_of_an_ordered_filter_are_as_many_as_contributors() -> None:
    s = stream("concat", item_shape=(5,))
    s.vet(0, np.zeros((1, 2, 5), "<i8"), RankSet.of([0, 1]))
    with pytest.raises(FrameError, match=r"where the stream has int64 of shape \(2, 5\)"):
        s.vet(0, np.zeros((1, 3, 5), "<i8"), RankSet.of([0, 1]))


def test_the_last_chunk_of_a_wave_is_shorter_and_no_other() -> None:
    s = stream(item_shape=(7,), chunk_bytes=24)  # 3 + 3 + 1 elements
    assert s.units.per_wave == 3
    s.vet(5, np.zeros((1, 1), "<i8"), RankSet.of([0]))
    for first, width in ((5, 3), (4, 1), (3, 2)):
        with pytest.raises(FrameError, match="where the stream has"):
            s.vet(first, np.zeros((1, width), "<i8"), RankSet.of([0]))


# -- replay: gaps, duplicates, acknowledgements ------------------------------------------------------------------------------


def test_what_comes_again_is_dropped_by_number() -> None:
    s = stream(children="a", members=[0])
    put(s, "a", 0, 4, 0)
    assert put(s, "a", 0, 3, 0) is None
    put(s, "a", 2, 5, 0)
    assert s.duplicates == 3 + 2
    assert told(s.merge(1 << 40)) == (0, 7, "0")


def test_under_replay_nothing_is_taken_beyond_a_gap() -> None:
    s = stream(children="a", members=[0])
    assert put(s, "a", 2, 2, 0) is None
    assert s.inboxes["a"].expect == 0
    put(s, "a", 0, 3, 0)
    assert told(step(s)) == (0, 3, "0")


def test_an_acknowledgement_cuts_queues_where_it_lies_ahead() -> None:
    s = stream()
    put(s, "a", 0, 2, 0, 1)
    put(s, "a", 2, 4, 0, 1)
    assert s.acknowledge(3)  # delivered by way of a node that was here before
    assert not s.acknowledge(3)
    assert (s.next, s.inboxes["b"].expect) == (3, 3)
    assert put(s, "b", 0, 3, 2, 3) is None
    put(s, "b", 3, 3, 2, 3)
    assert told(step(s)) == (3, 3, "0-3")


def test_a_rewind_begins_again_at_the_acknowledged_unit() -> None:
    s = stream(window_waves=10)
    put(s, "a", 0, 9, 0, 1)
    put(s, "b", 0, 9, 2, 3)
    merged = s.merge(5)
    assert merged is not None
    s.outbox.keep(0, 5, ())
    s.acknowledge(2)
    s.rewind()
    assert (s.next, s.epoch, s.granted, s.has_input()) == (2, 1, 12, False)
    assert not s.outbox.kept
    put(s, "a", 2, 3, 0, 1)
    put(s, "b", 2, 3, 2, 3)
    assert told(step(s)) == (2, 3, "0-3")


def test_the_outbox_keeps_whole_frames_and_sends_again_from_where_it_is_asked() -> None:
    box = Outbox()
    for first in (0, 3, 6):
        box.keep(first, 3, (b"%d" % first,))
    box.trim(4)
    assert [e[0] for e in box.kept] == [3, 6]
    assert box.rewind(5) == 6
    assert [e[0] for e in box.resend] == [3, 6]
    assert box.rewind(6) == 3
    box.trim(9)
    assert not box.kept
    assert not box.resend


# -- compose and resume: holes, latecomers, time-outs ------------------------------------------------------------------------


def test_a_hole_at_all_children_is_skipped_and_at_one_leaves_it_out() -> None:
    s = stream(recovery="resume")
    put(s, "a", 3, 4, 0, 1)
    put(s, "b", 5, 2, 2, 3)
    assert step(s) is None
    assert s.skip_hole() == 3
    assert told(step(s)) == (3, 2, "0-1")
    assert told(step(s)) == (5, 2, "0-3")
    assert s.skip_hole() == 0


def test_nothing_is_skipped_under_replay_or_while_anybody_may_have_it() -> None:
    s = stream(recovery="resume")
    put(s, "a", 3, 4, 0, 1)
    assert s.skip_hole() == 0  # b may send unit 0 yet
    replay = stream()
    replay.inboxes["a"].expect = replay.inboxes["b"].expect = 5
    assert replay.skip_hole() == 0


def test_latecomers_are_given_back_and_what_is_not_late_is_kept() -> None:
    s = stream("max", recovery="compose")
    put(s, "a", 0, 4, 0)
    merged = s.merge(2, some=True)
    assert merged is not None
    assert (merged.units, str(merged.ranks)) == (2, "0")
    late = put(s, "b", 0, 5, 2)
    assert late is not None
    assert (late.first, late.units) == (0, 2)
    assert s.late == 2
    rest = step(s)
    assert rest is not None
    assert (rest.first, rest.units, str(rest.ranks)) == (2, 2, "0,2")


def test_state_folds_every_wave_and_each_chunk_has_its_own() -> None:
    s = stream("max", item_shape=(4,), chunk_bytes=16, recovery="compose")
    for unit, values in enumerate([[1, 9], [5, 5], [7, 2], [4, 6]]):
        s.absorb(unit, np.array([values], "<i8"), RankSet.of([unit % 4]))
    assert {c: (v.tolist(), str(r)) for c, (v, r) in s.state.items()} == {0: ([[7, 9]], "0,2"), 1: ([[5, 6]], "1,3")}


def test_who_asks_before_a_merge_may_refuse_it() -> None:
    s = stream(children="a", members=[0])
    put(s, "a", 0, 2, 0)
    assert s.merge_heads(9, lambda ranks: False) is None
    assert s.next == 0
    assert told(s.merge_heads(9, lambda ranks: str(ranks) == "0")) == (0, 2, "0")


@settings(max_examples=150)
@given(st.integers(0, 10**6), st.sampled_from(["replay", "resume"]))
def test_any_batches_give_the_same_units(seed: int, recovery: str) -> None:
    """However children cut what they send, and whatever they leave out: each unit comes once, in order, and holds exactly those
    who sent it."""
    rng = random.Random(seed)
    names = "abc"[: rng.randint(1, 3)]
    who = {name: [2 * k, 2 * k + 1] for k, name in enumerate(names)}
    s = stream(members=range(6), children=names, recovery=recovery, window_waves=rng.choice([4, 30]))
    total, at = 40, dict.fromkeys(names, 0)
    sent: dict[int, set[int]] = {w: set() for w in range(total)}
    got: dict[int, set[int]] = {}
    while any(at[n] < total for n in names):
        for name in names:
            if rng.random() < 0.5 and at[name] < total:
                if recovery == "resume" and rng.random() < 0.2:  # a hole, as after an adoption
                    at[name] = s.inboxes[name].expect = min(total, at[name] + rng.randint(1, 3))
                count = min(rng.randint(1, 6), total - at[name])
                if count:
                    ranks = rng.sample(who[name], rng.randint(1, 2))
                    put(s, name, at[name], count, *ranks)
                    for w in range(at[name], at[name] + count):
                        sent[w] |= set(ranks)
                    at[name] += count
        while True:
            s.skip_hole()
            merged = step(s)
            if merged is None:
                break
            told(merged)
            for w in range(merged.first, merged.first + merged.units):
                assert w not in got
                got[w] = set(merged.ranks)
    assert {w: r for w, r in sent.items() if r} == got
    assert list(got) == sorted(got)
