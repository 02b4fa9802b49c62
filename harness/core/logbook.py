"""What the standby knows of the front-end: its log, taken in entry by entry. Everything is looked at before it is believed."""

from __future__ import annotations

import math
from typing import Any, Final

import msgpack
import numpy as np

from harness.core import vetting
from harness.core.apps import ResumableApp
from harness.core.frontend import Sample
from harness.core.ranks import RankSet

_KINDS: Final = "biuf"


class Logbook:
    """orders: all of them, packed, order n at n - 1. dead: the nodes that they declare dead. messages: (stream, number,
    payload, encoded ranks). marks: per stream acknowledged unit, expected waves, failed waves, and since when the next one is
    due. shift_s: what to add to a time of the front-end's clock to have one of the standby's."""

    def __init__(self, app: ResumableApp) -> None:
        self._app = app
        self._parts: list[bytes] = []
        self._tells: list[dict[str, Any]] = []
        self.number = 0
        self.orders: list[bytes] = []
        self.dead: set[int] = set()
        self.ending = False
        self.messages: list[tuple[int, int, bytes, bytes]] = []
        self.marks: dict[int, list[Any]] = {}
        self.samples: list[Sample] = []
        self.app = b""
        self.due = math.inf
        self.shift_s = 0.0
        self.started = False
        self.next_stream = 1
        self.delivered = 0

    def begin_again(self) -> None:
        """The link is another one: what had come of an entry comes again."""
        self._parts.clear()

    def take(self, number: int, left: int, part: bytes, now: float) -> int:
        """A part of an entry, of which `left` are to come. The entry's number once it is whole, else 0. Raises ValueError,
        TypeError or KeyError for what no front-end would say; nothing is taken in then."""
        if number <= self.number:  # it was confirmed on a link that broke
            return 0 if left else self.number
        if number != self.number + 1:
            raise ValueError(f"entry {number} of the log came after entry {self.number}")
        self._parts.append(part)
        if left:
            return 0
        blob, self._parts = b"".join(self._parts), []
        self._believe(msgpack.unpackb(blob, strict_map_key=False), now)
        self.number = number
        return number

    def _believe(self, raw: Any, now: float) -> None:
        shift_s = now - float(raw["now"])
        orders = [bytes(o) for o in raw["orders"]]
        plain = [dict(msgpack.unpackb(o)) for o in orders]
        dead = {int(n) for o in plain if o["op"] == "dead" for n in o["nodes"]}
        messages = [(int(i), int(n), bytes(payload), RankSet.decode(to).encoded) for i, n, payload, to in raw["messages"]]
        marks = [(i, m[:-1], float(since)) for i, m in dict(raw["marks"]).items() for since in m[-1:]]
        counts, due_s = vetting.marks({i: m for i, m, _ in marks}, 3), {int(i): since for i, _, since in marks}
        samples = [_sample(s, shift_s) for s in raw["samples"]]
        tells = [{**e, "t_s": float(e["t_s"]) + shift_s, "kind": str(e["kind"]), "told": int(e["told"])} for e in raw["tells"]]
        app, due, safe = bytes(raw["app"]), float(raw["due"]), int(raw["safe"])
        started, next_stream, delivered = bool(raw["started"]), int(raw["next"]), int(raw["delivered"])
        if started:
            self._app.vet(app)
        self.orders += orders
        self.dead |= dead
        self.ending = self.ending or any(o["op"] == "shutdown" for o in plain)
        self.marks = {i: [*m, due_s[i]] for i, m in counts.items()}
        self.messages += messages
        self.samples += samples
        self._tells = [e for e in (*self._tells, *tells) if e["told"] > safe]
        self.app, self.due, self.shift_s = app, due, shift_s
        self.started, self.next_stream, self.delivered = started, next_stream, delivered

    def forget(self, last: dict[int, int]) -> None:
        """Messages that the node itself has, or whose stream is closed, need not be kept here: `last` by stream."""
        self.messages = [m for m in self.messages if m[0] in self.marks and m[1] > last.get(m[0], 0)]

    def tells(self) -> list[dict[str, Any]]:
        """Events of which it is not certain that the front-end has told them; `told` says which they are."""
        return list(self._tells)


def _sample(raw: Any, shift_s: float) -> Sample:
    t_s, granted_s, stream, first, kind, observed, ranks, complete = raw
    dtype = np.dtype(str(kind))
    if dtype.kind not in _KINDS:
        raise ValueError(f"observed numbers of type {kind}")
    numbers = np.frombuffer(bytes(observed), dtype)
    ranks = RankSet.decode(ranks)
    return Sample(float(t_s) + shift_s, float(granted_s) + shift_s, int(stream), int(first), numbers, ranks, bool(complete))
