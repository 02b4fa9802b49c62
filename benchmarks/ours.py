"""Trials of our own tree for the benchmarks: the testbed `local` as suites use it, opened once, one deployment a trial."""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Array, Figures, percentiles
from harness.api.errors import HarnessError
from harness.api.fault import Injection
from harness.api.records import Check, TrialRecord
from harness.api.testbed import DeploymentSpec, Testbed
from harness.api.workload import TrialContext, Workload
from harness.core.settings import NodeSettings
from harness.core.spec import Recovery
from harness.core.tree import Tree
from harness.registry import Category, load, plain
from harness.run.record import load_trial

POLL_S = 0.1
STOP_S = 10.0


class TrialFailed(HarnessError):
    """A trial of a benchmark did not pass its own check: its figures are worth nothing."""


@dataclass(frozen=True)
class Trial:
    """One trial that passed its check."""

    record: TrialRecord
    check: Check
    injections: Sequence[Injection]

    def most_resident_mb(self) -> float:
        """The largest resident size that any node process had when it ended, in MB; 0 where none said."""
        return max((float(e["rss_bytes"]) for e in self.record.of_kind("usage")), default=0.0) / 1e6


class Bench:
    """An open testbed. Use `opened`."""

    def __init__(self, testbed: Testbed, scratch: Path) -> None:
        self.testbed = testbed
        self.scratch = scratch
        self._count = 0

    @contextmanager
    def deployed(
        self,
        tree: Tree,
        workload: Workload,
        filter_: str = "sum",
        *,
        recovery: Recovery = Recovery.REPLAY,
        settings: NodeSettings | None = None,
        injections: Sequence[Injection] = (),
        seed: int = 1,
    ) -> Iterator[tuple[Any, DeploymentSpec]]:
        """A deployment that is started by hand, for what `run` does not offer."""
        self._count += 1
        make = load().make
        spec = DeploymentSpec(
            trial=f"bench-{self._count}",
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
        with self.testbed.deploy(spec) as deployment:
            yield deployment, spec

    def run(self, tree: Tree, workload: Workload, filter_: str = "sum", *, expect: str = "exact", **more: Any) -> Trial:
        """Run a trial to its end. Raises TrialFailed where its check does not pass."""
        with self.deployed(tree, workload, filter_, **more) as (deployment, spec):
            deployment.start()
            events: list[dict[str, Any]] = []
            while not any(e["kind"] == "finished" for e in events):
                events += deployment.poll(POLL_S)
            events += deployment.stop(STOP_S)
            into = self.scratch / spec.trial
            into.mkdir()
            deployment.collect(into)
        plan: Mapping[str, Any] = {
            "tree": {"parents": [n.parent for n in tree.nodes], "hosts": [n.host for n in tree.nodes]},
            "workload": plain(workload),
        }
        record, missing = load_trial(into, plan, events)
        check = workload.check(record, spec.context, expect)
        if missing or not check.passed:
            raise TrialFailed(f"a trial did not pass its check: {check.summary or 'no summary'} {'; '.join(missing)}")
        return Trial(record, check, spec.injections)

    def forget(self) -> None:
        """Delete the samples of the trials so far."""
        for path in self.scratch.glob("bench-*"):
            shutil.rmtree(path)


@contextmanager
def opened() -> Iterator[Bench]:
    """The testbed `local` with one logical host, so that one agent starts all node processes, as for the bare tree."""
    testbed: Testbed = load().make(Category.TESTBED, {"kind": "local", "hosts": 1})
    with tempfile.TemporaryDirectory(prefix="harness-bench-") as name:
        try:
            testbed.open(Path(name))
            yield Bench(testbed, Path(name))
        finally:
            testbed.close()


def as_program(main: Callable[[], None]) -> None:
    """Run a benchmark's main function; what a user should see of an error is its message and exit status."""
    try:
        main()
    except HarnessError as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        sys.exit(int(error.code))


def latency_us(record: TrialRecord) -> Figures:
    """Closed-loop latency of the recorded requests."""
    took = (record.samples["t_s"] - record.samples["granted_s"]) * 1e6
    p50, p99 = percentiles(took, 50, 99)
    return {"p50_us": p50, "p99_us": p99}


def waves_per_s(samples: Array, from_s: float, to_s: float) -> float:
    """Waves delivered in [from_s, to_s) divided by the time from the first to the last delivery in it: the last one's waves
    are left out, since nothing is known of how long they took."""
    rows = samples[(samples["t_s"] >= from_s) & (samples["t_s"] < to_s)]
    if len(rows) < 2:
        return 0.0
    return float(rows["count"][1:].sum() / (rows["t_s"][-1] - rows["t_s"][0]))


def steady_waves_per_s(record: TrialRecord, skip: float = 0.2) -> float:
    """Throughput of a trial without the first part of its time."""
    times = record.samples["t_s"]
    if len(times) < 2:
        return 0.0
    first, last = float(times[0]), float(times[-1])
    return waves_per_s(record.samples, first + skip * (last - first), float(np.nextafter(last, np.inf)))
