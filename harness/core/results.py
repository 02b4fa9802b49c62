"""The front-end's end of the streams: which waves are delivered, when, and what it means that one is not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from harness.core.comers import Comers
from harness.core.decompose import lowered_state, pull
from harness.core.downstream import Message
from harness.core.filters import Array, Items
from harness.core.ledger import Extent, Ledger
from harness.core.pieces import Piece
from harness.core.port import FrontPort, Port
from harness.core.ranks import EMPTY, RankSet
from harness.core.relaying import grant_relayed
from harness.core.spec import Accept, DeadlineExceeded, QuorumLost, Result, StreamClosed, StreamSpec, Sync, WavesLost
from harness.core.streams import NEVER, StreamTable
from harness.core.upstream import UpStream


class Delivery:
    """What the front-end knows of one stream beside its inboxes. expected: waves that are outstanding up to here; since: when
    the head wave became outstanding; failed: waves below this mark have ended in an error; held: since when the head wave
    waits although it could be merged; grants: (waves below this mark, time of the grant); patient: a wave may go out before
    every child has offered it, once it has waited; sealed: the acknowledged unit that the standby knows of."""

    __slots__ = ("accept", "chunks", "expected", "failed", "grants", "held", "patient", "ranks", "sealed", "since", "told")

    def __init__(self, now: float, horizon: int) -> None:
        self.expected = 0
        self.since = now
        self.failed = 0
        self.held: float | None = None
        self.chunks: list[Items] = []
        self.ranks: RankSet | None = None
        self.grants: deque[tuple[int, float]] = deque([(horizon, now)])
        self.told = 0
        self.sealed = 0
        self.patient = False
        self.accept: Callable[[RankSet], bool] | None = None

    def granted_at(self, wave: int) -> float:
        """When the window was opened for `wave`."""
        while len(self.grants) > 1 and self.grants[0][0] <= wave:
            self.grants.popleft()
        return self.grants[0][1]


class ResultTable(StreamTable):
    """The streams of the front-end."""

    def __init__(self, node: Port, front: FrontPort) -> None:
        super().__init__(node)
        self.front = front
        self.delivery: dict[int, Delivery] = {}
        #: Streams whose window for messages has opened: the application is told between two frames, not amid one.
        self.room: list[int] = []
        self.delivered = 0
        #: Whether others are told only what the standby knows; and whether nothing is delivered at the moment.
        self.sealing = self.held_up = False

    def settled(self, s: UpStream) -> int:
        return min(s.acked, self.delivery[s.stream].sealed) if self.sealing and s.replay else s.floor()

    def open(self, stream: int, spec: StreamSpec) -> None:
        super().open(stream, spec)
        self.prepare(self.up[stream])

    def prepare(self, s: UpStream) -> None:
        """From now on the stream ends here."""
        s.limit = 1 << 62
        d = self.delivery[s.stream] = Delivery(self.node.now, min(s.units.window, s.granted) // s.units.per_wave)
        if s.decompose:
            s.ledger = Ledger(s.members, s.units.per_wave)
        d.accept = partial(self._acceptable, s, d)
        d.patient = s.spec.sync is Sync.TIME_OUT or s.spec.accept is Accept.DEADLINE

    def close(self, stream: int) -> None:
        s, d = self.up.get(stream), self.delivery.get(stream)
        head = self._head(s) if s is not None else 0
        self.delivery.pop(stream, None)
        super().close(stream)
        if d is not None and d.expected > head:
            text = f"stream {stream} was closed while waves {head} to {d.expected - 1} were outstanding"
            self.front.fail(StreamClosed(stream, head, text))

    def expect(self, stream: int, waves: int) -> None:
        d, s = self.delivery[stream], self.up[stream]
        if d.expected <= self._head(s):
            d.since = self.node.now
            if s.spec.deadline_s < self.node.settings.heartbeat_s:  # sooner than the deadline is asked for anyway
                self.node.rearm = True
        d.expected = max(d.expected, waves)

    def _head(self, s: UpStream) -> int:
        return max(s.acked // s.units.per_wave, self.delivery[s.stream].failed)

    def rewind(self, s: UpStream, but: Any) -> None:
        super().rewind(s, but)
        self._reset(s)

    def _reset(self, s: UpStream) -> None:
        d = self.delivery[s.stream]
        d.chunks, d.ranks, d.held = [], None, None

    def _absorb_and_pass(self, s: UpStream, first: int, items: Any, ranks: RankSet) -> None:
        s.absorb(first, items, ranks)

    def state(self, stream: int) -> Items | None:
        """The state, lowered; None until every chunk of it has arrived."""
        s = self.up[stream]
        if len(s.state) < s.units.per_wave:
            return None
        whole = [s.state[c][0] for c in range(s.units.per_wave)]
        ranks = s.state[0][1]
        if s.ledger is not None:
            whole = lowered_state(s, s.ledger, whole)
            return whole[0] if s.units.per_wave == 1 else self._join(s, whole)
        if s.units.per_wave == 1:
            return s.filter.lower(whole[0], ranks)
        return s.filter.lower(self._join(s, whole), ranks)

    def extent(self, stream: int) -> Extent | None:
        """Which contributions the state of a `decompose` stream holds; None for other recoveries."""
        s = self.up[stream]
        if s.ledger is None:
            return None
        s.ledger.reach(s.next)  # the application may ask amid a loss
        s.ledger.bury(self.node.dead_ranks & s.members)
        return s.ledger.extent()

    def take_part(self, s: UpStream, unit: int, waves: int, items: Any, ranks: RankSet) -> None:
        if s.ledger is not None and s.ledger.fill(unit, waves, ranks):
            s.absorb(unit, items, ranks)
            self.node.out.event("decomposed", stream=s.stream, wave=unit // s.units.per_wave, count=waves, ranks=list(ranks))
            self.dirty[s.stream] = s

    def settle(self, s: UpStream, unit: int) -> None:
        """The front-end itself knows best how far its state is settled."""

    def _join(self, s: UpStream, chunks: list[Items]) -> Array:
        """The chunks of one wave as a whole item."""
        whole = np.concatenate([c for c in chunks if isinstance(c, np.ndarray)], axis=-1)
        return whole.reshape(*whole.shape[:-1], *s.spec.item_shape)

    # -- which waves may be delivered -------------------------------------------------------------------------------------

    def pump(self) -> None:
        super().pump()
        while self.room:
            stream = self.room.pop()
            if stream in self.delivery and not self.down[stream].full:
                self.front.app.on_writable(self.front.handle, stream)

    def take_down(self, stream: int, message: Message) -> None:
        super().take_down(stream, message)
        s = self.up.get(stream)
        if s is not None and not s.inboxes:
            self.dirty[stream] = s

    def pump_stream(self, s: UpStream) -> None:
        if self.held_up:
            return
        d = self.delivery.get(s.stream)
        if d is not None and not s.inboxes:  # nobody is left who could say that the messages have come
            self.report_down(s.stream)
        while d is not None:
            m = self._next(s, d)
            if m is None:
                break
            d.held = None
            if s.compose or s.ledger is not None:
                s.absorb(m.first, m.items, m.ranks)
                if s.ledger is not None:
                    s.ledger.add(m.first, m.units, m.ranks)
            if s.units.per_wave > 1:
                self._assemble(s, d, m)
            else:
                self._deliver(s, d, m.first, m.items, m.units, m.ranks)
            d = self.delivery.get(s.stream)
        d = self.delivery.get(s.stream)
        if d is None:  # the application has closed it on the way
            return
        if s.relaying:
            grant_relayed(self.node, s)
            return
        if s.ledger is not None:
            pull(self, s, s.ledger, self.node.dead_ranks & s.members, self.front.membership.suspect_ranks)
        u = s.units
        step = u.link_window >> 2
        if self.settled(s) - d.told > step or s.next + u.link_window - s.granted > step:
            self._grant(s)

    def _grant(self, s: UpStream) -> None:
        super()._grant(s)
        d = self.delivery[s.stream]
        d.told = self.settled(s)
        horizon = min(s.acked + s.units.window, s.granted) // s.units.per_wave
        if horizon > d.grants[-1][0]:
            d.grants.append((horizon, self.node.now))

    def _next(self, s: UpStream, d: Delivery) -> Piece | None:
        """The next units that the stream's policy lets out."""
        if s.relaying:
            return s.relay.popleft() if s.relay else None
        if s.comers is not None and not self._up_to_a_change(s, d, s.comers):
            return None
        quick = s.merge_heads(s.limit, d.accept if s.replay else None)
        if quick is not None:
            return quick
        if s.waits and s.replay and not d.patient:  # somebody has not offered the next unit, and nothing lets it out without
            return None
        if not s.replay and s.skip_hole():
            self._torn(s, d, s.next)
            if s.stream not in self.delivery:  # the application has closed it
                return None
        ranks = s.peek_ranks()
        if ranks is None:
            return self._overdue(s, d)
        if s.replay and not self._acceptable(s, d, ranks):
            return None
        return s.merge(s.limit)

    def _up_to_a_change(self, s: UpStream, d: Delivery, comers: Comers) -> bool:
        """Merge up to where other ranks contribute. Units of nobody alive are lost (replay). False: the stream is closed."""
        floor = comers.floor(s.members - self.node.dead_ranks)
        if s.replay and floor > s.next and not s.has_input():
            s.next = floor
            self._torn(s, d, floor)
        s.limit = comers.bound(s.next)
        return s.stream in self.delivery

    def _acceptable(self, s: UpStream, d: Delivery, ranks: RankSet) -> bool:
        """Whether a wave with these contributors may go out now (replay). Nobody who is alive may be missing, unless the policy
        says so, and nobody dead be inside, whom earlier waves may lack: who sent that rewinds as soon as it hears the order."""
        if not ranks.isdisjoint(self.node.dead_ranks):
            return False
        if ranks is s.members or ranks == s.members:
            return True
        missing = s.members - ranks - self.node.dead_ranks - s.coming()
        if s.spec.accept is Accept.QUORUM:
            return len(ranks) >= s.spec.quorum and missing.issubset(self.front.membership.suspect_ranks)
        if not missing:
            return True
        if s.spec.accept is Accept.DEADLINE:
            return (bool(d.chunks) and ranks == d.ranks) or self._waited(s, d, s.spec.accept_after_s)
        return False

    def _waited(self, s: UpStream, d: Delivery, how_long: float) -> bool:
        if d.held is None:
            d.held = self.node.now
            self.node.rearm = True
            self.timed[s.stream] = s
        return self.node.now >= d.held + how_long

    def _overdue(self, s: UpStream, d: Delivery) -> Piece | None:
        """Some child has not offered the next unit: a time-out or deadline may let a partial wave out."""
        if not d.patient or not s.has_input() or s.offers(self.node.dead_ranks):
            return None
        patience = s.spec.sync_timeout_s if s.spec.sync is Sync.TIME_OUT else s.spec.accept_after_s
        return s.merge(s.next + 1, some=True) if self._waited(s, d, patience) else None

    # -- delivering --------------------------------------------------------------------------------------------------------

    def _assemble(self, s: UpStream, d: Delivery, m: Piece) -> None:
        """Collect the chunks of a wave; all must have the same contributors."""
        chunk = m.first % s.units.per_wave
        if chunk != len(d.chunks) or (d.ranks is not None and d.ranks != m.ranks):
            if s.replay:
                self.rewind(s, None)
                return
            self._torn(s, d, m.first)
        if m.first < s.acked or s.stream not in self.delivery:
            return
        d.ranks = m.ranks
        d.chunks.append(m.items)
        if len(d.chunks) == s.units.per_wave:
            whole = self._join(s, d.chunks)
            d.chunks, d.ranks = [], None
            self._deliver(s, d, m.first // s.units.per_wave, whole, 1, m.ranks)

    def _torn(self, s: UpStream, d: Delivery, unit: int) -> None:
        """Some units below `unit` went down with a node: their waves are lost as waves (their state is not). So is the wave
        that `unit` itself belongs to, unless it is the first of it."""
        per_wave = s.units.per_wave
        d.chunks, d.ranks = [], None
        first, stop = s.acked // per_wave, -(-unit // per_wave)
        if stop > first:
            s.acked = stop * per_wave
            first = max(first, d.failed)  # those before have ended in an error already
        if stop > first:
            d.since = self.node.now
            self.front.fail(WavesLost(s.stream, first, stop - first))

    def name_lost(self, s: UpStream) -> None:
        """Name the waves that this node had passed on before it was the root, and that were not delivered (never under
        replay)."""
        d = self.delivery.get(s.stream)
        if d is not None and not s.replay and not s.relaying and s.next > s.acked:
            self._torn(s, d, s.next)

    def _deliver(self, s: UpStream, d: Delivery, first: int, items: Items, count: int, ranks: RankSet) -> None:
        front, node = self.front, self.node
        s.acked = max(s.acked, (first + count) * s.units.per_wave)
        if first < d.failed and not s.relaying:  # these ended in an error already
            cut = min(count, d.failed - first)
            first, count, items = first + cut, count - cut, items[cut:]
            if not count:
                return
        d.since = node.now
        if s.spec.accept is Accept.QUORUM and len(ranks) < s.spec.quorum and not s.relaying:  # never under replay: it waits
            front.fail(WavesLost(s.stream, first, count))
            return
        self.delivered += count
        missing = s.members - ranks - s.outside(first) if ranks != s.members else EMPTY
        complete = not missing
        if front.recovering:
            front.recovery_progress(s.stream, first, not (missing - node.dead_ranks))
        values = s.filter.lower(items, ranks)
        result = Result(s.stream, first, count, values, ranks, missing, complete, d.granted_at(first))
        front.app.on_result(front.handle, result)

    # -- time ---------------------------------------------------------------------------------------------------------------

    def deadline(self) -> float:
        due = NEVER
        for i, d in self.delivery.items():
            s = self.up[i]
            if d.expected > self._head(s):
                due = min(due, d.since + s.spec.deadline_s)
            if d.held is not None:
                wait = s.spec.sync_timeout_s if s.spec.sync is Sync.TIME_OUT else s.spec.accept_after_s
                due = min(due, max(d.held + wait, self.node.now + 0.001))
            if s.ledger is not None:
                due = min(due, s.ledger.due)
        return due

    def tick(self) -> None:
        super().tick()
        self.dirty.update({i: s for i, s in self.up.items() if s.ledger is not None and s.ledger.due <= self.node.now})
        for i in list(self.delivery):
            if i in self.delivery:
                self._check_deadline(i)

    def _check_deadline(self, stream: int) -> None:
        d, s = self.delivery[stream], self.up[stream]
        head = self._head(s)
        if d.expected <= head:
            return
        alive = s.members - self.node.dead_ranks
        front, now = self.front, self.node.now
        if not alive or (s.spec.accept is Accept.QUORUM and len(alive) < s.spec.quorum):
            d.failed, d.since = d.expected, now
            needed = s.spec.quorum if s.spec.accept is Accept.QUORUM else 1
            front.fail(QuorumLost(stream, head, f"{len(alive)} of {len(s.members)} back-ends are alive, {needed} are needed"))
            return
        if now < d.since + s.spec.deadline_s:
            return
        d.failed, d.since = head + 1, now
        who = self.blame(s)
        text = f"wave {head} of stream {stream} ({s.spec.name}) had no result within {s.spec.deadline_s} s; {who}"
        front.fail(DeadlineExceeded(stream, head, text))

    def blame(self, s: UpStream) -> str:
        """Who keeps the head wave waiting, as far as the front-end can see."""
        waiting = [c.node for conn, c in self.node.children.items() if conn in s.inboxes and s.inboxes[conn].expect <= s.next]
        suspects = sorted(self.front.membership.suspects)
        return f"waiting for child nodes {waiting or 'none'}, suspect nodes {suspects or 'none'}"

    # -- downward -----------------------------------------------------------------------------------------------------------

    def report_down(self, stream: int) -> None:
        """What all back-ends have may be forgotten, unless somebody's whereabouts are unknown."""
        if self.front.membership.suspect_ranks or self.held_up:
            return
        d = self.down[stream]
        was_full = d.full
        mark = self.below(stream)
        if mark > d.trimmed:
            self.trim_down(stream, d, mark)
            if was_full and not d.full:
                self.room.append(stream)
                self.dirty[stream] = self.up[stream]
