"""Front-ends that are lost, and the standby that takes their place, in real processes with real signals."""

from __future__ import annotations

import functools
import io
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from testbed_helpers import Hosts

from harness.api.errors import ExitCode
from harness.api.testbed import DeploymentSpec
from harness.cli.lines import LineProgress
from harness.registry import Registry, load
from harness.run.plan import TrialPlan, load_plan
from harness.run.progress import RunOutcome
from harness.run.record import RecordedTrial, read_run
from harness.run.runner import run_suite
from harness.testbeds.deployment import TreeDeployment
from harness.testbeds.local import Local

SUITE = """
[suite]
name = "standby"
seed = 3
[testbed]
kind = "local"
hosts = 2
[node]
lease_s = 1.0
heartbeat_s = 0.2
connect_timeout_s = 0.4
orphan_grace_s = 1.5
start_timeout_s = 15.0
[[case]]
name = "lost"
workload = {{ kind = "{kind}", duration_s = {duration_s}{load} }}
topology = {{ kind = "kary", fanout = 2, depth = 2 }}
{case}
"""
SUM = 'filter = "sum"\nrecovery = "replay"\n'
STANDBY = 'standby = "node:1"\n'
RATE = ", rate = 300.0"


def on_hosts(there: Hosts) -> Local:
    """The testbed `local` on hosts that are there, without Ray."""

    class OnHosts(Local):
        def open(self, run_dir: Path) -> None: ...

        def close(self) -> None: ...

        def host_count(self) -> int:
            return len(there.hosts)

        def capabilities(self) -> Mapping[str, str]:
            return {"kill": "SIGKILL", "hang": "SIGSTOP"}

        def deploy(self, spec: DeploymentSpec) -> TreeDeployment:
            return TreeDeployment(spec, there.hosts)

    return OnHosts(hosts=len(there.hosts))


class CtrlC(LineProgress):
    """Presses it when an event is told for which `at` holds."""

    def __init__(self, at: str) -> None:
        super().__init__(io.StringIO())
        self._at = at

    def event(self, trial: TrialPlan, event: Mapping[str, Any]) -> None:
        if event["kind"] == self._at:
            signal.raise_signal(signal.SIGINT)


@functools.cache
def registry() -> Registry:
    return load()


def fault(kind: str, node: int, at: str, more: str = "") -> str:
    return f'\n[[case.fault]]\nkind = "{kind}"\ntarget = "node:{node}"\n{at}\n{more}\n'


def run(
    hosts: Hosts,
    root: Path,
    case: str,
    kind: str = "reduce-stream",
    duration_s: float = 2.5,
    load: str = "",
    ctrl_c: str = "",
) -> tuple[RunOutcome, RecordedTrial]:
    """A front-end, communication processes 1 and 2, back-ends 3 to 6 (ranks 0 to 3), every other node on the other host."""
    path = root / "suite.toml"
    path.write_text(SUITE.format(kind=kind, duration_s=duration_s, load=load, case=case))
    plan = load_plan(path, registry())
    plan = replace(plan, testbed=replace(plan.testbed, value=on_hosts(hosts)))
    outcome = run_suite(plan, results=root, progress=CtrlC(ctrl_c), argv=["harness", "run"], registry=registry())
    (trial,) = read_run(outcome.run_dir).trials
    return outcome, trial


def of(trial: RecordedTrial, kind: str, **fields: Any) -> list[Mapping[str, Any]]:
    return [e for e in trial.events if e["kind"] == kind and fields.items() <= e.items()]


def ends(trial: RecordedTrial) -> dict[int, int]:
    return {e["node"]: e["status"] for e in of(trial, "node-exited")}


def counts(trial: RecordedTrial) -> dict[str, int]:
    assert trial.verdict is not None
    found: dict[str, int] = trial.verdict["figures"]["counts"]
    return found


def forced(trial: RecordedTrial) -> list[int]:
    return [e["node"] for e in of(trial, "node-exited") if e.get("forced")]


def one_story(trial: RecordedTrial) -> None:
    """What both front-ends told is in the journal once, by the trial's clock, and its samples are whole."""
    assert [len(of(trial, k)) for k in ("workload-started", "tree-ready", "finished")] == [1, 1, 1]
    opened = [e["stream"] for e in of(trial, "stream-opened")]
    assert opened and len(opened) == len(set(opened))
    assert not any("told" in e for e in trial.events)
    assert all(-1.0 < e["t_s"] < 120.0 for e in trial.events)
    assert trial.notes == ()
    started, finished = (of(trial, k)[0]["t_s"] for k in ("workload-started", "finished"))
    times = trial.record.samples["t_s"]
    assert started - 0.5 < times.min() and times.max() < finished + 0.5


@pytest.mark.parametrize(("load", "at"), [("", "at_s = 0.7"), (RATE, "at_s = 0.7"), (RATE, "at_wave = 1")])
def test_a_killed_front_end_is_replaced_and_no_wave_is_lost_or_comes_twice(
    hosts: Hosts, tmp_path: Path, load: str, at: str
) -> None:
    outcome, trial = run(hosts, tmp_path, SUM + STANDBY + fault("crash", 0, at), load=load)
    assert outcome.exit_code is ExitCode.PASSED, outcome.text
    (took,), (end,) = of(trial, "took-over"), of(trial, "finished")
    assert (took["node"], end["node"], end["ok"]) == (1, 1, True)
    one_story(trial)
    assert counts(trial) | {"delivered": 0} == dict.fromkeys(("delivered", "lost", "duplicated", "mixed", "partial"), 0)
    assert counts(trial)["delivered"] == trial.record.samples["count"].sum()
    times = trial.record.samples["t_s"]
    assert (times > took["t_s"]).any(), "the streams went on"
    assert at == "at_wave = 1" or (times < took["t_s"]).any(), "what the lost one had recorded is there"
    assert ends(trial) == {0: -9} | dict.fromkeys(range(1, 7), 0)
    assert forced(trial) == []


def test_a_stopped_front_end_is_fenced_when_it_goes_on(hosts: Hosts, tmp_path: Path) -> None:
    hang = fault("hang", 0, "at_s = 0.5", "resume_after_s = 4.0")
    outcome, trial = run(hosts, tmp_path, SUM + STANDBY + hang, duration_s=6.0, load=RATE)
    assert outcome.exit_code is ExitCode.PASSED, outcome.text
    one_story(trial)
    (took,), (undone,), (fenced,) = of(trial, "took-over"), of(trial, "fault-undone"), of(trial, "fenced")
    assert took["node"] == 1 and fenced["node"] == 0
    assert took["t_s"] < undone["t_s"] < fenced["t_s"]
    assert ends(trial) == {0: 4} | dict.fromkeys(range(1, 7), 0)
    assert forced(trial) == []


def test_one_that_is_stopped_for_good_ends_with_the_trial(hosts: Hosts, tmp_path: Path) -> None:
    hang = fault("hang", 0, "at_s = 0.5")
    outcome, trial = run(hosts, tmp_path, SUM + STANDBY + hang, duration_s=4.0, load=RATE)
    assert outcome.exit_code is ExitCode.PASSED, outcome.text
    one_story(trial)
    assert of(trial, "took-over", node=1)
    status = ends(trial)  # the old one is continued as the trial is taken down: it may be fenced before it is told to end
    assert status.pop(0) in (0, 4) and set(status.values()) == {0}
    assert forced(trial) == []


def test_a_short_stop_is_none_of_the_standby_s_business(hosts: Hosts, tmp_path: Path) -> None:
    hang = fault("hang", 0, "at_s = 0.5", "resume_after_s = 0.1")
    outcome, trial = run(hosts, tmp_path, SUM + STANDBY + hang, load=RATE)
    assert outcome.exit_code is ExitCode.PASSED, outcome.text
    one_story(trial)
    assert not of(trial, "took-over") and of(trial, "finished", node=0, ok=True)


def test_one_that_is_killed_as_it_closes_the_tree(hosts: Hosts, tmp_path: Path) -> None:
    kill = fault("crash", 0, 'moment = "shutdown"')
    outcome, trial = run(hosts, tmp_path, SUM + STANDBY + kill, duration_s=1.0, load=RATE)
    assert outcome.exit_code is ExitCode.PASSED, outcome.text
    one_story(trial)
    assert ends(trial) == {0: -9} | dict.fromkeys(range(1, 7), 0)


def test_a_request_and_reply_load_goes_on(hosts: Hosts, tmp_path: Path) -> None:
    outcome, trial = run(hosts, tmp_path, STANDBY + fault("crash", 0, "at_s = 0.7"), kind="round-trip")
    assert outcome.exit_code is ExitCode.PASSED, outcome.text
    one_story(trial)
    assert of(trial, "took-over", node=1)


def test_without_its_standby_the_front_end_goes_on(hosts: Hosts, tmp_path: Path) -> None:
    outcome, trial = run(hosts, tmp_path, SUM + STANDBY + fault("crash", 1, "at_s = 0.5"), duration_s=4.0, load=RATE)
    assert outcome.exit_code is ExitCode.PASSED, outcome.text
    one_story(trial)
    assert of(trial, "alone", node=0) and not of(trial, "took-over")
    assert ends(trial) == {1: -9} | dict.fromkeys((0, *range(2, 7)), 0)


KILLED_0 = "the suite's own fault killed the front-end (node 0) at "


@pytest.mark.parametrize(
    ("faults", "says", "why"),
    [
        (
            [("crash", 0, "at_s = 0.5"), ("crash", 1, "at_s = 0.5")],
            "the front-end's process is gone: it ended by signal 9; so is that of its standby, node 1: it ended by signal 9",
            KILLED_0,
        ),
        (
            [("crash", 0, "at_s = 0.5"), ("crash", 1, "at_s = 1.8")],
            "the process of node 1, which had taken the front-end's place, is gone: it ended by signal 9",
            "the workload ended early: the process of node 1, which had taken",
        ),
        (
            [("hang", 0, "at_s = 0.5"), ("crash", 1, "at_s = 0.6")],
            "the suite's own fault stopped the front-end, and nothing is going to continue it",
            "the suite's own fault stopped the front-end (node 0) for good at ",
        ),
        (
            [("crash", 0, "at_s = 0.5"), ("hang", 1, "at_s = 0.5")],
            "the suite's own fault stopped the front-end, and nothing is going to continue it",
            KILLED_0,
        ),
    ],
    ids=["both", "one after the other", "stopped and killed", "killed and stopped"],
)
def test_where_both_are_lost_that_is_the_end(
    hosts: Hosts, tmp_path: Path, faults: list[tuple[str, int, str]], says: str, why: str
) -> None:
    case = SUM + STANDBY + "".join(fault(*f) for f in faults)
    outcome, trial = run(hosts, tmp_path, case, duration_s=30.0, load=RATE)
    assert outcome.exit_code is ExitCode.CHECK_FAILED, outcome.text
    (end,) = of(trial, "finished")
    assert end["ok"] is False and end["reason"] == says
    assert any(why in reason for reason in outcome.document["reasons"])
    assert set(ends(trial)) == set(range(7))


def test_without_a_standby_the_front_end_s_loss_is_the_end(hosts: Hosts, tmp_path: Path) -> None:
    outcome, trial = run(hosts, tmp_path, SUM + fault("crash", 0, "at_s = 0.5"), duration_s=30.0, load=RATE)
    assert outcome.exit_code is ExitCode.CHECK_FAILED, outcome.text
    (end,) = of(trial, "finished")
    assert (end["ok"], end["reason"]) == (False, "the front-end's process is gone: it ended by signal 9")


@pytest.mark.parametrize("moment", ["fault-confirmed", "took-over"])
def test_ctrl_c_amid_a_take_over_leaves_nothing_running(hosts: Hosts, tmp_path: Path, moment: str) -> None:
    hang = fault("hang", 0, "at_s = 0.3")
    outcome, trial = run(hosts, tmp_path, SUM + STANDBY + hang, duration_s=60.0, load=RATE, ctrl_c=moment)
    assert outcome.exit_code is ExitCode.INCONCLUSIVE and trial.outcome == "interrupted", outcome.text
    assert set(ends(trial)) == set(range(7))
    assert forced(trial) == []
