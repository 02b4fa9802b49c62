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
from harness.run.plan import load_plan

POLICIES = ("siblings-first", "fan-out", "depth", "proximity", "weighted")
LOSSES = 8
TRIALS = 20
#: A complete tree of 85 nodes on four hosts, 20 of them communication processes, of which some die one after the other.
SUITE = """
[suite]
name = "adopters"
seed = 1
trials = {trials}
[testbed]
kind = "sim"
hosts = 4
[node]
adopters = "{policy}"
[[case]]
name = "losses"
workload = {{ kind = "reduce-stream", waves = 100, rate = 20.0 }}
topology = {{ kind = "kary", fanout = 4, depth = 3 }}
filter = "sum"
[[case.fault]]
kind = "crash"
target = "any {losses} of role:internal"
at_s = 0.5
spread_s = 3.0
"""


def shapes(policy: str, trials: int = TRIALS, losses: int = LOSSES) -> list[tuple[int, int, int]]:
    """Of each trial: the largest fan-out, the front-end's own, and the depth of the tree at its end."""
    plan = load_plan(Path("adopters.toml"), load(), text=SUITE.format(policy=policy, trials=trials, losses=losses))
    found = []
    for trial in plan.trials:
        deployment: Any = plan.testbed.value.deploy(trial.deployment(b""))
        with deployment:
            deployment.start()
            while not any(e["kind"] == "finished" for e in deployment.poll(0.0)):
                pass
            front = deployment.world.seats[0].node
        assert isinstance(front, FrontEnd)
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
