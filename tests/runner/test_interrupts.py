"""Ctrl-C at any moment, once or twice: no process is left behind, the journal is whole, and a report can be made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from harness.api.errors import ExitCode
from harness.run.interrupts import SIGNALS, Interrupted, Interrupts
from harness.run.record import RunRecord, read_run

DRIVER = """
    import json, sys
    from importlib.metadata import EntryPoint
    from pathlib import Path
    from harness.registry import Registry
    from harness.run.plan import load_plan
    from harness.run.runner import run_suite

    class Lines:
        def __getattr__(self, name):
            return lambda *what: print(name, *what[-1:], file=sys.stderr, flush=True)

    registry = Registry([EntryPoint("kinds", "kinds_for_runs", "harness"), EntryPoint("results", "harness_results", "harness")])
    plan = load_plan(Path(sys.argv[1]), registry)
    outcome = run_suite(plan, results=Path(sys.argv[2]), progress=Lines(), argv=sys.argv, registry=registry)
    print(json.dumps(outcome.document))
    sys.exit(outcome.exit_code)
"""


@dataclass
class Driven:
    """A run in a process of its own."""

    workshop: Any
    process: subprocess.Popen[str]

    def wait_for(self, there: Callable[[], object]) -> None:
        end = time.monotonic() + 60
        while not there():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, "the moment never came"
            time.sleep(0.01)

    def processes(self) -> int:
        """How many the testbed has started so far."""
        return len(self.workshop.pids.read_text().split()) if self.workshop.pids.exists() else 0

    def has(self, pattern: str) -> bool:
        return any((self.workshop.root / "out" / "runs").glob(f"*/{pattern}"))

    def count(self, text: str) -> int:
        """How often the journal says that."""
        return sum(p.read_text().count(text) for p in (self.workshop.root / "out" / "runs").glob("*/journal.jsonl"))

    def signal(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def ended(self) -> tuple[RunRecord, dict[str, Any], str]:
        """Wait for the end: the run as recorded, its document, and what it told on the way."""
        out, err = self.process.communicate(timeout=60)
        from kinds_for_runs import running

        assert running(self.workshop.pids) == [], err
        (run_dir,) = (self.workshop.root / "out" / "runs").iterdir()
        document = json.loads(out)
        assert self.process.returncode == document["exit_code"], err
        assert self.workshop.registry.report(run_dir, 100)[0] == document
        assert not (run_dir / "reserve").exists()
        return read_run(run_dir), document, err


@pytest.fixture
def drive(workshop: Any) -> Iterator[Callable[..., Driven]]:
    started: list[subprocess.Popen[str]] = []

    def start(**suite: Any) -> Driven:
        command = [sys.executable, "-c", textwrap.dedent(DRIVER), str(workshop.suite(**suite)), str(workshop.root / "out")]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return Driven(workshop, process)

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


MOMENTS: dict[str, tuple[dict[str, Any], Callable[[Driven], object]]] = {
    "open": ({"testbed": "open_s = 1.0"}, lambda d: d.processes() >= 1),
    "start": ({"testbed": "start_s = 1.0"}, lambda d: d.processes() >= 5),
    "poll": ({"testbed": "run_s = 50.0"}, lambda d: d.count('"kind":"progress"')),
    "stop": ({"testbed": "stop_s = 1.0"}, lambda d: d.count('"kind":"finished"')),
    "check": ({"workload": ', ends = "slow"'}, lambda d: d.has("trials/*/contributors.jsonl")),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c(drive: Callable[..., Driven], moment: str) -> None:
    suite, reached = MOMENTS[moment]
    driven = drive(trials=2, **suite)
    driven.wait_for(lambda: reached(driven))
    driven.signal()
    run, document, told = driven.ended()
    assert (document["verdict"], document["exit_code"]) == ("interrupted", ExitCode.INCONCLUSIVE)
    assert run.finished is not None and run.finished["interrupted"] and run.notes == ()
    assert run.finished["reason"] == "interrupted by SIGINT"
    outcomes = [t.outcome for t in run.trials]
    assert outcomes == (["not-run", "not-run"] if moment == "open" else ["interrupted", "not-run"])
    assert "interrupted by SIGINT: everything is being taken down" in told
    assert ("the current step is finished" in told) == (moment != "check")


def test_what_was_measured_until_then_is_in_the_report(drive: Callable[..., Driven]) -> None:
    driven = drive(testbed="run_s = 50.0")
    driven.wait_for(lambda: driven.count('"kind":"progress"') > 20)
    driven.signal(signal.SIGTERM)
    _, document, _ = driven.ended()
    (case,) = document["cases"]
    assert document["reasons"] == ["interrupted by SIGTERM", "first: trial 0: interrupted by SIGTERM"]
    assert case["figures_from"] == "unfinished trials" and case["counts"]["delivered"] > 200


def test_pressing_it_again_leaves_nothing_behind_either(drive: Callable[..., Driven]) -> None:
    driven = drive(testbed="run_s = 50.0\nstop_s = 1.0", trials=2)
    driven.wait_for(lambda: driven.count('"kind":"progress"'))
    for _ in range(5):
        driven.signal()
        time.sleep(0.1)
    run, document, _ = driven.ended()
    assert document["verdict"] == "interrupted" and [t.outcome for t in run.trials] == ["interrupted", "not-run"]


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.13, 0.29, 0.41])
def test_whenever_it_comes(drive: Callable[..., Driven], after_s: float) -> None:
    driven = drive(trials=20)
    driven.wait_for(driven.processes)
    time.sleep(after_s)
    driven.signal()
    run, document, _ = driven.ended()
    assert document["verdict"] == "interrupted" and run.notes == ()
    outcomes = [t.outcome for t in run.trials]
    assert outcomes == sorted(outcomes, key=["measured", "interrupted", "not-run"].index)


def test_a_signal_waits_where_it_must_and_is_raised_where_it_may() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        assert interrupts.asked
        with pytest.raises(Interrupted), interrupts.interruptible():
            raise AssertionError("never reached")
    assert signal.getsignal(signal.SIGINT) is before
    with Interrupts() as interrupts, pytest.raises(Interrupted, match="SIGTERM"), interrupts.interruptible():
        signal.raise_signal(signal.SIGTERM)


def test_a_program_that_was_asked_to_end_is_not_ended_by_being_asked_again() -> None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        with Interrupts(lasting=True):
            pass
        assert {number: signal.getsignal(number) for number in SIGNALS} == before  # nobody has asked
        with Interrupts(lasting=True):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_handlers_that_a_library_took_are_taken_back() -> None:
    with Interrupts() as interrupts:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        interrupts.install()
        signal.raise_signal(signal.SIGTERM)
        assert interrupts.asked


def test_under_nohup_a_closed_terminal_is_nobody_s_wish() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGHUP)
            assert not interrupts.asked
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGHUP)
            assert interrupts.reason == "interrupted by SIGHUP"
    finally:
        signal.signal(signal.SIGHUP, before)
