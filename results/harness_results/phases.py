"""How long each recovery took, and in which of its phases: detect, choose, connect, rebuild, first wave, first
complete wave (the phases of Arnold and Miller, "Scalable Failure Recovery for Tree-based Overlay Networks", IPDPS 2010, with
the two waves that a user notices). All lengths are milliseconds since the fault was done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.api.members import ORDERLY
from harness.api.records import TrialRecord
from harness_results.truth import FaultTruth, Members, subject

#: The phases in order, as they are called everywhere.
PHASES = ("detect", "choose", "connect", "rebuild", "first-wave", "first-complete-wave")

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Orphan:
    """One child of the lost node on its way to a new parent. Times in ms since the fault; None where it did not happen."""

    node: int
    adopter: int | None
    attempts: int
    refused: int
    chosen_ms: float | None
    connected_ms: float | None
    reattached_ms: float | None


@dataclass(frozen=True)
class _Act:
    """That a node was struck, and when it was well again (never: inf)."""

    node: int
    fault: int
    struck_s: float
    well_s: float


@dataclass(frozen=True)
class Phases:
    """One fault's recovery. `ends_ms` maps each of PHASES to when its last step was over, None for a phase that was not seen
    (a dead back-end leaves no orphans). `rebuilt_by` says what the rebuild phase did: replay, compose, decompose or nothing,
    or several of them.
    `total_ms` is the time from the fault to the first complete wave, None where none came out any more, and where `needed` is
    False: nobody was lost because of the fault, so that there was nothing to recover from."""

    fault: int
    node: int
    done_s: float
    ends_ms: Mapping[str, float | None]
    orphans: Sequence[Orphan]
    rebuilt_by: str
    total_ms: float | None
    needed: bool = True

    @property
    def complete_s(self) -> float | None:
        """When the first complete wave came out, in seconds since the trial's start."""
        return None if self.total_ms is None else self.done_s + self.total_ms / 1e3

    def lengths_ms(self) -> dict[str, float | None]:
        """How much each phase added to what was over before it; the sum of all is the total."""
        lengths: dict[str, float | None] = {}
        reached = 0.0
        for name in PHASES:
            end = self.ends_ms[name]
            lengths[name] = None if end is None else max(0.0, end - reached)
            reached = max(reached, end or 0.0)
        return lengths


def recovery_phases(record: TrialRecord, truth: FaultTruth, died: Mapping[int, float]) -> Phases | None:
    """The phases of the recovery from one act; None where the act was not done, or nobody has to recover from it."""
    if truth.done_s is None or truth.action in ORDERLY:
        return None
    done_s, node = truth.done_s, truth.node
    later = [e for e in record.events if e["t_s"] >= done_s]
    steps_end = _end_of_steps(record, truth, done_s)
    acts = _acts(record)
    # What a node loses that was struck after this act had been taken back is the later act's doing.
    well_s = np.inf if truth.undone_s is None else truth.undone_s
    anew = [a for a in acts if a.struck_s > well_s]
    told = [e for e in later if e["t_s"] < steps_end and not any(a.node == subject(e) and a.struck_s <= e["t_s"] for a in anew)]

    def ms(t_s: float | None) -> float | None:
        return None if t_s is None else (t_s - done_s) * 1e3

    detected = _first(told, lambda e: e["kind"] == "link-lost" and e.get("peer") == node)
    orphans = _orphans(record, told, truth, acts, ms)
    connected = _latest(t for o in orphans for t in (o.connected_ms, o.reattached_ms))
    declared = _first(told, lambda e: e["kind"] == "dead" and subject(e) == node)
    # Where the neighbours died too, the front-end alone finds out.
    noticed = declared if detected is None else detected
    healed_ms = _latest((ms(noticed), connected, ms(declared) if record.tree.nodes[node].rank is not None else None))
    first_wave: float | None = None
    complete: float | None = None
    if noticed is not None and healed_ms is not None:
        healed = done_s + healed_ms / 1e3
        complete = _first_complete(record, later, healed, died)
        first_wave = _delivered(record, _find(later, lambda e: e["kind"] == "first-wave" and e["t_s"] >= noticed))
        first_wave = min((t for t in (first_wave, complete) if t is not None), default=None)
    if complete is not None:
        # What somebody does once the waves are whole again, such as a node that went on after everybody had done without it,
        # is no part of this recovery.
        told = [e for e in told if e["t_s"] <= complete]
        orphans = _orphans(record, told, truth, acts, ms)
    steps = _rebuilding(told, {o.node for o in orphans}, {o.adopter for o in orphans}, detected)
    ends = {
        "detect": ms(detected),
        "choose": _latest(o.chosen_ms for o in orphans),
        "connect": _latest(t for o in orphans for t in (o.connected_ms, o.reattached_ms)),
        "rebuild": _latest(ms(e["t_s"]) for e in steps),
        "first-wave": ms(first_wave),
        "first-complete-wave": ms(complete),
    }
    kinds = {e["kind"] for e in steps}
    ways = (("replay", {"replayed", "rewound"}), ("compose", {"composed"}), ("decompose", {"decomposed"}))
    names = [n for n, k in ways if kinds & k]
    needed = complete is not None or not _outlived(record, truth, died, told, acts)
    return Phases(truth.fault, node, done_s, ends, orphans, " and ".join(names) or "nothing", ms(complete), needed)


def _end_of_steps(record: TrialRecord, truth: FaultTruth, done_s: float) -> float:
    """Until when what nodes do may follow from this act: the end of the workload, and the next act on the same node where this
    one had been taken back before."""
    finished = _first(record.of_kind("finished"), lambda e: True)
    again = _first(record.of_kind("fault"), lambda e: e["node"] == truth.node and e["t_s"] > done_s)
    ends = [finished, again if truth.undone_s is not None and again is not None and truth.undone_s <= again else None]
    return min((t for t in ends if t is not None), default=np.inf)


def _acts(record: TrialRecord) -> list[_Act]:
    """All acts of the trial."""
    undone = record.of_kind("fault-undone")
    found = []
    for e in record.of_kind("fault"):
        well = (u["t_s"] for u in undone if (u["node"], u.get("fault")) == (e["node"], e.get("fault")) and u["t_s"] >= e["t_s"])
        found.append(_Act(int(e["node"]), int(e.get("fault", -1)), float(e["t_s"]), min(well, default=np.inf)))
    return found


def _outlived(
    record: TrialRecord, truth: FaultTruth, died: Mapping[int, float], told: Sequence[Event], acts: Sequence[_Act]
) -> bool:
    """Whether the node was held up and went on, and nobody was lost because of it. That takes more than silence: it went on
    before the workload ended, and a whole wave came out afterwards. A node that was killed is always lost."""
    finished = _first(record.of_kind("finished"), lambda e: True)
    # A connection that is cut and frames that are late are over at once; a slow node or a skewed clock may stay so.
    well_s = truth.undone_s if truth.undone_s is not None or truth.action in ("stop", "part") else truth.done_s
    if truth.final or well_s is None or (finished is not None and well_s >= finished):
        return False
    struck = [a for a in acts if a.well_s > (truth.done_s or 0.0)]
    if any(_is_loss(e, truth.node, struck) for e in told):
        return False
    return _first_whole_row(record, well_s, died) is not None


def _is_loss(e: Event, node: int, struck: Sequence[_Act]) -> bool:
    """Whether an event shows that `node` lost somebody or was lost. That it loses another node that was struck as well, and not
    well again before, is a matter of that node's fault."""
    other: Any = None
    match e["kind"]:
        case "suspect" | "dead" | "fenced" | "gave-up" | "node-failed" | "node-exited":
            return subject(e) == node
        case "link-lost":
            other = e.get("peer")
        case "adopter-chosen" | "reattached":
            other = e.get("lost")
        case _:
            return False
    return other == node or (subject(e) == node and not any(a.node == other and a.struck_s <= e["t_s"] for a in struck))


def _orphans(
    record: TrialRecord,
    told: Sequence[Event],
    truth: FaultTruth,
    acts: Sequence[_Act],
    ms: Callable[[float | None], float | None],
) -> tuple[Orphan, ...]:
    """The children that lost their parent to this act: those drawn in the tree unless they are dead or had left it before, and
    those that it had adopted since. Not among them is who was no orphan like others when it moved: it had been declared dead,
    or was a target of the same fault, not well again by then, and has a recovery of its own."""
    lost, done_s = truth.node, truth.done_s or 0.0
    moved: dict[int, float] = {}
    for e in told:
        if e["kind"] in ("adopter-chosen", "reattached") and e.get("lost") == lost:
            moved.setdefault(subject(e), e["t_s"])
    killed = {a["node"] for a in record.of_kind("fault") if a.get("action") in ("kill", "vanish")}
    left = {subject(e) for e in record.of_kind("reattached")}
    out = [(subject(e), float(e["t_s"])) for e in record.of_kind("dead")]
    out += [(a.node, a.struck_s) for a in acts if a.fault == truth.fault and a.well_s > done_s]
    return tuple(
        _orphan([e for e in told if subject(e) == node], node, lost, ms)
        for node in sorted((set(record.tree.nodes[lost].children) - killed - left) | set(moved))
        if not any(n == node and t_s <= moved.get(node, np.inf) for n, t_s in out)
    )


def _orphan(mine: Sequence[Event], node: int, lost: int, ms: Callable[[float | None], float | None]) -> Orphan:
    """The way of one orphan, from the events about it."""
    chosen = [e for e in mine if e["kind"] == "adopter-chosen" and e.get("lost") == lost]
    taken = _find(mine, lambda e: e["kind"] == "reattached" and e.get("lost") == lost)
    adopter = taken.get("parent") if taken else chosen[-1].get("adopter") if chosen else None
    tried, start = {e.get("adopter") for e in chosen}, min((e["t_s"] for e in chosen), default=np.inf)
    refused = [e for e in mine if e["kind"] == "adopter-refused" and e.get("adopter") in tried and e["t_s"] >= start]
    linked = _first(mine, lambda e: e["kind"] == "connected" and e["t_s"] >= start and e.get("parent") == adopter)
    return Orphan(
        node=node,
        adopter=adopter,
        attempts=len(chosen),
        refused=len(refused),
        chosen_ms=ms(chosen[-1]["t_s"]) if chosen else None,
        connected_ms=ms(linked),
        reattached_ms=ms(taken["t_s"]) if taken else None,
    )


def _first_complete(record: TrialRecord, later: Sequence[Event], healed_s: float, died: Mapping[int, float]) -> float | None:
    """The first wave with every live back-end after everybody was back: the one that the front-end named, unless another fault
    struck in between; else the first one in the samples."""
    struck = min((float(e["t_s"]) for e in later if e["kind"] == "fault" and e["t_s"] > healed_s), default=np.inf)
    said = _find(later, lambda e: e["kind"] == "first-complete-wave" and healed_s <= e["t_s"] < struck)
    if said is not None:
        delivered = _delivered(record, said)
        return None if delivered is None else max(healed_s, delivered)
    return _first_whole_row(record, healed_s, died)


def _delivered(record: TrialRecord, said: Event | None) -> float | None:
    """When the wave that an event names was delivered: an event is stamped a little later than its cause."""
    if said is None:
        return None
    rows = record.samples
    found = rows["t_s"][
        (rows["stream"] == said["stream"]) & (rows["first"] <= said["wave"]) & (rows["first"] + rows["count"] > said["wave"])
    ]
    return float(found[0]) if len(found) else float(said["t_s"])


def _first_whole_row(record: TrialRecord, from_s: float, died: Mapping[int, float]) -> float | None:
    """When, from `from_s` on, the first row with every live back-end of its stream was delivered."""
    rows = record.samples[record.samples["t_s"] >= from_s]
    members = Members(record)
    times: list[float] = []
    for stream, i in {(r["stream"].item(), r["contributors"].item()) for r in np.unique(rows[["stream", "contributors"]])}:
        absent = members.of(stream) - record.contributor_sets[i]
        gone_s = max((died.get(r, np.inf) for r in absent), default=from_s)
        found = rows["t_s"][(rows["stream"] == stream) & (rows["contributors"] == i) & (rows["t_s"] >= gone_s)]
        times.extend(found[:1].tolist())
    return min(times, default=None)


def _rebuilding(told: Sequence[Event], orphans: set[int], adopters: set[int | None], detected: float | None) -> list[Event]:
    """The steps that brought the streams' state back: sent again, merged from the children's filter states, or asked for."""
    if detected is None:
        return []
    return [
        e
        for e in told
        if e["kind"] in ("rewound", "replayed", "composed", "decomposed")
        and e["t_s"] >= detected
        and (e["kind"] == "decomposed" or e["node"] in orphans or e["node"] in adopters)
    ]


def _find(events: Sequence[Event], wanted: Callable[[Event], bool]) -> Event | None:
    return next((e for e in events if wanted(e)), None)


def _first(events: Sequence[Event], wanted: Callable[[Event], bool]) -> float | None:
    found = _find(events, wanted)
    return None if found is None else float(found["t_s"])


def _latest(times: Any) -> float | None:
    return max((t for t in times if t is not None), default=None)
