"""Ground truth: what was done to which node and when, taken from the events of the trial alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.api.members import ORDERLY
from harness.api.reach import out_of_reach
from harness.api.records import TrialRecord
from harness.core.ranks import EMPTY, RankSet

#: Event times of different processes may differ by so much: an event is stamped when it is reported, a wave when it is
#: delivered. Both are far below a lease, and far below any recovery's length.
CLOCK_SLACK_S = 0.05


@dataclass(frozen=True)
class FaultTruth:
    """One planned act and what became of it. Times are seconds since the trial's start; None where it did not happen.

    planned_s: when it was to be done, None where that was not planned by the clock (at a wave or a moment). nodes: all that it
    struck. missed: a back-end that came late was never let in, though nothing else struck it and the workload ended well.
    """

    fault: int
    kind: str
    node: int
    action: str
    when: str
    undo_after_s: float | None
    planned_s: float | None
    done_s: float | None
    confirmed_s: float | None
    effect: str
    undone_s: float | None
    exited_s: float | None
    nodes: tuple[int, ...]
    missed: bool = False

    @property
    def final(self) -> bool:
        """Whether it ends what it strikes."""
        return self.action in ("kill", "vanish")

    @property
    def name(self) -> str:
        """How a report calls it."""
        return f"fault {self.fault} ({self.kind} of node {self.node} {self.when})"

    @property
    def late_s(self) -> float | None:
        """How much later than planned it was done, in seconds; None where there is no telling."""
        return None if self.planned_s is None or self.done_s is None else self.done_s - self.planned_s

    def shortcoming(self) -> str | None:
        """Why nothing can be concluded from this act, one sentence; None where it was done, seen and taken back."""
        if self.done_s is None:
            return f"{self.name} was never done: the workload may have ended before; make it longer, or the fault earlier"
        if self.confirmed_s is None:
            return f"{self.name} was done at {self.done_s:.3f} s, but nobody saw its effect"
        if self.missed:
            late = "the workload may have ended before; make it longer, or let it join earlier"
            return f"{self.name} was done at {self.done_s:.3f} s, but node {self.node} was never let in: {late}"
        if self.action == "stop" and self.undone_s is None and self.exited_s is None:
            return f"{self.name} was never taken back, and the node did not end either"
        return None


def fault_truths(injections: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]) -> tuple[FaultTruth, ...]:
    """Match the planned acts (plain forms of harness.api.fault.Injection) with the events of the trial. Where the same act is
    planned several times on one node, the n-th plan belongs to the n-th event."""
    seen: Counter[tuple[int, int, str]] = Counter()
    found = []
    for plan in injections:
        key = (int(plan["fault"]), int(plan["node"]), str(plan["action"]))
        found.append(_match(plan, key, seen[key], events))
        seen[key] += 1
    return tuple(found)


def _match(plan: Mapping[str, Any], key: tuple[int, int, str], nth: int, events: Sequence[Mapping[str, Any]]) -> FaultTruth:
    fault, node, action = key
    acts = [e for e in events if e["kind"] == "fault" and (e.get("fault"), e.get("node"), e.get("action")) == key]
    act = acts[nth] if nth < len(acts) else None
    done_s = None if act is None else float(act["t_s"])

    def first(kind: str, **fields: Any) -> Mapping[str, Any] | None:
        if done_s is None:
            return None
        wanted = {"kind": kind, "node": node, **fields}
        return next((e for e in events if e["t_s"] >= done_s - CLOCK_SLACK_S and wanted.items() <= e.items()), None)

    at_s, started = plan["trigger"].get("at_s"), next((e for e in events if e["kind"] == "workload-started"), None)
    confirmed, undone = first("fault-confirmed", fault=fault), first("fault-undone", fault=fault)
    exited = first("node-exited")
    return FaultTruth(
        fault=fault,
        kind=str(plan["kind"]),
        node=node,
        action=action,
        when=describe_trigger(plan["trigger"]),
        undo_after_s=plan.get("undo_after_s"),
        planned_s=None if at_s is None or started is None else float(started["t_s"]) + float(at_s),
        done_s=done_s,
        confirmed_s=None if confirmed is None else float(confirmed["t_s"]),
        effect="" if confirmed is None else str(confirmed.get("effect", "")),
        undone_s=None if undone is None else float(undone["t_s"]),
        exited_s=None if exited is None else float(exited["t_s"]),
        nodes=tuple((act or {}).get("nodes") or (node,)),
        missed=act is not None and missed_join(act, events),
    )


def missed_join(act: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an act brought a back-end that was never let in, though no other act struck it and the workload ended well."""
    if act.get("action") != "join":
        return False
    node = act["node"]
    struck = any(e["kind"] == "fault" and e is not act and node in (e["node"], *e.get("nodes", ())) for e in events)
    let_in = any(e["kind"] == "admitted" and e["member"] == node for e in events)
    return not struck and not let_in and any(e["kind"] == "finished" and e.get("ok") for e in events)


def subject(event: Mapping[str, Any]) -> int:
    """The node that an event is about: `member` or `child` where another node tells (and `node` is the teller), else `node`."""
    return int(event.get("member", event.get("child", event.get("node", -1))))


def describe_trigger(trigger: Mapping[str, Any]) -> str:
    """A trigger in words: at 1 s, at wave 500, mid-flush after wave 500."""
    if trigger.get("at_s") is not None:
        return f"at {trigger['at_s']:g} s"
    if trigger.get("at_event") is not None:
        return f"before event {trigger['at_event']}"
    wave, moment = trigger.get("at_wave"), trigger.get("moment")
    if moment is None:
        return f"at wave {wave}"
    return f"{moment}" if wave is None else f"{moment} after wave {wave}"


def ranks_in(value: Any) -> RankSet:
    """The ranks that an event names: a list of ranks, a list of [start, stop] pairs, or text such as 0-3,7."""
    if isinstance(value, RankSet):
        return value
    if isinstance(value, int):
        return RankSet.of([value])
    if isinstance(value, str):
        return _from_text(value)
    if not isinstance(value, Iterable):
        raise ValueError(f"{value!r} names no ranks")
    items = list(value)
    if any(isinstance(i, list | tuple) for i in items):
        return RankSet((int(a), int(b)) for a, b in items)
    return RankSet.of(int(i) for i in items)


def _from_text(text: str) -> RankSet:
    if text.strip() in ("", "none"):
        return EMPTY
    pairs = [part.partition("-")[::2] for part in text.split(",")]
    return RankSet((int(a), int(b or a) + 1) for a, b in pairs)


def all_ranks(record: TrialRecord) -> RankSet:
    """The ranks of all back-ends of the trial's tree."""
    return RankSet.of(n.rank for n in record.tree.back_ends if n.rank is not None)


class Members:
    """Who takes part in each stream: as the event of its opening says, else as the workload's table says, else everybody."""

    def __init__(self, record: TrialRecord) -> None:
        workload = record.plan.get("workload") or {}
        self._usual = ranks_in(workload.get("members") or ()) or all_ranks(record)
        self._known: dict[int, RankSet] = {}
        for event in record.of_kind("stream-opened"):
            said = event.get("members") or (event.get("spec") or {}).get("members")
            if said:
                self._known[int(event["stream"])] = ranks_in(said)

    def of(self, stream: int) -> RankSet:
        """The ranks of the stream's communicator."""
        return self._known.get(stream, self._usual)


def restarted(record: TrialRecord, truths: Sequence[FaultTruth]) -> RankSet:
    """Ranks whose process was killed and got a successor that came in time: the front-end never declared them dead. They may be
    in later waves again."""
    declared = {subject(e) for e in record.of_kind("dead")}
    back = {t.node for t in truths if t.final and t.undone_s is not None} - declared
    return RankSet.of(rank for node in back if (rank := record.tree.nodes[node].rank) is not None)


def declared(record: TrialRecord) -> dict[int, float]:
    """When the front-end declared a rank dead, in seconds: rank to time."""
    return {rank: float(e["t_s"]) for e in record.of_kind("dead") for rank in ranks_in(e.get("ranks", ()))}


def deaths(record: TrialRecord, truths: Sequence[FaultTruth]) -> dict[int, float]:
    """From when on a rank may be missing, in seconds: rank to the time of its death.

    A back-end is dead from the moment it was killed. One that was struck otherwise (stopped, cut off) is dead once the
    front-end has declared it so; an adoption that failed does not make a rank dead, whatever the front-end says, but where
    the back-end was out of reach (harness.api.reach).
    """
    declared = [(float(e["t_s"]), subject(e), ranks_in(e.get("ranks", ()))) for e in record.of_kind("dead")]
    found = out_of_reach(record)
    for truth in truths:
        if truth.done_s is None or truth.action in ORDERLY:
            continue
        for struck in truth.nodes:
            rank = record.tree.nodes[struck].rank
            if rank is None:
                continue
            when: float | None = truth.done_s
            if not truth.final:
                said = [t for t, node, ranks in declared if t >= truth.done_s and (node == struck or rank in ranks)]
                when = min(said, default=None)
            if when is not None:
                found[rank] = min(when, found.get(rank, when))
    return found
