"""Back-ends that join late, leave in order and come back, as real processes: who contributed to which wave, exactly."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import os
import resource
import select
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import testbed_parts
from testbed_helpers import Event, Hosts, kinds, poll_until, wait_for

from harness.api.errors import ExitCode, InfrastructureError
from harness.api.fault import Action, Injection, Trigger
from harness.api.testbed import DeploymentSpec
from harness.cli.lines import LineProgress
from harness.core.ranks import RankSet
from harness.core.tree import Tree
from harness.registry import Registry, load
from harness.run.plan import load_plan
from harness.run.record import RecordedTrial, read_run
from harness.run.runner import run_suite
from harness.testbeds import procs
from harness.testbeds.children import Children
from harness.testbeds.deployment import TreeDeployment
from harness.testbeds.local import Local
from harness.testbeds.timers import Timers

SUITE = """
[suite]
name = "joins"
seed = 3
[testbed]
kind = "local"
hosts = 2
[node]
rejoin = {rejoin}
[[case]]
name = "members"
workload = {{ kind = "reduce-stream", waves = {waves}, rate = 400.0, window_waves = 16 }}
topology = {{ kind = "kary", fanout = 2, depth = 2 }}
filter = "sum"
{faults}
"""
WAVES = 1000
ALL = RankSet.of(range(4))
#: The place of rank 0.
NODE = 3


@functools.cache
def registry() -> Registry:
    return load()


def on_hosts(there: Hosts) -> Local:
    """The testbed `local` on hosts that are there, without Ray."""

    class OnHosts(Local):
        def open(self, run_dir: Path) -> None: ...

        def close(self) -> None: ...

        def host_count(self) -> int:
            return len(there.hosts)

        def capabilities(self) -> Mapping[str, str]:
            return {name: how for handle in there.handles for name, how in handle.call("probe").result(30.0).items()}

        def deploy(self, spec: DeploymentSpec) -> TreeDeployment:
            return TreeDeployment(spec, there.hosts)

    return OnHosts(hosts=len(there.hosts))


def run(hosts: Hosts, root: Path, *faults: str, rejoin: str = "false", waves: int = WAVES) -> tuple[ExitCode, RecordedTrial]:
    """A front-end, communication processes 1 and 2, back-ends 3 to 6 (ranks 0 to 3)."""
    path = root / "suite.toml"
    path.write_text(SUITE.format(rejoin=rejoin, waves=waves, faults="\n".join(f"[[case.fault]]\n{f}" for f in faults)))
    plan = load_plan(path, registry())
    plan = replace(plan, testbed=replace(plan.testbed, value=on_hosts(hosts)))
    outcome = run_suite(plan, results=root, progress=LineProgress(io.StringIO()), argv=["harness"], registry=registry())
    (trial,) = read_run(outcome.run_dir).trials
    return outcome.exit_code, trial


def of(trial: RecordedTrial, kind: str, **fields: Any) -> list[Mapping[str, Any]]:
    return [e for e in trial.record.events if e["kind"] == kind and fields.items() <= e.items()]


def first(event: Mapping[str, Any]) -> int:
    """The wave of an order about the only stream."""
    (wave,) = event["first"].values()
    return int(wave)


def waves_of(trial: RecordedTrial, rank: int) -> list[int]:
    """The waves that a rank has contributed to, where all waves came out, in order and with everybody else's contribution."""
    sets, mine, last = trial.record.contributor_sets, [], 0
    for row in trial.record.samples:
        who = sets[int(row["contributors"])]
        assert who | RankSet.of([rank]) == ALL and int(row["first"]) == last
        last += int(row["count"])
        mine += range(int(row["first"]), last) if rank in who else ()
    assert last == WAVES
    return mine


def exits(trial: RecordedTrial, node: int = NODE) -> list[int]:
    return [e["status"] for e in of(trial, "node-exited", node=node)]


def test_a_late_back_end_is_forked_when_it_is_due_and_contributes_from_where_it_is_let_in(hosts: Hosts, tmp_path: Path) -> None:
    code, trial = run(hosts, tmp_path, 'kind = "join"\ntarget = "rank:0"\nat_s = 0.5')
    assert code is ExitCode.PASSED, trial.verdict
    (begun,), (fault,), (confirmed,) = (of(trial, k) for k in ("workload-started", "fault", "fault-confirmed"))
    (started,), (admitted,) = of(trial, "node-started", node=NODE), of(trial, "admitted")
    assert begun["t_s"] + 0.5 <= fault["t_s"] <= started["t_s"] <= confirmed["t_s"]
    assert (confirmed["effect"], admitted["member"], admitted["life"]) == ("started", NODE, 0)
    assert 0 < first(admitted) < WAVES
    assert waves_of(trial, 0) == list(range(first(admitted), WAVES))
    assert exits(trial) == [0] and len(of(trial, "node-exited")) == 7


def test_a_back_end_that_leaves_owes_what_it_produced_and_nothing_more(hosts: Hosts, tmp_path: Path) -> None:
    code, trial = run(hosts, tmp_path, 'kind = "leave"\ntarget = "rank:0"\nat_s = 0.5')
    assert code is ExitCode.PASSED, trial.verdict
    (left,), (leaving,), (confirmed,) = (of(trial, k) for k in ("left", "leaving", "fault-confirmed"))
    assert 0 < first(left) < WAVES and waves_of(trial, 0) == list(range(first(left)))
    assert first(left) == max(leaving["made"].values())
    (exited,), (finished,) = of(trial, "node-exited", node=NODE), of(trial, "finished")
    assert exited["status"] == 0 and exited["t_s"] < finished["t_s"]
    assert confirmed["effect"] == "produced no more, exited with status 0" and confirmed["t_s"] >= leaving["t_s"]


def test_one_that_left_at_a_wave_comes_back_as_another_process(hosts: Hosts, tmp_path: Path) -> None:
    code, trial = run(hosts, tmp_path, 'kind = "leave"\ntarget = "rank:0"\nat_wave = 200\nrejoin_after_s = 0.4')
    assert code is ExitCode.PASSED, trial.verdict
    (left,), (admitted,), (fault,), (undone,) = (of(trial, k) for k in ("left", "admitted", "fault", "fault-undone"))
    before, after = of(trial, "node-started", node=NODE)
    assert before["pid"] != after["pid"] and ("life" not in before, after["life"], admitted["life"]) == (True, 1, 1)
    assert undone["t_s"] >= max(after["t_s"], fault["t_s"] + 0.4)
    assert 200 <= first(left) < first(admitted) < WAVES
    assert waves_of(trial, 0) == [*range(first(left)), *range(first(admitted), WAVES)]
    assert exits(trial) == [0, 0]


def test_one_that_is_told_to_come_back_before_it_has_left_waits(hosts: Hosts, tmp_path: Path) -> None:
    code, trial = run(hosts, tmp_path, 'kind = "leave"\ntarget = "rank:0"\nat_s = 0.3\nrejoin_after_s = 0.000001')
    assert code is ExitCode.PASSED, trial.verdict
    exited, (_, after) = of(trial, "node-exited", node=NODE)[0], of(trial, "node-started", node=NODE)
    assert exited["t_s"] <= after["t_s"]
    (left,), (admitted,) = of(trial, "left"), of(trial, "admitted")
    assert waves_of(trial, 0) == [*range(first(left)), *range(first(admitted), WAVES)]


def test_the_successor_of_a_killed_back_end_is_let_in(hosts: Hosts, tmp_path: Path) -> None:
    crash = 'kind = "crash"\ntarget = "rank:0"\nat_s = 0.5\nrestart_after_s = 0.3'
    code, trial = run(hosts, tmp_path, crash, rejoin="true")
    assert code is ExitCode.PASSED, trial.verdict
    (admitted,), (dead,) = of(trial, "admitted"), of(trial, "dead")
    assert (admitted["member"], admitted["life"], dead["member"]) == (NODE, 1, NODE)
    mine = waves_of(trial, 0)
    lost = next(i for i, wave in enumerate(mine) if wave != i)  # how many the killed process had contributed
    assert 0 < lost < first(admitted) < WAVES
    assert mine == [*range(lost), *range(first(admitted), WAVES)]
    assert exits(trial) == [-signal.SIGKILL, 0]


def test_without_rejoin_it_is_fenced(hosts: Hosts, tmp_path: Path) -> None:
    code, trial = run(hosts, tmp_path, 'kind = "crash"\ntarget = "rank:0"\nat_s = 0.5\nrestart_after_s = 0.6')
    assert code is ExitCode.PASSED, trial.verdict
    assert len(of(trial, "fault-undone", node=NODE)) == len(of(trial, "fenced", node=NODE)) == 1
    mine = waves_of(trial, 0)
    assert 0 < len(mine) < WAVES and mine == list(range(len(mine)))
    assert exits(trial) == [-signal.SIGKILL, 4]


def test_a_communication_process_comes_back_without_those_below_it(hosts: Hosts, tmp_path: Path) -> None:
    code, trial = run(hosts, tmp_path, 'kind = "crash"\ntarget = "node:1"\nat_s = 0.5\nrestart_after_s = 0.1')
    assert code is ExitCode.PASSED, trial.verdict
    assert waves_of(trial, 0) == waves_of(trial, 1) == list(range(WAVES))
    assert {e["child"] for e in of(trial, "reattached")} >= {3, 4}
    assert exits(trial, 1)[0] == -signal.SIGKILL and len(of(trial, "node-started", node=1)) == 2


def test_late_and_leaving_and_coming_back_with_others_who_do_so_too(hosts: Hosts, tmp_path: Path) -> None:
    acts = (
        'kind = "join"\ntarget = "rank:0"\nat_s = 0.3',
        'kind = "leave"\ntarget = "rank:0"\nat_s = 1.0\nrejoin_after_s = 0.2',
        'kind = "leave"\ntarget = "rank:2, rank:3"\nat_s = 0.6',
    )
    code, trial = run(hosts, tmp_path, *acts)
    assert code is ExitCode.PASSED, trial.verdict
    orders = [e for e in trial.record.events if e["kind"] in ("admitted", "left")]
    told = {r: [(e["kind"], first(e)) for e in orders if r in e["ranks"]] for r in range(4)}
    assert [[kind for kind, _ in told[r]] for r in range(4)] == [["admitted", "left", "admitted"], [], ["left"], ["left"]]
    for row in trial.record.samples:
        wave = int(row["first"])
        there = {r: r != 0 for r in range(4)}
        for rank, changes in told.items():
            for kind, since in changes:
                there[rank] = kind == "admitted" if wave >= since else there[rank]
        assert trial.record.contributor_sets[int(row["contributors"])] == RankSet.of(r for r, is_in in there.items() if is_in)


def test_a_join_after_the_workload_has_ended_is_told(hosts: Hosts, tmp_path: Path) -> None:
    code, trial = run(hosts, tmp_path, 'kind = "join"\ntarget = "rank:0"\nat_s = 60.0', waves=20)
    assert code is ExitCode.INFRASTRUCTURE and trial.verdict is not None
    assert "was never done: the workload may have ended before" in trial.verdict["summary"]
    assert not of(trial, "node-started", node=NODE)


# -- without a tree inside: what the fork server does ------------------------------------------------------------------------


def act(action: Action, at_s: float, node: int = NODE, fault: int = 0, undo_after_s: float | None = None) -> Injection:
    return Injection(fault, "test", node, action, Trigger(at_s=at_s), undo_after_s)


def notes(events: list[Event], name: str) -> list[Mapping[str, Any]]:
    return [e["fields"] for e in events if e["kind"] == "note" and e["name"] == name]


def test_a_process_that_hangs_before_it_can_join_is_told(hosts: Hosts, tree: Tree) -> None:
    parts = {"transport": testbed_parts.Transport(mute=NODE), "injections": (act(Action.JOIN, 0.1),)}
    with hosts.deploy(tree, **parts) as deployment:
        deployment.start()
        events = poll_until(deployment, lambda e: bool(notes(e, "fault-unconfirmed")), "the doubt")
        assert [(f["fault"], f["node"]) for f in notes(events, "fault-unconfirmed")] == [(0, NODE)]
        assert "fault-confirmed" not in kinds(events)
        last = deployment.stop(1.0)
    assert [(e["node"], e["status"]) for e in last if e["kind"] == "node-exited" and e.get("forced")] == [(NODE, -9)]


def test_a_process_that_fails_before_it_can_join_is_told(hosts: Hosts, tree: Tree) -> None:
    parts = {"transport": testbed_parts.Transport(refuses=NODE), "injections": (act(Action.JOIN, 0.1),)}
    with hosts.deploy(tree, **parts) as deployment:
        deployment.start()
        events = poll_until(deployment, lambda e: bool(notes(e, "fault-unconfirmed")), "the doubt")
    assert [e["message"] for e in events if e["kind"] == "node-failed"] == ["no port on 127.0.0.1 for node 3"]


@pytest.mark.parametrize(
    ("ending", "reason"),
    [(False, "the process could not be started: no process left"), (True, "the trial was being ended")],
    ids=["no-process", "ending"],
)
def test_a_process_that_cannot_be_had_is_told(ending: bool, reason: str) -> None:
    def fork(node: int, life: int) -> Any:
        raise BlockingIOError("no process left")

    events: list[Event] = []
    timers = Timers()
    now = time.monotonic()
    children = Children(0, now, select.poll(), timers, events.append, fork)
    children.arm([act(Action.JOIN, 0.0)], 0.0)
    if ending:
        children.no_more()
    timers.run(now + 1.0)
    assert notes(events, "fault-missed") == [{"fault": 0, "node": NODE, "reason": reason}] and kinds(events) == ["note"]


def test_a_process_that_cannot_come_back_is_told(fresh_hosts: Hosts, tree: Tree, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with fresh_hosts.deploy(tree, workload=testbed_parts.Workload({NODE: "restart_itself"}, gate=str(gate))) as deployment:
        deployment.start()
        server = fresh_hosts.servers()[1]
        taken = {int(fd.name) for fd in Path(f"/proc/{server}/fd").iterdir()}
        free = next(n for n in itertools.count() if n not in taken)
        _, most = resource.prlimit(server, resource.RLIMIT_NOFILE)
        resource.prlimit(server, resource.RLIMIT_NOFILE, (free, most))  # the next process would need two descriptors
        gate.touch()
        events = poll_until(deployment, lambda e: bool(notes(e, "restart-failed")), "the failure")
    (failed,) = notes(events, "restart-failed")
    assert failed["node"] == NODE and "Too many open files" in failed["reason"]
    assert "fault-undone" not in kinds(events) and "fault-confirmed" in kinds(events)


def test_what_finds_nobody_is_told(hosts: Hosts, tree: Tree) -> None:
    plan = (
        act(Action.JOIN, 60.0),
        act(Action.LEAVE, 0.1, fault=1),
        act(Action.STOP, 0.1, node=4, fault=2),
        act(Action.LEAVE, 0.5, node=4, fault=3),
        act(Action.KILL, 0.1, node=5, fault=4),
        act(Action.LEAVE, 0.5, node=5, fault=5),
    )
    with hosts.deploy(tree, injections=plan) as deployment:
        deployment.start()
        events = poll_until(deployment, lambda e: len(notes(e, "fault-missed")) == 3, "the misses")
    assert {f["fault"]: f["reason"] for f in notes(events, "fault-missed")} == {
        1: "the process had not started yet",
        3: "the process was stopped",
        5: "the process had already ended",
    }


def test_one_that_ends_without_having_left_has_not_left(hosts: Hosts, tree: Tree) -> None:
    # A node that takes no orders to leave, and ends with status 0 once the trial does: nobody comes in its place any more.
    with hosts.deploy(tree, injections=(act(Action.LEAVE, 0.1, undo_after_s=1e-6),)) as deployment:
        deployment.start()
        events = poll_until(deployment, lambda e: "fault" in kinds(e), "the order")
        events += deployment.stop(5.0)
    assert [f["fault"] for f in notes(events, "fault-unconfirmed")] == [0]
    assert {"fault-confirmed", "fault-undone"}.isdisjoint(kinds(events)) and kinds(events).count("node-started") == 7


def test_nobody_joins_a_trial_that_is_over(hosts: Hosts) -> None:
    tree = Tree.from_parents([None, 0])  # nothing runs on host 1 but who comes late
    with hosts.deploy(tree, injections=(act(Action.JOIN, 0.4, node=1),)) as deployment:
        deployment.start()
        deployment.stop(5.0)
        time.sleep(0.6)
        assert sorted(hosts.processes()) == sorted(hosts.servers())


def test_who_came_late_ends_with_its_fork_server(fresh_hosts: Hosts, tree: Tree) -> None:
    plan = (act(Action.JOIN, 0.0), act(Action.KILL, 0.0, node=5, fault=1, undo_after_s=0.1))
    with fresh_hosts.deploy(tree, injections=plan) as deployment:
        deployment.start()
        events = poll_until(deployment, lambda e: "fault-undone" in kinds(e) and kinds(e).count("attached") >= 7, "both")
        pids = {e["node"]: e["pid"] for e in events if e["kind"] == "node-started"}
        assert all(procs.is_running(pids[n]) for n in (NODE, 5))
        os.kill(fresh_hosts.servers()[1], signal.SIGKILL)
        wait_for(lambda: not any(procs.is_running(pids[n]) for n in (NODE, 5)), "they have ended")
        with contextlib.suppress(InfrastructureError):  # told or not: the agent may not have noticed yet
            deployment.stop(0.0)
