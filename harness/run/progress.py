"""How a run tells whoever watches it what is going on, and what it hands back at its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.api.errors import ExitCode

if TYPE_CHECKING:
    from harness.run.plan import Plan, TrialPlan


#: How long an event is held back for earlier ones.
HOLD_S = 0.25


@dataclass(frozen=True)
class RunOutcome:
    """What a run came to. `document` is the plain form for `--json`: verdict, figures per case, the run's directory; `text` the
    same for people."""

    run_dir: Path
    exit_code: ExitCode
    document: dict[str, Any]
    text: str


class Progress(Protocol):
    """Told about everything in the order in which it happens (events: see InOrder), from one thread. Implementations must be
    quick."""

    def run_started(self, plan: Plan, run_dir: Path) -> None: ...

    def trial_started(self, trial: TrialPlan) -> None: ...

    def event(self, trial: TrialPlan, event: Mapping[str, Any]) -> None:
        """One event of the running trial (harness.api.records.EVENT_KINDS)."""
        ...

    def trial_finished(self, trial: TrialPlan, verdict: Mapping[str, Any]) -> None:
        """The trial ended and was judged: the verdict as it stands in the journal."""
        ...

    def reporting(self) -> None:
        """All trials are over and the report is made next. Its text suits standard output as it is then, so whatever was put
        over that must be taken away."""
        ...

    def run_finished(self, outcome: RunOutcome) -> None: ...

    def message(self, text: str) -> None:
        """Anything else that a person should know: one line."""
        ...


class InOrder:
    """Passes the events of a trial on in the order of their times. Hosts report independently of each other, so each event is
    held back for a moment, in which earlier ones of other hosts may come; what comes later than that is passed on late."""

    def __init__(self, tell: Callable[[Mapping[str, Any]], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._held: list[tuple[float, Mapping[str, Any]]] = []

    def take(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Take events in, perhaps none, and pass on those that have waited long enough, with all that are earlier."""
        now = self._clock()
        self._held += [(now, e) for e in events]
        self._pass_on(max((e["t_s"] for came, e in self._held if now - came >= HOLD_S), default=-math.inf))

    def flush(self) -> None:
        """Pass on everything."""
        self._pass_on(math.inf)

    def _pass_on(self, until_s: float) -> None:
        due = [e for _, e in self._held if e["t_s"] <= until_s]
        self._held = [(came, e) for came, e in self._held if e["t_s"] > until_s]
        for event in sorted(due, key=lambda e: float(e["t_s"])):
            self._tell(event)


class WhileHeard:
    """Passes everything on to `progress` until that cannot write any more, since the terminal was closed or the pipe has no
    reader: a run does not fail because there is nobody to be told. Satisfies Progress."""

    def __init__(self, progress: Progress) -> None:
        self._progress: Progress | None = progress

    def run_started(self, plan: Plan, run_dir: Path) -> None:
        """Pass it on."""
        self._tell(lambda p: p.run_started(plan, run_dir))

    def trial_started(self, trial: TrialPlan) -> None:
        """Pass it on."""
        self._tell(lambda p: p.trial_started(trial))

    def event(self, trial: TrialPlan, event: Mapping[str, Any]) -> None:
        """Pass it on."""
        self._tell(lambda p: p.event(trial, event))

    def trial_finished(self, trial: TrialPlan, verdict: Mapping[str, Any]) -> None:
        """Pass it on."""
        self._tell(lambda p: p.trial_finished(trial, verdict))

    def reporting(self) -> None:
        """Pass it on."""
        self._tell(lambda p: p.reporting())

    def run_finished(self, outcome: RunOutcome) -> None:
        """Pass it on."""
        self._tell(lambda p: p.run_finished(outcome))

    def message(self, text: str) -> None:
        """Pass it on."""
        self._tell(lambda p: p.message(text))

    def _tell(self, tell: Callable[[Progress], None]) -> None:
        if self._progress is not None:
            try:
                tell(self._progress)
            except OSError:
                self._progress = None
