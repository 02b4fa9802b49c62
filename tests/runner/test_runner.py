"""Runs on a testbed of sleeping processes: what is written, what is judged, what is taken down."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.api.errors import ExitCode, InfrastructureError, UsageError
from harness.run import runner, trial
from harness.run.plan import load_plan
from harness.run.progress import HOLD_S, InOrder
from harness.run.record import read_run
from harness.run.runner import run_suite

CRASH = '[[case.fault]]\nkind = "crash"\ntarget = "rank:1"\nat_s = 0.1\n'
SECOND = """
[[case]]
name = "second"
workload = "count"
topology = "flat"
transport = "wire"
filter = "sum"
"""


def alive(workshop: Any) -> list[int]:
    from kinds_for_runs import running

    return running(workshop.pids)


def test_a_good_run_is_passed_and_written_down(workshop: Any) -> None:
    outcome = workshop.run(trials=2, more=SECOND)
    assert outcome.exit_code is ExitCode.PASSED and outcome.document["verdict"] == "passed"
    assert outcome.run_dir.parent == workshop.root / "out" / "runs"
    assert "-sleep-well-" in outcome.run_dir.name
    run = read_run(outcome.run_dir)
    assert [t.outcome for t in run.trials] == ["measured"] * 4
    assert [t.verdict["verdict"] for t in run.trials if t.verdict] == ["passed"] * 4
    assert run.verdict is not None and (run.verdict["verdict"], run.verdict["exit_code"]) == ("passed", 0)
    assert run.testbed == {"what": "testbed", "hosts": 1, "capabilities": {"kill": "SIGKILL by hand"}}
    assert run.environment["argv"] == ["harness", "run", "suite.toml"] and run.environment["kernel"]
    assert (outcome.run_dir / "suite.toml").read_text() == (workshop.root / "suite.toml").read_text()
    assert not (outcome.run_dir / "reserve").exists()
    assert alive(workshop) == []


def test_trials_are_interleaved_over_the_cases(workshop: Any) -> None:
    workshop.run(trials=2, more=SECOND)
    assert workshop.told.of("trial_started") == ["first-t0", "second-t0", "first-t1", "second-t1"]


def test_progress_hears_everything_in_order(workshop: Any) -> None:
    outcome = workshop.run()
    names = [name for name, _ in workshop.told.calls]
    assert names[0] == "run_started" and names[-1] == "run_finished"
    assert workshop.told.of("run_started") == [outcome.run_dir] and workshop.told.of("run_finished") == [outcome]
    assert names.index("trial_started") < names.index("event") < names.index("trial_finished")
    kinds = workshop.told.of("event")
    assert kinds.index("workload-started") < kinds.index("progress") < kinds.index("finished")
    assert kinds == [e["kind"] for e in sorted(read_run(outcome.run_dir).trials[0].events, key=lambda e: e["t_s"])]


def test_the_report_made_again_is_the_document_of_the_run(workshop: Any) -> None:
    outcome = workshop.run(case=CRASH, testbed="run_s = 0.6")
    assert workshop.registry.report(outcome.run_dir, 100)[0] == outcome.document


def test_a_fault_is_done_confirmed_and_judged(workshop: Any) -> None:
    outcome = workshop.run(case=CRASH, testbed="run_s = 0.6")
    assert outcome.exit_code is ExitCode.PASSED
    (trial_,) = read_run(outcome.run_dir).trials
    assert trial_.verdict is not None
    (fault,) = trial_.verdict["figures"]["faults"]
    assert fault["effect"] == "exited by signal 9" and fault["doubt"] is None
    assert trial_.verdict["figures"]["missing_ranks"] == "1" == trial_.verdict["figures"]["dead_ranks"]


def test_a_wrong_wave_fails_the_run(workshop: Any) -> None:
    outcome = workshop.run(testbed='fails = "mixed"')
    assert outcome.exit_code is ExitCode.CHECK_FAILED and outcome.document["verdict"] == "failed"
    assert outcome.document["cases"][0]["counts"]["mixed"] == 1
    (trial_,) = read_run(outcome.run_dir).trials
    assert trial_.check is not None and trial_.check["violations"][0]["wave"] == 7


def test_a_check_that_knows_nothing_is_inconclusive(workshop: Any) -> None:
    outcome = workshop.run(workload=', ends = "nothing"')
    assert outcome.exit_code is ExitCode.INCONCLUSIVE


def test_a_check_that_raises_has_not_judged(workshop: Any) -> None:
    outcome = workshop.run(workload=', ends = "raises"')
    assert outcome.exit_code is ExitCode.INFRASTRUCTURE
    reason = outcome.document["reasons"][0]
    assert "the check of the workload failed: ZeroDivisionError: a mistake of the check's own" in reason
    assert "kinds_for_runs.py, line" in reason


@pytest.mark.parametrize("moment", ["deploy", "start", "poll", "stop", "collect"])
def test_a_trial_that_the_infrastructure_spoils_is_never_passed_and_the_others_go_on(workshop: Any, moment: str) -> None:
    outcome = workshop.run(testbed=f'fails = "{moment}"\ntrial = "first-t0"', trials=2)
    assert outcome.exit_code is ExitCode.INFRASTRUCTURE
    assert workshop.told.of("trial_finished") == [("first-t0", "infrastructure"), ("first-t1", "passed")]
    assert f"first: trial 0: the testbed failed at {moment}" in outcome.document["reasons"]
    assert alive(workshop) == []


def test_a_fault_that_this_machine_cannot_do_ends_the_run_before_anything_is_deployed(workshop: Any) -> None:
    outcome = workshop.run(testbed='fails = "probe"', case=CRASH)
    assert outcome.exit_code is ExitCode.INFRASTRUCTURE
    said = "nothing was deployed, since testbed 'sleepers' cannot do what the faults need: case 'first' needs kill;"
    assert outcome.document["reasons"][0] == f"{said} it can do: nothing. Use another testbed, or leave these cases out"
    assert workshop.told.of("trial_finished") == [] and alive(workshop) == []


@pytest.mark.parametrize("moment", ["open", "close"])
def test_a_testbed_that_cannot_be_opened_or_closed_spoils_the_run(workshop: Any, moment: str) -> None:
    outcome = workshop.run(testbed=f'fails = "{moment}"')
    assert outcome.exit_code is ExitCode.INFRASTRUCTURE
    assert outcome.document["reasons"][0] == f"the testbed failed at {moment}"
    assert workshop.told.of("trial_finished") == ([] if moment == "open" else [("first-t0", "passed")])
    assert alive(workshop) == []


def test_an_event_that_says_nothing_is_told(workshop: Any) -> None:
    outcome = workshop.run(testbed='fails = "event"')
    assert "reported an event without kind or t_s: {'node': 3}" in outcome.document["reasons"][0]


def test_events_are_told_in_the_order_of_their_times(workshop: Any) -> None:
    outcome = workshop.run(testbed='fails = "order"', case=CRASH)
    entries = map(json.loads, (outcome.run_dir / "journal.jsonl").read_text().splitlines())
    came = [e["event"]["kind"] for e in entries if e.get("what") == "event"]
    told = workshop.told.of("event")
    assert sorted(told) == sorted(came)
    assert came.index("dead") < came.index("link-lost")  # the journal has them as they came
    assert told.index("link-lost") < told.index("dead")


def test_an_event_waits_for_earlier_ones_but_not_for_long() -> None:
    now, told = 0.0, []
    order = InOrder(lambda e: told.append(e["t_s"]), lambda: now)
    order.take([{"t_s": 2.0}])
    order.take([{"t_s": 1.0}, {"t_s": 5.0}])
    assert told == []
    now = HOLD_S / 2
    order.take([{"t_s": 3.0}])
    assert told == []
    now = HOLD_S
    order.take([])
    assert told == [1.0, 2.0, 3.0, 5.0]  # 3 need not wait, since 5 is due
    order.take([{"t_s": 4.0}])
    now = 2 * HOLD_S
    order.take([])
    assert told[4:] == [4.0]  # too late, and told all the same
    order.take([{"t_s": 7.0}, {"t_s": 6.0}])
    order.flush()
    assert told[5:] == [6.0, 7.0]


def test_a_failed_check_outweighs_the_infrastructure(workshop: Any) -> None:
    more = SECOND.replace('workload = "count"', 'workload = { kind = "count", ends = "raises" }')
    outcome = workshop.run(testbed='fails = "mixed"', more=more)
    assert [v for _, v in workshop.told.of("trial_finished")] == ["failed", "infrastructure"]
    assert outcome.exit_code is ExitCode.CHECK_FAILED


def test_the_run_gives_up_when_nothing_works(workshop: Any) -> None:
    outcome = workshop.run(testbed='fails = "start"', trials=5)
    assert len(workshop.told.of("trial_started")) == runner.GIVE_UP_AFTER
    assert outcome.exit_code is ExitCode.INFRASTRUCTURE
    assert outcome.document["cases"][0]["trials"]["not-run"] == 5 - runner.GIVE_UP_AFTER


def test_a_case_whose_transport_is_not_there_is_skipped(workshop: Any) -> None:
    case = 'transport = [{ kind = "wire" }, { kind = "wire", why_not = "no such device: plug one in" }]'
    suite = workshop.suite().read_text().replace('transport = "wire"', case)
    (workshop.root / "both.toml").write_text(suite)
    plan = load_plan(workshop.root / "both.toml", workshop.registry)
    outcome = run_suite(plan, results=workshop.root, progress=workshop.told, argv=[], registry=workshop.registry)
    assert outcome.exit_code is ExitCode.PASSED
    assert [s["reason"] for s in outcome.document["skipped"]] == ["no such device: plug one in"]
    assert len(workshop.told.of("trial_started")) == 1


def test_a_run_in_which_everything_is_skipped_has_said_nothing(workshop: Any) -> None:
    path = workshop.suite()
    path.write_text(path.read_text().replace('transport = "wire"', 'transport = { kind = "wire", why_not = "none" }'))
    plan = load_plan(path, workshop.registry)
    outcome = run_suite(plan, results=workshop.root, progress=workshop.told, argv=[], registry=workshop.registry)
    assert outcome.exit_code is ExitCode.INFRASTRUCTURE
    assert outcome.document["reasons"][0] == "every case was skipped, so nothing is said"


def test_what_the_testbed_cannot_do_is_refused_before_anything_is_deployed(workshop: Any) -> None:
    outcome = workshop.run(case=CRASH + 'more = ["loss", "delay"]', more=SECOND)
    assert outcome.exit_code is ExitCode.INFRASTRUCTURE
    reason = outcome.document["reasons"][0]
    assert "nothing was deployed" in reason and "case 'first' needs delay, loss" in reason and "it can do: kill" in reason
    assert workshop.told.of("trial_started") == []
    assert len(workshop.pids.read_text().split()) == 1 and alive(workshop) == []


def test_a_stream_that_hangs_is_stopped_and_fails(workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "STALL_MARGIN_S", 0.2)
    outcome = workshop.run(testbed='fails = "stall"', case="deadline_s = 0.3")
    assert outcome.exit_code is ExitCode.CHECK_FAILED
    assert "nothing came out for" in outcome.document["reasons"][0]


def test_a_plan_that_does_not_fit_the_hosts_is_the_user_s_to_change(workshop: Any) -> None:
    case = '[[case.fault]]\nkind = "crash"\ntarget = "host:2"\nat_s = 0.1\n'
    plan = load_plan(workshop.suite(testbed="hosts = 1", case=case), workshop.registry, hosts=3)
    with pytest.raises(UsageError, match="host:2"):
        run_suite(plan, results=workshop.root / "out", progress=workshop.told, argv=[], registry=workshop.registry)
    assert alive(workshop) == []
    (run_dir,) = (workshop.root / "out" / "runs").iterdir()
    assert "host:2" in read_run(run_dir).finished["reason"]


def test_the_plan_is_written_for_the_hosts_that_there_are(workshop: Any) -> None:
    plan = load_plan(workshop.suite(testbed="hosts = 3"), workshop.registry, hosts=1)
    outcome = run_suite(plan, results=workshop.root, progress=workshop.told, argv=[], registry=workshop.registry)
    written = json.loads((outcome.run_dir / "plan.json").read_text())
    assert written["hosts"] == 3 and written["trials"][0]["tree"]["hosts"] == [0, 0, 1, 2]


def test_results_that_cannot_be_written_are_told_at_once(workshop: Any) -> None:
    (workshop.root / "out").write_text("a file in the way")
    with pytest.raises(InfrastructureError, match=r"cannot be written.*--results"):
        workshop.run()
    assert not workshop.pids.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    target = tmp_path / "out"
    target.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"not applicable: no file system can be mounted here: {done.stderr.strip()}")
    yield target
    subprocess.run(["umount", str(target)], check=True)


def test_a_full_disk_ends_the_run_and_leaves_a_journal_that_can_be_read(workshop: Any, small_disk: Path) -> None:
    """Little is left on it: the trial says more than that."""
    (small_disk / "filler").write_bytes(bytes(100 << 10))
    outcome = workshop.run(testbed="run_s = 600.0")
    assert outcome.exit_code is ExitCode.INFRASTRUCTURE
    assert "No space left on device" in outcome.document["reasons"][0]
    run = read_run(outcome.run_dir)
    assert run.finished is not None and "No space left" in run.finished["reason"]
    assert run.trials[0].outcome == "infrastructure" and "No space left" in run.trials[0].reason
    assert len(run.trials[0].events) > 20 and run.notes == ()
    assert run.verdict is not None and run.verdict["exit_code"] == 13
    assert alive(workshop) == []
