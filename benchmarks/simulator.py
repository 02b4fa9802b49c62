"""How fast the simulator is: events a second by the size of the tree, and a failure storm over 10,000 back-ends. One process,
one core; what counts is its CPU time, and of several rounds the best, so that what else runs on the machine disturbs less. Run
`python -m benchmarks.simulator`.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import environment, number, table
from harness.registry import load
from harness.run.plan import load_plan
from harness.testbeds.sim_deployment import SimDeployment

#: Back-ends to topology, with a fan-out of 16.
SIZES = {10: "10", 100: "6:1x17,3x17,2x16", 1000: "16:15x4,1x3:16", 10_000: "16:16:113x3,143x2:16"}
WANTED_EVENTS_PER_S, WANTED_STORM_S, WANTED_STORM_GB = 50_000.0, 60.0, 4.0
#: Objects of a node, and how many of them an event looks at, in `memory_alone`.
_THINGS, _TOUCHED = 150, 20
STORM = """
[[case.fault]]
kind = "crash"
target = "any 60 of role:internal"
at_s = 0.5
spread_s = 2.0

[[case.fault]]
kind = "crash"
target = "any 100 of role:back-end"
at_s = 0.6
spread_s = 2.0
"""


def suite(spec: str, waves: int, faults: str = "") -> str:
    """A suite: sums at 10 waves a second over the tree."""
    return f"""
[suite]
name = "simulator"
[testbed]
kind = "sim"
hosts = 1
[[case]]
name = "sums"
workload = {{ kind = "reduce-stream", waves = {waves}, rate = 10.0 }}
topology = {{ kind = "generic", spec = "{spec}" }}
filter = "sum"
recovery = "replay"
{faults}"""


def one(text: str) -> dict[str, Any]:
    """One trial, in this process: how much happened, how long that took (all of it, and until the tree was up), and the memory
    at its peak."""
    import resource

    plan = load_plan(Path("simulator.toml"), load(), text=text)
    began, began_cpu = time.perf_counter(), time.process_time()
    deployment = plan.testbed.value.deploy(plan.trials[0].deployment(b""))
    assert isinstance(deployment, SimDeployment)
    with deployment:
        deployment.start()
        start_cpu = time.process_time() - began_cpu
        ended: list[dict[str, Any]] = []
        while not ended:
            ended = [e for e in deployment.poll(0.0) if e["kind"] == "finished"]
        deployment.stop(60.0)
    took, took_cpu = time.perf_counter() - began, time.process_time() - began_cpu
    if not ended[0]["ok"]:
        raise SystemExit(f"the trial failed: {ended[0]['reason']}")
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    happened, virtual_s = deployment.world.happened, deployment.world.now
    return {"events": happened, "s": took, "cpu_s": took_cpu, "start_cpu_s": start_cpu, "gb": peak_gb, "virtual_s": virtual_s}


class Thing:
    """A small object, as a node has hundreds."""

    __slots__ = ("items", "number", "table")

    def __init__(self, number: int) -> None:
        self.number = number
        self.items = [number]
        self.table = {number: number, -number - 1: self.items}


def memory_alone(nodes: int, visits: int = 60_000) -> float:
    """Seconds for a visit to one of so many nodes that do nothing: each has as many small objects as a simulated one, and a
    visit looks at some of them. What grows here with the number of nodes is the machine's: its caches hold less of each."""
    rng = random.Random(1)
    places = [[Thing(k) for k in range(_THINGS)] for _ in range(nodes)]
    rows = [(rng.randrange(nodes), rng.randrange(_THINGS - _TOUCHED)) for _ in range(visits)]
    began = time.process_time()
    for node, first in rows:
        for thing in places[node][first : first + _TOUCHED]:
            thing.number += len(thing.items) + (thing.table.get(-1) is None)
    return (time.process_time() - began) / visits


def apart(*arguments: str) -> dict[str, Any]:
    """The same in a process of its own, so that memory is told apart."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.simulator", *arguments], check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--one", nargs=2, metavar=("SIZE", "WAVES"), help="one trial, its figures as JSON")
    parser.add_argument("--memory", type=int, metavar="NODES", help="`memory_alone` with so many nodes, in seconds")
    parser.add_argument("--storm", action="store_true", help="with --one: nodes crash while it runs")
    parser.add_argument("--trials", type=int, default=0, help="rounds over all sizes (default 3, quick 1)")
    parser.add_argument("--quick", action="store_true", help="one round, without 10,000 back-ends")
    args = parser.parse_args()
    if args.one:
        size, waves = (int(word) for word in args.one)
        print(json.dumps(one(suite(SIZES[size], waves, STORM if args.storm else ""))))
        return
    if args.memory is not None:
        print(json.dumps({"visit_s": min(memory_alone(args.memory) for _ in range(3))}))
        return
    print(environment())
    sizes = [s for s in SIZES if s < 10_000 or not args.quick]
    rounds: dict[int, list[dict[str, Any]]] = {size: [] for size in sizes}
    for _ in range(args.trials or (1 if args.quick else 3)):
        for size in sizes:  # small trees run for longer, so that all have about as many events
            rounds[size].append(apart("--one", str(size), str(max(20, min(20_000, 200_000 // size)))))
    rows = []
    costs: list[tuple[float, float]] = []
    for size in sizes:
        rates = [r["events"] / r["cpu_s"] for r in rounds[size]]
        best = min(rounds[size], key=lambda r: float(r["cpu_s"]))
        start = f"{best['start_cpu_s'] / best['cpu_s']:.0%}"
        wanted = f">= {WANTED_EVENTS_PER_S:,.0f}"
        cost, alone = 1 / max(rates), apart("--memory", str(size))["visit_s"]
        costs.append((cost, alone))
        growth = [f"{mine / first:.2f}" for mine, first in zip((cost, alone), costs[0], strict=True)]
        rows.append([f"{size:,}", number(best["events"]), number(max(rates)), number(median(rates)), wanted, start, *growth])
    head = ["back-ends", "events", "events per CPU second (best)", "(median)", "wanted", "start-up", "cost of an event"]
    print(table([*head, "of a visit to idle memory"], rows))
    if not args.quick:
        storm = apart("--one", "10000", "40", "--storm")
        lost = "60 communication processes and 100 back-ends lost within 2 s"
        print(f"\nstorm over 10,000 back-ends, {lost}: {storm['events']:,} events, {storm['virtual_s']:.1f} s of virtual time")
        took = f"in {storm['s']:.1f} s (wanted <= {WANTED_STORM_S:g}), {storm['cpu_s']:.1f} s of CPU time"
        print(f"{took}, {storm['gb']:.2f} GB (wanted <= {WANTED_STORM_GB:g})")


if __name__ == "__main__":
    main()
