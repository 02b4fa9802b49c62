"""Trials of our own tree for the benchmarks: the testbed `local` as suites use it, opened once, one deployment a trial."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
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
from harness.api.workload import Workload
from harness.core.tree import Tree
from harness.registry import Category, load
from harness.run.single import run_single, single_spec


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
    def deployed(self, tree: Tree, workload: Workload, **more: Any) -> Iterator[tuple[Any, DeploymentSpec]]:
        """A deployment that is started by hand, for what `run` does not offer. `more`: see harness.run.single.single_spec."""
        spec = self._spec(tree, workload, "sum", **more)
        with self.testbed.deploy(spec) as deployment:
            yield deployment, spec

    def run(self, tree: Tree, workload: Workload, filter_: str = "sum", *, expect: str = "exact", **more: Any) -> Trial:
        """Run a trial to its end. Raises TrialFailed where its check does not pass."""
        spec = self._spec(tree, workload, filter_, **more)
        record, check = run_single(self.testbed, spec, self.scratch / spec.trial, expect=expect)
        return Trial(record, check, spec.injections)

    def _spec(self, tree: Tree, workload: Workload, filter_: str, **more: Any) -> DeploymentSpec:
        self._count += 1
        return single_spec(f"bench-{self._count}", tree, workload, filter_, **more)

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
