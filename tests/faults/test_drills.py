"""All kinds of faults are plain plugins, and each has a drill; those in the simulator are run."""

from __future__ import annotations

import io
import pickle
import tomllib
from pathlib import Path

import pytest

from harness.api.errors import ExitCode
from harness.api.fault import Fault
from harness.cli.lines import LineProgress
from harness.registry import load
from harness.run.plan import load_plan
from harness.run.runner import run_suite
from harness_faults import harness_faults

DRILLS = sorted((Path(__file__).parents[2] / "faults" / "drills").glob("*.toml"))
SIMULATED = [p for p in DRILLS if tomllib.loads(p.read_text())["testbed"]["kind"] == "sim"]
#: What cannot be left out.
KEYS = {"late": {"by_s": 1.0}, "slow": {"turn_s": 0.01}, "skew": {"rate": 1.5}}


def test_they_are_plain_plugins():
    for name, kind in harness_faults().items():
        fault = kind(**KEYS.get(name, {}))
        assert isinstance(fault, Fault) and fault.needs
        assert pickle.loads(pickle.dumps(fault)) == fault


def test_there_is_a_drill_for_each_fault():
    assert {p.stem for p in DRILLS} >= set(harness_faults())


@pytest.mark.parametrize("path", DRILLS, ids=lambda p: p.stem)
def test_the_drills_are_sound(path):
    plan = load_plan(path, load())
    assert plan.trials and all(trial.injections for trial in plan.trials)
    kinds = {i.kind for trial in plan.trials for i in trial.injections}
    assert path.stem in kinds or path.stem not in harness_faults()


@pytest.mark.parametrize("path", SIMULATED, ids=lambda p: p.stem)
def test_the_simulated_drills_pass(path, tmp_path):
    registry = load()
    plan, progress = load_plan(path, registry), LineProgress(io.StringIO())
    outcome = run_suite(plan, results=tmp_path, progress=progress, argv=["harness", "run"], registry=registry)
    assert outcome.exit_code is ExitCode.PASSED, outcome.text
