"""What moves up a stream: pieces, and the queues at the two ends of a link."""

from __future__ import annotations

from collections import deque

from harness.core.filters import Items
from harness.core.frames import Buffer, MetaReader
from harness.core.ranks import RankSet


class Piece:
    """Consecutive units [first, first + units) with the same contributors: as one sender sent them, or merged. Not changed once
    it is made."""

    __slots__ = ("first", "items", "ranks", "units")

    def __init__(self, first: int, units: int, items: Items, ranks: RankSet) -> None:
        self.first = first
        self.units = units
        self.items = items
        self.ranks = ranks


class Inbox:
    """What one child has sent on one stream. `expect` is the next unit that fits; `epoch` the child's incarnation;
    `floor`: below this unit nobody below the child contributes (lives.py)."""

    __slots__ = ("epoch", "expect", "floor", "granted", "queue", "reader", "received")

    def __init__(self, epoch: int, expect: int) -> None:
        self.epoch = epoch
        self.expect = expect
        self.floor = 0
        self.queue: deque[Piece] = deque()
        self.received = 0
        self.granted = 0
        self.reader = MetaReader()

    def clear(self, expect: int) -> None:
        """Forget everything; the child sends again from `expect`."""
        self.queue.clear()
        self.expect = expect


class Outbox:
    """Frames sent to the parent and not acknowledged yet, oldest first; `resend` holds those to be sent again."""

    __slots__ = ("kept", "resend")

    def __init__(self) -> None:
        self.kept: deque[tuple[int, int, tuple[Buffer, ...]]] = deque()
        self.resend: deque[tuple[int, int, tuple[Buffer, ...]]] = deque()

    def keep(self, first: int, count: int, parts: tuple[Buffer, ...]) -> None:
        self.kept.append((first, count, parts))

    def trim(self, acked: int) -> None:
        """Drop what lies wholly below `acked`."""
        for q in (self.kept, self.resend):
            while q and q[0][0] + q[0][1] <= acked:
                q.popleft()

    def rewind(self, start: int) -> int:
        """Send again everything from unit `start`; return how many units that is."""
        self.resend = deque(e for e in self.kept if e[0] + e[1] > start)
        return sum(e[1] for e in self.resend)

    def clear(self) -> None:
        self.kept.clear()
        self.resend.clear()
