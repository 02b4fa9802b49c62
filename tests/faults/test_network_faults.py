"""The faults of machines, clocks and the network: what they plan."""

from __future__ import annotations

import math
import random

import pytest

from harness.api.fault import Action, Injection, Trigger
from harness.core.tree import Tree
from harness_faults.network import Cut, HostLoss, Late, Partition, Refuse, Skew, Slow

TREE = Tree.from_parents([None, 0, 0, 1, 1, 2, 2])
AT = Trigger(at_s=1.0)


def planned(fault, targets=(1, 4)):
    return fault.plan(2, targets, AT, TREE, random.Random(0))


@pytest.mark.parametrize(
    ("fault", "needs", "acts"),
    [
        (HostLoss(), "vanish", [Injection(2, "host-loss", n, Action.VANISH, AT) for n in (1, 4)]),
        (Cut(), "cut", [Injection(2, "cut", n, Action.CUT, AT, direction="up") for n in (1, 4)]),
        (Cut(links="all"), "cut", [Injection(2, "cut", n, Action.CUT, AT) for n in (1, 4)]),
        (Late(by_s=0.5), "late", [Injection(2, "late", n, Action.LATE, AT, amount=0.5) for n in (1, 4)]),
        (Slow(turn_s=0.1), "slow", [Injection(2, "slow", n, Action.SLOW, AT, amount=0.1) for n in (1, 4)]),
        (Slow(turn_s=0.1, for_s=2.0), "slow", [Injection(2, "slow", n, Action.SLOW, AT, 2.0, amount=0.1) for n in (1, 4)]),
        (Skew(rate=2.0, for_s=2.0), "skew", [Injection(2, "skew", n, Action.SKEW, AT, 2.0, amount=2.0) for n in (1, 4)]),
        (Refuse(for_s=2.0), "refuse", [Injection(2, "refuse", n, Action.REFUSE, AT, 2.0) for n in (1, 4)]),
    ],
)
def test_one_act_for_each_target(fault, needs, acts):
    assert planned(fault) == acts and fault.needs == {needs}


def test_a_partition_is_one_act_with_two_sides():
    (act,) = planned(Partition(heal_after_s=3.0, direction="out"))
    assert act == Injection(2, "partition", 1, Action.PART, AT, 3.0, (4,), (0, 2, 3, 5, 6), direction="out")
    assert Partition().needs == {"partition"}


def test_a_partition_from_the_parents_has_an_act_for_each_target():
    acts = planned(Partition(side="parent"), (0, 1, 4))
    assert acts == [Injection(2, "partition", n, Action.PART, AT, None, (), (parent,)) for n, parent in ((1, 0), (4, 1))]


def test_strikes_on_machines_are_spread_like_crashes():
    acts = planned(HostLoss(spread_s=5.0), (1, 2, 3))
    times = [act.trigger.at_s for act in acts]
    assert min(times) == 1.0 and max(times) <= 6.0 and len(set(times)) == 3


@pytest.mark.parametrize("fault", [Cut(), Late(by_s=1.0), Partition(side="parent"), Skew(rate=2.0)])
def test_the_front_end_alone_is_no_target_for_what_it_does_not_have(fault):
    with pytest.raises(ValueError, match=r"front-end.*choose other targets"):
        planned(fault, (0,))
    assert [act.node for act in planned(fault, (0, 1))] == [1]


def test_nobody_can_be_cut_off_from_nothing():
    with pytest.raises(ValueError, match="the targets are the whole tree"):
        planned(Partition(), tuple(range(7)))


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        (HostLoss, {"spread_s": -1.0}),
        (Partition, {"heal_after_s": 0.0}),
        (Late, {"by_s": 0.0}),
        (Late, {"by_s": math.inf}),
        (Slow, {"turn_s": -1.0}),
        (Slow, {"turn_s": 1.0, "for_s": 0.0}),
        (Skew, {"rate": 0.4}),
        (Skew, {"rate": math.nan}),
        (Skew, {"rate": 1.5, "for_s": -1.0}),
        (Refuse, {"for_s": 0.0}),
    ],
)
def test_impossible_values_are_refused(kind, keys):
    with pytest.raises(ValueError, match="must"):
        kind(**keys)
