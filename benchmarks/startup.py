"""How long a large tree takes to come up, and what its processes weigh: 16x16, 273 processes, on one machine.

The time runs from the start of the deployment, with Ray up already, until the front-end knows that every node is attached.
Memory is what /proc/PID/smaps_rollup says: PSS (shared pages in equal parts) and the process's own (USS).
Run `python -m benchmarks.startup`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import Figures, environment, medians, number, table, tree_of
from benchmarks.ours import Bench, as_program, opened
from harness.run.single import POLL_S, STOP_S, TrialFailed
from harness_workloads.reduce_stream import ReduceStream

#: While the tree idles along at this rate, its processes are weighed.
RATE = 5.0
SETTLE_S = 2.0
WANTED_S, WANTED_MB = 15.0, 25.0


def memory_mb(pid: int) -> tuple[float, float]:
    """PSS and USS of a process in MB."""
    sizes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        sizes[name] = int(rest.split()[0]) * 1024
    return sizes["Pss"] / 1e6, (sizes["Private_Clean"] + sizes["Private_Dirty"]) / 1e6


def one(bench: Bench, fanouts: list[int]) -> Figures:
    """One start."""
    tree = tree_of(fanouts)
    with bench.deployed(tree, ReduceStream(duration_s=600.0, rate=RATE)) as (deployment, _):
        began = time.perf_counter()
        deployment.start()
        took = time.perf_counter() - began
        events: list[dict[str, Any]] = []
        until = time.perf_counter() + SETTLE_S
        while time.perf_counter() < until:
            events += deployment.poll(POLL_S)
        started = [e for e in events if e["kind"] == "node-started"]
        ended = [e for e in events if e["kind"] in ("dead", "node-failed", "node-exited", "finished")]
        if ended or len(started) != len(tree.nodes):
            raise TrialFailed(f"{len(started)} of {len(tree.nodes)} nodes started; then came {ended[:3] or 'nothing'}")
        weights = [memory_mb(int(e["pid"])) for e in started]
        deployment.stop(STOP_S)
    pss, own = [w[0] for w in weights], [w[1] for w in weights]
    return {"start_s": took, "pss_mb": median(pss), "own_mb": median(own), "most_own_mb": max(own), "total_pss_mb": sum(pss)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--fanouts", default="16,16", help="children a node, from the front-end down (default 16,16)")
    parser.add_argument("--trials", type=int, default=0, help="starts (default 5, quick 1)")
    parser.add_argument("--quick", action="store_true", help="one start only")
    args = parser.parse_args()
    fanouts = [int(f) for f in args.fanouts.split(",")]
    print(environment())
    with opened() as bench:
        trials = [one(bench, fanouts) for _ in range(args.trials or (1 if args.quick else 5))]
    middle, slowest = medians(trials), max(t["start_s"] for t in trials)
    rows = [
        ["up in, s (median)", number(middle["start_s"]), ""],
        ["up in, s (slowest)", number(slowest), f"<= {WANTED_S:g}"],
        ["own memory of a node, MB (median)", number(middle["own_mb"]), f"<= {WANTED_MB:g}"],
        ["own memory of a node, MB (largest)", number(middle["most_own_mb"]), f"<= {WANTED_MB:g}"],
        ["proportional memory of a node, MB", number(middle["pss_mb"]), ""],
        ["all nodes together, MB", number(middle["total_pss_mb"]), ""],
    ]
    print(table([f"{len(tree_of(fanouts).nodes)} processes, {len(trials)} starts", "seen", "wanted"], rows))


if __name__ == "__main__":
    as_program(main)
