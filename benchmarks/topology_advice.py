"""What `harness topology advise` predicts, beside what the testbed `local` does: many trees, three sizes, rank correlations.

The model is calibrated first, on trees that are not among those compared (harness.run.calibration.TREES), or read from a file.
Latency is the round trip of a request of that size and a small answer; throughput that of a stream of items of that size.
Rounds are shuffled over trees and sizes, and medians over rounds are compared. Run `python -m benchmarks.topology_advice`.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import Figures, environment, number, table
from benchmarks.ours import Bench, as_program, latency_us, opened, steady_waves_per_s
from benchmarks.scatter import scatter
from harness.core.tree import Tree
from harness.costs.model import Load, predict
from harness.costs.parameters import Parameters
from harness.costs.shape import shape_of
from harness.registry import Category, load
from harness.run.calibration import measure, read_parameters, usable_cores
from harness_workloads.reduce_stream import ReduceStream
from harness_workloads.round_trip import RoundTrip

#: Generic specifications; none is a tree of the calibration.
TREES = (
    *("4", "8", "16", "24"),
    *("2:4", "4:2", "2:2:2"),
    *("2:8", "4:4", "8:2", "2:2:4", "2:4:2", "2:2:2:2"),
    *("2:8,4", "2:12", "4:6"),
)
#: Trees with so many back-ends are compared among themselves as well: a user's number of back-ends is given.
GIVEN_BACK_ENDS = 16
SMALL, MIDDLE, LARGE = 8, 64 << 10, 1 << 20
SIZES = (SMALL, MIDDLE, LARGE)
SIZE_NAMES = {SMALL: "small", MIDDLE: "64 KiB", LARGE: "1 MiB"}
WANTED = 0.9
_REQUESTS = {SMALL: 300, MIDDLE: 150, LARGE: 40}
_STREAM_S = 0.6
_TRIES = 3


@dataclass(frozen=True)
class Point:
    """One tree at one size. figure: latency (microseconds) or throughput (MB/s of results). measured: the median over rounds;
    best: the best round, which other load on the machine has disturbed least."""

    tree: str
    back_ends: int
    figure: str
    size: int
    predicted: float
    measured: float
    best: float


def built(spec: str) -> Tree:
    """The tree of a generic specification."""
    tree: Tree = load().make(Category.TOPOLOGY, {"kind": "generic", "spec": spec}).build()
    return tree


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation; equal values share the mean of their ranks. NaN for fewer than two different values."""
    ranks = [_ranks(np.asarray(x, dtype=np.float64)) for x in (a, b)]
    spread = [float(np.std(r)) for r in ranks]
    if len(a) < 2 or 0.0 in spread:
        return math.nan
    return float(np.mean((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())) / (spread[0] * spread[1]))


def _ranks(values: Any) -> Any:
    _, place, times = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(times)
    return (last - (times - 1) / 2)[place]


def one(bench: Bench, tree: Tree, figure: str, size: int) -> Figures:
    """One trial. A stream in which too little was delivered to have a rate is run again."""
    for _ in range(_TRIES):
        if figure == "latency":
            payload = max(size, RoundTrip.payload_bytes)
            trial = bench.run(tree, RoundTrip(requests=_REQUESTS[size], warm_up=20, payload_bytes=payload))
            found = latency_us(trial.record)["p50_us"]
        else:
            large = ReduceStream(item="f64", item_bytes=size, duration_s=_STREAM_S)
            trial = bench.run(tree, large if size > SMALL else ReduceStream(duration_s=_STREAM_S))
            found = steady_waves_per_s(trial.record) * size / 1e6
        bench.forget()
        if found > 0:
            break
    return {figure: found}


def predicted(tree: Tree, figure: str, size: int, parameters: Parameters, cores: int) -> float:
    """What the model says, in the unit of the figure."""
    if figure == "latency":
        asked = Load(SMALL, max(size, RoundTrip.payload_bytes))
        return predict(shape_of(tree), asked, parameters, cores).latency_s * 1e6
    return predict(shape_of(tree), Load(size), parameters, cores).throughput_mb_s


def points(bench: Bench, parameters: Parameters, rounds: int) -> list[Point]:
    """All trees and sizes, measured in shuffled rounds."""
    keys = [(spec, figure, size) for spec in TREES for figure in ("latency", "throughput") for size in SIZES]
    trees = {spec: built(spec) for spec in TREES}
    sides = {json.dumps(key): partial(one, bench, trees[key[0]], *key[1:]) for key in keys}
    seen: dict[str, list[Figures]] = {name: [] for name in sides}
    for turn in range(rounds):
        order = random.Random(turn).sample(list(sides), len(sides))  # or what disturbs would strike neighbours alike
        for name in order:
            seen[name].append(sides[name]())
        print(f"round {turn + 1} of {rounds} done", file=sys.stderr)
    found = []
    for spec, figure, size in keys:
        values = [figures[figure] for figures in seen[json.dumps((spec, figure, size))]]
        best = min(values) if figure == "latency" else max(values)
        said = predicted(trees[spec], figure, size, parameters, usable_cores())
        found.append(Point(spec, len(trees[spec].back_ends), figure, size, said, median(values), best))
    return found


def correlations(found: Sequence[Point]) -> list[tuple[str, float, float, float, float]]:
    """For each figure and size: its name, the rank correlation over all trees, that with their best rounds, that over the trees
    with GIVEN_BACK_ENDS, and by what part the best-predicted of these is worse than the best of them."""
    rows = []
    for figure in ("latency", "throughput"):
        for size in SIZES:
            mine = [p for p in found if (p.figure, p.size) == (figure, size)]
            alike = [p for p in mine if p.back_ends == GIVEN_BACK_ENDS]
            sign = 1 if figure == "latency" else -1
            chosen, fastest = min(alike, key=lambda p: sign * p.predicted), min(alike, key=lambda p: sign * p.measured)
            regret = (chosen.measured / fastest.measured) ** sign - 1
            each = [spearman([p.predicted for p in some], [p.measured for p in some]) for some in (mine, alike)]
            best_rounds = spearman([p.predicted for p in mine], [p.best for p in mine])
            rows.append((f"{figure}, {SIZE_NAMES[size]}", each[0], best_rounds, each[1], regret))
    return rows


def overall(found: Sequence[Point], figure: str) -> float:
    """The rank correlation over all trees and sizes of a figure."""
    mine = [p for p in found if p.figure == figure]
    return spearman([p.predicted for p in mine], [p.measured for p in mine])


def report(found: Sequence[Point]) -> str:
    """The tables, in Markdown."""
    head = ["tree", *(f"{figure}, {SIZE_NAMES[size]}" for figure in ("latency us", "MB/s") for size in SIZES)]
    by_key = {(p.tree, p.figure, p.size): p for p in found}
    rows = []
    for spec in TREES:
        cells = [by_key[spec, figure, size] for figure in ("latency", "throughput") for size in SIZES]
        rows.append([f"`{spec}`", *(f"{number(p.predicted)} / {number(p.measured)}" for p in cells)])
    summary = [[name, *(f"{r:.3f}" for r in each), f"{regret:.0%}"] for name, *each, regret in correlations(found)]
    summary += [[f"{figure}, all sizes", f"{overall(found, figure):.3f}", "", "", ""] for figure in ("latency", "throughput")]
    ranks = [
        "rank correlation",
        f"{len(TREES)} trees",
        "their best rounds",
        f"{GIVEN_BACK_ENDS} back-ends",
        "first choice worse by",
    ]
    return f"predicted / measured\n\n{table(head, rows)}\n\n{table(ranks, summary)}"


def plot(found: Sequence[Point]) -> str:
    """The figure of docs/topologies.md, an SVG."""
    panels = {}
    for figure, title in (("latency", "round trip, us"), ("throughput", "results, MB/s")):
        mine = [p for p in found if p.figure == figure]
        panels[title] = {SIZE_NAMES[s]: [(p.predicted, p.measured) for p in mine if p.size == s] for s in SIZES}
    return scatter(panels, "predicted", "measured")


def main() -> None:
    """Calibrate, measure, compare. Exit status 0 whatever comes out: this is a measurement, not a test."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all trees and sizes, a minute each (default 5)")
    parser.add_argument("--parameters", type=Path, help="a file of `harness topology calibrate` instead of calibrating now")
    parser.add_argument("--svg", type=Path, help="write the plot to this file")
    parser.add_argument("--json", type=Path, help="write parameters and points to this file")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds {args.rounds} must be at least 1")
    print(environment())
    with opened() as bench:
        if args.parameters:
            parameters = read_parameters(args.parameters)
        else:
            fitted = measure(bench.testbed, bench.scratch, lambda line: print(line, file=sys.stderr))
            parameters = fitted.parameters
            print(f"calibrated: residuals {fitted.cpu_residual:.0%} (CPU times), {fitted.latency_residual:.0%} (round trips)")
        found = points(bench, parameters, args.rounds)
    print(f"medians of {args.rounds} shuffled rounds\n\n{report(found)}")
    if args.svg:
        args.svg.write_text(plot(found))
    if args.json:
        document = {"parameters": parameters.to_json(), "points": [asdict(p) for p in found]}
        args.json.write_text(json.dumps(document, indent=2) + "\n")
    missed = [name for name, all_, *_ in correlations(found) if not all_ >= WANTED]
    print(f"\nrank correlation of at least {WANTED:g}: {'missed for ' + '; '.join(missed) if missed else 'reached for each'}")


if __name__ == "__main__":
    as_program(main)
