"""One trial without a suite or a journal: for benchmarks and calibrations, which look at its record at once."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.api.errors import InfrastructureError
from harness.api.fault import Injection
from harness.api.records import Check, TrialRecord
from harness.api.testbed import Deployment, DeploymentSpec, Testbed
from harness.api.workload import TrialContext, Workload
from harness.core.settings import NodeSettings
from harness.core.spec import Recovery
from harness.core.tree import Tree
from harness.registry import Category, load, plain
from harness.run.record import load_trial

#: How long one question to the testbed waits; what happens is told at once, so nobody wakes for nothing meanwhile.
POLL_S = 5.0
STOP_S = 10.0


class TrialFailed(InfrastructureError):
    """A trial did not pass its own check: its figures are worth nothing."""


def single_spec(
    trial: str,
    tree: Tree,
    workload: Workload,
    filter_: str = "sum",
    *,
    recovery: Recovery = Recovery.REPLAY,
    settings: NodeSettings | None = None,
    injections: Sequence[Injection] = (),
    seed: int = 1,
) -> DeploymentSpec:
    """A deployment over TCP with a secret of its own; nodes, filters and transport have their defaults."""
    make = load().make
    return DeploymentSpec(
        trial=trial,
        secret=secrets.token_bytes(32),
        tree=tree,
        transport=make(Category.TRANSPORT, "tcp"),
        workload=workload,
        context=TrialContext(seed, tree, filter_, recovery),
        filters={name: make(Category.FILTER, name) for name in workload.filters(filter_)},
        down_filters={"null": make(Category.DOWN_FILTER, "null")},
        settings=settings or NodeSettings(),
        injections=injections,
    )


def run_single(
    testbed: Testbed, spec: DeploymentSpec, into: Path, *, expect: str = "exact", within_s: float = 600.0
) -> tuple[TrialRecord, Check]:
    """Run a trial to its end; its samples go to a new directory `into`. Returns what was observed, and the workload's check of
    it. Raises TrialFailed where the check does not pass, InfrastructureError where the trial does not end in time."""
    with testbed.deploy(spec) as deployment:
        deployment.start()
        events = _until_finished(deployment, within_s)
        events += deployment.stop(STOP_S)
        into.mkdir()
        deployment.collect(into)
    plan: Mapping[str, Any] = {
        "tree": {"parents": [n.parent for n in spec.tree.nodes], "hosts": [n.host for n in spec.tree.nodes]},
        "workload": plain(spec.workload),
    }
    record, missing = load_trial(into, plan, events)
    check = spec.workload.check(record, spec.context, expect)
    if missing or not check.passed:
        raise TrialFailed(f"a trial did not pass its check: {check.summary or 'no summary'} {'; '.join(missing)}")
    return record, check


def _until_finished(deployment: Deployment, within_s: float) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    until = time.monotonic() + within_s
    while not any(e["kind"] == "finished" for e in events):
        if time.monotonic() > until:
            raise InfrastructureError(
                f"a trial was not over after {within_s:g} s; look at the load of the machine and try again"
            )
        events += deployment.poll(POLL_S)
    return events
