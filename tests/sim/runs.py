"""Suites on the testbed `sim`: made, run in this process, and read back."""

from __future__ import annotations

import functools
import io
from pathlib import Path

from harness.api.testbed import DeploymentSpec
from harness.cli.lines import LineProgress
from harness.registry import Registry, load
from harness.run.plan import Plan, load_plan
from harness.run.progress import RunOutcome
from harness.run.record import RecordedTrial, read_run
from harness.run.runner import run_suite
from harness.testbeds.sim_deployment import SimDeployment

SUITE = """
[suite]
name = "simulated"
seed = {seed}
trials = {trials}

[testbed]
kind = "{testbed}"
{model}

[[case]]
name = "first"
workload = {{ kind = "reduce-stream", {load}{more} }}
topology = {{ kind = "kary", fanout = 2, depth = 3 }}
filter = "{filter}"
{case}
"""


def suite(
    *,
    fault: str = "",
    seed: int = 1,
    trials: int = 1,
    testbed: str = "sim",
    model: str = "",
    duration_s: float = 2.0,
    load: str = "rate = 100",
    filter: str = "sum",
    case: str = "",
) -> str:
    """The text of a suite of one case: 15 nodes, 1 to 6 between the front-end and the back-ends 7 to 14."""
    more = f", duration_s = {duration_s}" if duration_s else ""
    faults = "".join(f"\n[[case.fault]]\n{one.strip()}\n" for one in fault.split("---") if one.strip())
    return SUITE.format(
        seed=seed, trials=trials, testbed=testbed, model=model, load=load, more=more, filter=filter, case=case + faults
    )


@functools.cache
def registry() -> Registry:
    return load()


def plan_of(root: Path, text: str) -> Plan:
    root.mkdir(parents=True, exist_ok=True)
    path = root / "suite.toml"
    path.write_text(text)
    return load_plan(path, registry())


def run(root: Path, text: str) -> tuple[RunOutcome, list[RecordedTrial]]:
    """Run a suite; what came of it, and its trials as they are on the disk."""
    plan, progress = plan_of(root, text), LineProgress(io.StringIO())
    outcome = run_suite(plan, results=root, progress=progress, argv=["harness", "run"], registry=registry())
    return outcome, list(read_run(outcome.run_dir).trials)


def deployment(plan: Plan, index: int = 0) -> SimDeployment:
    """A trial of a plan, deployed as the runner would do it, and not started."""
    trial = plan.trials[index]
    spec = DeploymentSpec(
        trial=trial.id,
        secret=bytes(32),
        tree=trial.tree,
        transport=trial.transport,
        workload=trial.workload,
        context=trial.context,
        filters=trial.filters,
        down_filters=trial.down_filters,
        settings=trial.settings,
        injections=trial.injections,
        start_timeout_s=trial.settings.start_timeout_s,
    )
    made = plan.testbed.value.deploy(spec)
    assert isinstance(made, SimDeployment)
    return made
