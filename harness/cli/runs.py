"""`harness run` and `harness report`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import ExitCode, UsageError
from harness.api.fault import Action, Injection, Trigger
from harness.cli.common import print_json, print_last, reserved_stdout, warn
from harness.cli.events import counted
from harness.registry import Registry, load, plain
from harness.run.cases import Case
from harness.run.plan import Plan, TrialPlan, load_plan
from harness.run.tables import Expect

if TYPE_CHECKING:
    from harness.run.progress import Progress, RunOutcome

#: Columns of a report that is not printed on a terminal.
WIDTH = 110


def run(suite: Path, as_json: bool, results: Path, seed: int | None, trials: int | None, only: str | None) -> ExitCode:
    """Run a suite and print its report."""
    plan = load_plan(suite, _registry(), seed=seed, trials=trials, only=only)
    outcome = _run(plan, results)
    if as_json:
        print_json(outcome.document)
    else:
        print_last(f"{outcome.text.rstrip()}\n\nto see this again: harness report {outcome.run_dir}\n")
    return outcome.exit_code


def _run(plan: Plan, results: Path) -> RunOutcome:
    from harness.run.interrupts import Interrupts
    from harness.run.runner import run_suite

    # Ray and other libraries, and the processes that they start, print what they like: standard output is for the report.
    with ExitStack() as reserved:
        reserved.enter_context(reserved_stdout())
        with _progress(reserved.close) as progress:
            return run_suite(
                plan, results=results, progress=progress, argv=sys.argv, width=_width, interrupts=Interrupts(lasting=True)
            )


@contextmanager
def _progress(give_back: Callable[[], None]) -> Iterator[Progress]:
    """What the standard error stream can show: a live display on a terminal, plain lines anywhere else. `give_back` gives back
    standard output, by whose kind the report is made."""
    if not sys.stderr.isatty():
        from harness.cli.lines import LineProgress

        yield LineProgress(sys.stderr, give_back)
        return
    from rich.console import Console

    from harness.cli.live import LiveProgress

    with LiveProgress(Console(stderr=True), give_back) as live:
        yield live


def _width() -> int:
    if not sys.stdout.isatty():
        return WIDTH
    import shutil

    return shutil.get_terminal_size((WIDTH, 24)).columns


def report(run_dir: Path, as_json: bool) -> ExitCode:
    """Print the report of an earlier run; the exit code is the run's own, as the report finds it."""
    if not run_dir.is_dir():
        raise UsageError(f"{run_dir}: no such directory; give a run's directory, as `harness run` prints it at its end")
    document, text = load().report(run_dir, _width())
    if as_json:
        print_json(document)
    else:
        sys.stdout.write(text.rstrip("\n") + "\n")
    return ExitCode(document.get("exit_code", ExitCode.PASSED))


def dry_run(suite: Path, as_json: bool, seed: int | None, trials: int | None, only: str | None) -> ExitCode:
    """Print what a run would do."""
    plan = load_plan(suite, _registry(), seed=seed, trials=trials, only=only)
    if as_json:
        print_json(plan.to_json())
    else:
        sys.stdout.write("\n".join(_described(plan)) + "\n")
    return ExitCode.PASSED


def _registry() -> Registry:
    registry = load()
    for plugin in registry.broken:
        warn(f"{plugin.origin} is broken and left out: {plugin.broken}")
    return registry


def _described(plan: Plan) -> Iterator[str]:
    hosts = counted(plan.hosts, "host") if plan.hosts_known else "as many hosts as the testbed finds"
    each = f"{counted(len(plan.cases), 'case')} x {counted(plan.suite.trials, 'trial')}"
    yield f"{plan.suite.name}: {each} = {counted(len(plan.trials), 'trial')}"
    yield f"testbed {plan.testbed.kind}, {hosts}; seed {plan.suite.seed}"
    for case in plan.cases:
        tree = case.tree
        yield ""
        yield f"{case.name}"
        yield f"  id        {case.id}"
        yield f"  tree      {case.topology.kind}: {len(tree.nodes)} nodes, {len(tree.back_ends)} back-ends, depth {tree.depth}"
        if tree.standby >= 0:
            yield f"  standby   node {tree.standby} takes the place of a front-end that is lost"
        yield f"  streams   {case.workload.kind} over {case.transport.kind}, filter {', '.join(case.filters) or 'none'}"
        yield f"  policy    recovery {case.recovery}, sync {case.sync}, accept {case.accept}, deadline {case.deadline_s:g} s"
        yield f"  expects   {_expected(case.expect)}"
        trials = [t for t in plan.trials if t.case is case]
        for trial in trials:
            yield from _faults(trial)
        yield from _hints(case, trials)


def _expected(expect: Expect) -> str:
    def words(prefix: str, value: object) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from words(f"{prefix} {key}".strip(), inner)
        elif value is not None:
            yield f"{prefix} {value:g}" if isinstance(value, float) else f"{prefix} {value}"

    return ", ".join(words("", plain(expect)))


def _faults(trial: TrialPlan) -> Iterator[str]:
    if not trial.injections:
        yield f"  trial {trial.index:<4} seed {trial.seed}: no faults"
        return
    yield f"  trial {trial.index:<4} seed {trial.seed}:"
    for act in trial.injections:
        node = trial.tree.nodes[act.node]
        victim = f"node {act.node} ({node.role}, depth {node.depth}, host {node.host})"
        undone = f", undone after {act.undo_after_s:g} s" if act.undo_after_s is not None else ""
        yield f"    {act.kind}: {act.action} {victim} {_when(act.trigger)}{undone}"


def _hints(case: Case, trials: Sequence[TrialPlan]) -> Iterator[str]:
    """What is no mistake, but may not be meant."""
    ending = [i for t in trials for i in t.injections if 0 in (i.node, *i.others) and _ends(i)]
    if not ending or case.tree.standby >= 0:
        return
    able = [n for n in case.tree.nodes[0].children if case.tree.nodes[n].rank is None]
    which = f'standby = "node:{able[0]}" lets a node take its place' if able else "and this tree has no node for a standby"
    yield f"  hint      '{ending[0].kind}' ends the front-end, and the trial with it, as failed; {which}"


def _ends(act: Injection) -> bool:
    return act.action in (Action.KILL, Action.VANISH) or (act.action is Action.STOP and act.undo_after_s is None)


def _when(trigger: Trigger) -> str:
    if trigger.at_s is not None:
        return f"{trigger.at_s:g} s after the start"
    if trigger.moment is None:
        return f"at wave {trigger.at_wave}"
    return f"at {trigger.moment}" + (f" from wave {trigger.at_wave} on" if trigger.at_wave else "")
