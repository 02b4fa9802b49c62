"""How a run tells whoever watches it what is going on, and what it hands back at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.api.errors import ExitCode

if TYPE_CHECKING:
    from harness.run.plan import Plan, TrialPlan


@dataclass(frozen=True)
class RunOutcome:
    """What a run came to. `document` is the plain form for `--json`: verdict, figures per case, the run's directory."""

    run_dir: Path
    exit_code: ExitCode
    document: dict[str, Any]


class Progress(Protocol):
    """Told about everything in the order in which it happens, from one thread. Implementations must be quick."""

    def run_started(self, plan: Plan, run_dir: Path) -> None: ...

    def trial_started(self, trial: TrialPlan) -> None: ...

    def event(self, trial: TrialPlan, event: Mapping[str, Any]) -> None:
        """One event of the running trial (harness.api.records.EVENT_KINDS)."""
        ...

    def trial_finished(self, trial: TrialPlan, verdict: Mapping[str, Any]) -> None:
        """The trial ended and was judged: the verdict as it stands in the journal."""
        ...

    def run_finished(self, outcome: RunOutcome) -> None: ...

    def message(self, text: str) -> None:
        """Anything else that a person should know: one line."""
        ...


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
