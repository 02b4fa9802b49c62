"""How a run tells whoever watches it what is going on, and what it hands back at its end."""

from __future__ import annotations

from collections.abc import Mapping
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
