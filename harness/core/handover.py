"""The log that a front-end with a standby writes: nothing that it decides takes effect elsewhere before the standby has it.

An entry is what one turn of the front-end came to: orders, messages down, what was delivered and recorded, what the journal is
to be told, and the application's state. Entries are numbered, sent to the standby in order and kept until it confirms them;
only then are orders and messages sent, acknowledgements told and events reported (output commit: Strom and Yemini, "Optimistic
Recovery in Distributed Systems", ACM TOCS 1985, section 2.3; with one standby, as Alsberg and Day, ICSE 1976).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

import msgpack

from harness.core import actions, frames
from harness.core.actions import Neighbour
from harness.core.apps import ResumableApp
from harness.core.downstream import Message
from harness.core.frames import FrameError

if TYPE_CHECKING:
    from harness.core.frontend import FrontEnd, Sample

NEVER: Final = float("inf")
CONTROL: Final = 0
#: With more entries than this unconfirmed nothing is delivered: the log is bounded as everything else is.
_MOST_ENTRIES: Final = 256
#: What the header of a frame and of msgpack may need.
_MARGIN: Final = 4096


class _Entry:
    """What takes effect when the standby has confirmed entry `number`; `blob` is the entry itself."""

    __slots__ = ("acked", "blob", "messages", "number", "orders", "tells")

    def __init__(self, number: int) -> None:
        self.number = number
        self.blob = b""
        self.orders: list[bytes] = []
        self.messages: list[tuple[int, Message]] = []
        self.tells: list[dict[str, Any]] = []
        self.acked: dict[int, int] = {}


class Log:
    """The front-end's side. away: the standby has no link, and nothing is confirmed. undecided: nodes whose death it does not
    know of yet."""

    def __init__(self, front: FrontEnd) -> None:
        self.front = front
        self.samples: list[Sample] = []
        self.undecided: set[int] = set()
        self._next = _Entry(1)
        self._entries: deque[_Entry] = deque()
        self._confirmed = 0
        #: Events for the journal so far, and how many of them were told.
        self._told = self._safe = 0
        self._link: Neighbour | None = None
        self._enrolled = self._broken = self._let_go = False
        self._away_since = NEVER
        self._buried: set[int] = set()
        self._released: dict[int, int] = {}
        self._last: Any = None
        self._releasing = False
        front.results.sealing = True
        front.handlers[frames.KEPT] = self._on_kept

    # -- what the front-end decides ----------------------------------------------------------------------------------------

    def order(self, order: dict[str, Any]) -> None:
        """An order: it is obeyed here at once, except that the tree is not closed yet."""
        payload = msgpack.packb(order)
        self._next.orders.append(payload)
        if order["op"] == "dead":
            self.undecided |= set(order["nodes"])
        if order["op"] != "shutdown":
            self.front.obey(order, payload)

    def obeyed(self, order: dict[str, Any]) -> bool:
        """Whether an order that is given to the others now was obeyed here before."""
        was, self._releasing = self._releasing, False
        return was and order["op"] != "shutdown"

    def message(self, stream: int, message: Message) -> None:
        """A message down, numbered and kept already."""
        self._next.messages.append((stream, message))

    def holds(self, stream: int, number: int) -> bool:
        """Whether a message must not be sent yet."""
        return number > self._released.get(stream, 0)

    def tell(self, event: dict[str, Any]) -> None:
        """An event for the journal, that happened now."""
        self._told += 1
        self._next.tells.append({**event, "t_s": self.front.now, "told": self._told})

    def flush(self) -> None:
        """Send what this turn came to, if it came to anything."""
        front, e = self.front, self._next
        self._watch()
        results = front.results
        marks: dict[int, tuple[int, int, int, float]] = {
            i: (results.up[i].acked, d.expected, d.failed, d.since) for i, d in results.delivery.items()
        }
        state = cast(ResumableApp, front.app).checkpoint() if front.started else b""
        came_to = (marks, state, front.context.due, front.started)
        if not (e.orders or e.messages or e.tells or self.samples) and came_to == self._last:
            return
        self._last = came_to
        e.acked = {i: m[0] for i, m in marks.items()}
        e.blob = msgpack.packb(
            {
                "orders": e.orders,
                "messages": [[i, m.seq, m.payload, m.to.encoded] for i, m in e.messages],
                "marks": marks,
                "samples": [_plain(s) for s in self.samples],
                "tells": e.tells,
                "safe": self._safe,
                "app": state,
                "due": front.context.due,
                "now": front.now,
                "started": front.started,
                "next": front.next_stream,
                "delivered": front.results.delivered,
            }
        )
        self.samples = []
        self._entries.append(e)
        self._next = _Entry(e.number + 1)
        if not self.away:
            self._send(e)
        front.results.held_up = len(self._entries) > _MOST_ENTRIES

    def _send(self, e: _Entry) -> None:
        assert self._link is not None
        most = self.front.settings.max_frame_bytes - _MARGIN
        parts = [e.blob[a : a + most] for a in range(0, len(e.blob), most)]
        for left, part in zip(range(len(parts) - 1, -1, -1), parts, strict=True):
            frame = frames.control_frame(frames.LOG, 0, e.number, part, epoch=left)
            self.front.out.send(self._link, self.front.now, frame)

    # -- what the standby confirms -----------------------------------------------------------------------------------------

    @property
    def away(self) -> bool:
        """Whether the standby is not there to confirm anything."""
        return self._link is None or self._link.conn not in self.front.children

    def joined(self, link: Neighbour, has: int) -> None:
        """The standby attached, and has so much of the log."""
        self._enrolled = True
        if has < self._confirmed:  # another process, which knows nothing
            self._broken = True
            return
        self._link = link
        self._watch()
        self._release(has)
        for e in self._entries:
            self._send(e)

    def _on_kept(self, link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
        if self.front.log is not self:  # the nodes voted for going on alone, while this was under way
            return
        if link is not self._link or not self._confirmed <= head[6] < self._next.number:
            raise FrameError(f"entry {head[6]} of the log is confirmed, which was not sent to this node")
        self._release(head[6])

    def _release(self, number: int) -> None:
        """The standby knows these entries: they take effect."""
        front = self.front
        self._confirmed = max(self._confirmed, number)
        while self._entries and self._entries[0].number <= number:
            e = self._entries.popleft()
            front.out.events += e.tells
            self._safe += len(e.tells)
            for order in e.orders:
                self._issue(order)
                plain = msgpack.unpackb(order)
                if plain["op"] == "dead":
                    self._buried |= set(plain["nodes"])
                    self.undecided -= self._buried
            for stream, message in e.messages:
                self._pass_on(stream, message)
            for stream, acked in e.acked.items():
                d = front.results.delivery.get(stream)
                if d is not None:
                    d.sealed = acked
                    front.results.dirty[stream] = front.results.up[stream]
        if front.results.held_up and len(self._entries) <= _MOST_ENTRIES:
            front.results.held_up = False
            front.results.dirty.update(front.results.up)

    def _issue(self, order: bytes) -> None:
        front = self.front
        self._releasing = True
        front.take_down(CONTROL, front.message(CONTROL, front.control.last + 1, order))
        self._releasing = False

    def _pass_on(self, stream: int, message: Message) -> None:
        self._released[stream] = message.seq
        if stream in self.front.results.down:
            for child in list(self.front.children.values()):
                if self.front.results.listens(stream, child):
                    self.front.send_down(child, stream, message)

    # -- without the standby -----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Notice that the standby went or came."""
        front, away = self.front, self._enrolled and self.away
        if away and self._away_since == NEVER:
            self._away_since = front.now
            u = front.uplink  # ask it, as an orphan would, whether it has taken over
            u.candidates, u.attempt, u.round, u.alone_since, u.due = (front.tree.standby,), 0, 0, front.now, front.now
            front.rearm = True
        elif not away and self._away_since != NEVER:
            self._away_since = NEVER
            self._let_go = False
            self._ask_no_more()
            self._give_time()

    def _ask_no_more(self) -> None:
        u = self.front.uplink
        if u.link is not None:
            self.front.links.pop(u.link.conn, None)
            self.front.out.actions.append((actions.CLOSE, u.link.conn, None))
        u.link = u.target = None
        u.due = NEVER

    def _give_time(self) -> None:
        """Nobody was declared dead while the standby was away, so the suspects' candidates may be dead: they get time again."""
        due = self.front.now + self.front.settings.orphan_grace_s
        for node, suspect in self.front.membership.suspects.items():
            if node != self.front.tree.standby:
                suspect.due = max(suspect.due, due)

    def due(self) -> float:
        """When `tick` has something to do, or a suspect's time runs out."""
        if not self.away:
            return self.front.membership.due()
        grace = self.front.settings.orphan_grace_s
        at = (self._away_since + grace / 2, self._away_since + grace)
        return min((t for t in at if t > self.front.now), default=NEVER)

    def tick(self) -> None:
        """While the standby is away: go on alone if more than half of the nodes say so, or let them go to it."""
        front = self.front
        if self._away_since == NEVER or front.ballot.generation:
            return
        waited, grace = front.now - self._away_since, front.settings.orphan_grace_s
        if 2 * self._in_reach() > self._voters():
            if waited >= grace or self._broken:
                self._go_alone()
        elif waited >= grace / 2 and not self._let_go:
            self._let_go = True
            for child in list(front.children.values()):
                front.drop(child, f"{frames.SILENT}: let go by a front-end without its standby")

    def _voters(self) -> int:
        """How many nodes there are: those that the standby knows to be dead do not count."""
        return len(self.front.tree.nodes) - len(self._buried)

    def _in_reach(self) -> int:
        m = self.front.membership
        return 1 + sum(n not in m.suspects and n not in self.front.dead for n in m.parents)

    def _go_alone(self) -> None:
        """Ask all nodes to vote. Orders that the standby may have heard of keep their numbers before this one."""
        self.flush()
        for e in self._entries:
            while e.orders and msgpack.unpackb(e.orders[0])["op"] != "shutdown":
                self._issue(e.orders.pop(0))
        order = msgpack.packb({"op": "root", "node": 0})
        self.front.take_down(CONTROL, self.front.message(CONTROL, self.front.control.last + 1, order))

    def counted(self) -> None:
        """More votes came: more than half of the nodes, and the standby can never be the root any more."""
        front = self.front
        votes = front.ballot.votes - front.dead
        if front.ballot.generation and front.log is self and 2 * len(votes) > self._voters():
            front.out.event("alone", standby=front.tree.standby, votes=len(votes))
            self._give_time()
            self.end()

    def end(self) -> None:
        """There is no standby any more: everything takes effect."""
        front = self.front
        self._ask_no_more()
        self.flush()
        front.results.sealing = False
        self._release(self._next.number)
        front.log = None
        front.results.held_up = False
        front.results.dirty.update(front.results.up)
        front.rearm = True


def _plain(s: Sample) -> list[Any]:
    observed = s.observed
    return [s.t_s, s.granted_s, s.stream, s.first, observed.dtype.str, observed.tobytes(), s.contributors.encoded, s.complete]
