"""The faults of processes: what they plan."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api.fault import Action, Injection, Moment, Trigger
from harness.core.tree import Tree
from harness_faults.process import Crash, Hang

TREE = Tree.from_parents([None, 0, 0, 1, 1, 2, 2])


def test_a_crash_kills_each_target_at_once():
    trigger = Trigger(at_s=1.5)
    assert Crash().plan(3, (1, 2), trigger, TREE, random.Random(0)) == [
        Injection(3, "crash", 1, Action.KILL, trigger),
        Injection(3, "crash", 2, Action.KILL, trigger),
    ]


def test_a_hang_is_undone_if_the_suite_says_so():
    trigger = Trigger(at_wave=100, moment=Moment.MID_FLUSH)
    for after_s in (None, 2.5):
        acts = Hang(resume_after_s=after_s).plan(0, (4,), trigger, TREE, random.Random(0))
        assert acts == [Injection(0, "hang", 4, Action.STOP, trigger, after_s)]


def test_a_crash_that_is_followed_by_a_restart_needs_a_testbed_that_can():
    assert Crash().needs == {"kill"} and Hang().needs == {"hang"}
    crash = Crash(restart_after_s=2.0)
    assert crash.needs == {"kill", "restart"}
    trigger = Trigger(at_s=1.0)
    assert crash.plan(0, (3,), trigger, TREE, random.Random(0)) == [Injection(0, "crash", 3, Action.KILL, trigger, 2.0)]


@given(
    seed=st.integers(0, 2**32),
    targets=st.lists(st.integers(0, 6), min_size=1, unique=True),
    at_s=st.floats(0, 100),
    spread_s=st.floats(0, 50),
    kind=st.sampled_from([Crash, Hang]),
)
def test_strikes_are_spread_from_the_seed_alone(seed, targets, at_s, spread_s, kind):
    fault = kind(spread_s=spread_s)
    plans = [fault.plan(0, tuple(targets), Trigger(at_s=at_s), TREE, random.Random(seed)) for _ in range(2)]
    assert plans[0] == plans[1]
    times = [act.trigger.at_s for act in plans[0]]
    assert [act.node for act in plans[0]] == targets
    assert min(times) == at_s and max(times) <= at_s + spread_s


def test_only_strikes_at_a_time_can_be_spread():
    with pytest.raises(ValueError, match="spread_s needs at_s"):
        Crash(spread_s=1.0).plan(0, (1, 2), Trigger(at_wave=5), TREE, random.Random(0))
    assert len(Crash(spread_s=1.0).plan(0, (1,), Trigger(at_wave=5), TREE, random.Random(0))) == 1


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        (Crash, {"spread_s": -1.0}),
        (Crash, {"restart_after_s": 0.0}),
        (Hang, {"spread_s": -0.1}),
        (Hang, {"resume_after_s": 0.0}),
    ],
)
def test_impossible_values_are_refused(kind, keys):
    with pytest.raises(ValueError, match="must"):
        kind(**keys)
