"""Whole suites on the testbed `sim`, through the real runner: repeatable, and every fault does what it says."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from runs import deployment, plan_of, run, suite

from harness.api.errors import ExitCode, UsageError
from harness.registry import load
from harness.run.plan import load_plan
from harness.run.record import read_run

ROOT = Path(__file__).parents[2]
Events = Sequence[Mapping[str, Any]]
STORM = """
kind = "crash"
target = "any 1 of depth:2"
at_s = 0.5
---
kind = "partition"
target = "any 1 of depth:1"
at_s = 0.7
heal_after_s = 0.5
"""


def command(path: Path, *args: str, **env: str) -> subprocess.Popen[str]:
    """`harness run`, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness", "run", *args],
        cwd=path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "NO_COLOR": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def recorded(root: Path) -> dict[str, bytes]:
    """The journal and the samples of the only run in there."""
    (run_dir,) = (root / "runs").iterdir()
    files = [run_dir / "journal.jsonl", *(p for p in (run_dir / "trials").rglob("*") if p.is_file())]
    return {str(p.relative_to(run_dir)): p.read_bytes() for p in files}


def test_one_seed_is_one_journal_whatever_runs_it(tmp_path: Path) -> None:
    """In separate processes with different hashes of strings; and from the sources alone, should some be compiled."""
    plain = tmp_path / "plain"
    packages = ("harness", "plugins", "workloads", "faults", "results")
    for name in packages:
        shutil.copytree(ROOT / name, plain / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    paths = [str(plain if name == "harness" else plain / name) for name in packages]
    sources = os.pathsep.join([*paths, *(p for p in sys.path if p)])
    runs = {
        "a": ("1", {"PYTHONHASHSEED": "1"}),
        "b": ("1", {"PYTHONHASHSEED": "2"}),
        "c": ("1", {"PYTHONHASHSEED": "3", "PYTHONPATH": sources}),
        "d": ("2", {"PYTHONHASHSEED": "1"}),
    }
    found = {}
    for name, (seed, env) in runs.items():
        root = tmp_path / name
        root.mkdir()
        (root / "suite.toml").write_text(suite(fault=STORM, trials=2, filter="max", model="stall = 0.05\nturn_s = 1e-5"))
        started = command(root, "suite.toml", "--seed", seed, **env)
        out, err = started.communicate(timeout=100)
        assert started.returncode == 0, out + err
        found[name] = recorded(root)
    assert len(found["a"]) == 1 + 2 * 3, "a journal, and three files of samples for each of two trials"
    assert found["a"] == found["b"] == found["c"]
    assert found["a"].keys() == found["d"].keys()
    assert all(found["a"][name] != found["d"][name] for name in found["a"] if name.endswith(("journal.jsonl", "samples.bin")))


def test_two_trials_of_one_case_are_two_runs(tmp_path: Path) -> None:
    _, (one, other) = run(tmp_path, suite(trials=2))
    assert [e["t_s"] for e in one.events] != [e["t_s"] for e in other.events]


def test_a_trial_is_judged_like_any_other(tmp_path: Path) -> None:
    outcome, (trial,) = run(tmp_path, suite(fault='kind = "crash"\ntarget = "rank:3"\nat_s = 1.0'))
    assert outcome.exit_code is ExitCode.PASSED and trial.verdict is not None
    figures = trial.verdict["figures"]
    assert figures["missing_ranks"] == "3" == figures["dead_ranks"]
    assert figures["counts"]["delivered"] == len(trial.record.observed) >= 200
    (case,) = outcome.document["cases"]
    assert case["verdict"] == "passed"


# -- faults ------------------------------------------------------------------------------------------------------------------


def of(events: Events, kind: str, **fields: Any) -> list[Mapping[str, Any]]:
    return [e for e in events if {"kind": kind, **fields}.items() <= e.items()]


def silent(events: Events) -> bool:
    """Somebody has found it by silence alone."""
    return any(str(e["cause"]).startswith("silent for") for e in of(events, "link-lost"))


def reset(events: Events) -> bool:
    return any(e["cause"] == "reset" for e in of(events, "link-lost")) and not of(events, "dead")


def waves_between(events: Events, a: float, b: float) -> int:
    counted = [e["waves"] for e in of(events, "progress") if a <= e["t_s"] <= b]
    return int(counted[-1] - counted[0])


#: By name: the fault, its effect, after how long it is taken back, and what of it must be in the journal.
FAULTS: dict[str, tuple[str, str, float | None, Callable[[Events], object]]] = {
    "crash": (
        'kind = "crash"\ntarget = "node:2"',
        "exited by signal 9",
        None,
        lambda events: of(events, "node-exited", node=2, status=-9) and of(events, "link-lost", cause="reset by peer"),
    ),
    "restart": (
        'kind = "crash"\ntarget = "node:2"\nrestart_after_s = 0.5',
        "exited by signal 9",
        0.5,
        lambda events: len(of(events, "node-started", node=2)) == 2 == len(of(events, "attached", node=2)),
    ),
    "hang": ('kind = "hang"\ntarget = "node:2"\nresume_after_s = 3.0', "stopped (state T)", 3.0, silent),
    "host-loss": ('kind = "host-loss"\ntarget = "node:2"', "its machine is gone", None, silent),
    "cut": ('kind = "cut"\ntarget = "node:2"', "1 connection reset", None, reset),
    "cut-all": ('kind = "cut"\ntarget = "node:2"\nlinks = "all"', "3 connections reset", None, reset),
    "partition": ('kind = "partition"\ntarget = "node:2"\nheal_after_s = 3.0', "apart", 3.0, silent),
    "partition-out": (
        'kind = "partition"\ntarget = "node:2"\ndirection = "out"',
        "apart",
        None,
        lambda events: of(events, "link-lost", node=2, cause="closed by peer") and silent(events),
    ),
    "partition-in": (
        'kind = "partition"\ntarget = "node:2"\ndirection = "in"',
        "apart",
        None,
        lambda events: of(events, "link-lost", peer=2, cause="closed by peer") and silent(events),
    ),
    "partition-parent": (
        'kind = "partition"\ntarget = "node:5"\nside = "parent"\nheal_after_s = 3.0',
        "apart",
        3.0,
        lambda events: {(e["node"], e["peer"]) for e in of(events, "link-lost")} == {(5, 2), (2, 5)},
    ),
    "late": (
        'kind = "late"\ntarget = "node:2"\nby_s = 3.0',
        "3 s late",
        None,
        lambda events: {(e["node"], e["peer"]) for e in of(events, "link-lost")} >= {(0, 2), (2, 0)},
    ),
    "slow": (
        'kind = "slow"\ntarget = "node:2"\nturn_s = 0.7\nfor_s = 3.0',
        "0.7 s a turn",
        3.0,
        lambda events: waves_between(events, 1.2, 3.8) < 10 and waves_between(events, 3.8, 6.0) > 400,
    ),
    "skew": (
        'kind = "skew"\ntarget = "node:2"\nrate = 2.0\nfor_s = 3.0',
        "2 s a second",
        3.0,
        lambda events: not of(events, "link-lost"),
    ),
    "refuse": (
        'kind = "refuse"\ntarget = "node:6"\nfor_s = 1.0\n---\nkind = "crash"\ntarget = "node:5"',
        "refuses connections",
        1.0,
        lambda events: of(events, "adopter-refused", adopter=6, reason="connection refused"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_done_and_confirmed_and_undone(tmp_path: Path, name: str) -> None:
    text, effect, undo_after_s, seen = FAULTS[name]
    fault = "\n---\n".join(one.strip() + "\nat_s = 1.0" for one in text.split("---"))
    outcome, (trial,) = run(tmp_path, suite(fault=fault, duration_s=6.0))
    assert outcome.exit_code is ExitCode.PASSED, outcome.text
    (begun,) = of(trial.events, "workload-started")
    done, *_ = of(trial.events, "fault", fault=0)
    assert done["t_s"] == pytest.approx(begun["t_s"] + 1.0) and done["trigger"] == "1 s"
    confirmed, *_ = of(trial.events, "fault-confirmed", fault=0)
    assert (confirmed["effect"], confirmed["t_s"]) == (effect, done["t_s"])
    (finished,) = of(trial.events, "finished")
    undone = [e["t_s"] for e in of(trial.events, "fault-undone", fault=0) if e["t_s"] < finished["t_s"]]
    assert undone == ([] if undo_after_s is None else [pytest.approx(done["t_s"] + undo_after_s)])
    assert seen(trial.events), [e for e in trial.events if e["kind"] != "progress"]


def test_without_a_fault_none_of_this_happens(tmp_path: Path) -> None:
    _, (trial,) = run(tmp_path, suite(duration_s=6.0))
    kinds = {e["kind"] for e in trial.events}
    assert kinds.isdisjoint({"link-lost", "adopter-refused", "fault", "dead"})
    assert waves_between(trial.events, 1.2, 3.8) > 240 and len(of(trial.events, "node-started")) == 15


def test_whoever_is_cut_off_for_good_is_dead_and_the_tree_closes_all_the_same(tmp_path: Path) -> None:
    outcome, (trial,) = run(tmp_path, suite(fault='kind = "partition"\ntarget = "rank:2"\nat_s = 0.5', duration_s=5.0))
    assert outcome.exit_code is ExitCode.PASSED and trial.verdict is not None
    assert trial.verdict["figures"]["missing_ranks"] == "2"
    assert len(of(trial.events, "node-exited")) == 15


def test_a_process_whose_restart_comes_too_late_stays_dead(tmp_path: Path) -> None:
    text = 'kind = "crash"\ntarget = "node:2"\nat_s = 1.0\nrestart_after_s = 100.0'
    _, (trial,) = run(tmp_path, suite(fault=text))
    assert len(of(trial.events, "node-started", node=2)) == 1 and not of(trial.events, "fault-undone")


@pytest.mark.parametrize("after_s", [0.1, 1.0])
def test_a_restarted_back_end_contributes_no_more(tmp_path: Path, after_s: float) -> None:
    text = f'kind = "crash"\ntarget = "rank:3"\nat_s = 1.0\nrestart_after_s = {after_s}'
    outcome, (trial,) = run(tmp_path, suite(fault=text, case='recovery = "resume"'))
    assert outcome.exit_code is ExitCode.PASSED, outcome.text
    last = trial.record.contributor_sets[int(trial.record.samples["contributors"][-1])]
    assert 3 not in last and of(trial.events, "dead", member=10)


def test_a_fault_that_finds_nothing_to_strike_says_so(tmp_path: Path) -> None:
    twice = 'kind = "crash"\ntarget = "node:2"\nat_s = 0.5\n---\nkind = "hang"\ntarget = "node:2"\nat_s = 1.0'
    outcome, (trial,) = run(tmp_path, suite(fault=twice))
    assert outcome.exit_code is ExitCode.INFRASTRUCTURE
    (note,) = of(trial.events, "note", name="fault-missed")
    assert note["fields"]["reason"] == "there was nothing to strike"
    assert trial.verdict is not None and "was never done" in trial.verdict["summary"]


def test_the_front_end_s_death_ends_the_trial(tmp_path: Path) -> None:
    outcome, (trial,) = run(tmp_path, suite(fault='kind = "crash"\ntarget = "role:front-end"\nat_s = 1.0'))
    assert outcome.exit_code is ExitCode.CHECK_FAILED
    (finished,) = of(trial.events, "finished")
    assert finished["reason"] == "the front-end's process is gone: it ended by signal 9"


def test_a_stopped_front_end_is_no_endless_run(tmp_path: Path) -> None:
    stopped = suite(fault='kind = "hang"\ntarget = "role:front-end"\nat_s = 1.0', case="deadline_s = 1.0\n", load="rate = 5")
    outcome, (trial,) = run(tmp_path, stopped)
    assert outcome.exit_code is ExitCode.CHECK_FAILED
    (finished, *_) = of(trial.events, "finished")
    assert "nothing came out for" in finished["reason"]


# -- when a fault strikes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 40, 777, 2000])
def test_at_event_strikes_exactly_before_that_event(tmp_path: Path, n: int) -> None:
    with deployment(plan_of(tmp_path / "calm", suite())) as calm:
        for _ in range(n):
            calm.world.step()
    before = calm.poll(0.0)  # it has ended: nothing more happens
    fault = f'kind = "crash"\ntarget = "node:2"\nat_event = {n}'
    outcome, (trial,) = run(tmp_path / "struck", suite(fault=fault))
    assert outcome.exit_code is ExitCode.PASSED, outcome.text
    (act,) = of(trial.events, "fault")
    assert (act["trigger"], act["t_s"]) == (f"event {n}", calm.clock())
    assert list(trial.events[: trial.events.index(act)]) == before


def test_an_event_that_never_comes_makes_the_trial_worthless(tmp_path: Path) -> None:
    fault = 'kind = "crash"\ntarget = "node:2"\nat_event = 100000000'
    outcome, (trial,) = run(tmp_path, suite(fault=fault))
    assert outcome.exit_code is ExitCode.INFRASTRUCTURE
    assert trial.verdict is not None and "was never done" in trial.verdict["summary"]


@pytest.mark.parametrize("kind", ["crash", "hang"])
@pytest.mark.parametrize("moment", ["mid-flush", "mid-load", "start-up", "shutdown"])
def test_a_fault_strikes_at_its_moment(tmp_path: Path, moment: str, kind: str) -> None:
    after = "at_wave = 50\n" if moment.startswith("mid") else ""
    back = "resume_after_s = 3.0\n" if kind == "hang" else ""
    fault = f'kind = "{kind}"\ntarget = "node:2"\nmoment = "{moment}"\n{after}{back}'
    outcome, (trial,) = run(tmp_path, suite(fault=fault, duration_s=6.0))
    assert outcome.exit_code is ExitCode.PASSED, outcome.text
    (act,) = of(trial.events, "fault")
    assert act["trigger"] == moment and of(trial.events, "fault-confirmed")
    begun, finished = (of(trial.events, kind)[0]["t_s"] for kind in ("workload-started", "finished"))
    if moment == "start-up":
        attached = of(trial.events, "attached", node=2)
        assert act["t_s"] < begun and all(act["t_s"] < e["t_s"] for e in attached)
    elif moment == "shutdown":
        assert act["t_s"] >= finished
    else:
        assert begun + 0.48 <= act["t_s"] < begun + 0.53, "wave 49, of a hundred a second, leaves the node"


def test_a_fault_strikes_at_a_wave(tmp_path: Path) -> None:
    outcome, (trial,) = run(tmp_path, suite(fault='kind = "partition"\ntarget = "node:2"\nat_wave = 50\nheal_after_s = 0.5'))
    assert outcome.exit_code is ExitCode.PASSED, outcome.text
    (act,), (begun,) = of(trial.events, "fault"), of(trial.events, "workload-started")
    assert act["trigger"] == "wave 50" and begun["t_s"] + 0.49 <= act["t_s"] < begun["t_s"] + 0.53


# -- what is refused, and what is cut short ------------------------------------------------------------------------------------


def test_ctrl_c_in_the_middle_leaves_a_whole_journal(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text(suite(duration_s=1e6, trials=2, load="rate = 1000"))
    started = command(tmp_path, "suite.toml")
    end = time.monotonic() + 60
    while not any(b'"kind":"progress"' in p.read_bytes() for p in (tmp_path / "runs").glob("*/journal.jsonl")):
        assert started.poll() is None, started.communicate()
        assert time.monotonic() < end, "no progress"
        time.sleep(0.02)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert started.returncode == ExitCode.INCONCLUSIVE, out + err
    (run_dir,) = (tmp_path / "runs").iterdir()
    recorded = read_run(run_dir)
    assert recorded.notes == () and recorded.finished is not None and recorded.finished["interrupted"]
    assert [t.outcome for t in recorded.trials] == ["interrupted", "not-run"]
    assert len(recorded.trials[0].record.observed) > 0, "what was measured until then is there"
    assert len(of(recorded.trials[0].events, "node-exited")) == 15


NEEDS = {
    "at-event": 'kind = "crash"\ntarget = "node:2"\nat_event = 5',
    "cut": 'kind = "cut"\ntarget = "node:2"\nat_s = 1.0',
    "late": 'kind = "late"\ntarget = "node:2"\nat_s = 1.0\nby_s = 1.0',
    "partition": 'kind = "partition"\ntarget = "node:2"\nat_s = 1.0',
    "refuse": 'kind = "refuse"\ntarget = "node:2"\nat_s = 1.0',
    "restart": 'kind = "crash"\ntarget = "node:2"\nat_s = 1.0\nrestart_after_s = 1.0',
    "skew": 'kind = "skew"\ntarget = "node:2"\nat_s = 1.0\nrate = 1.5',
    "slow": 'kind = "slow"\ntarget = "node:2"\nat_s = 1.0\nturn_s = 0.01',
    "vanish": 'kind = "host-loss"\ntarget = "node:2"\nat_s = 1.0',
}


def test_real_testbeds_refuse_what_only_a_simulation_can_do(tmp_path: Path) -> None:
    """All of it at once, and before anything is started."""
    alone = {need: fault for need, fault in NEEDS.items() if need != "restart"}  # that one `local` can do as well
    with pytest.raises(UsageError) as refused:
        plan_of(tmp_path, suite(fault="\n---\n".join(alone.values()), testbed="local", model="hosts = 1"))
    lines = str(refused.value).splitlines()
    for line, need in zip(lines, alone, strict=True):
        if need == "at-event":
            assert line.startswith("case[0].fault[0].at_event (case ") and "testbed 'local' does not count what happens" in line
        else:
            kind = "host-loss" if need == "vanish" else need
            assert f"testbed 'local' cannot do '{kind}' (it needs {need}); use testbed 'sim', or a fault that needs" in line


def test_a_simulation_can_do_all_of_it(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, suite(fault="\n---\n".join(NEEDS.values())))
    (case,) = plan.cases
    assert case.needs - plan.testbed.value.capabilities().keys() == set() and case.needs >= NEEDS.keys()


def test_a_node_that_is_busy_with_nothing_fails_the_trial(tmp_path: Path) -> None:
    with deployment(plan_of(tmp_path, suite(duration_s=10.0, load="rate = 5"))) as trial:
        trial.start()
        front = trial.world.seats[0].node
        front.settings = replace(front.settings, heartbeat_s=1e-12)  # it is always due
        events = trial.poll(0.0)
        while not of(events, "finished"):
            events += trial.poll(0.0)
    (finished,) = of(events, "finished")
    assert not finished["ok"] and "node 0 is busy with nothing" in finished["reason"]


def test_simulated_trees_may_be_larger_than_those_of_processes() -> None:
    text = """
[suite]
name = "x"
[testbed]
kind = "KIND"
[[case]]
name = "x"
topology = { kind = "flat", back_ends = 20000 }
workload = { kind = "reduce-stream", waves = 1 }
filter = "sum"
"""
    plan = load_plan(Path("x.toml"), load(), text=text.replace("KIND", "sim"))
    assert len(plan.trials[0].tree.back_ends) == 20_000
    with pytest.raises(UsageError, match="each a process of its own, more than 10000"):
        load_plan(Path("x.toml"), load(), text=text.replace("KIND", "local"))
