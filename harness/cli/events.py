"""Events of a trial as one line for people, and the figures that a progress display needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.api.testbed import STOPPED

#: Events worth a line while a run goes on, and how loud they are.
STYLES: Mapping[str, str] = {
    "tree-ready": "green",
    "fault": "bold red",
    "fault-confirmed": "red",
    "fault-undone": "yellow",
    "link-lost": "yellow",
    "reattached": "cyan",
    "suspect": "yellow",
    "dead": "red",
    "rejoined": "green",
    "absent": "yellow",
    "admitted": "green",
    "joined": "green",
    "leaving": "yellow",
    "left": "yellow",
    "fenced": "yellow",
    "took-over": "yellow",
    "alone": "yellow",
    "first-complete-wave": "green",
    "stream-error": "bold red",
    "protocol-error": "bold red",
    "node-failed": "bold red",
    "finished": "green",
}


def describe_event(event: Mapping[str, Any]) -> str | None:
    """One line about an event; None for the kinds that only a journal needs."""
    get = event.get
    match event["kind"]:
        case "tree-ready":
            return f"tree of {get('nodes')} nodes is up after {get('took_s', 0):.2f} s"
        case "fault":
            return f"FAULT {get('action')} on node {get('node')} ({_trigger(get('trigger'))})"
        case "fault-confirmed":
            return f"fault on node {get('node')} confirmed: {get('effect')}"
        case "fault-undone":
            return f"fault on node {get('node')} taken back"
        case "link-lost":
            return f"node {get('node')} lost its link to node {get('peer')}: {get('cause')}"
        case "reattached":
            return f"node {get('child')} is adopted by node {get('parent')} in place of node {get('lost')}"
        case "suspect":
            return f"node {get('member')} is suspected by node {get('by')}: {get('cause')}"
        case "dead":
            return f"node {get('member')} is declared dead"
        case "rejoined":
            return f"node {get('member')} is back below node {get('parent')}"
        case "absent":
            who = [str(n) for n in get("members") or ()]
            return f"node {who[0]} is not there yet" if len(who) == 1 else f"nodes {', '.join(who)} are not there yet"
        case "admitted":
            return f"node {get('member')} is let in, {_from(get('first') or {})}"
        case "joined":
            return f"node {get('member')}, let in before, is below node {get('parent')}"
        case "leaving":
            return f"node {get('node')} begins to leave"
        case "left":
            return f"node {get('member')} has left: no member {_from(get('first') or {})}"
        case "fenced":
            return f"node {get('node')}, declared dead before, has ended itself"
        case "took-over":
            return f"node {get('node')} has taken over from the front-end, with {get('votes')} votes"
        case "alone":
            return f"the front-end goes on without its standby, node {get('standby')}, with {get('votes')} votes"
        case "first-complete-wave":
            return f"stream {get('stream')} is complete again at wave {get('wave')}"
        case "stream-error":
            return f"stream {get('stream')}, wave {get('wave')}: {get('error')}: {get('message')}"
        case "protocol-error":
            return f"node {get('node')} was sent garbage by node {get('peer')}: {get('message')}"
        case "node-failed":
            return f"node {get('node')} failed: {(str(get('message')).strip().splitlines() or ['it said nothing'])[-1]}"
        case "finished":
            if get("ok"):
                return "workload finished"
            # Whoever pressed Ctrl-C is told so; nothing has failed.
            return "workload stopped before its end" if get("reason") == STOPPED else f"workload failed: {get('reason')}"
        case _:
            return None


def _from(first: Mapping[str, int]) -> str:
    """From which waves on, by stream."""
    found = ", ".join(f"wave {wave} of stream {stream}" for stream, wave in list(first.items())[:3])
    return f"from {found}{' ...' * (len(first) > 3)} on" if found else "before any stream"


def _trigger(trigger: Any) -> str:
    if isinstance(trigger, Mapping):
        return ", ".join(f"{k} = {v}" for k, v in trigger.items() if v is not None)
    return str(trigger)


@dataclass
class Pace:
    """How far a trial is: waves so far, their rate since the last report, nodes alive."""

    waves: int = 0
    rate: float = 0.0
    alive: int = 0
    t_s: float = 0.0

    def update(self, event: Mapping[str, Any]) -> None:
        """Take in a `progress` event."""
        t_s, waves = float(event.get("t_s", 0.0)), int(event.get("waves", 0))
        if t_s > self.t_s:
            self.rate = max(0, waves - self.waves) / (t_s - self.t_s)
        self.t_s, self.waves, self.alive = t_s, waves, int(event.get("alive", 0))

    def __str__(self) -> str:
        return f"{short(self.waves)} waves, {short(self.rate)}/s, {self.alive} nodes alive"


def counted(number: int, word: str) -> str:
    """A number and its noun."""
    return f"{number} {word}" + "s" * (number != 1)


def short(number: float) -> str:
    """A count in four characters or so: 950, 12.3k, 4.5M."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= limit:
            return f"{number / (1e3 if suffix == 'k' else limit):.1f}{suffix}"
    return f"{number:.0f}"


def verdict_line(verdict: Mapping[str, Any]) -> tuple[str, bool | None]:
    """The verdict of a trial as one line, and whether it passed."""
    word, summary = str(verdict.get("verdict", "not judged")), str(verdict.get("summary", ""))
    line = summary if summary.startswith(word) or not summary else f"{word}: {summary}"
    return line or word, verdict.get("passed")
