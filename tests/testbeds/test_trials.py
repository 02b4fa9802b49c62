"""Trials on real agents, fork servers and node processes, with nothing inside the nodes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import testbed_parts
from testbed_helpers import Event, Hosts, kinds, poll_until, wait_for

from harness.api.fault import Action, Injection, Trigger
from harness.core.tree import Tree
from harness.testbeds import procs


def of(events: list[Event], kind: str) -> list[Event]:
    return [e for e in events if e["kind"] == kind]


def named(events: list[Event], name: str) -> list[Mapping[str, Any]]:
    return [e["fields"] for e in of(events, "note") if e["name"] == name]


def at(at_s: float, node: int, action: Action, *, fault: int = 0, undo_after_s: float | None = None) -> Injection:
    return Injection(fault, "test", node, action, Trigger(at_s=at_s), undo_after_s)


def test_a_trial_from_start_to_end(hosts: Hosts, tree: Tree, tmp_path: Path) -> None:
    samples = bytes(range(256)) * 40_000  # more than one piece
    workload = testbed_parts.Workload({0: "finish"}, front_end_samples=samples)
    with hosts.deploy(tree, workload=workload) as deployment:
        deployment.start()
        events = poll_until(deployment, lambda e: "finished" in kinds(e), "finished")
        events += deployment.stop(5.0)
        assert deployment.stop(5.0) == []
        deployment.collect(tmp_path / "samples")
    started = of(events, "node-started")
    assert sorted(e["node"] for e in started) == list(range(7))
    assert {e["node"]: e["host"] for e in started} == {n: n % 2 for n in range(7)}
    assert named(events, "addresses") == [{str(n): f"127.0.0.1:{10_000 + n}" for n in (0, 1, 2)}]
    assert {e["node"]: e["status"] for e in of(events, "node-exited")} == dict.fromkeys(range(7), 0)
    assert all(0 < e["own_bytes"] <= e["pss_bytes"] <= e["rss_bytes"] for e in of(events, "usage"))
    assert "listening" not in kinds(events)
    assert "forced" not in str(events)
    assert (tmp_path / "samples" / "samples.bin").read_bytes() == samples
    assert not any(procs.is_running(e["pid"]) for e in started)


def test_times_are_seconds_since_the_start(hosts: Hosts, tree: Tree) -> None:
    with hosts.deploy(tree) as deployment:
        deployment.start()
        events = deployment.poll(0.0)
        times = [e["t_s"] for e in events]
        assert times == sorted(times)
        assert 0 <= times[0] < times[-1] < 60


def test_the_next_trial_finds_clean_hosts(hosts: Hosts, tree: Tree, tmp_path: Path) -> None:
    with hosts.deploy(tree, workload=testbed_parts.Workload(front_end_samples=b"old")) as deployment:
        deployment.start()
    with hosts.deploy(tree, workload=testbed_parts.Workload(starts=False, acts={1: "raise"})) as deployment:
        with pytest.raises(Exception, match="node 1 does not feel like it"):
            deployment.start()
        deployment.collect(tmp_path / "samples")
    assert list((tmp_path / "samples").iterdir()) == []


def test_two_nodes_are_killed_at_one_time(hosts: Hosts, tree: Tree) -> None:
    plan = (at(0.2, 1, Action.KILL), at(0.2, 4, Action.KILL, fault=1))
    with hosts.deploy(tree, injections=plan) as deployment:
        deployment.start()
        events = poll_until(deployment, lambda e: kinds(e).count("node-exited") == 2, "two deaths")
        begun = of(events, "workload-started")[0]["t_s"]
        faults, confirmed = of(events, "fault"), of(events, "fault-confirmed")
        assert {(e["fault"], e["node"], e["action"], e["trigger"]) for e in faults} == {
            (0, 1, "kill", "0.2 s"),
            (1, 4, "kill", "0.2 s"),
        }
        assert all(e["t_s"] >= begun + 0.2 for e in faults)
        assert {(e["fault"], e["node"], e["effect"]) for e in confirmed} == {
            (n, m, "exited by signal 9") for n, m in ((0, 1), (1, 4))
        }
        assert {(e["node"], e["status"]) for e in of(events, "node-exited")} == {(1, -9), (4, -9)}
        assert "node-failed" not in kinds(events)
        assert {e["node"] for e in of(deployment.stop(5.0), "node-exited")} == {0, 2, 3, 5, 6}


def test_a_hang_is_proved_and_taken_back(hosts: Hosts, tree: Tree) -> None:
    with hosts.deploy(tree, injections=(at(0.1, 3, Action.STOP, undo_after_s=0.3),)) as deployment:
        deployment.start()
        events = poll_until(deployment, lambda e: "fault-undone" in kinds(e), "the undo")
        pids = {e["node"]: e["pid"] for e in of(events, "node-started")}
        wait_for(lambda: procs.state_of(pids[3]) == "S", "the node sleeps, but is not stopped")
        (fault,), (proof,), (undo,) = (of(events, k) for k in ("fault", "fault-confirmed", "fault-undone"))
        assert (proof["fault"], proof["node"], proof["effect"]) == (0, 3, "stopped (state T)")
        assert (undo["fault"], undo["node"]) == (0, 3)
        assert fault["t_s"] <= proof["t_s"] <= undo["t_s"]
        assert undo["t_s"] - proof["t_s"] >= 0.3
        assert of(deployment.stop(5.0), "fault-undone") == []


def test_a_node_that_hangs_for_good_is_released_at_the_end(hosts: Hosts, tree: Tree) -> None:
    with hosts.deploy(tree, injections=(at(0.0, 3, Action.STOP),)) as deployment:
        deployment.start()
        poll_until(deployment, lambda e: "fault-confirmed" in kinds(e), "the proof")
        last = deployment.stop(5.0)
    assert [e["node"] for e in of(last, "fault-undone")] == [3]
    assert [e["status"] for e in of(last, "node-exited") if e["node"] == 3] == [0]


def test_faults_that_the_victim_does_to_itself(hosts: Hosts, tree: Tree) -> None:
    with hosts.deploy(tree, workload=testbed_parts.Workload({3: "stop_itself", 2: "kill_itself"})) as deployment:
        deployment.start()
        events = poll_until(
            deployment,
            lambda e: bool(named(e, "awake")) and (2, -9) in {(x["node"], x["status"]) for x in of(e, "node-exited")},
            "both",
        )
        assert {(e["node"], e["effect"]) for e in of(events, "fault-confirmed")} == {
            (3, "stopped (state T)"),
            (2, "exited by signal 9"),
        }
        assert [e["node"] for e in of(events, "fault-undone")] == [3]
        assert "node-failed" not in kinds(events)


def test_a_fault_that_comes_too_late_is_told(hosts: Hosts, tree: Tree) -> None:
    plan = (at(0.0, 5, Action.KILL), at(1.0, 5, Action.KILL, fault=1))
    with hosts.deploy(tree, injections=plan) as deployment:
        deployment.start()
        events = poll_until(deployment, lambda e: bool(named(e, "fault-missed")), "the miss")
        assert [(f["fault"], f["node"]) for f in named(events, "fault-missed")] == [(1, 5)]
        assert [e["fault"] for e in of(events, "fault")] == [0]


def test_a_fault_without_effect_is_told(hosts: Hosts, tree: Tree) -> None:
    # The node claims a fault and does nothing: the ground truth must not rest on a claim.
    with hosts.deploy(tree, workload=testbed_parts.Workload({5: "lie"})) as deployment:
        deployment.start()
        events = poll_until(deployment, lambda e: bool(named(e, "fault-unconfirmed")), "the doubt")
        assert "fault-confirmed" not in kinds(events)


@pytest.mark.parametrize(("act", "reason"), [("abort", "signal 6|nothing"), ("raise", "node 0 does not feel like it")])
def test_the_death_of_the_front_end_ends_the_trial(hosts: Hosts, tree: Tree, act: str, reason: str) -> None:
    with hosts.deploy(tree, workload=testbed_parts.Workload({0: act})) as deployment:
        deployment.start()
        events = poll_until(deployment, lambda e: "finished" in kinds(e), "the end")
        (end,) = of(events, "finished")
        assert end["ok"] is False
        assert "front-end" in end["reason"]
        assert testbed_parts.matches(reason, end["reason"])
        assert "finished" not in kinds(deployment.stop(5.0))


def test_a_crash_leaves_the_last_words_on_stderr(hosts: Hosts, tree: Tree, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with hosts.deploy(tree, workload=testbed_parts.Workload({6: "abort"}, gate=str(gate))) as deployment:
        deployment.start()
        gate.touch()
        events = poll_until(deployment, lambda e: "node-exited" in kinds(e), "the crash")
        assert [(e["node"], e["status"]) for e in of(events, "node-exited")] == [(6, -6)]
        assert "terminate called" in of(events, "node-failed")[0]["message"]


def test_a_node_that_raises_is_told_with_its_traceback(hosts: Hosts, tree: Tree, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with hosts.deploy(tree, workload=testbed_parts.Workload({6: "raise"}, gate=str(gate))) as deployment:
        deployment.start()
        gate.touch()
        events = poll_until(deployment, lambda e: "node-exited" in kinds(e), "the crash")
        assert [(e["node"], e["status"]) for e in of(events, "node-exited")] == [(6, 1)]
        message = of(events, "node-failed")[0]["message"]
        assert "testbed_parts.py" in message
        assert message.endswith("RuntimeError: node 6 does not feel like it")


def test_a_node_that_does_not_stop_is_ended_by_force(hosts: Hosts, tree: Tree) -> None:
    with hosts.deploy(tree, workload=testbed_parts.Workload({4: "ignore_stop"})) as deployment:
        deployment.start()
        last = deployment.stop(1.0)
    assert [(e["node"], e["status"]) for e in of(last, "node-exited") if e.get("forced")] == [(4, -9)]
    assert {e["node"] for e in of(last, "node-exited")} == set(range(7))


def test_reports_that_are_none_and_many_reports(hosts: Hosts, tree: Tree) -> None:
    with hosts.deploy(tree, workload=testbed_parts.Workload({4: "babble", 5: "flood"})) as deployment:
        deployment.start()
        events = poll_until(
            deployment, lambda e: len(named(e, "flood")) == 5000 and bool(named(e, "garbled-report")), "all of it"
        )
        assert [f["i"] for f in named(events, "flood")] == list(range(5000))
        assert named(events, "garbled-report") == [{"node": 4, "text": "this is no event"}]


def test_the_end_of_a_node_is_seen_though_its_descriptors_live_on(hosts: Hosts, tree: Tree) -> None:
    with hosts.deploy(tree, workload=testbed_parts.Workload({5: "leave_a_child"})) as deployment:
        deployment.start()
        events = poll_until(deployment, lambda e: "node-exited" in kinds(e), "the end")
        assert [(e["node"], e["status"]) for e in of(events, "node-exited")] == [(5, 0)]
    wait_for(lambda: sorted(hosts.processes()) == sorted(hosts.servers()), "the child is gone as well")


def test_capabilities_are_found_by_trying(hosts: Hosts) -> None:
    for handle in hosts.handles:
        assert set(handle.call("probe").result(30.0)) == {"kill", "hang", "restart", "come-and-go"}
