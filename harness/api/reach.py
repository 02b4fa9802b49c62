"""Back-ends that were declared dead though alive, where the protocol's own times allow no better.

A time of grace is finite, and each step of a way back may take its time: to notice that a parent is silent, to be let go by one
that finds nobody itself, to wait for a candidate that does not answer (docs/protocol.md, "What a time of grace covers"). Where
faults make these steps longer than the grace, a back-end is rightly dead for the tree. The steps are counted from the
faults' times and the settings, so that a step that took longer than it may is no excuse.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.api.records import TrialRecord
from harness.core.settings import NodeSettings
from harness.core.tree import Role

#: Acts after which a node does not answer, and nothing is reset.
_HOLDING = ("stop", "part", "vanish")
_PARTED = "part"
#: An act after which the news from below a node comes late.
_DELAYING = "late"
#: An act after which a node takes in nobody, and says so at once.
_REFUSING = "refuse"
#: A root's clock may run at twice the rate, so that its time of grace is half as long.
_FASTEST = 0.5
#: Events of one turn may be stamped so far apart.
_AT_ONCE_S = 0.001
#: The longest pause between two rounds of asking (harness.core.uplink).
_PAUSE_S = 0.5
#: An orphan lets its children go after this part of the time of grace (harness.core.uplink).
_RELEASE = 0.5


@dataclass(frozen=True)
class _Held:
    """A fault held the node in this time, in seconds since the trial's start."""

    node: int
    action: str
    since_s: float
    until_s: float


def out_of_reach(record: TrialRecord) -> dict[int, float]:
    """The ranks that the front-end declared dead, and that may have been on their way back all the time of grace, or have
    voted for a standby that lost the vote: rank to the time of that death, in seconds since the trial's start."""
    held = _held(record)
    outvoted = {n: s for e in record.of_kind("alone") for n, s in _asked_for_votes(record, int(e["standby"]))}
    if not held and not outvoted and not any(e["action"] == _DELAYING for e in record.of_kind("fault")):
        return {}
    struck = {int(n) for e in record.of_kind("fault") for n in e.get("nodes") or [e["node"]]}  # whom others excuse
    found = {}
    for event in record.of_kind("dead"):
        node, dead_s = int(event.get("member", event["node"])), float(event["t_s"])
        rank = record.tree.nodes[node].rank
        if rank is None or node in struck:
            continue
        since_s = _suspect_since(record, node, dead_s)
        if since_s is None or dead_s - since_s < _FASTEST * _grace_s(record, node, since_s):
            continue  # it did not have its time
        if _back_s(record, held, node, since_s, dead_s) > dead_s:
            found[rank] = dead_s
        elif any(n in _above(record, node, asked_s, dead_s) for n, asked_s in outvoted.items()):
            found[rank] = dead_s  # it may have voted for that one, and a vote is for ever
    return found


def _setting(record: TrialRecord, name: str) -> float:
    told: Mapping[str, Any] = record.plan.get("settings") or {}
    return float(told.get(name, getattr(NodeSettings(), name)))


def _asked_for_votes(record: TrialRecord, standby: int) -> list[tuple[int, float]]:
    """The standby and the time (s) at which it asked to be the root, where it did."""
    return [(standby, float(e["t_s"])) for e in record.of_kind("front-end-lost") if int(e["by"]) == standby]


def _held(record: TrialRecord) -> list[_Held]:
    found = []
    undone = record.of_kind("fault-undone")
    for e in record.of_kind("fault"):
        if e["action"] not in (*_HOLDING, _REFUSING):
            continue
        since_s, key = float(e["t_s"]), (e.get("fault"), e["node"])
        until_s = min(
            (float(u["t_s"]) for u in undone if (u.get("fault"), u["node"]) == key and u["t_s"] >= since_s), default=math.inf
        )
        nodes = [int(n) for n in e.get("nodes") or [e["node"]]]
        found += [_Held(n, str(e["action"]), since_s, until_s) for n in nodes if record.tree.nodes[n].role is not Role.BACK_END]
    return found


def _suspect_since(record: TrialRecord, node: int, dead_s: float) -> float | None:
    """Since when the front-end had not known where the back-end was."""
    rank, since_s = record.tree.nodes[node].rank, None
    for e in record.of_kind("suspect", "rejoined"):
        if float(e["t_s"]) > dead_s:
            break
        if e["kind"] == "rejoined" and int(e["member"]) == node:
            since_s = None
        elif e["kind"] == "suspect" and rank in e["ranks"] and since_s is None:
            since_s = float(e["t_s"])
    return since_s


def _grace_s(record: TrialRecord, node: int, since_s: float) -> float:
    """The time of grace that it has: that of a leaf where its own link broke."""
    events = [e for e in record.of_kind("suspect") if float(e["t_s"]) == since_s and int(e["member"]) == node]
    broke = any(not str(e["cause"]).startswith("silent") for e in events)
    return _setting(record, "leaf_grace_s" if broke else "orphan_grace_s")


def _above(record: TrialRecord, node: int, since_s: float, until_s: float) -> set[int]:
    """Whoever was above the node in that time, at any moment of it."""
    parents: dict[int, set[int]] = {}
    for e in record.of_kind("attached", "reattached"):
        child, parent = (e["node"], e["parent"]) if e["kind"] == "attached" else (e["child"], e["parent"])
        if float(e["t_s"]) <= since_s:
            parents[int(child)] = {int(parent)}
        elif float(e["t_s"]) <= until_s:
            parents.setdefault(int(child), set()).add(int(parent))
    found: set[int] = set()
    new = {node}
    while new:
        new = {p for n in new for p in parents.get(n, ())} - found
        found |= new
    return found


def _back_s(record: TrialRecord, held: Iterable[_Held], node: int, since_s: float, dead_s: float) -> float:
    """By when the node has to be back at the latest, where every step takes as long as it may."""
    lease_s = _setting(record, "lease_s")
    held = [h for h in held if h.since_s <= dead_s and h.until_s > since_s]  # whoever goes on before is there again at once
    above = _above(record, node, since_s, dead_s)
    mine = [h for h in held if h.node in above and h.action in _HOLDING]
    patience_s, release_s = _setting(record, "connect_timeout_s"), _RELEASE * _setting(record, "orphan_grace_s")
    chosen = [e for e in record.of_kind("adopter-chosen") if since_s - lease_s <= float(e["t_s"]) <= dead_s]
    refused = [e for e in record.of_kind("adopter-refused") if since_s - lease_s <= float(e["t_s"]) <= dead_s]

    def asking_s(orphan: int) -> float:
        """How long the orphan may wait for its candidates: for one that a fault holds until its patience ends, for one that
        takes in nobody until it does, and for any other that says no until that has come over the network. Who is asked again
        costs no more time."""
        costs: dict[int, float] = {}
        answers = [(int(e["adopter"]), float(e["t_s"])) for e in refused if int(e["node"]) == orphan]
        for e in chosen:
            if int(e["node"]) != orphan:
                continue
            adopter, asked_s = int(e["adopter"]), float(e["t_s"])
            met = [h for h in held if h.node == adopter and h.since_s <= asked_s + patience_s and h.until_s >= asked_s]
            waits = [h.until_s - asked_s + _PAUSE_S if h.action == _REFUSING else patience_s for h in met]
            answer_s = min((t_s - asked_s for n, t_s in answers if n == adopter and t_s >= asked_s), default=0.0)
            costs[adopter] = max(costs.get(adopter, 0.0), min(answer_s, patience_s), *waits)
        return sum(costs.values())

    # It may have been heard last just before it fell silent; leases are looked at with every heartbeat, late by one.
    late_s = 2 * _setting(record, "heartbeat_s")
    noticed_s = max([since_s, *(h.since_s + lease_s + late_s for h in mine)])
    # Who was stopped itself gives its own parent half a lease from then on.
    again = [h for h in mine if any(o.node != h.node and o.since_s <= h.until_s <= o.until_s for o in mine)]
    noticed_s = max(
        [noticed_s, *(h.until_s + lease_s / 2 + late_s for h in again if h.action == "stop" and h.until_s <= dead_s)]
    )
    parted = {h.node for h in mine if h.action == _PARTED}
    let_go_s = noticed_s + sum(release_s if n in parted else min(release_s, asking_s(n)) for n in above)
    # A new root does not know those that are still with the old one, which has to notice, and lets them go like an orphan.
    if any(abs(float(e["t_s"]) - since_s) < _AT_ONCE_S for e in record.of_kind("took-over")):
        let_go_s += late_s + release_s
    # The news of an adoption may be late for up to a lease: after that, the adopter itself is silent, and all have time anew.
    delaying = [e for e in record.of_kind("fault") if e["action"] == _DELAYING and int(e["node"]) in above]
    news_s = lease_s + late_s if any(since_s - lease_s <= float(e["t_s"]) <= dead_s for e in delaying) else 0.0
    return let_go_s + asking_s(node) + news_s
