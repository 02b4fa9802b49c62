"""Progress on a terminal: a few lines that are drawn anew, and one line that stays for everything worth keeping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from harness.cli.events import STYLES, Pace, counted, describe_event, verdict_line
from harness.cli.losses import Losses
from harness.run.plan import Plan, TrialPlan
from harness.run.progress import RunOutcome


class LiveProgress:
    """Draws the running trial. Satisfies harness.run.progress.Progress; use it as a context manager. `give_back` is called
    when the report is due: see `reporting`."""

    def __init__(self, console: Console, give_back: Callable[[], None] = lambda: None) -> None:
        self._console = console
        self._give_back = give_back
        self._pace = Pace()
        self._losses = Losses()
        self._trial: TrialPlan | None = None
        self._done = 0
        self._total = 0
        self._state = "starting"
        self._verdicts: dict[bool | None, int] = {}
        self._live = Live(console=console, refresh_per_second=8, transient=True, get_renderable=self.drawing)

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        with suppress(OSError):  # of a terminal that was closed
            self._live.stop()

    def run_started(self, plan: Plan, run_dir: Path) -> None:
        """Say what is about to happen, and where it is written down."""
        self._total = len(plan.trials)
        cases = f"{counted(len(plan.cases), 'case')}, {counted(self._total, 'trial')}, on {plan.testbed.kind}"
        self._print(f"[bold]{escape(plan.suite.name)}[/]: {cases}; writing to {escape(str(run_dir))}")

    def trial_started(self, trial: TrialPlan) -> None:
        """Show another trial."""
        self._trial, self._pace, self._state = trial, Pace(alive=len(trial.tree.nodes)), "deploying"
        self._losses = Losses()
        self._done += 1
        self._print(f"[bold]{escape(trial.case.name)}[/], trial {trial.index}")

    def event(self, trial: TrialPlan, event: Mapping[str, Any]) -> None:
        """Faults and what follows from them stay on the screen; the pace is drawn anew."""
        kind = event["kind"]
        self._losses.take(event)
        if kind == "progress":
            self._pace.update(event)
        elif kind == "workload-started":
            self._state = "running"
        elif kind == "finished":
            self._state = "stopping"
        text = describe_event(event)
        if text:
            self._print(f"  [dim]{float(event.get('t_s', 0.0)):8.3f} s[/]  [{STYLES[kind]}]{escape(text)}[/]")

    def trial_finished(self, trial: TrialPlan, verdict: Mapping[str, Any]) -> None:
        """Its verdict stays on the screen."""
        if lost := self._losses.line:
            self._print(f"  [red]lost: {escape(lost)}[/]")
        line, passed = verdict_line(verdict)
        self._verdicts[passed] = self._verdicts.get(passed, 0) + 1
        style = "yellow" if passed is None else "bold green" if passed else "bold red"
        self._print(f"  [{style}]{escape(line)}[/]")
        self._trial = None
        self._state = "taking the testbed down" if self._done == self._total else "between two trials"

    def reporting(self) -> None:
        """Draw no more, and give back standard output, which the display stands in for."""
        self._stop()
        self._give_back()

    def run_finished(self, outcome: RunOutcome) -> None:
        """Nothing to say: the report follows."""

    def message(self, text: str) -> None:
        """Pass it on."""
        self._print(escape(text))

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False)

    def drawing(self) -> Table:
        """What is drawn anew a few times a second."""
        grid = Table.grid(padding=(0, 2))
        tally = ", ".join(
            f"{count} {word}"
            for passed, word in ((True, "passed"), (False, "failed"), (None, "inconclusive"))
            if (count := self._verdicts.get(passed, 0))
        )
        grid.add_row("[bold]trial[/]", f"{self._done} of {self._total}" + (f" ({tally})" if tally else ""))
        if self._trial is None:
            grid.add_row("[bold]state[/]", self._state)
            return grid
        everyone = len(self._trial.tree.nodes)
        colour = "green" if self._pace.alive == everyone else "yellow"
        grid.add_row("[bold]state[/]", f"{self._state}, {self._pace.t_s:.1f} s")
        grid.add_row("[bold]alive[/]", f"[{colour}]{self._pace.alive} of {everyone} nodes[/]")
        if lost := self._losses.so_far:
            grid.add_row("[bold]lost[/]", f"[red]{escape(lost)}[/]")
        grid.add_row("[bold]waves[/]", f"{self._pace.waves:,}, [bold cyan]{self._pace.rate:,.0f}/s[/]")
        return grid
