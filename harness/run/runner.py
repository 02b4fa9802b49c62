"""A run: every trial of a plan, one after the other, each written down as it happens, taken down whatever happens, and judged
from what was written."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.api.errors import ExitCode, HarnessError, InfrastructureError, UsageError
from harness.registry import Registry
from harness.registry import load as load_registry
from harness.run.environment import describe_environment
from harness.run.interrupts import Interrupted, Interrupts
from harness.run.journal import Journal, dump_json, write_whole
from harness.run.plan import Plan, TrialPlan
from harness.run.progress import InOrder, Progress, RunOutcome, WhileHeard
from harness.run.record import ENVIRONMENT_NAME, PLAN_NAME, SKIPPED, SUITE_NAME, TRIALS_NAME, read_trial
from harness.run.trial import Ended, JournalFailedError, TrialRun, explain

__all__ = ["RunOutcome", "run_suite"]

#: After so many trials in a row that the infrastructure failed, the rest is not tried.
GIVE_UP_AFTER = 3
#: Columns of the report's text where nobody says how many there are.
WIDTH = 100


def run_suite(
    plan: Plan,
    *,
    results: Path,
    progress: Progress,
    argv: Sequence[str],
    registry: Registry | None = None,
    width: Callable[[], int] = lambda: WIDTH,
    interrupts: Interrupts | None = None,
) -> RunOutcome:
    """Run all trials of `plan` into a new directory under `results`; `argv` is what the user typed, `width` is asked at the end
    for the columns of the report's text, `interrupts` has the signals meanwhile.

    Trials are interleaved over the cases (the first of each, then the second of each, ...), so that a drift of the machine
    spreads over all of them. A trial that fails, and Ctrl-C at any moment, end in a journal that is whole, with everything
    taken down. Raises InfrastructureError where the directory cannot be made, UsageError where the plan does not fit the
    hosts that the testbed has.
    """
    run_dir = new_run_directory(results, plan.suite.name)
    return _Run(plan, run_dir, WhileHeard(progress), argv, registry or load_registry(), width, interrupts or Interrupts()).run()


def new_run_directory(results: Path, name: str) -> Path:
    """Make `results/runs/<UTC time>-<name>-<id>`. Raises InfrastructureError."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-")[:60] or "suite"
    run_dir = results / "runs" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{slug}-{secrets.token_hex(3)}"
    try:
        (run_dir / TRIALS_NAME).mkdir(parents=True)
    except OSError as e:
        reason = e.strerror or str(e)
        raise InfrastructureError(f"{run_dir} cannot be written: {reason}. Name another directory with --results") from e
    return run_dir


def bare_verdict(verdict: str, reason: str) -> dict[str, Any]:
    """The verdict on a trial about which there is nothing more to say."""
    return {"verdict": verdict, "passed": None, "summary": f"{verdict}: {reason}", "reasons": [reason]}


@dataclass
class _Run:
    plan: Plan
    run_dir: Path
    progress: Progress
    argv: Sequence[str]
    registry: Registry
    width: Callable[[], int]
    interrupts: Interrupts
    failures_in_a_row: int = 0

    @property
    def virtual(self) -> bool:
        """Whether the testbed has a time of its own: then no other goes into the journal."""
        return bool(getattr(self.plan.testbed.value, "virtual", False))

    def run(self) -> RunOutcome:
        with self.interrupts:
            outcome = self._recorded()
        self.progress.run_finished(outcome)
        return outcome

    def _recorded(self) -> RunOutcome:
        """The run, from the first file in its directory to the last word in its journal."""
        self._write_plan(self.plan)
        write_whole(self.run_dir / SUITE_NAME, self.plan.text.encode())
        write_whole(self.run_dir / ENVIRONMENT_NAME, dump_json(describe_environment(self.argv), indent=1).encode())
        self.journal = Journal(self.run_dir)
        try:
            self.progress.run_started(self.plan, self.run_dir)
            return self._outcome(self._trials_on_testbed())
        finally:
            self.journal.close()

    def _write_plan(self, plan: Plan) -> None:
        write_whole(self.run_dir / PLAN_NAME, dump_json(plan.to_json(), indent=1).encode())

    def _trials_on_testbed(self) -> str:
        """Open the testbed, run what can be run, close it; the reason why not everything was run, empty where it was."""
        reason = ""
        try:
            with self._open_testbed():
                self._fit_to_hosts()
                for trial in self._runnable():
                    self._trial(trial)
        except Interrupted as e:
            self._finish(str(e), interrupted=True)
            return str(e)
        except UsageError as e:
            self._finish(str(e))
            raise
        except Exception as e:  # whatever the testbed raises says nothing about the system under test
            reason = explain(e)
            self.progress.message(f"the run is given up: {reason}")
        self._finish(reason)
        return reason

    def _finish(self, reason: str, interrupted: bool = False) -> None:
        self._last_word({"what": "run-finished", "interrupted": interrupted, "reason": reason})

    @contextmanager
    def _open_testbed(self) -> Iterator[None]:
        testbed = self.plan.testbed.value
        try:
            self.interrupts.check()
            testbed.open(self.run_dir)
            self.interrupts.install()  # libraries that a testbed uses take the signals for themselves
            self.interrupts.check()
            yield
        finally:
            if self.interrupts.asked:
                self.progress.message(f"{self.interrupts.reason}: everything is being taken down")
            testbed.close()
            self.interrupts.install()  # and give them back to nobody

    def _fit_to_hosts(self) -> None:
        testbed = self.plan.testbed.value
        hosts = testbed.host_count()
        fitted = self.plan.on_hosts(hosts)
        if fitted is not self.plan:
            self._write_plan(fitted)
            self.plan = fitted
        self._note({"what": "testbed", "hosts": hosts, "capabilities": dict(testbed.capabilities())})

    def _runnable(self) -> list[TrialPlan]:
        """The trials to run, in the order in which they run. Trials of a transport that this machine does not have are
        skipped. Raises InfrastructureError where a fault needs what the testbed cannot do."""
        reasons = {case.id: None if self.virtual else case.transport.value.unavailable() for case in self.plan.cases}
        can = self.plan.testbed.value.capabilities()
        refused = [
            f"case '{case.name}' needs {', '.join(sorted(case.needs - can.keys()))}"
            for case in self.plan.cases
            if reasons[case.id] is None and case.needs - can.keys()
        ]
        if refused:
            able = ", ".join(sorted(can)) or "nothing"
            raise InfrastructureError(
                f"nothing was deployed, since testbed '{self.plan.testbed.kind}' cannot do what the faults need:"
                f" {'; '.join(refused)}; it can do: {able}. Use another testbed, or leave these cases out"
            )
        ordered = sorted(self.plan.trials, key=lambda t: t.index)
        for trial in ordered:
            if (reason := reasons[trial.case.id]) is not None:
                self._end_trial(trial, Ended(SKIPPED, reason), 0.0)
                self._write_verdict(trial, bare_verdict(SKIPPED, reason))
        return [t for t in ordered if reasons[t.case.id] is None]

    def _trial(self, trial: TrialPlan) -> None:
        self.interrupts.check()
        if self.failures_in_a_row >= GIVE_UP_AFTER:
            raise InfrastructureError(f"{GIVE_UP_AFTER} trials in a row failed for reasons of the infrastructure: see each")
        begun, position = time.monotonic(), self.journal.position
        at = {} if self.virtual else {"at": datetime.now(UTC).isoformat(timespec="milliseconds")}
        self._note({"what": "trial-started", "trial": trial.id, **at})
        self.progress.trial_started(trial)
        running = TrialRun(
            plan=trial,
            testbed=self.plan.testbed.value,
            secret=secrets.token_bytes(32),
            run_dir=self.run_dir,
            journal=self.journal,
            position=position,
            interrupts=self.interrupts,
            tell=InOrder(lambda event: self.progress.event(trial, event)),
        )
        try:
            ended = running.run()
        except JournalFailedError as e:
            self._end_trial(trial, Ended("infrastructure", str(e)), time.monotonic() - begun)
            self._judge_trial(trial, position)
            raise
        self.failures_in_a_row = self.failures_in_a_row + 1 if ended.outcome == "infrastructure" else 0
        self._end_trial(trial, ended, time.monotonic() - begun)
        self._judge_trial(trial, position)
        if ended.outcome == "interrupted":
            self.interrupts.check()

    def _end_trial(self, trial: TrialPlan, ended: Ended, took_s: float) -> None:
        self._last_word(
            {
                "what": "trial-ended",
                "trial": trial.id,
                "outcome": ended.outcome,
                "reason": ended.reason,
                **({} if self.virtual else {"took_s": round(took_s, 3)}),
                "check": ended.check,
            }
        )

    def _judge_trial(self, trial: TrialPlan, position: tuple[int, int]) -> None:
        """Judge a trial from what is on the disk, and write that down as well."""
        try:
            recorded = read_trial(self.run_dir, trial.to_json(), position)
            verdict = self.registry.judge(recorded.record, recorded.for_judge())
        except Exception as e:  # a trial that nobody could judge is no success
            verdict = bare_verdict("infrastructure", f"the trial could not be judged: {explain(e)}")
        self._write_verdict(trial, verdict)

    def _write_verdict(self, trial: TrialPlan, verdict: Mapping[str, Any]) -> None:
        self._last_word({"what": "verdict", "trial": trial.id, "verdict": verdict})
        self.progress.trial_finished(trial, verdict)

    def _outcome(self, reason: str) -> RunOutcome:
        """The report's verdict on the run, written down; a bare one where no report can be made."""
        self.progress.reporting()
        try:
            document, text = self.registry.report(self.run_dir, self.width())
        except (HarnessError, OSError) as e:
            text = f"no report can be made: {explain(e)}"
            document = {
                "verdict": "infrastructure",
                "exit_code": int(ExitCode.INFRASTRUCTURE),
                "run": str(self.run_dir.resolve()),
                "reasons": [r for r in (reason, f"the report could not be made: {explain(e)}") if r],
                "cases": [],
                "skipped": [],
            }
            self.progress.message(f"the report could not be made: {explain(e)}")
        exit_code = ExitCode(document["exit_code"])
        self._last_word({"what": "run-verdict", "verdict": document["verdict"], "exit_code": int(exit_code)})
        return RunOutcome(self.run_dir, exit_code, document, text)

    def _note(self, entry: Mapping[str, Any]) -> None:
        try:
            self.journal.append(entry, sync=True)
        except InfrastructureError as e:
            raise JournalFailedError(str(e)) from e

    def _last_word(self, entry: Mapping[str, Any]) -> None:
        """Write what must be in the journal for it to be whole; where even the reserve is used up, say so."""
        try:
            self.journal.append_at_last(entry)
        except InfrastructureError as e:
            self.progress.message(f"the journal ends early: {e}")
