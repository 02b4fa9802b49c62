"""What back-ends do in an explored scenario beside being struck: they come late, leave in order, and come back."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from harness.core.tree import Tree

#: `rejoin` is the successor of a process that was killed.
KINDS = ("join", "leave", "leave-and-rejoin", "rejoin")
#: Loads whose check knows who was a member for which wave.
WORKLOADS = ("reduce-stream", "round-trip")
#: So many such acts a scenario has at most.
MOST = 4


def comings(seed: int, chance: float, spread_s: float, tree: Tree, case: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What to add to the faults of a case: nothing where it cannot be judged. It has numbers of its own, so that a seed is what
    it was otherwise."""
    rng = random.Random(seed * 7919 + 17)
    ids = [n.id for n in tree.back_ends]
    if rng.random() >= chance or len(ids) < 2 or "standby" in case:
        return []
    if case["workload"]["kind"] not in WORKLOADS or case.get("recovery") == "decompose":
        return []
    spread = rng.choice([0.05, 0.3, *([spread_s, spread_s] if case["workload"]["kind"] == "reduce-stream" else [])])
    found = [_one(rng, rng.choice(KINDS), rng.choice(ids), spread) for _ in range(rng.randint(1, MOST))]
    return _one_is_there(found, len(ids))


def _one_is_there(found: list[dict[str, Any]], back_ends: int) -> list[dict[str, Any]]:
    """Nobody joins twice, or leaves before it joins, and not all of them join late."""
    kept: list[dict[str, Any]] = []
    late: set[str] = set()
    for act in found:
        if act["kind"] != "join" or (act["target"] not in late and len(late) + 1 < back_ends):
            kept.append(act)
            late |= {act["target"]} if act["kind"] == "join" else set()
    joins_s = {act["target"]: act.get("at_s", 0.0) for act in kept if act["kind"] == "join"}
    return [a for a in kept if a["kind"] != "leave" or a.get("at_s", math.inf) > joins_s.get(a["target"], -1.0)]


def _one(rng: random.Random, kind: str, node: int, spread: float) -> dict[str, Any]:
    fault: dict[str, Any] = {"kind": kind}
    if kind == "rejoin":
        fault = {"kind": "crash", "restart_after_s": rng.choice([0.01, 0.2, 1.0])}
    elif kind == "leave-and-rejoin":
        fault = {"kind": "leave", "rejoin_after_s": rng.choice([0.01, 0.2, 1.0])}
    when = {"at_event": rng.randint(50, 6000)} if rng.random() < 0.2 else {"at_s": round(rng.random() * spread, 6)}
    return fault | {"target": f"node:{node}"} | when
