"""Suites on a testbed of sleeping processes; see kinds_for_runs.py."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.registry import Registry
from harness.run.plan import Plan, TrialPlan, load_plan
from harness.run.progress import RunOutcome
from harness.run.runner import run_suite

HERE = Path(__file__).parent
MODULES = {path.stem: path.read_text() for path in (HERE.parent / "small_kinds.py", HERE / "kinds_for_runs.py")}
RESULTS = importlib.metadata.EntryPoint("results", "harness_results", "harness")

SUITE = """
[suite]
name = "Sleep well"
seed = 1
trials = {trials}

[testbed]
kind = "sleepers"
pids = {pids}
{testbed}

[[case]]
name = "first"
workload = {{ kind = "count"{workload} }}
topology = "flat"
transport = "wire"
filter = "sum"
{case}
"""
CRASH = """
[[case.fault]]
kind = "crash"
target = "rank:1"
at_s = 0.1
"""


@dataclass
class Told:
    """A progress that keeps everything it was told, in order."""

    calls: list[tuple[str, Any]] = field(default_factory=list)

    def run_started(self, plan: Plan, run_dir: Path) -> None:
        self.calls.append(("run_started", run_dir))

    def trial_started(self, trial: TrialPlan) -> None:
        self.calls.append(("trial_started", trial.id))

    def event(self, trial: TrialPlan, event: Mapping[str, Any]) -> None:
        self.calls.append(("event", event["kind"]))

    def trial_finished(self, trial: TrialPlan, verdict: Mapping[str, Any]) -> None:
        self.calls.append(("trial_finished", (trial.id, verdict["verdict"])))

    def reporting(self) -> None:
        self.calls.append(("reporting", None))

    def run_finished(self, outcome: RunOutcome) -> None:
        self.calls.append(("run_finished", outcome))

    def message(self, text: str) -> None:
        self.calls.append(("message", text))

    def of(self, name: str) -> list[Any]:
        """The arguments of all calls of that name."""
        return [what for call, what in self.calls if call == name]


@dataclass
class Workshop:
    """Makes suites and runs them."""

    registry: Registry
    root: Path
    told: Told = field(default_factory=Told)

    @property
    def pids(self) -> Path:
        return self.root / "pids"

    def suite(self, testbed: str = "", case: str = "", workload: str = "", trials: int = 1, more: str = "") -> Path:
        path = self.root / "suite.toml"
        pids = json.dumps(str(self.pids))
        text = SUITE.format(trials=trials, testbed=testbed, case=case, workload=workload, pids=pids)
        path.write_text(text + more)
        return path

    def run(self, **suite: Any) -> RunOutcome:
        plan = load_plan(self.suite(**suite), self.registry)
        argv = ["harness", "run", "suite.toml"]
        return run_suite(plan, results=self.root / "out", progress=self.told, argv=argv, registry=self.registry)


@pytest.fixture
def registry(install: Callable[..., list[importlib.metadata.EntryPoint]]) -> Registry:
    points = install("kinds-for-runs", MODULES, {"kinds": "kinds_for_runs"})
    registry = Registry([*points, RESULTS])
    assert [p.broken for p in registry.plugins] == [None, None]
    return registry


@pytest.fixture
def workshop(registry: Registry, tmp_path: Path) -> Workshop:
    return Workshop(registry, tmp_path)
