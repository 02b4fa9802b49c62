"""What a policy of adoption makes of the tree: its largest fan-out and depth after several losses, in the simulator.

python -m benchmarks.adopters
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from harness.core.frontend import FrontEnd
from harness.registry import load
from harness.run.plan import Plan, TrialPlan, load_plan

POLICIES = ("siblings-first", "fan-out", "depth", "proximity", "weighted")
LOSSES = 8
TRIALS = 20
#: Complete trees of four levels on four hosts that lose communication processes one after the other.
SUITE = """
[suite]
name = "adopters"
seed = 1
trials = {trials}
[testbed]
kind = "sim"
hosts = 4
{node}
[[case]]
name = "losses"
workload = {{ kind = "reduce-stream", waves = 100, rate = 20.0 }}
topology = {{ kind = "kary", fanout = {fanout}, depth = 3 }}
filter = "sum"
[[case.fault]]
kind = "crash"
target = "{target}"
at_s = 0.5
spread_s = 3.0
"""


def losing(target: str, policy: str = "", fanout: int = 4, trials: int = 1) -> Plan:
    """The plan: `target` dies, and `policy` (as TOML, "" for the default) says who takes the orphans in. Raises UsageError."""
    node = f"[node]\nadopters = {policy}" if policy else ""
    text = SUITE.format(target=target, node=node, fanout=fanout, trials=trials)
    return load_plan(Path("adopters.toml"), load(), text=text)


def played(plan: Plan, trial: TrialPlan) -> tuple[list[dict[str, Any]], FrontEnd]:
    """A trial in the simulator: its events up to the workload's end, and the front-end as it was then."""
    deployment: Any = plan.testbed.value.deploy(trial.deployment(b""))
    events: list[dict[str, Any]] = []
    with deployment:
        deployment.start()
        while not any(e["kind"] == "finished" for e in events):
            events += deployment.poll(0.0)
        front = deployment.world.seats[0].node
    assert isinstance(front, FrontEnd)
    return events, front


def shapes(policy: str, trials: int = TRIALS, losses: int = LOSSES) -> list[tuple[int, int, int]]:
    """Of each trial: the largest fan-out, the front-end's own, and the depth of the tree at its end."""
    plan = losing(f"any {losses} of role:internal", f'"{policy}"', trials=trials)
    found = []
    for trial in plan.trials:
        _, front = played(plan, trial)
        parents = {n: p for n, p in front.membership.parents.items() if n not in front.membership.dead}
        fan_outs = Counter(parents.values())
        found.append((max(fan_outs.values()), fan_outs[0], max(_depth(parents, n) for n in parents)))
    return found


def _depth(parents: dict[int, int], node: int) -> int:
    steps = 0
    while node:
        node, steps = parents[node], steps + 1
    return steps


def main() -> None:
    """Print the table."""
    print(f"fan-out and depth after {LOSSES} of 20 communication processes have died; median (greatest) of {TRIALS} trials")
    print(f"{'policy':<16}{'largest fan-out':>18}{'front-end':>14}{'depth':>10}")
    for policy in POLICIES:
        columns = list(zip(*shapes(policy), strict=True))
        cells = [f"{median(c):.0f} ({max(c)})" for c in columns]
        print(f"{policy:<16}{cells[0]:>18}{cells[1]:>14}{cells[2]:>10}")


if __name__ == "__main__":
    main()
