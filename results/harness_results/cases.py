"""The figures of a case over its trials, as plain values for the document and the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.core.ranks import union
from harness.run.record import NOT_RUN, SKIPPED, UNFINISHED, RecordedTrial
from harness_results.expectations import QUANTILES, judge_expectations, slowest_recoveries
from harness_results.statistics import median, nearest_rank, rounded
from harness_results.truth import ranks_in
from harness_results.verdict import FAILED, INFRASTRUCTURE, INTERRUPTED, INVALID, PASSED, judge_trial

INCONCLUSIVE = "inconclusive"
#: Verdicts of a whole case or run, the one that decides first.
ORDER = (FAILED, INTERRUPTED, INFRASTRUCTURE, INCONCLUSIVE, PASSED, SKIPPED)
#: Trials about which something was found out.
JUDGED = (PASSED, FAILED, INVALID)
WINDOWS = ("before", "during", "after")


@dataclass(frozen=True)
class Judged:
    """A recorded trial and the verdict on it, made anew. A trial that was skipped or never started has no figures."""

    trial: RecordedTrial
    verdict: str
    reasons: Sequence[str]
    summary: str
    figures: Mapping[str, Any] | None


def judged_again(trial: RecordedTrial) -> Judged:
    """Judge a recorded trial from its record."""
    if trial.outcome in (SKIPPED, NOT_RUN):
        return Judged(trial, trial.outcome, [trial.reason], trial.reason, None)
    made = judge_trial(trial.record, trial.for_judge())
    return Judged(trial, made["verdict"], made["reasons"], made["summary"], made["figures"])


def case_document(plan: Mapping[str, Any], trials: Sequence[Judged], interrupted: bool) -> dict[str, Any]:
    """One case: `plan` is the plain form of any of its trials, `trials` are all of them; `interrupted`: the run was."""
    judged = [t.figures for t in trials if t.verdict in JUDGED and t.figures is not None]
    # Where nothing could be judged, what was measured is still worth showing.
    shown = judged or [t.figures for t in trials if t.figures is not None and t.figures["waves"]]
    expectations = judge_expectations(plan.get("expect", {}), judged) if judged else []
    verdict, reasons = _verdict(trials, [(e.verdict, e.reason) for e in expectations], interrupted)
    return {
        "case": plan["case"],
        "name": plan["name"],
        "axes": plan["axes"],
        "verdict": verdict,
        "reasons": reasons,
        "expect": plan.get("expect", {}),
        "expectations": [e.plain() for e in expectations],
        "trials": _tally(trials),
        "figures_from": "judged trials" if judged else "unfinished trials" if shown else None,
        "counts": {k: sum(f["counts"][k] for f in shown) for k in (shown[0]["counts"] if shown else ())},
        "missing_ranks": str(union(ranks_in(f["missing_ranks"]) for f in shown)),
        "fault_late_ms": _spread([fault["late_ms"] for f in shown for fault in f["faults"]]),
        "throughput": _throughput(shown),
        "latency_ms": _latency(shown),
        "recovery_ms": _recovery(shown),
        "phases": _phases(shown),
        "each": [_brief(t) for t in trials],
    }


def _verdict(trials: Sequence[Judged], expectations: Sequence[tuple[str, str]], interrupted: bool) -> tuple[str, list[str]]:
    said: list[tuple[str, str]] = []
    for t in trials:
        word = {INVALID: INCONCLUSIVE, UNFINISHED: INTERRUPTED}.get(t.verdict, t.verdict)
        if word == NOT_RUN:
            word = INTERRUPTED if interrupted else INFRASTRUCTURE
        said += [(word, f"trial {t.trial.plan['index']}: {r}" if word != SKIPPED else r) for r in t.reasons or ("",)]
    said += [(INCONCLUSIVE if v == INVALID else v, r) for v, r in expectations]
    verdict = next(word for word in ORDER if any(v == word for v, _ in said))
    reasons = [] if verdict == PASSED else [r for v, r in said if v == verdict]
    return verdict, list(dict.fromkeys(reasons))


def _tally(trials: Sequence[Judged]) -> dict[str, int]:
    words = (PASSED, FAILED, INVALID, INFRASTRUCTURE, INTERRUPTED, SKIPPED, NOT_RUN)
    found = Counter(t.verdict for t in trials)
    return {"planned": len(trials), **{w: found[w] for w in words}}


def _spread(values: Sequence[float | None], digits: int = 3) -> dict[str, Any] | None:
    """Median, smallest and largest of the values that are known, and how many these are; None where there is none."""
    known = [v for v in values if v is not None]
    if not known:
        return None
    return {
        "median": rounded(median(known), digits),
        "min": rounded(min(known), digits),
        "max": rounded(max(known), digits),
        "n": len(known),
    }


def _faults(shown: Sequence[Mapping[str, Any]], wanted: Callable[[Mapping[str, Any]], float | None], worst: Any) -> list[float]:
    """One value a trial: the worst over its faults."""
    found = [[v for fault in f["faults"] if (v := wanted(fault)) is not None] for f in shown]
    return [worst(values) for values in found if values]


def _throughput(shown: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Waves/s before any fault (`steady`) and around the faults; seconds and waves until it was back. The ratios are each
    fault's rate over the one in the steady window before it, spread over the trials: not the ratio of the rates' medians."""

    def rate(window: str) -> dict[str, Any] | None:
        return _spread(_faults(shown, lambda f: (f.get(window) or {}).get("waves_per_s"), min))

    return {
        "steady_waves_per_s": _spread([(f["steady"] or {}).get("waves_per_s") for f in shown]),
        "during_waves_per_s": rate("during"),
        "after_waves_per_s": rate("after"),
        "ratio_during": _spread(_faults(shown, lambda f: f.get("ratio_during"), min)),
        "ratio_after": _spread(_faults(shown, lambda f: f.get("ratio_after"), min)),
        "back_s": _spread(_faults(shown, lambda f: f.get("back_s"), max)),
        "lost_waves": _spread(_faults(shown, lambda f: f.get("lost_waves"), max), 0),
    }


def _latency(shown: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Milliseconds by window and percentile: the median over the trials of each trial's percentile; of `max` the largest."""
    found: dict[str, Any] = {"steady": _percentiles([f["steady"] for f in shown])}
    for window in WINDOWS[1:]:
        found[window] = _percentiles([fault.get(window) for f in shown for fault in f["faults"]])
    return found


def _percentiles(windows: Sequence[Mapping[str, Any] | None]) -> dict[str, float | None] | None:
    known = [w["latency_ms"] for w in windows if w and w["waves"]]
    if not known:
        return None
    return {k: rounded((max if k == "max" else median)([w[k] for w in known]), 4) for k in known[0]}


def _recovery(shown: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    times = slowest_recoveries(shown)
    if not times:
        return None
    return {**{name: rounded(nearest_rank(times, q)) for name, q in QUANTILES.items()}, "n": len(times)}


def _phases(shown: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The phases of a typical recovery: the one whose length is the median (nearest rank) of all; and the worst of each."""
    faults = [fault for f in shown for fault in f["faults"] if fault.get("recovery_ms") is not None]
    if not faults:
        return None
    middle = nearest_rank([f["recovery_ms"] for f in faults], 0.5)
    typical = next(f for f in faults if f["recovery_ms"] == middle)
    steps = []
    for i, step in enumerate(typical["phases"]):
        ends = [f["phases"][i]["end_ms"] for f in faults if f["phases"][i]["end_ms"] is not None]
        steps.append({**step, "worst_end_ms": max(ends, default=None)})
    return {
        "node": typical["node"],
        "rebuilt_by": typical["rebuilt_by"],
        "orphans": len(typical["orphans"]),
        "recoveries": len(faults),
        "steps": steps,
    }


def _brief(t: Judged) -> dict[str, Any]:
    figures = t.figures or {}
    return {
        "trial": t.trial.id,
        "index": t.trial.plan["index"],
        "seed": t.trial.plan["seed"],
        "verdict": t.verdict,
        "summary": t.summary,
        "waves": figures.get("waves"),
        "recovery_ms": [f.get("recovery_ms") for f in figures.get("faults", ())],
        "recovery_needed": [f.get("recovery_needed") for f in figures.get("faults", ())],
        "agreement": figures.get("agreement"),
        "comings": figures.get("comings", []),
        "standby": figures.get("standby"),
    }
