"""Who is lost: what nodes say when they end, and how it is compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.cli.losses import Losses
from harness.core.agreement import chained, compare
from harness.core.node import Node
from harness.core.ranks import RankSet
from harness.registry import load
from harness.run.plan import load_plan
from harness.run.record import load_trial

#: Nodes 1 and 2 below the front-end; back-ends 3 and 4 below 1, 5 and 6 below 2. Node 4 dies, and some time later node 2.
SUITE = """
[suite]
name = "x"
[testbed]
kind = "sim"
[node]
lease_s = 1.0
orphan_grace_s = 1.0
start_timeout_s = 3.0
[[case]]
name = "c"
workload = { kind = "reduce-stream", waves = 100, rate = 20.0 }
topology = { kind = "kary", fanout = 2, depth = 2 }
filter = "sum"
[[case.fault]]
kind = "crash"
target = "node:4"
at_s = 0.5
[[case.fault]]
kind = "crash"
target = "node:2"
at_s = 1.5
"""
#: Node 5 is cut off before the second death, and finds nobody.
APART = """
[[case.fault]]
kind = "partition"
target = "node:5"
at_s = 1.0
"""


def ran(text: str = SUITE) -> tuple[Any, list[dict[str, Any]], Any]:
    plan = load_plan(Path("x.toml"), load(), text=text)
    trial = plan.trials[0]
    deployment: Any = plan.testbed.value.deploy(trial.deployment(b""))
    events: list[dict[str, Any]] = []
    with deployment:
        deployment.start()
        while not any(e["kind"] == "finished" for e in events):
            events += deployment.poll(0.0)
        events += deployment.stop(30.0)
    return trial, events, deployment


def judged(tmp_path: Path, text: str = SUITE) -> dict[str, Any]:
    trial, events, deployment = ran(text)
    deployment.collect(tmp_path)
    plan = trial.to_json()
    record, missing = load_trial(tmp_path, plan, events)
    check = trial.workload.check(record, trial.context, "exact")
    found = {"outcome": "measured", "reason": "", "check": {"passed": check.passed, "summary": check.summary, "counts": {}}}
    return load().judge(record, {**plan, **found, "record_notes": list(missing)})


def test_all_say_the_same() -> None:
    _, events, _ = ran()
    told = compare(events)
    assert told is not None
    assert list(told.lost) == [4, 2] and told.lost[4] < told.lost[2]
    assert (set(told.agreed), list(told.cut_off), told.disagreeing) == ({0, 1, 3, 5, 6}, [], {})
    assert told.text.startswith("node 4 since 0.7") and told.text.endswith("agreed by 5 of 5 nodes")


def test_who_was_fenced_does_not_disagree() -> None:
    _, events, _ = ran(SUITE + APART)
    whole = compare(events)
    assert whole is not None
    assert set(whole.lost) == {4, 2, 5} and 5 not in (*whole.agreed, *whole.cut_off) and whole.disagreeing == {}
    (said,) = [e for e in events if e["kind"] == "view" and e["node"] == 5]
    assert said["orders"] == 1 and said["dead"] == [[4, 5]]


def views(*said: tuple[int, int, list[list[int]]], heard: int = 4) -> list[dict[str, Any]]:
    """The events of a tree in which the front-end has ordered the deaths of node 4 and then of 5 and 6. said: a node, how many
    orders it heard in all, and the deaths that it was told."""
    dead = [(4, 1), (5, 2), (6, 2)]
    events: list[dict[str, Any]] = [{"kind": "dead", "t_s": 1.0, "node": 0, "member": m, "order": n} for m, n in dead]
    for node, all_orders, orders in ((0, heard, [[4], [5, 6]]), *said):
        digest = ""
        for order in orders:
            digest = chained(digest, order)
        names = [list(pair) for pair in RankSet.of(n for order in orders for n in order).ranges]
        view = {"heard": all_orders, "orders": len(orders), "digest": digest, "dead": names}
        events.append({"kind": "view", "t_s": 2.0, "node": node, **view})
    return events


@pytest.mark.parametrize(
    ("heard", "orders", "where"),
    [
        (4, [[4], [5, 6]], "agreed"),
        (2, [[4]], "cut off"),
        (0, [], "cut off"),
        (4, [[4]], "it was told everything, but of 1 orders of 2"),
        (4, [[5, 6], [4]], "its 2 orders are not the first 2 of 2"),
        (3, [[5, 6]], "its 1 orders are not the first 1 of 2"),
        (4, [[4], [5]], "its 2 orders are not the first 2 of 2"),
        (4, [[4], [5, 6], [7]], "its 3 orders are not the first 3 of 2"),
    ],
)
def test_views_are_compared(heard: int, orders: list[list[int]], where: str) -> None:
    told = compare(views((1, heard, orders)))
    assert told is not None
    found = "agreed" if 1 in told.agreed else "cut off" if 1 in told.cut_off else told.disagreeing[1]
    assert found == where
    assert told.told == 2


def test_whom_a_node_holds_for_dead_is_compared_too() -> None:
    events = views((1, 4, [[4], [5, 6]]))
    events[-1]["dead"] = [[4, 6]]
    told = compare(events)
    assert told is not None and told.disagreeing == {1: "after 2 orders it names 4-5, and not 4-6"}


def test_who_is_missed_at_the_end_and_not_yet_declared_dead_is_told() -> None:
    missed = [{"kind": "suspect", "t_s": t_s, "node": 0, "member": m} for m, t_s in ((4, 0.5), (7, 0.6), (8, 0.7))]
    told = compare([*missed, {"kind": "rejoined", "t_s": 0.9, "node": 0, "member": 7}, *views((1, 4, [[4], [5, 6]]))])
    assert told is not None and told.suspects == {8: 0.7} and told.somebody
    assert told.text.endswith("agreed by 2 of 2 nodes; still suspect: node 8 since 0.700 s")


def test_without_the_front_end_nobody_can_say() -> None:
    assert compare([e for e in views() if e["kind"] != "view"]) is None


def test_the_judge_names_who_disagrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = judged(tmp_path / "sound")
    assert sound["verdict"] == "passed"
    figures = sound["figures"]["agreement"]
    assert (figures["agreed"], figures["nodes"], [m["node"] for m in figures["lost"]]) == (5, 5, [4, 2])
    bury = Node.bury
    if type(bury).__name__ != "function":
        pytest.skip("not applicable: the compiled core cannot be changed at run time")

    def deaf(self: Node, nodes: set[int], ranks: RankSet) -> None:
        if self.id != 3 or 2 not in nodes:
            bury(self, nodes, ranks)

    monkeypatch.setattr(Node, "bury", deaf)
    wrong = judged(tmp_path / "wrong")
    assert wrong["verdict"] == "failed"
    assert "node 3 disagrees on who is lost: it was told everything, but of 1 orders of 2" in wrong["reasons"]


def test_the_live_view_says_who_is_lost() -> None:
    losses, (_, events, _) = Losses(), ran()
    assert losses.so_far == losses.line == ""
    seen = []
    for event in events:
        losses.take(event)
        seen.append(losses.so_far)
    assert any(text.startswith("suspect: node 4 since 0.5") for text in seen)
    assert any(text.startswith("node 4 since 0.8 s; suspect: node 2 since 1.5 s") for text in seen)
    assert losses.so_far.endswith("agreed by 5 of 5 nodes")
    assert losses.line.startswith("node 4 since ") and losses.line.endswith("; agreed by 5 of 5 nodes")


def test_what_a_front_end_decided_alone_and_never_gave_is_no_order() -> None:
    """Its standby was gone, and too few nodes were left to vote for it."""
    view = {"heard": 1, "orders": 1, "digest": chained("", [4]), "dead": [[4, 5]]}
    other = {"heard": 1, "orders": 0, "digest": "", "dead": []}
    events: list[dict[str, Any]] = [
        {"kind": "gave-up", "t_s": 9.0, "node": 0, "status": 5},
        {"kind": "view", "t_s": 9.0, "node": 0, **view},
        {"kind": "finished", "t_s": 9.0, "node": 0, "ok": False},
        {"kind": "view", "t_s": 9.1, "node": 1, **other},
    ]
    found = compare(events)
    assert found is not None and dict(found.disagreeing) == {}
    found = compare(events[1:])
    assert found is not None and list(found.disagreeing) == [0]
