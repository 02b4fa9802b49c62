"""The places of a simulated tree: one for each node, and the connections between them."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from harness.core.node import Node

NEVER: Final = float("inf")

#: What can happen to a node: (what, connection or None, frame, peer or reason).
Happening = tuple[int, Any, Any, Any]
LINK_UP: Final = 0
FRAME: Final = 1
LOST: Final = 2
CLOSED: Final = 3
REFUSED: Final = 4
WRITABLE: Final = 5
ALARM: Final = 6
ADVANCE: Final = 7
MEET: Final = 8


class Way:
    """One direction of a connection. last_arrival: when the last frame under way gets there. free_at: when the line has sent
    what it was given. under_way: bytes not taken in yet. tail: after the connection broke, what arrives until then was under
    way and is not lost. held: frames that a partition keeps back."""

    __slots__ = ("blocked", "free_at", "held", "last_arrival", "stuck_since", "tail", "to", "under_way")

    def __init__(self, to: Seat) -> None:
        self.to = to
        self.last_arrival = 0.0
        self.free_at = 0.0
        self.under_way = 0
        self.tail = -1.0
        self.blocked = False
        self.held: list[tuple[Any, int]] = []
        self.stuck_since = NEVER


class Pipe:
    """One connection between two seats: it is the name that both nodes know it by. stretch: what its latency is multiplied
    with. bytes_per_s: its rate, 0 for no limit."""

    __slots__ = ("a", "b", "bytes_per_s", "number", "open", "stretch", "to_a", "to_b")

    def __init__(self, number: int, a: Seat, b: Seat, stretch: float, bytes_per_s: float) -> None:
        self.stretch = stretch
        self.bytes_per_s = bytes_per_s
        self.number = number
        self.a = a
        self.b = b
        self.open = True
        self.to_a = Way(a)
        self.to_b = Way(b)

    def towards(self, seat: Seat) -> Way:
        """The direction that ends at `seat`."""
        return self.to_a if seat is self.a else self.to_b

    def away_from(self, seat: Seat) -> Way:
        """The direction that begins at `seat`."""
        return self.to_b if seat is self.a else self.to_a

    def other(self, seat: Seat) -> Seat:
        """The seat at the other end."""
        return self.b if seat is self.a else self.a


class Seat:
    """Where one node sits. life: counts the processes that sat here; what was meant for an earlier one is not delivered. past:
    how many of them had begun to run, or had links, and have ended. alive: there is a process. begun: it has started to run.
    stopped: it does not run (SIGSTOP), what happens to it waits in `waiting`. vanished: its machine is gone, so that not even a
    reset comes from it. idle: how often in a row it was due at once. turn_s: what one thing costs it; its clock shows rate *
    time + offset_s."""

    __slots__ = (
        "alarm", "alive", "begun", "busy_until", "due", "exit", "id", "idle", "life", "node", "offset_s", "past", "pipes",
        "rate", "stopped", "turn_s", "turning", "vanished", "waiting",
    )  # fmt: skip

    def __init__(self, id: int, node: Node, turn_s: float) -> None:
        self.id = id
        self.node = node
        self.life = 0
        self.past = 0
        self.alive = True
        self.begun = False
        self.stopped = False
        self.vanished = False
        self.exit: tuple[int, str] | None = None
        self.pipes: dict[Pipe, None] = {}
        self.waiting: deque[Happening] = deque()
        self.turn_s = turn_s
        self.turning = False
        self.busy_until = 0.0
        self.offset_s = 0.0
        self.rate = 1.0
        self.due = 0.0
        self.alarm = NEVER
        self.idle = 0

    def clock(self, now: float) -> float:
        """What the node's own clock shows at time `now`."""
        return now * self.rate + self.offset_s

    def when(self, shown: float) -> float:
        """The time at which the node's own clock will show this."""
        return (shown - self.offset_s) / self.rate

    @property
    def running(self) -> bool:
        """Whether there is a process that runs."""
        return self.alive and not self.stopped
