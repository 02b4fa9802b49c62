"""Progress as plain lines, for logs and pipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from harness.cli.events import Pace, counted, describe_event, verdict_line
from harness.cli.losses import Losses
from harness.run.plan import Plan, TrialPlan
from harness.run.progress import RunOutcome

#: Seconds of a trial between two lines about its pace.
EVERY_S = 5.0


class LineProgress:
    """Writes a line for everything worth one. Satisfies harness.run.progress.Progress. `give_back` is called when the report
    is due: see `reporting`."""

    def __init__(self, out: TextIO, give_back: Callable[[], None] = lambda: None) -> None:
        self._out = out
        self._give_back = give_back
        self._pace = Pace()
        self._losses = Losses()
        self._told_s = 0.0
        self._done = 0
        self._total = 0

    def run_started(self, plan: Plan, run_dir: Path) -> None:
        """Say what is about to happen, and where it is written down."""
        self._total = len(plan.trials)
        cases = f"{counted(len(plan.cases), 'case')}, {counted(self._total, 'trial')}, on {plan.testbed.kind}"
        self._write(f"{plan.suite.name}: {cases}; writing to {run_dir}")

    def trial_started(self, trial: TrialPlan) -> None:
        """Name the trial."""
        self._pace, self._told_s, self._losses = Pace(), 0.0, Losses()
        self._done += 1
        self._write(f"[{self._done}/{self._total}] {trial.case.name}, trial {trial.index}")

    def event(self, trial: TrialPlan, event: Mapping[str, Any]) -> None:
        """A line for faults and what follows from them; one now and then for the pace."""
        t_s = float(event.get("t_s", 0.0))
        self._losses.take(event)
        if event["kind"] == "progress":
            self._pace.update(event)
            if t_s - self._told_s >= EVERY_S:
                self._told_s = t_s
                self._write(f"  {t_s:8.3f} s  {self._pace}")
            return
        text = describe_event(event)
        if text:
            self._write(f"  {t_s:8.3f} s  {text}")

    def trial_finished(self, trial: TrialPlan, verdict: Mapping[str, Any]) -> None:
        """Its verdict."""
        if line := self._losses.line:
            self._write(f"  lost: {line}")
        self._write(f"  {verdict_line(verdict)[0]}")

    def reporting(self) -> None:
        """Nothing to say: the report follows, on standard output."""
        self._give_back()

    def run_finished(self, outcome: RunOutcome) -> None:
        """How the run ended."""
        self._write(f"run ended: {outcome.exit_code.name.lower().replace('_', ' ')}")

    def message(self, text: str) -> None:
        """Pass it on."""
        self._write(text)

    def _write(self, line: str) -> None:
        self._out.write(line + "\n")
        self._out.flush()
