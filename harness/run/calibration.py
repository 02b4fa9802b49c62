"""A short measurement on this machine, from which the parameters of the cost model are fitted (harness.costs).

A few small trees run on the testbed `local` over TCP, each with round trips and streams of several sizes. How much CPU time
every process used is known exactly at its end, whatever else the machine does meanwhile; what starting up took is subtracted by
a trial that does nothing else. Round trips give the latency of a link besides. What a filter costs is measured in this process.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from harness.api.errors import InfrastructureError, UsageError
from harness.api.records import TrialRecord
from harness.api.testbed import Testbed
from harness.core.ranks import RankSet
from harness.core.tree import Tree
from harness.costs.fit import Fit, NodeTime, TripTime, fit
from harness.costs.model import Load, Place
from harness.costs.parameters import Parameters
from harness.costs.shape import shape_of
from harness.registry import Category, load
from harness.run.environment import describe_environment
from harness.run.single import run_single, single_spec

#: Where `calibrate` writes and `advise` looks, below the directory of the results.
DEFAULT_PATH = Path("runs") / "topology-parameters.json"
#: Back-ends of each communication process; one alone is a flat tree. Small trees: a calibration should be short.
TREES: tuple[tuple[int, ...], ...] = ((3,), (12,), (2, 2), (5, 5))
#: Bytes of a request, and how many of them are measured.
REQUESTS: tuple[tuple[int, int], ...] = ((16, 200), (128 << 10, 80), (768 << 10, 30))
ITEM_BYTES = (8, 128 << 10, 768 << 10)
STREAM_S = 0.3
_TRIAL_S = 60.0
_FILTER_BYTES = 1 << 20
_FILTER_ROUNDS = 25
_VERSION = 1


@dataclass(frozen=True)
class Calibration:
    """What was found, on how many cores, and how long it took."""

    fit: Fit
    cores: int
    took_s: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the machine and the time."""
        environment = describe_environment(())
        keys = ("host", "cpu_model", "cpus_usable", "kernel", "python", "load_average")
        return {
            "version": _VERSION,
            "parameters": self.fit.parameters.to_json(),
            "cores": self.cores,
            "cpu_residual": self.fit.cpu_residual,
            "latency_residual": self.fit.latency_residual,
            "node_times": self.fit.node_times,
            "trip_times": self.fit.trip_times,
            "took_s": round(self.took_s, 1),
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": {key: environment[key] for key in keys},
        }


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def calibrate(tell: Callable[[str], None]) -> Calibration:
    """Measure on a testbed `local` of its own (about 15 s on two cores) and fit. `tell` hears a line for each tree.

    Raises InfrastructureError where a trial cannot be run, or does not tell enough.
    """
    began = time.monotonic()
    with _opened() as (testbed, scratch):
        found = measure(testbed, scratch, tell)
    return Calibration(found, usable_cores(), time.monotonic() - began)


def measure(testbed: Testbed, scratch: Path, tell: Callable[[str], None]) -> Fit:
    """The same on an open testbed with one host on this machine; `scratch` takes the trials' samples."""
    nodes: list[NodeTime] = []
    trips: list[TripTime] = []
    for number, groups in enumerate(TREES):
        tree = grouped_tree(groups)
        tell(f"calibrating [{number + 1}/{len(TREES)}]: a tree of {len(tree.nodes)} processes")
        one = _Measured(testbed, scratch, tree, f"calibrate-{number}")
        nodes += one.node_times
        trips += one.trip_times
    try:
        return fit(nodes, trips, filter_s_per_byte(), usable_cores())
    except ValueError as e:
        raise InfrastructureError(f"the calibration found too little: {e}. Try again when the machine is less busy") from e


class _Measured:
    """All trials of one tree."""

    def __init__(self, testbed: Testbed, scratch: Path, tree: Tree, name: str) -> None:
        self.testbed, self.scratch, self.tree, self.name = testbed, scratch, tree, name
        self.node_times: list[NodeTime] = []
        self.trip_times: list[TripTime] = []
        self._trials = 0
        self._start = _cpu_s(self._run({"kind": "round-trip", "requests": 1, "warm_up": 0}))
        for request_bytes, requests in REQUESTS:
            self._trip(request_bytes, requests)
        for item_bytes in ITEM_BYTES:
            self._stream(item_bytes)

    def _run(self, workload: Mapping[str, Any]) -> TrialRecord:
        self._trials += 1
        trial = f"{self.name}-{self._trials}"
        spec = single_spec(trial, self.tree, load().make(Category.WORKLOAD, workload))
        return run_single(self.testbed, spec, self.scratch / trial, within_s=_TRIAL_S)[0]

    def _trip(self, request_bytes: int, requests: int) -> None:
        warm_up = requests // 5
        keys = {"requests": requests, "warm_up": warm_up, "payload_bytes": request_bytes}
        record = self._run({"kind": "round-trip", **keys})
        took = median((record.samples["t_s"] - record.samples["granted_s"]).tolist())
        measured = Load(request_bytes=request_bytes)
        self.trip_times.append(TripTime(shape_of(self.tree), measured, took))
        self._nodes(record, measured, True, requests + warm_up)

    def _stream(self, item_bytes: int) -> None:
        shape = {} if item_bytes == 8 else {"item": "f64", "item_bytes": item_bytes}
        record = self._run({"kind": "reduce-stream", "duration_s": STREAM_S, **shape})
        self._nodes(record, Load(item_bytes), False, int(record.samples["count"].sum()))

    def _nodes(self, record: TrialRecord, measured: Load, request: bool, waves: int) -> None:
        """The mean CPU time of a wave over all nodes of each role and fan-out."""
        groups = defaultdict(list)
        for node, used_s in _cpu_s(record).items():
            if node in self._start:
                place = Place(len(self.tree.nodes[node].children), node == 0, self.tree.depth > 1)
                groups[place].append(used_s - self._start[node])
        for place, used in groups.items():
            self.node_times.append(NodeTime(place, measured, request, sum(used) / len(used) / max(waves, 1)))


def _cpu_s(record: TrialRecord) -> dict[int, float]:
    return {int(e["node"]): float(e["cpu_s"]) for e in record.of_kind("usage")}


def grouped_tree(groups: tuple[int, ...]) -> Tree:
    """A communication process for each number, with so many back-ends; for one number alone, the flat tree."""
    if len(groups) == 1:
        return Tree.from_parents([None, *[0] * groups[0]])
    inner: list[int | None] = [0] * len(groups)
    return Tree.from_parents([None, *inner, *(i + 1 for i, size in enumerate(groups) for _ in range(size))])


def filter_s_per_byte() -> float:
    """What the filter `sum` needs for each byte of one more contribution, in seconds: the median over some rounds."""
    add = load().make(Category.FILTER, "sum")
    parts = [np.ones((1, _FILTER_BYTES // 8)) for _ in range(2)]
    ranks = [RankSet([(0, 1)]), RankSet([(1, 2)])]
    took = []
    for _ in range(_FILTER_ROUNDS):
        began = time.perf_counter()
        add.combine(parts, ranks)
        took.append(time.perf_counter() - began)
    return median(took) / _FILTER_BYTES


@contextmanager
def _opened() -> Iterator[tuple[Testbed, Path]]:
    testbed: Testbed = load().make(Category.TESTBED, {"kind": "local", "hosts": 1})
    with tempfile.TemporaryDirectory(prefix="harness-calibrate-") as name:
        try:
            testbed.open(Path(name))
            yield testbed, Path(name)
        finally:
            testbed.close()


def write_parameters(path: Path, calibration: Calibration) -> None:
    """Write the file that `read_parameters` reads. Raises InfrastructureError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(calibration.to_json(), indent=2, allow_nan=False) + "\n")
    except OSError as e:
        raise InfrastructureError(f"{path} cannot be written: {e.strerror or e}. Name another file with --parameters") from e


def read_parameters(path: Path) -> Parameters:
    """The parameters in a file. Raises UsageError where it cannot be read or is no such file."""
    advice = "make one with `harness topology calibrate`"
    try:
        found = json.loads(path.read_bytes())
    except OSError as e:
        raise UsageError(f"{path} cannot be read: {e.strerror or e}; {advice}") from e
    except ValueError as e:
        raise UsageError(f"{path} is no JSON: {e}; {advice}") from e
    if not isinstance(found, dict) or found.get("version") != _VERSION or not isinstance(found.get("parameters"), dict):
        raise UsageError(f"{path} holds no parameters of version {_VERSION}; {advice}")
    try:
        return Parameters.from_json(found["parameters"])
    except ValueError as e:
        raise UsageError(f"{path}: {e}; {advice}") from e
