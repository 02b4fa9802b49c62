"""What excuses a request that ended in a typed error: for the next wave there was nobody left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.api.records import Check, TrialRecord, Violation

_OUT = ("absent", "dead", "left")
#: How the reason of such an end begins.
_ENDS = ("QuorumLost", "WavesLost")


def changes(events: Sequence[Mapping[str, Any]]) -> bool:
    """Whether back-ends came or went in order."""
    return any(e["kind"] in ("absent", "left", "admitted") for e in events)


def nobody_left(record: TrialRecord) -> bool:
    """Whether at some moment no back-end was there to contribute to the next wave of some stream: all were dead, gone or still
    to come. What is told at the same time counts as one moment."""
    ranks = {n.rank for n in record.tree.back_ends if n.rank is not None}
    out: set[int] = set()
    first: dict[int, Mapping[str, int]] = {}
    streams: list[str] = []
    told = [e for e in record.events if e["kind"] in (*_OUT, "admitted", "stream-opened")]
    for e, after in zip(told, [*told[1:], None], strict=True):
        if e["kind"] in _OUT:
            out |= set(e["ranks"])
        elif e["kind"] == "admitted":
            out -= set(e["ranks"])
            first.update(dict.fromkeys(e["ranks"], e["first"]))
        else:
            streams.append(str(e["stream"]))
        if after is not None and after["t_s"] == e["t_s"]:
            continue
        for stream in streams:
            soonest = min((first.get(r, {}).get(stream, 0) for r in ranks - out), default=None)
            if soonest is None or soonest > _delivered(record, int(stream), float(e["t_s"])):
                return True
    return False


def _delivered(record: TrialRecord, stream: int, t_s: float) -> int:
    """How many waves of a stream had been delivered by then, or ended in an error."""
    rows = record.samples[(record.samples["stream"] == stream) & (record.samples["t_s"] <= t_s)]
    return int((rows["first"] + rows["count"]).max()) if len(rows) else 0


def ended_so(events: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the workload ended with an error that says so."""
    return any(e["kind"] == "finished" and not e["ok"] and str(e.get("reason", "")).startswith(_ENDS) for e in events)


def what_follows(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """How the judge's reasons begin that say no more than that: the early end, and the waves that were named as lost."""
    told = [e["fields"] for e in events if e["kind"] == "note" and e["name"] == "request-error" and "waves" in e["fields"]]
    each = ((n["stream"], n["wave"], n["wave"] + n["waves"] - 1) for n in told)
    lost = [f"stream {s}: " + (f"wave {a} never" if a == b else f"waves {a} to {b} never") for s, a, b in each]
    return ["the workload ended early: ", *lost]


def without_the_end(check: Check, record: TrialRecord) -> Check:
    """The check without what follows from such an end: that the last waves never came, and nobody is in them."""
    ends = [_delivered(record, int(e["stream"]), float("inf")) for e in record.of_kind("stream-opened")]
    reached = min(ends, default=0)

    def follows(v: Violation) -> bool:
        return v.what == "missing" or (v.what == "lost" and v.wave is not None and v.wave >= reached)

    rest = [v for v in check.violations if not follows(v)]
    return Check(not rest, "; ".join(v.message for v in rest), dict(check.counts), tuple(rest))
