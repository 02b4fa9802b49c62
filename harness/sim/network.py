"""The simulated network: a queue of what will happen, and ordered, reliable connections with latency, rate, full buffers,
partitions and resets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final

from harness.sim.chance import Chance
from harness.sim.event_queue import EventQueue
from harness.sim.model import Model
from harness.sim.places import Places
from harness.sim.seats import CLOSED, FRAME, LINK_UP, LOST, MEET, NEVER, REFUSED, WRITABLE, Happening, Pipe, Seat, Way

#: Entries of the queue beyond what happens to nodes.
CALL: Final = 20
TURN: Final = 21
GIVE_UP: Final = 22
RESEND: Final = 23
_RETRY_CONNECT_S: Final = 1.0
_LEAST_S: Final = 1e-9


class Network:
    """Time and connections. `partitions` are pairs of sides: what the first sends does not reach the second. `refusing` are
    the nodes that take in no connection. `overheard`, where it is set, is called with sender, receiver and each frame, and
    `garbled` says what arrives of it. seed: None for a network without chance."""

    def __init__(self, model: Model, seed: int | None, hosts: Sequence[int]) -> None:
        self.model = model
        self.places = Places(model, seed, hosts)
        self.chance = Chance(seed)
        self.now = 0.0
        self.queue = EventQueue()
        self.seats: list[Seat] = []
        self.partitions: list[tuple[frozenset[int], frozenset[int]]] = []
        self.refusing: set[int] = set()
        self.overheard: Callable[[Seat, Seat, memoryview], None] | None = None
        self.garbled: Callable[[memoryview], memoryview] | None = None
        self._count = 0
        self._pipes = 0

    @abstractmethod
    def happen(self, seat: Seat, what: Happening) -> None:
        """Something happens to a node, now or when it gets to it."""
        ...

    # -- time --------------------------------------------------------------------------------------------------------------

    def at(self, when: float, what: Callable[[int], None], argument: int = 0) -> None:
        """Call `what(argument)` at a time."""
        self.push(when, CALL, what, argument, None, None)

    def push(self, when: float, op: int, a: Any, b: Any, c: Any, d: Any) -> None:
        """Put an entry into the queue; entries of one time come in the order in which they were put there."""
        self._count += 1
        self.queue.push((when, self._count, op, a, b, c, d))

    def next_at(self) -> float:
        """When the next thing happens; NEVER where nothing will."""
        return self.queue.next_at()

    # -- connections -------------------------------------------------------------------------------------------------------

    def apart(self, a: int, b: int) -> bool:
        """Whether a partition keeps what `a` sends from `b`."""
        return any(a in left and b in right for left, right in self.partitions)

    def delay(self, stretch: float) -> float:
        """How long a frame is under way on a link with so many times the latency."""
        m = self.model
        return m.latency_s * stretch * (1.0 - m.varies + m.varies * self.chance.jitter(m.jitter))

    def sending_s(self, size: int, rate: float) -> float:
        """How long the line takes for a frame."""
        m = self.model
        took = size / rate
        return took * (1.0 - m.rate_varies + m.rate_varies * self.chance.jitter(m.jitter)) if m.rate_varies else took

    def deliver(self, pipe: Pipe, way: Way, op: int, frame: Any, extra: Any, size: int = 0) -> None:
        """Something is on its way to the end of a connection; it stays behind what was sent before."""
        begin = self.now
        if size and pipe.bytes_per_s:
            way.free_at = max(begin, way.free_at) + self.sending_s(size, pipe.bytes_per_s)
            begin = way.free_at
        when = max(begin + self.delay(pipe.stretch), way.last_arrival + _LEAST_S)
        way.last_arrival = when
        self.push(when, FRAME, pipe, way, (op, pipe, frame, extra), size)

    def arrive(self, pipe: Pipe, way: Way, what: Happening, size: int) -> None:
        """A frame gets to the end of its connection, unless a partition keeps it back."""
        apart = bool(self.partitions) and self.apart(pipe.other(way.to).id, way.to.id)
        if apart or way.held:  # behind what is held back already
            way.held.append((what, size))
            if way.stuck_since == NEVER:
                way.stuck_since = self.now
                self.push(self.now + self.model.user_timeout_s, GIVE_UP, pipe, way, None, None)
        else:
            self._admit(pipe, way, what)

    def _admit(self, pipe: Pipe, way: Way, what: Happening) -> None:
        if pipe.open or what[0] == LOST or what[0] == CLOSED or self.now <= way.tail:
            self.happen(way.to, what)

    def healed(self) -> None:
        """Partitions have changed: what was held back and has a way now is sent again."""
        for seat in self.seats:
            for pipe in seat.pipes:
                way = pipe.towards(seat)
                if way.held and not self.apart(pipe.other(seat).id, seat.id):
                    self.push(self.now + self.model.retry_s * self.chance.part(), RESEND, pipe, way, None, None)

    def resend(self, pipe: Pipe, way: Way) -> None:
        """Frames that were held back come now, in order."""
        if self.apart(pipe.other(way.to).id, way.to.id):
            return  # another partition, which heals later
        held, way.held, way.stuck_since = way.held, [], NEVER
        for what, _ in held:
            self._admit(pipe, way, what)

    def give_up(self, pipe: Pipe, way: Way) -> None:
        """The sender's user time-out: it gives the connection up, and nobody hears of it at the other end."""
        if not pipe.open or way.stuck_since == NEVER or self.now < way.stuck_since + self.model.user_timeout_s:
            return
        sender = pipe.other(way.to)
        pipe.open = False
        if pipe in sender.pipes:
            del sender.pipes[pipe]
            self.happen(sender, (LOST, pipe, None, "timed out"))

    def send(self, seat: Seat, pipe: Pipe, parts: tuple[Any, ...]) -> None:
        """A node sends a frame."""
        if not pipe.open or pipe not in seat.pipes:
            return
        way = pipe.away_from(seat)
        frame = memoryview(b"".join(parts))
        size = len(frame)
        if self.overheard is not None:
            self.overheard(seat, way.to, frame)
        if self.garbled is not None:
            frame = self.garbled(frame)
            size = len(frame)
        if way.to.vanished:
            return
        way.under_way += size
        self.deliver(pipe, way, FRAME, frame, None, size)
        if way.under_way > self.model.buffer_bytes:
            way.blocked = True
            seat.node.blocked(pipe)
        elif self.model.stall > 0.0 and self.chance.happens(self.model.stall):
            way.blocked = True
            seat.node.blocked(pipe)
            self.push(self.now + 5 * self.delay(pipe.stretch), WRITABLE, pipe, way, None, None)

    def taken(self, pipe: Pipe, seat: Seat, size: int) -> None:
        """A node has read so much from a connection."""
        way = pipe.towards(seat)
        way.under_way -= size
        if way.blocked and way.under_way <= self.model.buffer_bytes // 2:
            self.push(self.now + self.delay(pipe.stretch), WRITABLE, pipe, way, None, None)

    def unstall(self, pipe: Pipe, way: Way) -> None:
        """A sender that was blocked goes on, if there is room."""
        if way.blocked and way.under_way <= self.model.buffer_bytes:
            way.blocked = False
            sender = pipe.other(way.to)
            if pipe in sender.pipes:
                self.happen(sender, (WRITABLE, pipe, None, None))

    def close(self, seat: Seat, pipe: Pipe) -> None:
        """A node closes a connection; the other end hears of it after what was sent before."""
        seat.pipes.pop(pipe, None)
        if pipe.open:
            pipe.open = False
            way = pipe.away_from(seat)
            if way.last_arrival > self.now:  # what was sent before the end still comes
                way.tail = way.last_arrival
            self.deliver(pipe, way, CLOSED, None, None)

    def break_pipe(self, pipe: Pipe, dead: Seat | None, why: str) -> None:
        """A connection is reset: both ends that live hear of it, and what was under way may arrive in part."""
        if not pipe.open:
            return
        pipe.open = False
        for seat in (pipe.a, pipe.b):
            way = pipe.towards(seat)
            if way.last_arrival > self.now:
                way.tail = (
                    self.now + (way.last_arrival - self.now) * (0.0, self.chance.part(), 1.0)[int(self.chance.part() * 3)]
                )
            if seat is dead:
                seat.pipes.pop(pipe, None)
            else:
                self.deliver(pipe, way, LOST, None, why)

    def connect(self, seat: Seat, peer: int) -> None:
        """A node wants a connection with another one."""
        deadline = self.now + seat.node.uplink.patience() / seat.rate
        self.push(self.now + self.delay(self.places.link(seat.id, peer)[0]), MEET, seat, seat.life, self.seats[peer], deadline)

    def meet(self, a: Seat, life: int, b: Seat, deadline: float) -> None:
        """The first packet of a connection gets to the other end."""
        if not a.alive or a.life != life:
            return
        if b.vanished or (self.partitions and (self.apart(a.id, b.id) or self.apart(b.id, a.id))):
            again = self.now + _RETRY_CONNECT_S
            if again < deadline:  # the first packet of a connection is sent again
                self.push(again, MEET, a, life, b, deadline)
        elif not b.alive or b.id in self.refusing:
            back = self.delay(self.places.link(a.id, b.id)[0])
            self.push(self.now + back, REFUSED, a, None, None, (b.id, "connection refused"))
        elif b.stopped:
            b.waiting.append((MEET, None, None, (a, life)))
        else:
            self.join((a, life), b)

    def join(self, who: tuple[Seat, int], b: Seat) -> None:
        """The two have proved themselves to each other."""
        a, life = who
        if not a.alive or a.life != life:
            return
        self._pipes += 1
        pipe = Pipe(self._pipes, a, b, *self.places.link(a.id, b.id))
        a.pipes[pipe] = None
        b.pipes[pipe] = None
        self.deliver(pipe, pipe.to_b, LINK_UP, None, False)
        self.deliver(pipe, pipe.to_a, LINK_UP, None, True)
