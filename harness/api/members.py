"""Who was a member of a stream for which waves, from the events of a trial: back-ends come late, leave, and come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from harness.core.ranks import RankSet

#: Acts that are no faults: who is told to come or to leave has no excuse.
ORDERLY: Final = ("join", "leave")
#: Faults of a place: they strike whatever process is there.
_LASTING: Final = ("part", "slow", "skew", "refuse")
_CHANGES: Final = ("absent", "left", "admitted")
#: A half-open range of waves.
Span = tuple[int, int]


class MemberSpans:
    """`changed`: the ranks whose membership changed by an order of the front-end; all others are members throughout. `leaving`:
    the ranks that produced nothing more since they left, or were about to."""

    def __init__(self, events: Sequence[Mapping[str, Any]]) -> None:
        self._events = events
        self.changed = RankSet.of(int(r) for e in events if e["kind"] in _CHANGES for r in e["ranks"])
        self.leaving = RankSet.of(int(e["rank"]) for e in events if e["kind"] == "leaving")

    def members(self, stream: int, rank: int, last: int) -> list[Span]:
        """The waves below `last` for which `rank` was a member of `stream`. One that was declared dead stays a member, and is
        missing, until a successor contributes."""
        return self._spans(stream, rank, last, None)

    def lives(self, stream: int, rank: int, last: int) -> list[Span]:
        """The waves below `last` that each process of `rank` may have contributed to `stream`."""
        found: list[Span] = []
        there, opened = True, False
        for e in self._events:
            if e["kind"] == "stream-opened" and e["stream"] == stream:
                opened = True
                found += [(0, last)] if there else []
            elif e["kind"] in _CHANGES and rank in e["ranks"]:
                there = e["kind"] == "admitted"
                first = int(e.get("first", {}).get(str(stream), 0))
                if found and opened:
                    found[-1] = (found[-1][0], min(found[-1][1], first))
                if there and opened:
                    found.append((first, last))
        return [(a, b) for a, b in found if a < b]

    def made(self, stream: int, rank: int) -> list[Span]:
        """The waves that processes of `rank` had produced for `stream` when they left in order."""
        found: list[Span] = []
        there, opened, start, made = True, False, -1, 0
        for e in self._events:
            kind = e["kind"]
            if kind == "stream-opened" and e["stream"] == stream:
                opened, start = True, 0 if there else -1
            elif kind == "leaving" and e["rank"] == rank:
                made = int(e["made"].get(str(stream), 0))
            elif kind in _CHANGES and rank in e["ranks"]:
                there = kind == "admitted"
                if kind == "left" and start >= 0:
                    found.append((start, made))
                start = int(e.get("first", {}).get(str(stream), 0)) if there and opened else -1
        return [(a, b) for a, b in found if a < b]

    def owed(self, stream: int, rank: int, node: int, last: int, before: Callable[[float], int]) -> list[Span]:
        """The waves below `last` that the rank, whose place is `node`, owes: those for which it was a member, but from a fault
        that struck it until a new process was let in. Who left owes all that it had produced. before: how many waves had been
        delivered at a time, s."""
        return self._spans(stream, rank, last, (node, before))

    def _spans(self, stream: int, rank: int, last: int, struck: tuple[int, Callable[[float], int]] | None) -> list[Span]:
        found: list[Span] = []
        there, opened, start, made = True, False, -1, 0
        hits = _Hits(-1 if struck is None else struck[0])
        for e in self._events:
            kind = e["kind"]
            end = -1
            if kind == "stream-opened" and e["stream"] == stream:
                opened, start = True, 0 if there else -1
            elif struck is not None and hits.take(e):
                there, end = False, struck[1](float(e["t_s"]))
            elif kind == "leaving" and struck is not None and e["rank"] == rank:
                made = int(e["made"].get(str(stream), 0))  # also what the front-end let it leave without
            elif kind in _CHANGES and rank in e["ranks"]:
                there = kind == "admitted" and not hits.hit(int(e["life"]))
                first = int(e.get("first", {}).get(str(stream), 0))
                if there and opened and start < 0:
                    start = first
                elif not there:
                    end = max(first, made)
            if not there and start >= 0:
                found.append((start, end))
                start = -1
        if start >= 0:
            found.append((start, last))
        return [(a, min(b, last)) for a, b in found if a < min(b, last)]


class _Hits:
    """Which processes on the place `node` were struck."""

    def __init__(self, node: int) -> None:
        self._node = node
        self._life = 0
        self._struck = -1
        #: Faults of the place, which a new process finds there, and that were not taken back yet.
        self._lasting: set[int] = set()

    def take(self, e: Mapping[str, Any]) -> bool:
        """Whether the process that is there now was struck by this event."""
        kind = e["kind"]
        if kind == "node-started" and e["node"] == self._node:
            self._life = int(e.get("life", 0))
            self._struck = self._life if self._lasting else self._life - 1
        elif kind == "fault" and e["action"] not in ORDERLY and self._node in (e.get("nodes") or [e["node"]]):
            self._struck = self._life
            if e["action"] in _LASTING:
                self._lasting.add(int(e["fault"]))
            return True
        elif kind == "fault-undone":
            self._lasting.discard(int(e["fault"]))
        return False

    def hit(self, life: int) -> bool:
        """Whether this process was struck before now."""
        return life <= self._struck


def is_member(spans: Sequence[Span], wave: int) -> bool:
    """Whether one of the ranges holds the wave."""
    return any(a <= wave < b for a, b in spans)
