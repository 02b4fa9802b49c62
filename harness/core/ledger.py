"""What recovery `decompose` remembers: at the front-end which contributions its state holds, at a back-end what it may be asked
for again.

The state of a stream is the fold of contributions, one of each rank to each unit. The fold is self-decomposable (Jesus, Baquero
and Almeida, "A Survey of Distributed Data Aggregation Algorithms", IEEE Communications Surveys and Tutorials 17(1), 2015,
section II): it is the same however the contributions are split, as long as no two parts overlap. So the state is known by the
set of the contributions in it, and what it lacks can be added in any parts and any order.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from harness.core.filters import Items
from harness.core.frames import concat_items
from harness.core.ranks import EMPTY, RankSet

NEVER: Final = float("inf")
#: A part that is lacking is asked for this long after the last request at the earliest: a failure tears many waves one by one.
ASK_S: Final = 0.01
#: A frame can say no more.
_MOST_WAVES: Final = (1 << 32) - 1


class Lack(NamedTuple):
    """Contributions that a state does not hold: those of `ranks` to waves [first, stop), in chunk `chunk` of the item."""

    chunk: int
    ranks: RankSet
    first: int
    stop: int


class Extent(NamedTuple):
    """Which contributions a state holds: those of all members to units [0, units), without `pending` (back-ends that may be
    alive will bring them) and `absent` (those who had them are dead)."""

    units: int
    pending: tuple[Lack, ...]
    absent: tuple[Lack, ...]


class Hole:
    """A `Lack` that is pending; asked_s: when its back-ends were last asked for it (-1: not yet)."""

    __slots__ = ("asked_s", "chunk", "first", "ranks", "stop")

    def __init__(self, chunk: int, ranks: RankSet, first: int, stop: int, asked_s: float) -> None:
        self.chunk = chunk
        self.ranks = ranks
        self.first = first
        self.stop = stop
        self.asked_s = asked_s


class Ledger:
    """The contributions in the state at the front-end. Units come in order, each once; parts that were asked for fill holes.

    due: when holes should be asked for again. torn: whether there were holes when the mark was last looked at, which was `told`
    then.
    """

    def __init__(self, members: RankSet, per_wave: int) -> None:
        self.members = members
        self.per_wave = per_wave
        self.top = 0
        self.dead: RankSet = EMPTY
        self.holes: list[Hole] = []
        self.absent: list[Lack] = []
        self.due = NEVER
        self.torn = False
        self.told = 0
        self.asked_s = -NEVER
        #: The newest hole and the newest absence of each chunk, which may still grow.
        self._growing: dict[int, Hole] = {}
        self._gone: dict[int, int] = {}

    # -- what comes by itself ----------------------------------------------------------------------------------------------

    def add(self, first: int, units: int, ranks: RankSet) -> None:
        """Units [first, first + units), each with the contributions of `ranks`, are in the state."""
        self.reach(first)
        self.top = first + units
        if ranks is not self.members and ranks != self.members:
            self._lack(self.members - ranks, first, self.top)

    def reach(self, unit: int) -> None:
        """The stream goes on at `unit`: nothing has come of those before that were not added."""
        if unit > self.top:
            self._lack(self.members, self.top, unit)
            self.top = unit

    def _lack(self, ranks: RankSet, first: int, stop: int) -> None:
        gone, here = ranks & self.dead, ranks - self.dead
        n = self.per_wave
        for chunk in range(n):
            a, b = -((chunk - first) // n), -((chunk - stop) // n)  # the waves whose unit of this chunk lies in [first, stop)
            if a >= b:
                continue
            if gone:
                self._lose(chunk, gone, a, b)
            if not here:
                continue
            last = self._growing.get(chunk)
            if last is not None and last.asked_s < 0 and last.stop == a and last.ranks == here:
                last.stop = b
            else:
                self._growing[chunk] = hole = Hole(chunk, here, a, b, -1.0)
                self.holes.append(hole)

    def _lose(self, chunk: int, ranks: RankSet, first: int, stop: int) -> None:
        at = self._gone.get(chunk)
        if at is not None:
            last = self.absent[at]
            if last.stop == first and last.ranks == ranks:
                self.absent[at] = Lack(chunk, ranks, last.first, stop)
                return
        self._gone[chunk] = len(self.absent)
        self.absent.append(Lack(chunk, ranks, first, stop))

    # -- what is asked for -------------------------------------------------------------------------------------------------

    def bury(self, dead: RankSet) -> None:
        """These ranks (all that ever died) bring nothing more."""
        if dead == self.dead:
            return
        self.dead = dead
        for hole in self.holes:
            gone = hole.ranks & dead
            if gone:
                self._lose(hole.chunk, gone, hole.first, hole.stop)
                hole.ranks = hole.ranks - dead
        self._keep(self.holes)

    def fill(self, unit: int, waves: int, ranks: RankSet) -> bool:
        """A part has come: the contributions of `ranks` to `waves` waves from that of `unit` on, in the chunk of `unit`. True
        where all of it is lacking, so that it belongs into the state; then it is lacking no more."""
        chunk, a = unit % self.per_wave, unit // self.per_wave
        b = a + waves
        hit = [h for h in self.holes if h.chunk == chunk and h.first < b and h.stop > a and not h.ranks.isdisjoint(ranks)]
        lacking = sum((min(h.stop, b) - max(h.first, a)) * len(h.ranks & ranks) for h in hit)
        if lacking != waves * len(ranks):
            return False
        rest: list[Hole] = []
        for h in self.holes:
            if h not in hit:
                rest.append(h)
                continue
            x, y = max(h.first, a), min(h.stop, b)
            pieces = ((h.first, x, h.ranks), (x, y, h.ranks - ranks), (y, h.stop, h.ranks))
            rest += [Hole(chunk, who, i, j, h.asked_s) for i, j, who in pieces if i < j and who]
        self._keep(rest)
        return True

    def _keep(self, holes: list[Hole]) -> None:
        self.holes = [h for h in holes if h.ranks]
        self._growing = {c: h for c, h in self._growing.items() if any(h is kept for kept in self.holes)}

    def wanted(self, now: float, unknown: RankSet, patience_s: float) -> list[tuple[int, int, RankSet]]:
        """The parts to ask for now, as (first unit, waves, ranks); sets `due`. unknown: ranks whose whereabouts are unknown, so
        that asking would be in vain. patience_s: after so long without an answer the request may have been lost."""
        asks: list[tuple[int, int, RankSet]] = []
        self.due = NEVER
        for h in list(self.holes):
            here = h.ranks - unknown
            if not here:
                h.asked_s = -1.0  # who goes away with a request in its hands is asked anew once it is back
                continue
            due = h.asked_s + patience_s if h.asked_s >= 0 else self.asked_s + ASK_S
            if due <= now:
                h.asked_s, due = now, now + patience_s
                asks.append((h.first * self.per_wave + h.chunk, min(h.stop - h.first, _MOST_WAVES), here))
            if h.asked_s >= 0 and here != h.ranks:
                self.holes.append(Hole(h.chunk, h.ranks - here, h.first, h.stop, -1.0))
                h.ranks = here
            self.due = min(self.due, due)
        if asks:
            self.asked_s = now
        return asks

    # -- what is known -----------------------------------------------------------------------------------------------------

    def settled(self) -> int:
        """All units below this one are in the state as far as they ever will be: back-ends may forget them."""
        if not self.holes:
            return self.top
        return min(h.first * self.per_wave + h.chunk for h in self.holes)

    def extent(self) -> Extent:
        """What the state holds."""
        pending = tuple(Lack(h.chunk, h.ranks, h.first, h.stop) for h in self.holes)
        return Extent(self.top, pending, tuple(self.absent))

    def contributions(self, chunk: int) -> int:
        """How many contributions are in the state of a chunk."""
        waves = -(-(self.top - chunk) // self.per_wave)
        lacking = sum(len(h.ranks) * (h.stop - h.first) for h in self.holes if h.chunk == chunk)
        lacking += sum(len(x.ranks) * (x.stop - x.first) for x in self.absent if x.chunk == chunk)
        return waves * len(self.members) - lacking


class Kept:
    """What a back-end has contributed and the front-end may still ask for. window: so many units at most."""

    __slots__ = ("_pieces", "units", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.units = 0
        self._pieces: deque[tuple[int, Items]] = deque()

    def add(self, first: int, items: Items) -> None:
        """The lifted units from `first` on have been sent."""
        self._pieces.append((first, items))
        self.units += len(items)

    def trim(self, settled: int) -> None:
        """Forget what lies wholly below `settled`."""
        q = self._pieces
        while q and q[0][0] + len(q[0][1]) <= settled:
            self.units -= len(q.popleft()[1])

    def part(self, unit: int, waves: int, per_wave: int) -> tuple[int, Items] | None:
        """The units of `waves` waves from that of `unit` on, in the chunk of `unit`, as (how many, units); fewer where not
        all have been made. None where there is none, or where the first has been forgotten."""
        found: list[Items] = []
        want, stop = unit, unit + waves * per_wave
        for first, items in self._pieces:
            while first <= want < min(stop, first + len(items)):
                if per_wave > 1:
                    found.append(items[want - first : want - first + 1])
                    want += per_wave
                else:
                    found.append(items[want - first : stop - first])
                    want += len(found[-1])
            if want >= stop:
                break
        if not found:
            return None
        return sum(len(items) for items in found), concat_items(found)
