"""All nodes of one tree under virtual time.

The nodes are those of harness.core, unchanged; what runs them here does what harness.testbeds.loop does in a process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from harness.core import actions
from harness.core.agreement import view
from harness.core.node import Node
from harness.core.tree import Tree
from harness.sim.model import Model
from harness.sim.network import CALL, GIVE_UP, RESEND, TURN, Network
from harness.sim.seats import (
    ADVANCE,
    ALARM,
    CLOSED,
    FRAME,
    LINK_UP,
    LOST,
    MEET,
    NEVER,
    REFUSED,
    WRITABLE,
    Happening,
    Seat,
)  # fmt: skip

_START_WITHIN_S: Final = 0.01
#: A node that is due again as soon as it was woken, so often in a row and without anything else happening to it, is in a busy
#: loop.
BUSY: Final = 5000
_AT_ONCE_S: Final = 1e-6


class BusyLoop(Exception):
    """A node does nothing but wake itself."""


class World(Network):
    """Every node of `tree`, made by `build(its id, what its clock shows, how many processes were there before)`, and the time
    `now` in seconds since the start. The `absent` have no process until `acts.restart` gives them one.

    `tell` takes each event of the journal (t_s, kind, node, ...) as it happens. Where they are set, `watch` is called with a
    seat after each of its turns, `sending` with a seat and the parts of a frame before it goes out (it may strike that seat),
    `overheard` with sender, receiver and frame. `before` holds what to do before the n-th thing happens, by n.
    """

    def __init__(
        self,
        tree: Tree,
        build: Callable[[int, float, int], Node],
        model: Model,
        seed: int | None,
        tell: Callable[[dict[str, Any]], None],
        absent: Collection[int] = (),
    ) -> None:
        super().__init__(model, seed, [n.host for n in tree.nodes])
        self.tree = tree
        self.build = build
        self.tell = tell
        self.happened = 0
        self.watch: Callable[[Seat], None] | None = None
        self.sending: Callable[[Seat, tuple[Any, ...]], None] | None = None
        self.before: dict[int, list[Callable[[], None]]] = {}
        for n in tree.nodes:
            self.seats.append(Seat(n.id, build(n.id, 0.0, 0), self.places.turn_s(n.id)))
            if n.id in absent:
                self.seats[-1].alive = False
                continue
            self.tell({"t_s": 0.0, "kind": "node-started", "node": n.id, "host": n.host})
            self.at(self.chance.part() * _START_WITHIN_S, self.begin, n.id)

    # -- time --------------------------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Let one thing happen. False where nothing is left to happen."""
        if not self.queue:
            return False
        if self.before:
            for act in self.before.pop(self.happened, ()):
                act()
        when, _, op, a, b, c, d = self.queue.pop()
        self.now = when
        self.happened += 1
        if op == FRAME:
            self.arrive(a, b, c, d)
        elif op == ALARM:
            self._alarm(a, when)
        elif op == ADVANCE:
            if a.life == b:
                self.happen(a, (ADVANCE, None, None, None))
        elif op == CALL:
            a(b)
        elif op == TURN:
            self._turn(a)
        elif op == MEET:
            self.meet(a, b, c, d)
        elif op == GIVE_UP:
            self.give_up(a, b)
        elif op == RESEND:
            self.resend(a, b)
        elif op == WRITABLE:
            self.unstall(a, b)
        else:
            self.happen(a, (op, b, c, d))
        return True

    # -- nodes -------------------------------------------------------------------------------------------------------------

    def begin(self, id: int) -> None:
        """The process on a seat begins to run."""
        seat = self.seats[id]
        if seat.begun or not seat.alive:
            return
        if not seat.stopped:
            seat.begun = True
            seat.node.start(seat.clock(self.now))
            self._drain(seat)
        else:
            self.at(self.now + _START_WITHIN_S, self.begin, id)

    def happen(self, seat: Seat, what: Happening) -> None:
        """Something happens to a node, now or when it gets to it."""
        if not seat.alive:
            return
        if seat.stopped or seat.turn_s > 0.0 or seat.waiting:
            seat.waiting.append(what)
            if not seat.stopped:
                self.call_turn(seat)
            return
        self._do(seat, what)

    def call_turn(self, seat: Seat) -> None:
        """See that a seat with something waiting gets its turn."""
        if not seat.turning:
            seat.turning = True
            self.push(max(self.now, seat.busy_until), TURN, seat, None, None, None)

    def _turn(self, seat: Seat) -> None:
        seat.turning = False
        if not seat.alive or seat.stopped or not seat.waiting:
            return
        what = seat.waiting.popleft()
        seat.busy_until = self.now + seat.turn_s
        self._do(seat, what)
        if seat.waiting and seat.alive and not seat.stopped:
            self.call_turn(seat)

    def _do(self, seat: Seat, what: Happening) -> None:
        op, pipe, frame, extra = what
        node, now = seat.node, seat.clock(self.now)
        if op == FRAME:
            self.taken(pipe, seat, len(frame))
            node.receive(pipe, frame, now)
        elif op == LINK_UP:
            node.link_up(pipe, pipe.other(seat).id, extra, now)
        elif op == LOST:
            seat.pipes.pop(pipe, None)
            node.link_lost(pipe, extra, now)
        elif op == CLOSED:
            if pipe in seat.pipes:
                del seat.pipes[pipe]
                node.link_lost(pipe, "closed by peer", now)
        elif op == REFUSED:
            node.refused(extra[0], extra[1], now)
        elif op == WRITABLE:
            node.writable(pipe, now)
        elif op == MEET:
            self.join(extra, seat)
            return
        if op != ALARM:
            seat.idle = 0
        if op < ALARM and self.chance.happens(self.model.apart):
            self.push(self.now + self.model.latency_s * 0.1, ADVANCE, seat, seat.life, None, None)
        else:
            self.wake(seat)

    def wake(self, seat: Seat) -> None:
        """A node moves on, after what came in or because it is time."""
        node, now = seat.node, seat.clock(self.now)
        if self.now >= seat.due:
            if now >= node.deadline():
                node.tick(now)
            node.rearm = True
        node.advance(now)
        self._drain(seat)

    def _alarm(self, seat: Seat, when: float) -> None:
        if when != seat.alarm or not seat.alive:
            return
        seat.alarm = NEVER
        if seat.stopped:
            return
        if seat.idle > BUSY:
            shows, due = seat.clock(self.now), seat.node.deadline()
            raise BusyLoop(f"node {seat.id} is busy with nothing: its clock shows {shows:.6f}, its deadline is {due:.6f}")
        self.happen(seat, (ALARM, None, None, None))

    def _drain(self, seat: Seat) -> None:
        """Carry out what a node asked for, and see when it wants to be woken."""
        node = seat.node
        if node.out.successor is not None:
            node = seat.node = node.out.successor
            node.out.successor = None
            seat.due = 0.0
        if self.watch is not None:
            self.watch(seat)
        out = node.out
        todo, out.actions = out.actions, []
        for op, a, b in todo:
            if not seat.alive:  # it was struck in the midst of this
                return
            if op is actions.SEND:
                if self.sending is not None:
                    self.sending(seat, b)
                self.send(seat, a, b)
            elif op is actions.CLOSE:
                self.close(seat, a)
            else:
                self.connect(seat, a)
        if not seat.alive:
            return
        if out.events:
            self._report(seat)
        if out.exit is not None:
            self._end(seat, out.exit)
            return
        if node.rearm:
            node.rearm = False
            seat.due = seat.when(node.deadline())
        due, soonest = seat.due, self.now + _AT_ONCE_S
        if due > soonest:
            seat.idle = 0
        else:
            due = soonest
            seat.idle += 1
        if due < seat.alarm:
            seat.alarm = due
            self.push(due, ALARM, seat, None, None, None)

    def _report(self, seat: Seat) -> None:
        events, seat.node.out.events = seat.node.out.events, []
        for event in events:
            self.tell({"t_s": self.now, "node": seat.id, **event})

    def _end(self, seat: Seat, how: tuple[int, str]) -> None:
        """A node has ended by itself; its connections are closed in order."""
        if how[0]:
            self.tell({"t_s": self.now, "node": seat.id, "kind": "gave-up", "status": how[0], "reason": how[1]})
        self.tell({"t_s": self.now, "node": seat.id, "kind": "view", **view(seat.node)})
        for pipe in list(seat.pipes):
            self.close(seat, pipe)
        self.gone(seat, how)

    def gone(self, seat: Seat, how: tuple[int, str]) -> None:
        """There is no process on this seat any more."""
        seat.alive = seat.stopped = False
        seat.life += 1
        seat.past += seat.begun or bool(seat.pipes)  # others may know one that had taken in links
        seat.exit = how
        seat.alarm = NEVER
        seat.waiting.clear()
        self.tell({"t_s": self.now, "kind": "node-exited", "node": seat.id, "status": how[0]})
