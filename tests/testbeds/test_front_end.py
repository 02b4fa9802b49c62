"""A front-end that the suite stops: for good, that ends the trial; for a while, it does not."""

from __future__ import annotations

from typing import Any

import pytest
from testbed_helpers import Hosts, kinds, poll_until

from harness.api.fault import Action, Injection, Trigger
from harness.core.tree import Tree
from harness.testbeds.front_end import FrontEndWatch

LEASE_S = 0.4


def stop(fault: int = 0, at_s: float = 0.1, undo_after_s: float | None = None, node: int = 0) -> Injection:
    return Injection(fault, "test", node, Action.STOP, Trigger(at_s=at_s), undo_after_s)


def test_a_front_end_that_is_stopped_for_good_ends_the_trial(hosts: Hosts, tree: Tree) -> None:
    with hosts.deploy(tree, injections=(stop(),), lease_s=LEASE_S) as deployment:
        deployment.start()
        events = poll_until(deployment, lambda e: "finished" in kinds(e), "the end")
        end, proof = (next(e for e in events if e["kind"] == k) for k in ("finished", "fault-confirmed"))
        assert end["ok"] is False
        assert end["reason"] == "the suite's own fault stopped the front-end, and nothing is going to continue it"
        assert end["t_s"] - proof["t_s"] > LEASE_S  # its neighbours had the time to notice
        last = deployment.stop(5.0)
    assert "finished" not in kinds(last)
    assert {e["node"] for e in [*events, *last] if e["kind"] == "node-exited"} == set(range(7))


def test_one_that_is_continued_after_more_than_a_lease_does_not(hosts: Hosts, tree: Tree) -> None:
    with hosts.deploy(tree, injections=(stop(undo_after_s=4 * LEASE_S),), lease_s=LEASE_S) as deployment:
        deployment.start()
        events = poll_until(deployment, lambda e: "fault-undone" in kinds(e), "the undo")
        assert "finished" not in kinds(events)
        assert [e["status"] for e in deployment.stop(5.0) if e["kind"] == "node-exited" and e["node"] == 0] == [0]


class Story:
    """Events of a trial, one a second, and what a watch makes of them."""

    def __init__(self, *injections: Injection) -> None:
        self.now_s = 100.0
        self.watch = FrontEndWatch(injections, clock=lambda: self.now_s)

    def tell(self, kind: str, fault: int = 0, node: int = 0, **fields: Any) -> None:
        self.now_s += 1.0
        self.watch.take({"t_s": self.now_s - 100.0, "kind": kind, "node": node, "fault": fault, **fields})

    def stopped(self, fault: int = 0, undo_after_s: float | None = None, node: int = 0) -> None:
        self.tell("fault", fault, node, action="stop", undo_after_s=undo_after_s)
        self.tell("fault-confirmed", fault, node, effect="stopped (state T)")

    @property
    def hopeless_s(self) -> float | None:
        return self.watch.hopeless_s(2.0)


def test_it_takes_the_patience_and_tells_the_time() -> None:
    story = Story(stop())
    assert story.hopeless_s is None
    story.stopped()
    assert story.hopeless_s is None
    story.now_s += 2.5
    assert story.hopeless_s == pytest.approx(4.5)


def test_a_stop_that_nobody_confirmed_is_none() -> None:
    story = Story(stop())
    story.tell("fault", action="stop", undo_after_s=None)
    story.now_s += 60.0
    assert story.hopeless_s is None


def test_a_standby_is_watched_as_a_front_end_is() -> None:
    story = Story()
    story.watch = FrontEndWatch([stop(node=1)], node=1, clock=lambda: story.now_s)
    story.stopped()
    assert not story.watch.stopped
    story.stopped(node=1)
    story.now_s += 2.5
    assert story.hopeless_s is not None


def test_other_nodes_may_be_stopped() -> None:
    story = Story(stop(node=3))
    story.stopped(node=3)
    story.now_s += 60.0
    assert story.hopeless_s is None


@pytest.mark.parametrize("undone", ["fault-undone", "node-exited"])
def test_there_is_hope_until_the_undo_and_after_it(undone: str) -> None:
    story = Story(stop(undo_after_s=50.0))
    assert not story.watch.stopped
    story.stopped(undo_after_s=50.0)
    story.now_s += 60.0  # the undo may come late
    assert story.hopeless_s is None and story.watch.stopped
    story.tell(undone)
    assert not story.watch.stopped
    story.now_s += 60.0
    assert story.hopeless_s is None


def test_a_later_fault_may_continue_it() -> None:
    """The undo of any stop continues the process, whoever stopped it first."""
    story = Story(stop(), stop(1, at_s=20.0, undo_after_s=5.0))
    story.stopped()
    story.now_s += 15.0
    assert story.hopeless_s is None
    story.stopped(1, undo_after_s=5.0)
    story.now_s += 4.0
    assert story.hopeless_s is None
    story.tell("fault-undone")
    story.tell("fault-undone", 1)
    story.now_s += 60.0
    assert story.hopeless_s is None
    story.stopped()
    story.now_s += 3.0
    assert story.hopeless_s is not None


def test_an_act_that_continues_it_is_waited_for() -> None:
    story = Story(stop(), Injection(1, "test", 0, Action.CONT, Trigger(at_s=20.0)))
    story.stopped()
    story.now_s += 15.0
    assert story.hopeless_s is None
    story.tell("fault", 1, action="cont", undo_after_s=None)
    story.tell("fault-confirmed", 1, effect="continued")
    story.now_s += 60.0
    assert story.hopeless_s is None
