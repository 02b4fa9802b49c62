"""The verdict on one trial: what the workload's own check found, what the record alone shows, and whether the faults that
were planned were really done. A trial whose ground truth is in doubt is never called survived."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.api.records import TrialRecord
from harness.core.agreement import Agreement, compare
from harness.core.settings import NodeSettings
from harness_results.audit import Audit, Rules, audit
from harness_results.comings import comings
from harness_results.phases import PHASES, Orphan, Phases, recovery_phases
from harness_results.standbys import standby_figures
from harness_results.statistics import rounded
from harness_results.throughput import Deliveries, Effect, Return, Window, effects, throughput_back
from harness_results.truth import FaultTruth, deaths, fault_truths, restarted

#: What a verdict on a trial can be.
PASSED, FAILED, INVALID = "passed", "failed", "invalid"
INFRASTRUCTURE, INTERRUPTED, SKIPPED = "infrastructure", "interrupted", "skipped"

#: The share of the steady throughput that counts as back where the suite asks for none.
DEFAULT_RATIO = 0.95
#: What of the workload's counts and of ours is told side by side; the larger one wins, since each sees what the other cannot.
COUNTED = ("lost", "duplicated", "mixed", "partial")
#: So many reasons are told one by one.
MOST_REASONS = 12


@dataclass(frozen=True)
class Fault:
    """One act, what became of it, and what it cost; the last three are None where it was not done."""

    truth: FaultTruth
    phases: Phases | None
    effect: Effect | None
    back: Return | None


@dataclass(frozen=True)
class Findings:
    """Everything that the results know about one trial."""

    audit: Audit
    faults: Sequence[Fault]
    steady: Window | None
    whole: Window | None
    agreement: Agreement | None
    comings: Sequence[Mapping[str, Any]]
    standby: Mapping[str, Any] | None = None


def rules_of(trial: Mapping[str, Any]) -> Rules:
    """What a trial promises, from its plan, by the kind of recovery that it expects.

    exact: every wave once, with everybody who is alive. equivalent: the same end state, so that waves may be merged or sent
    twice. bounded-loss: waves may lack live ranks, as the workload's check allows. Waves of a stream that does not wait for all
    come out in pieces, and may lack anybody.
    """
    expect = trial.get("expect", {}).get("recovery", "exact")
    waits = trial.get("sync", "wait-for-all") == "wait-for-all"
    complete = trial.get("accept", "complete") == "complete"
    return Rules(
        once=expect != "equivalent",
        no_gaps=expect == "exact" and waits,
        everybody=expect == "exact" and waits and complete,
        pieces=not waits,
        final=trial.get("recovery") not in ("resume", "decompose"),
        late_s=_lease_s(trial) if trial.get("recovery") == "compose" else 0.0,
    )


def _lease_s(trial: Mapping[str, Any]) -> float:
    return float((trial.get("settings") or {}).get("lease_s", NodeSettings().lease_s))


def findings(record: TrialRecord, trial: Mapping[str, Any]) -> Findings:
    """Work out a trial's figures from its record."""
    truths = fault_truths(trial.get("injections", ()), record.events)
    died = deaths(record, truths)
    deliveries = Deliveries(record.samples)
    recoveries = [recovery_phases(record, t, died) for t in truths]
    done = [r for r in recoveries if r is not None]
    ratio = _ratio(trial)
    costs = iter(effects(deliveries, done))
    faults = []
    for truth, phases in zip(truths, recoveries, strict=True):
        effect = None if phases is None else next(costs)
        back = None if phases is None or effect is None else throughput_back(deliveries, phases, effect, ratio)
        faults.append(Fault(truth, phases, effect, back))
    first, last = deliveries.span
    struck = min((r.done_s for r in done), default=last)
    return Findings(
        audit=audit(record, died, rules_of(trial), restarted(record, truths)),
        faults=faults,
        steady=deliveries.steady(first, min(struck, last)),
        whole=deliveries.window(first, last),
        agreement=compare(record.events),
        comings=comings(record),
        standby=standby_figures(record, truths),
    )


def _ratio(trial: Mapping[str, Any]) -> float:
    return float(trial.get("expect", {}).get("throughput", {}).get("min_ratio_to_steady", DEFAULT_RATIO))


def judge_trial(record: TrialRecord, trial: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict on a trial, plain values: verdict, passed (None where nothing is said), summary, reasons, figures."""
    found = findings(record, trial)
    verdict, reasons = _verdict(record, trial, found)
    if len(reasons) > MOST_REASONS:
        reasons = [*reasons[:MOST_REASONS], f"and {len(reasons) - MOST_REASONS} reasons more"]
    return {
        "verdict": verdict,
        "passed": {PASSED: True, FAILED: False}.get(verdict),
        "summary": _summary(verdict, reasons, found),
        "reasons": reasons,
        "figures": figures(found, trial),
    }


def _verdict(record: TrialRecord, trial: Mapping[str, Any], found: Findings) -> tuple[str, list[str]]:
    """The word and its reasons. What is wrong with the surroundings comes first: it puts everything else in doubt."""
    outcome = trial.get("outcome", "measured")
    if outcome in ("interrupted", "unfinished", "not-run"):
        return INTERRUPTED, [str(trial.get("reason") or outcome)]
    if outcome != "measured":
        return str(outcome), [str(trial.get("reason") or outcome)]
    if ended := _front_end_ended(record, found):
        standby = record.tree.standby
        why = (
            f"and its standby, node {standby}, could not go on"
            if standby > 0
            else "which no run outlives without a standby (key `standby`)"
        )
        return FAILED, [f"the suite's own fault {ended}, {why}"]
    doubts = [f"the record is not whole: {n}" for n in trial.get("record_notes", ())]
    doubts += [s for f in found.faults if (s := f.truth.shortcoming())]
    doubts += _unplanned_deaths(record, found)
    failures = [f"node {e['node']} failed: {_last_line(e['message'])}" for e in record.of_kind("node-failed")]
    if doubts:
        return INFRASTRUCTURE, [*failures, *doubts]
    check = trial.get("check")
    wrong = [v.message for v in found.audit.violations]
    wrong += [f"the workload ended early: {e.get('reason') or 'it gave no reason'}" for e in _bad_ends(record)]
    wrong += _disagreements(found.agreement)
    if check is not None and check["passed"] is False:
        wrong.insert(0, f"the workload's check failed: {check['summary']}")
    if wrong := [*failures, *wrong]:
        return FAILED, wrong
    if check is None or check["passed"] is None:
        return INVALID, [f"nothing can be said: {check['summary'] if check else 'the workload was not checked'}"]
    return PASSED, [str(check["summary"])] if check["summary"] else []


def _front_end_ended(record: TrialRecord, found: Findings) -> str:
    """What a planned fault did to the front-end for good, which leaves nothing to be judged; empty where none did, or a
    standby went on, or the workload ended well all the same."""
    if record.of_kind("took-over") or any(e.get("ok") for e in record.of_kind("finished")):
        return ""
    end_s = min((float(e["t_s"]) for e in _bad_ends(record)), default=-math.inf)
    done = [(f.truth.done_s, f.truth) for f in found.faults if f.truth.node == 0 and f.truth.done_s is not None]
    for done_s, truth in sorted(done, key=lambda d: d[0]):
        if truth.final:
            return f"killed the front-end (node 0) at {done_s:.3f} s"
        # It is continued when the trial is taken down: what counts is that it was not before the end.
        still = done_s < end_s and (truth.undone_s is None or truth.undone_s >= end_s)
        if truth.action == "stop" and truth.undo_after_s is None and still:
            return f"stopped the front-end (node 0) for good at {done_s:.3f} s"
    return ""


def _last_line(message: str) -> str:
    """What a traceback comes to."""
    return (message.strip().splitlines() or ["it said nothing"])[-1]


def _bad_ends(record: TrialRecord) -> list[Mapping[str, Any]]:
    return [e for e in record.of_kind("finished") if not e.get("ok", True)]


def _disagreements(told: Agreement | None) -> list[str]:
    """Nodes that hold others for dead than the front-end has said, or in another order. Who was cut off is none of them."""
    return [f"node {n} disagrees on who is lost: {what}" for n, what in (told.disagreeing if told else {}).items()]


def _unplanned_deaths(record: TrialRecord, found: Findings) -> list[str]:
    """Nodes that a signal ended in mid-run though no fault did it: something else on the machine interferes."""
    end = min((e["t_s"] for e in record.of_kind("finished")), default=float("inf"))
    planned = {node for f in found.faults if f.truth.done_s is not None for node in f.truth.nodes}
    return [
        f"node {e['node']} was ended by signal {-e['status']} at {e['t_s']:.3f} s, and no fault did it"
        for e in record.of_kind("node-exited")
        if (e.get("status") or 0) < 0 and e["t_s"] < end and e["node"] not in planned
    ]


def _summary(verdict: str, reasons: Sequence[str], found: Findings) -> str:
    if verdict != PASSED:
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        return f"{reasons[0]}{more}" if reasons else verdict
    slowest = [f.phases.total_ms for f in found.faults if f.phases and f.phases.total_ms is not None]
    recovered = [f"recovered in {max(slowest):.0f} ms"] if slowest else []
    return "; ".join([*recovered, *reasons])


# -- figures ---------------------------------------------------------------------------------------------------------------


def figures(found: Findings, trial: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a trial as plain values. Times in the unit of their name, None for what is not known."""
    counts = dict(found.audit.counts)
    own = (trial.get("check") or {}).get("counts", {})
    return {
        "waves": counts["delivered"],
        "audit": counts,
        "check": dict(own),
        "counts": {"delivered": counts["delivered"]} | {k: max(counts.get(k, 0), own.get(k, 0)) for k in COUNTED},
        "missing_ranks": str(found.audit.missing),
        "dead_ranks": str(found.audit.dead),
        "whole": window_figures(found.whole),
        "agreement": agreement_figures(found.agreement),
        "comings": list(found.comings),
        "standby": found.standby,
        "steady": window_figures(found.steady),
        "faults": [fault_figures(f) for f in found.faults],
    }


def agreement_figures(told: Agreement | None) -> dict[str, Any] | None:
    """Who is lost, since when (seconds since the trial's start), and who says so, as plain values; None where nobody knows."""
    if told is None:
        return None
    return {
        "lost": [{"node": n, "since_s": rounded(t_s, 6)} for n, t_s in told.lost.items()],
        "agreed": len(told.agreed),
        "nodes": told.told,
        "cut_off": list(told.cut_off),
        "disagreeing": list(told.disagreeing),
        "suspects": [{"node": n, "since_s": rounded(t_s, 6)} for n, t_s in told.suspects.items()],
        "text": told.text,
    }


def window_figures(window: Window | None) -> dict[str, Any] | None:
    """A window as plain values."""
    if window is None:
        return None
    return {
        "start_s": rounded(window.start_s, 6),
        "end_s": rounded(window.end_s, 6),
        "waves": window.waves,
        "waves_per_s": rounded(window.waves_per_s),
        "latency_ms": {k: rounded(v, 4) for k, v in window.latency_ms.items()},
    }


def fault_figures(fault: Fault) -> dict[str, Any]:
    """One act as plain values: what was planned, what became of it, phases in ms since it was done, throughput around it."""
    truth, phases, effect, back = fault.truth, fault.phases, fault.effect, fault.back
    plain: dict[str, Any] = {
        "fault": truth.fault,
        "kind": truth.kind,
        "node": truth.node,
        "action": truth.action,
        "when": truth.when,
        "planned_s": rounded(truth.planned_s, 6),
        "done_s": rounded(truth.done_s, 6),
        "late_ms": rounded(None if truth.late_s is None else 1e3 * truth.late_s),
        "confirmed_s": rounded(truth.confirmed_s, 6),
        "effect": truth.effect,
        "undone_s": rounded(truth.undone_s, 6),
        "doubt": truth.shortcoming(),
    }
    if phases is not None:
        lengths = phases.lengths_ms()
        plain["phases"] = [{"phase": p, "end_ms": rounded(phases.ends_ms[p]), "length_ms": rounded(lengths[p])} for p in PHASES]
        plain["rebuilt_by"] = phases.rebuilt_by
        plain["recovery_ms"] = rounded(phases.total_ms)
        plain["recovery_needed"] = phases.needed
        plain["orphans"] = [_orphan(o) for o in phases.orphans]
    if effect is not None:
        plain["before"] = window_figures(effect.before)
        plain["during"] = window_figures(effect.during)
        plain["after"] = window_figures(effect.after)
        plain["ratio_during"] = rounded(effect.share())
        plain["ratio_after"] = rounded(effect.ratio_after)
    if back is not None:
        plain["back_s"] = rounded(back.back_s)
        plain["back_judged_s"] = rounded(back.judged_s)
        plain["lost_waves"] = rounded(back.lost_waves, 0)
    return plain


def _orphan(orphan: Orphan) -> dict[str, Any]:
    return {
        "node": orphan.node,
        "adopter": orphan.adopter,
        "attempts": orphan.attempts,
        "refused": orphan.refused,
        "chosen_ms": rounded(orphan.chosen_ms),
        "connected_ms": rounded(orphan.connected_ms),
        "reattached_ms": rounded(orphan.reattached_ms),
    }
