"""Which back-ends came and went in a trial, by the front-end's own orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness_results.statistics import rounded

#: So many are named in a line.
MOST = 6
_WORDS = {"absent": "was not there at the start", "admitted": "was let in", "left": "left"}


def comings(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Plain values, one entry for each node and order: what (a key of `_WORDS`), t_s (seconds since the trial's start), and by
    stream the first wave from which it holds."""
    found = []
    for e in events:
        if e["kind"] in _WORDS:
            about = {"what": e["kind"], "t_s": rounded(float(e["t_s"]), 6), "first": dict(e.get("first", {}))}
            found += [{"node": n, **about} for n in e.get("members", [e.get("member")])]
    return found


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
    return f"{text} at {c['t_s']:.3f} s{since}"
