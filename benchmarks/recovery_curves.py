"""Recovery time against fan-out and depth, for trees of 100 to 100,000 nodes, from the testbed `sim`.

A communication process of the lowest level is killed, or one of each level at the same moment, under sums with `replay`. Times
are virtual, from the fault on: until the last orphan's link was lost (detect), until the last orphan has a new parent
(reconnect), until the first complete wave. Links are like those within a data centre: 0.3 ms there and back on average, most of
which varies exponentially (Guo et al., "Pingmesh", SIGCOMM 2015, saw a median of 0.27 ms and 1.3 ms at the 99th percentile), 10
Gbit/s a connection; each thing that happens to a node takes it 10 us, so that a large fan-out costs time. Run
`python -m benchmarks.recovery_curves --csv docs/recovery-curves.csv --svg docs/recovery-curves.svg`: what the file has already
is not run again, so that a long study can be stopped and continued.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import number, percentiles, table
from benchmarks.curves import Curve, curves
from harness.registry import load
from harness.run.plan import load_plan
from harness.testbeds.sim_deployment import SimDeployment, samples_of

SIZES = (100, 1000, 10_000)
FANOUTS = (4, 8, 16, 32, 64)
DEPTHS = (2, 3, 4, 5, 6)
LOST = ("one", "one per level")
#: Trees from this size on run in a process of their own.
_LARGE = 5000
_RATE, _FAULT_S, _WAVES = 250.0, 0.03, 12
_MODEL = 'latency_s = 0.00015\njitter = "exponential"\nvaries = 0.8\nbytes_per_s = 1.25e9\nturn_s = 1e-5'


@dataclass(frozen=True)
class Shape:
    """A tree whose nodes have at most `fanout` children, and nearly all as many. levels: how many nodes each level has, from
    the front-end down to the back-ends."""

    fanout: int
    levels: tuple[int, ...]

    @property
    def nodes(self) -> int:
        return sum(self.levels)

    @property
    def depth(self) -> int:
        return len(self.levels) - 1

    @property
    def spec(self) -> str:
        """The generic specification: each level's children are shared out evenly."""
        parts = []
        for parents, children in zip(self.levels, self.levels[1:], strict=False):
            least, more = divmod(children, parents)
            parts.append(f"{more}x{least + 1},{parents - more}x{least}" if more else str(least))
        return ":".join(parts)


def shape(back_ends: int, fanout: int) -> Shape:
    """The tree over so many back-ends with as few communication processes on each level as this fan-out allows. Raises
    ValueError
    for a fan-out below 2, which no number of levels is enough for."""
    if fanout < 2:
        raise ValueError(f"a fan-out of {fanout} makes no tree over {back_ends} back-ends: at least 2")
    levels = [back_ends]
    while levels[-1] > 1:
        levels.append(-(-levels[-1] // fanout))
    return Shape(fanout, tuple(reversed(levels)))


def of_fanout(nodes: int, fanout: int) -> Shape:
    """A tree of about `nodes` nodes with this fan-out."""
    return shape(max(fanout + 1, round((nodes - 1) * (fanout - 1) / fanout)), fanout)


def of_depth(nodes: int, depth: int) -> Shape | None:
    """A tree of about `nodes` nodes and this depth with the least fan-out; None where there is none."""
    fanout = max(2, round(nodes ** (1 / depth)) - 1)
    while (found := of_fanout(nodes, fanout)).depth > depth:
        fanout += 1
    return found if found.depth == depth else None


@dataclass(frozen=True)
class Row:
    """One trial. Times in ms of virtual time since the fault."""

    size: int
    nodes: int
    back_ends: int
    fanout: int
    depth: int
    lost: str
    seed: int
    orphans: int
    detect_ms: float
    reconnect_ms: float
    complete_ms: float

    @property
    def key(self) -> tuple[int, int, int, str, int]:
        return self.size, self.fanout, self.depth, self.lost, self.seed


def suite(tree: Shape, lost: str, seed: int) -> str:
    """The suite of one trial. When between two waves the fault comes is drawn from the seed."""
    at_s = _FAULT_S + random.Random(f"{tree.spec} {lost} {seed}").random() / _RATE
    depths = [tree.depth - 1] if lost == "one" else range(1, tree.depth)
    fault = '\n[[case.fault]]\nkind = "crash"\ntarget = "any 1 of depth:{}"\nat_s = {}\n'
    return f"""
[suite]
name = "recovery-curves"
seed = {seed}
[testbed]
kind = "sim"
hosts = 1
{_MODEL}
[[case]]
name = "sums"
workload = {{ kind = "reduce-stream", waves = {_WAVES}, rate = {_RATE} }}
topology = {{ kind = "generic", spec = "{tree.spec}" }}
filter = "sum"
recovery = "replay"
{"".join(fault.format(depth, at_s) for depth in depths)}"""


def one(size: int, tree: Shape, lost: str, seed: int) -> Row:
    """One trial, in this process. Raises SystemExit where it did not end well or the recovery was not seen."""
    plan = load_plan(Path("recovery-curves.toml"), load(), text=suite(tree, lost, seed))
    deployment = plan.testbed.value.deploy(plan.trials[0].deployment(b""))
    assert isinstance(deployment, SimDeployment)
    events: list[Mapping[str, Any]] = []
    with deployment:
        deployment.start()
        while not any(e["kind"] == "finished" for e in events[-20_000:]):
            events += deployment.poll(0.0)
        samples = samples_of(deployment.world.seats[0].node)
    faults = {e["node"]: e["t_s"] for e in events if e["kind"] == "fault"}
    done_s = min(faults.values(), default=math.nan)
    later = [e for e in events if e["t_s"] >= done_s]
    ended = next(e for e in events if e["kind"] == "finished")
    noticed = {
        (e["node"], e["peer"]): e["t_s"]
        for e in later
        if e["kind"] == "link-lost" and e["peer"] in faults and e["node"] not in faults
    }
    orphaned = {n: t for (n, peer), t in noticed.items() if deployment.world.tree.nodes[n].parent == peer}
    taken_in = {e["child"]: e["t_s"] for e in later if e["kind"] == "reattached"}
    back_s = max(taken_in.values(), default=math.nan)
    said = [e["t_s"] for e in later if e["kind"] == "first-complete-wave" and e["t_s"] >= back_s]
    whole_s = min(said or [s.t_s for s in samples if s.complete and s.t_s >= back_s], default=math.nan)
    if not ended["ok"] or not set(orphaned) <= set(taken_in) or math.isnan(whole_s):
        raise SystemExit(f"{tree.spec}, {lost}, seed {seed}: no recovery was seen: {ended['reason']}")
    times = [round((t - done_s) * 1e3, 4) for t in (max(orphaned.values()), back_s, whole_s)]
    return Row(size, tree.nodes, tree.levels[-1], tree.fanout, tree.depth, lost, seed, len(taken_in), *times)


def apart(size: int, tree: Shape, lost: str, seed: int) -> Row:
    """The same in another process, which gives its memory back."""
    asked = json.dumps([size, tree.fanout, tree.levels, lost, seed])
    done = subprocess.run([sys.executable, "-m", "benchmarks.recovery_curves", "--one", asked], check=True, capture_output=True)
    return Row(**json.loads(done.stdout))


def shapes(size: int, fanouts: Sequence[int]) -> list[Shape]:
    """The trees that are compared: by fan-out, and by depth."""
    found = [of_fanout(size, fanout) for fanout in fanouts]
    found += [tree for depth in DEPTHS if fanouts == FANOUTS and (tree := of_depth(size, depth)) is not None]
    return [tree for tree in dict.fromkeys(found) if tree.depth > 1]


def read(path: Path) -> list[Row]:
    """The rows of the file; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [Row(**{f.name: _typed(f.type, row[f.name]) for f in fields(Row)}) for row in csv.DictReader(file)]


def _typed(kind: object, text: str) -> Any:
    return {"int": int, "float": float, "str": str}[str(kind)](text)


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows, ordered."""
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, [f.name for f in fields(Row)], lineterminator="\n")
        out.writeheader()
        out.writerows(asdict(row) for row in sorted(rows, key=lambda row: row.key))


def plot(rows: Sequence[Row]) -> str:
    """The figure of docs/topologies.md: first complete wave against fan-out and against depth, medians and all trials."""
    panels: dict[str, dict[str, Curve]] = {}
    sizes = sorted({row.size for row in rows})
    for axis, title in (("fanout", "fan-out"), ("depth", "depth")):
        for lost in LOST:
            panel: dict[str, Curve] = {}
            for size in sizes:
                mine = [r for r in rows if (r.size, r.lost) == (size, lost) and _on(axis, r)]
                places = sorted({getattr(r, axis) for r in mine})
                if places:
                    panel[f"{size:,} nodes"] = [(x, [r.complete_ms for r in mine if getattr(r, axis) == x]) for x in places]
            if panel:
                panels[f"{lost} lost, by {title}"] = panel
    return curves(panels, "ms to the first complete wave")


def _on(axis: str, row: Row) -> bool:
    """Whether a row belongs to the curve over this axis: the trees of FANOUTS, or the one with the least fan-out of a depth."""
    if axis == "fanout":
        return row.fanout in FANOUTS and of_fanout(row.size, row.fanout).depth == row.depth
    tree = of_depth(row.size, row.depth)
    return tree is not None and tree.fanout == row.fanout


def report(rows: Sequence[Row]) -> str:
    """The table, in Markdown: medians over seeds, and the range of the last."""
    head = ["nodes", "fan-out", "depth", "lost", "orphans", "trials", "detect", "reconnect", "complete", "least", "most"]
    lines = []
    for size, lost, fanout, depth in dict.fromkeys((r.size, r.lost, r.fanout, r.depth) for r in rows):
        mine = [r for r in rows if (r.size, r.lost, r.fanout, r.depth) == (size, lost, fanout, depth)]
        ends = percentiles([r.complete_ms for r in mine], 0, 100)
        middle = [median(getattr(r, f"{name}_ms") for r in mine) for name in ("detect", "reconnect", "complete")]
        orphans = f"{median(r.orphans for r in mine):g}"
        lines.append(
            [f"{size:,}", str(fanout), str(depth), lost, orphans, str(len(mine)), *(number(v) for v in (*middle, *ends))]
        )
    return table(head, lines)


def main() -> None:
    """Run what is missing, then tabulate and plot all there is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--csv", type=Path, default=Path("recovery-curves.csv"), help="the rows: read, continued and written")
    parser.add_argument("--svg", type=Path, help="write the plot to this file")
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES), help="about so many nodes (none: run nothing)")
    parser.add_argument("--fanouts", type=int, nargs="+", default=list(FANOUTS), help="only these (then not by depth)")
    parser.add_argument("--seeds", type=int, default=5, help="trials a point")
    args = parser.parse_args()
    if args.one:
        size, fanout, levels, lost, seed = json.loads(args.one)
        print(json.dumps(asdict(one(size, Shape(fanout, tuple(levels)), lost, seed))))
        return
    rows = read(args.csv)
    for size in args.sizes:
        for tree in shapes(size, tuple(args.fanouts)):
            for lost in LOST:
                for seed in range(1, args.seeds + 1):
                    if (size, tree.fanout, tree.depth, lost, seed) not in {row.key for row in rows}:
                        rows.append((one if size < _LARGE else apart)(size, tree, lost, seed))
                        write(args.csv, rows)
                        print(rows[-1], file=sys.stderr)
    print(report(sorted(rows, key=lambda row: row.key)))
    if args.svg:
        args.svg.write_text(plot(rows))


if __name__ == "__main__":
    main()
