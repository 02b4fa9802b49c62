"""Which back-ends came and went in a trial, by the front-end's own orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.api.records import TrialRecord
from harness_results.statistics import rounded

#: So many are named in a line.
MOST = 6
_WORDS = {"absent": "was not there at the start", "admitted": "was let in", "left": "left"}


def comings(record: TrialRecord) -> list[dict[str, Any]]:
    """Plain values, one entry for each node and order: what (a key of `_WORDS`), t_s (seconds since the trial's start), by
    stream the first wave from which it holds, and whether that is too late for every wave that was delivered."""
    found = []
    for e in record.of_kind(*_WORDS):
        first = {str(stream): int(wave) for stream, wave in e.get("first", {}).items()}
        beyond = e["kind"] == "admitted" and bool(first) and all(w >= _end(record, int(s)) for s, w in first.items())
        about = {"what": e["kind"], "t_s": rounded(float(e["t_s"]), 6), "first": first, "too_late": beyond}
        found += [{"node": n, **about} for n in e.get("members", [e.get("member")])]
    return found


def _end(record: TrialRecord, stream: int) -> int:
    """One behind the last wave of a stream that was delivered; 0 where there was none."""
    rows = record.samples[record.samples["stream"] == stream]
    return int((rows["first"] + rows["count"]).max(initial=0))


def text_of(found: Sequence[Mapping[str, Any]]) -> str:
    """One line; empty where nobody came or went."""
    parts = [_part(c) for c in found[:MOST]]
    return "; ".join(parts) + (f"; and {len(found) - MOST} more" if len(found) > MOST else "")


def _part(c: Mapping[str, Any]) -> str:
    text = f"node {c['node']} {_WORDS[c['what']]}"
    if c["what"] == "absent":
        return text
    waves = sorted(set(c["first"].values()))
    since = f", from wave {waves[0]}" + (f" to {waves[-1]}" if len(waves) > 1 else "") + " on" if waves else ""
    late = ": too late, no such wave came out any more" if c["too_late"] else ""
    return f"{text} at {c['t_s']:.3f} s{since}{late}"
