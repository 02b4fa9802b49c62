"""What became of a front-end that has a standby, and how long users of its streams waited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.api.records import TrialRecord
from harness_results.statistics import rounded
from harness_results.truth import FaultTruth


def standby_figures(record: TrialRecord, truths: Sequence[FaultTruth]) -> dict[str, Any] | None:
    """Plain values; None where the tree has no standby, or neither it nor the front-end was struck or lost.

    turns: one entry for each time that the standby took over or the front-end went on alone (what), and where nobody did
    either, one for the first fault that struck one of the two (what: None). node, t_s, votes: who did it, when, with how many
    votes. fault, lost, lost_s: the kind of the fault that struck the other one before, which node that is, and when that was;
    after_ms: the time since then. pause_ms, pause_s: the longest time without a wave that ended after it, and began before
    the next fault, and when it began; None where no wave came any more. usual_ms: the longest one before the fault.
    front_end: who was it at the end; None: nobody. Those named `_s` are seconds since the trial's start.
    """
    standby = record.tree.standby
    if standby < 0:
        return None
    pair = {0, standby}
    struck = [(t.done_s, t) for t in truths if t.done_s is not None and pair & {t.node, *t.nodes}]
    struck.sort(key=lambda s: s[0])
    said = record.of_kind("took-over", "alone")
    if not said and not struck:
        return None
    turns = [_turn(record, truths, e, 0 if e["kind"] == "took-over" else standby) for e in said]
    if not said:
        done_s, fault = struck[0]
        lost = min(pair & {fault.node, *fault.nodes})
        turns = [{"what": None, **_cause(record, truths, lost, fault, done_s)}]
    last, since_s = (int(said[-1]["node"]), float(said[-1]["t_s"])) if said else (0, -np.inf)
    ended_well = any(e.get("ok") for e in record.of_kind("finished"))
    gone = any(t.final and done_s >= since_s and last in (t.node, *t.nodes) for done_s, t in struck)
    return {"standby": standby, "turns": turns, "front_end": last if ended_well or not gone else None}


def _turn(record: TrialRecord, truths: Sequence[FaultTruth], event: Mapping[str, Any], lost: int) -> dict[str, Any]:
    t_s = float(event["t_s"])
    before = [t for t in truths if t.done_s is not None and t.done_s <= t_s and lost in (t.node, *t.nodes)]
    fault = max(before, key=lambda t: t.done_s or 0.0, default=None)
    since_s = t_s if fault is None or fault.done_s is None else fault.done_s
    cause = _cause(record, truths, lost, fault, since_s)
    after_ms = None if fault is None else rounded(1e3 * (t_s - since_s))
    return {"what": event["kind"], "node": int(event["node"]), "t_s": rounded(t_s, 6), "votes": event.get("votes")} | (
        cause | {"after_ms": after_ms}
    )


def _cause(
    record: TrialRecord, truths: Sequence[FaultTruth], lost: int, fault: FaultTruth | None, since_s: float
) -> dict[str, Any]:
    """What was lost, and what came of it for the waves."""
    until_s = min((t.done_s for t in truths if t.done_s is not None and t.done_s > since_s), default=np.inf)
    pause, usual = longest_pause(record, since_s, until_s), longest_pause(record, -np.inf, since_s, ended=True)
    return {
        "fault": None if fault is None else fault.kind,
        "lost": lost,
        "lost_s": rounded(since_s, 6),
        "pause_ms": None if pause is None else rounded(1e3 * pause[0]),
        "pause_s": None if pause is None else rounded(pause[1], 6),
        "usual_ms": None if usual is None else rounded(1e3 * usual[0]),
    }


def longest_pause(record: TrialRecord, from_s: float, until_s: float, ended: bool = False) -> tuple[float, float] | None:
    """The longest time (s) without a delivery of any stream, and when it began; None where there is none. It ended after
    `from_s`, and began (ended: was over) before `until_s`."""
    t_s = np.sort(record.samples["t_s"])
    first, then = t_s[:-1], t_s[1:]
    inside = np.flatnonzero((then > from_s) & ((then if ended else first) < until_s))
    if not len(inside):
        return None
    at = inside[(then - first)[inside].argmax()]
    return float(then[at] - first[at]), float(first[at])


def lines_of(found: Mapping[str, Any] | None, where: str) -> list[str]:
    """What a report says of it, `where` being the trial; no lines where there is nothing to tell."""
    if found is None:
        return []
    end = "nobody" if found["front_end"] is None else f"node {found['front_end']}"
    turns = "; ".join(_text(turn, found["standby"]) for turn in found["turns"])
    return [f"standby {where}: {turns}; front-end at the end: {end}", *(_pause(turn, where) for turn in found["turns"])]


def _text(turn: Mapping[str, Any], standby: int) -> str:
    cause = f"{turn['fault']} of node {turn['lost']}" if turn["fault"] else f"loss of node {turn['lost']}"
    after = f", {_ms(turn['after_ms'])} after the {cause}" if turn.get("after_ms") is not None else ""
    match turn["what"]:
        case "took-over":
            return f"node {turn['node']} took over at {turn['t_s']:.3f} s{after}, with {turn['votes']} votes"
        case "alone":
            return f"node {turn['node']} went on without its standby at {turn['t_s']:.3f} s{after}, with {turn['votes']} votes"
        case _:
            return f"{cause} at {turn['lost_s']:.3f} s; node {standby} did not take over"


def _pause(turn: Mapping[str, Any], where: str) -> str:
    """How long the users of the streams waited: the recovery may have been over before, or begun later."""
    if turn["pause_ms"] is None:
        return f"users waited {where}: no wave came out after {turn['lost_s']:.3f} s"
    usual = f"; {_ms(turn['usual_ms'])} at most before" if turn["usual_ms"] is not None else ""
    return f"users waited {where}: no wave came out for {_ms(turn['pause_ms'])} from {turn['pause_s']:.3f} s on{usual}"


def _ms(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"
