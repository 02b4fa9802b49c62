"""Who is lost in a running trial, since when, and how many nodes say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.core.agreement import KINDS, compare

#: So many are named in the row that is drawn anew.
_MOST = 4


class Losses:
    """Takes the events of one trial, in any order."""

    def __init__(self) -> None:
        self._events: list[Mapping[str, Any]] = []
        self._suspect: dict[int, float] = {}
        self._dead: dict[int, float] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """Take in one event; most say nothing about this."""
        kind = event["kind"]
        if kind in KINDS:
            self._events.append(event)
        member = int(event.get("member", -1))
        if kind == "suspect":
            self._suspect[member] = float(event["t_s"])
        elif kind in ("rejoined", "joined", "dead"):
            self._suspect.pop(member, None)
        if kind == "dead":
            self._dead[member] = float(event["t_s"])
        elif kind == "admitted":
            self._dead.pop(member, None)

    @property
    def so_far(self) -> str:
        """Who is lost while the trial runs, and who may be; empty where nobody is. That all agree is known at its end."""
        words = [_named(self._dead)] if self._dead else []
        if self._suspect:
            words.append(f"suspect: {_named(self._suspect)}")
        told = compare(self._events) if self._dead else None
        return "; ".join([*words, *([f"agreed by {len(told.agreed)} of {told.told} nodes"] if told else [])])

    @property
    def line(self) -> str:
        """The same at the trial's end; empty where nobody is lost and all say so, and where nobody can say."""
        told = compare(self._events)
        return told.text if told is not None and told.somebody else ""


def _named(members: Mapping[int, float]) -> str:
    who = ", ".join(f"node {n} since {t_s:.1f} s" for n, t_s in list(members.items())[-_MOST:])
    return who + (f" and {len(members) - _MOST} more" if len(members) > _MOST else "")
