"""The upward half of a stream at one node: what came from each child, what is owed to the parent.

A node merges unit `next` once every child that takes part has it, and sends the result to its parent; under `replay` the
result is kept until the front-end has delivered it. Any change of the set of children rewinds the stream to the last
acknowledged unit (see docs/protocol.md): inputs are dropped, children send again from there, and the parent is told by a new
epoch. Contributor sets make every wave's content known, and sets that overlap are never merged: they wait for the rewind that
is on its way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np

from harness.core.apps import PluginError
from harness.core.comers import Comers
from harness.core.filters import Codec, Filter, Items
from harness.core.frames import FrameError, MetaCache, concat_items
from harness.core.ledger import Kept, Ledger
from harness.core.pieces import Inbox, Outbox, Piece
from harness.core.ranks import EMPTY, RankSet, union
from harness.core.spec import Recovery, StreamSpec, Sync
from harness.core.units import Units


class UpStream:
    """One stream's upward state at a front-end or communication process (inboxes), or at a back-end (none).

    next: the next unit to merge (or to produce). acked: everything below has been delivered by the front-end (under decompose:
    is settled in its state). limit: the parent takes units below this mark. granted: the mark that the children were told.
    window: so many units beyond `acked` may a back-end make.
    """

    def __init__(self, stream: int, spec: StreamSpec, filter_: Filter) -> None:
        self.stream = stream
        self.spec = spec
        self.filter = filter_
        self.units = Units.of(spec, filter_)
        self.members = spec.members
        self.epoch = 0
        self.next = 0
        self.acked = 0
        self.limit = 0
        self.granted = self.units.link_window
        self.inboxes: dict[Hashable, Inbox] = {}
        self.outbox = Outbox()
        self.state: dict[int, tuple[Items, RankSet]] = {}
        #: Chunks whose state is owed to the parent, which takes nothing at the moment (compose).
        self.owed: set[int] = set()
        self.relay: deque[Piece] = deque()
        self.relayed = 0
        self.waiting_since: float | None = None
        self.replay = spec.recovery is Recovery.REPLAY
        self.compose = spec.recovery is Recovery.COMPOSE
        self.decompose = spec.recovery is Recovery.DECOMPOSE
        #: At the front-end, at a back-end, and parts that the parent did not take yet, by (first unit, waves) (decompose).
        self.ledger: Ledger | None = None
        self.kept: Kept | None = None
        self.parts: dict[tuple[int, int], tuple[Items, RankSet]] = {}
        self.window = self.units.window
        self.relaying = spec.sync is Sync.DO_NOT_WAIT
        self.replies = spec.replies
        self.duplicates = 0
        self.overlaps = 0
        self.late = 0
        self._unions: dict[tuple[RankSet, ...], RankSet | None] = {}
        #: What `vet` has found to be good: contributors of opaque units; the last kind of array.
        self._known: set[RankSet] = set()
        self._ranks: RankSet | None = None
        self._dtype: np.dtype[Any] | None = None
        self._shape: tuple[int, ...] = ()
        self.meta = MetaCache()
        self.waits = False
        self.array = filter_.codec is Codec.ARRAY
        #: Set once a member comes or goes while the stream runs.
        self.comers: Comers | None = None

    # -- what children send ---------------------------------------------------------------------------------------------

    def accept(self, inbox: Inbox, piece: Piece) -> Piece | None:
        """Queue what a child sent. Returns a piece that came too late to be merged (its content is known to be new), for
        the caller to put into the filter state; None otherwise. Raises FrameError for what can be no part of the stream."""
        self.vet(piece.first, piece.items, piece.ranks)
        return self.take(inbox, piece)

    def take(self, inbox: Inbox, piece: Piece) -> Piece | None:
        """`accept` for what is known to be part of the stream."""
        first, units = piece.first, piece.units
        inbox.received += units
        if first == inbox.expect and first >= self.next and not self.relaying:
            inbox.expect = first + units
            inbox.queue.append(piece)
            return None
        return self._take_odd(inbox, piece)

    def _take_odd(self, inbox: Inbox, piece: Piece) -> Piece | None:
        """What does not simply come next."""
        if self.relaying:
            self.relay.append(piece)
            return None
        end = piece.first + piece.units
        if end <= inbox.expect:
            self.duplicates += piece.units
            return piece if self.compose else None  # of a wave that went on without it: its state counts all the same
        if piece.first > inbox.expect and self.replay:
            return None  # sent before our REWIND reached the child: it comes again, in order
        if piece.first < inbox.expect:
            cut = inbox.expect - piece.first
            self.duplicates += cut
            piece = Piece(inbox.expect, piece.units - cut, piece.items[cut:], piece.ranks)
        inbox.expect = end
        late, cut = None, self.next - piece.first
        if cut > 0:
            self.late += min(cut, piece.units)
            if end <= self.next:
                return piece
            late = Piece(piece.first, cut, piece.items[:cut], piece.ranks)
            piece = Piece(self.next, piece.units - cut, piece.items[cut:], piece.ranks)
        inbox.queue.append(piece)
        return late

    def vet(self, first: int, items: Items, ranks: RankSet) -> None:
        """Raises FrameError where these can be no units of this stream."""
        if isinstance(items, np.ndarray):
            if ranks is self._ranks and items.dtype is self._dtype and items.shape[1:] == self._shape:
                return
        elif ranks in self._known:
            return
        if not ranks or not ranks.issubset(self.members):
            raise FrameError(f"contributors {ranks} are no members of stream {self.stream}")
        wrong = self.units.misfit(first, items, len(ranks))
        if wrong:
            raise FrameError(f"stream {self.stream}: {wrong}")
        if not isinstance(items, np.ndarray):
            self._known.add(ranks)
        elif self.units.per_wave == 1:
            self._ranks, self._dtype, self._shape = ranks, items.dtype, items.shape[1:]

    def add_child(self, key: Hashable, epoch: int, expect: int) -> None:
        self.inboxes[key] = Inbox(epoch, expect)

    def refloor(self, key: Hashable, ranks: RankSet) -> None:
        """These ranks are below a child now: it sends nothing below what they contribute (replay)."""
        inbox = self.inboxes.get(key)
        if inbox is not None and self.comers is not None and self.replay:
            inbox.floor = self.comers.floor(ranks & self.members)
            inbox.expect = max(inbox.expect, inbox.floor)

    def drop_child(self, key: Hashable) -> bool:
        """Forget a child; False where it took no part."""
        return self.inboxes.pop(key, None) is not None

    def rewind(self) -> None:
        """Start again from `acked` in a new epoch (replay only)."""
        self.epoch += 1
        self.next = self.acked
        # Nobody may send what was once granted far ahead of here: an inbox holds one window, also now.
        self.granted = self.acked + self.units.link_window
        self.outbox.clear()
        self.waiting_since = None
        for inbox in self.inboxes.values():
            inbox.clear(max(self.acked, inbox.floor))

    def credit(self, limit: int, epoch: int) -> None:
        """The parent takes units below `limit`. What it said to an earlier epoch holds for one window only (replay): it takes
        its grants back as soon as it hears of the new one."""
        if self.replay and epoch != self.epoch:
            limit = min(limit, self.acked + self.units.link_window)
        self.limit = limit if self.relaying else max(self.limit, limit)

    def acknowledge(self, acked: int) -> bool:
        """Learn that the front-end has delivered everything below `acked`; True where that is news."""
        if acked <= self.acked:
            return False
        self.acked = acked
        self.outbox.trim(acked)
        if self.next < acked:
            self.next = acked
            for inbox in self.inboxes.values():
                self._discard(inbox, acked)
        return True

    def _discard(self, inbox: Inbox, below: int) -> None:
        q = inbox.queue
        while q and q[0].first + q[0].units <= below:
            q.popleft()
        if q and q[0].first < below:
            p = q.popleft()
            cut = below - p.first
            q.appendleft(Piece(below, p.units - cut, p.items[cut:], p.ranks))
        inbox.expect = max(inbox.expect, below)

    # -- merging --------------------------------------------------------------------------------------------------------

    def has_input(self) -> bool:
        """Whether any child has offered the next unit."""
        return any(i.queue and i.queue[0].first <= self.next for i in self.inboxes.values())

    def all_here(self) -> bool:
        """Whether every child has offered the next unit, or is known to skip it."""
        nxt = self.next
        return bool(self.inboxes) and all(i.expect > nxt for i in self.inboxes.values())

    def peek_ranks(self) -> RankSet | None:
        """Who would be in the next unit; None where it cannot be merged yet (or children overlap)."""
        found: list[RankSet] = []
        for inbox in self.inboxes.values():
            if inbox.expect <= self.next:
                return None
            if inbox.queue and inbox.queue[0].first <= self.next:
                found.append(inbox.queue[0].ranks)
        return self.union_of(tuple(found)) if found else None

    def offers(self, ranks: RankSet) -> bool:
        """Whether any child has offered a next unit with one of these ranks inside (replay)."""
        heads = [i.queue[0] for i in self.inboxes.values() if i.queue]
        return self.replay and any(p.first <= self.next and not p.ranks.isdisjoint(ranks) for p in heads)

    def union_of(self, sets: tuple[RankSet, ...]) -> RankSet | None:
        """The union of disjoint sets; None where two overlap."""
        try:
            return self._unions[sets]
        except KeyError:
            whole: RankSet | None = union(sets)
            if len(whole or ()) != sum(map(len, sets)):
                whole = None
            if len(self._unions) > 256:
                self._unions.clear()
            self._unions[sets] = whole
            return whole

    def merge_heads(self, limit: int, accept: Callable[[RankSet], bool] | None = None) -> Piece | None:
        """`merge` for the common case that every child's queue begins with the same units and some queue holds no more.

        accept: asked with the contributors before anything is taken. None where the case is another one, or refused.
        """
        nxt = self.next
        self.waits = False
        units = 0
        more = True
        parts: list[Items] = []
        sets: list[RankSet] = []
        for inbox in self.inboxes.values():
            q = inbox.queue
            if not q:
                self.waits = inbox.expect <= nxt
                return None
            head = q[0]
            if head.first != nxt or (head.units != units and units):
                return None
            units = head.units
            parts.append(head.items)
            sets.append(head.ranks)
            if len(q) == 1:
                more = False
        if more or nxt + units > limit:
            return None
        key = tuple(sets)
        whole = self._unions.get(key) or self.union_of(key)
        if whole is None or (accept is not None and not accept(whole)):
            return None
        for inbox in self.inboxes.values():
            inbox.queue.popleft()
        self.next = nxt + units
        return Piece(nxt, units, self.filter.combine(parts, key) if len(parts) > 1 else parts[0], whole)

    def merge(self, limit: int, some: bool = False) -> Piece | None:
        """Merge as many units from `next` on as every child has, fewer than `limit - next`, with the same contributors.

        some: children that have not offered the next unit are left out (time-out, deadline). None where nothing can be
        merged. Advances `next`.
        """
        nxt = self.next
        top = min(limit, nxt + self.units.batch)
        inboxes: Iterable[Inbox] = self.inboxes.values()
        for inbox in inboxes:
            if inbox.expect <= nxt:
                if not some:
                    return None
                continue
            if inbox.expect < top:
                top = inbox.expect
        if top <= nxt:
            return None
        heads: list[deque[Piece]] = []
        for inbox in inboxes:
            q = inbox.queue
            if not q or inbox.expect <= nxt:
                continue
            head = q[0]
            if head.first > nxt:  # the child skips [next, head.first): it lost them and said so
                top = min(top, head.first)
            else:
                heads.append(q)
        if not heads:
            return None
        count = top - nxt
        for q in heads:
            count = min(count, _same_contributors(q, nxt, count))
        sets = tuple([q[0].ranks for q in heads])
        ranks = self.union_of(sets)
        if ranks is None:
            self.overlaps += 1
            return None
        if some and self.units.per_wave > 1:  # who is left out of a chunk is left out of the rest of its wave as well
            stop = (nxt // self.units.per_wave + 1) * self.units.per_wave
            for inbox in inboxes:
                if inbox.expect <= nxt:
                    inbox.expect = stop
        parts = [_take(q, nxt, count) for q in heads]
        self.next = nxt + count
        items = self.filter.combine(parts, sets) if len(parts) > 1 else parts[0]
        return Piece(nxt, count, items, ranks)

    def skip_hole(self) -> int:
        """Go on behind units that nobody has, since all who had them are lost; how many that were (never under replay)."""
        if self.replay or not self.inboxes:
            return 0
        reach = min(i.queue[0].first if i.queue else i.expect for i in self.inboxes.values())
        hole = max(0, reach - self.next)
        self.next += hole
        return hole

    def jump(self) -> None:
        """Go on behind units to which nobody below contributes: all who will have come later (replay)."""
        if self.inboxes:
            self.next = max(self.next, min(i.queue[0].first if i.queue else i.expect for i in self.inboxes.values()))

    def coming(self) -> RankSet:
        """The ranks that were let in, and contribute from a later unit on than the next."""
        return EMPTY if self.comers is None else self.comers.coming(self.next)

    def outside(self, wave: int) -> RankSet:
        """The ranks of the communicator that are no members for this wave (at the front-end)."""
        return EMPTY if self.comers is None else self.comers.outside(wave * self.units.per_wave)

    def floor(self) -> int:
        """The mark that goes down with the credits: what nobody below need keep."""
        return self.acked if self.ledger is None else self.ledger.settled()

    # -- state ----------------------------------------------------------------------------------------------------------

    def absorb(self, first: int, items: Items, ranks: RankSet) -> None:
        """Put units from `first` on into the filter state (compose, decompose). Each chunk of the item has its own."""
        chunk = first % self.units.per_wave
        old = self.state.get(chunk)
        try:
            folded = self.filter.fold(items)
            if old is not None:
                folded = self.filter.combine([old[0], folded], [old[1], ranks])
        except Exception as e:  # not the fault of whoever sent the frame at hand
            raise PluginError(f"filter {self.spec.filter!r} on the state of stream {self.stream}") from e
        self.state[chunk] = (folded, ranks if old is None else old[1] | ranks)


def _same_contributors(q: deque[Piece], first: int, count: int) -> int:
    """How many of the `count` units from `first` on have the contributors of the queue's head and are without a hole."""
    head = q[0]
    have = head.first + head.units - first
    if have >= count:
        return count
    for piece in list(q)[1:]:
        if piece.ranks != head.ranks or piece.first != first + have:
            break
        have += piece.units
        if have >= count:
            return count
    return have


def _take(q: deque[Piece], first: int, count: int) -> Items:
    """Remove units [first, first + units) from the queue's head."""
    head = q[0]
    if head.first == first and head.units == count:
        q.popleft()
        return head.items
    taken: list[Items] = []
    while count:
        head = q[0]
        skip = first - head.first
        n = min(count, head.units - skip)
        taken.append(head.items[skip : skip + n])
        first += n
        count -= n
        if skip + n == head.units:
            q.popleft()
        else:
            q[0] = Piece(first, head.units - skip - n, head.items[skip + n :], head.ranks)
    return concat_items(taken)
