"""The two ends of a storm: applications that know what must come, and note whatever else does."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import loads

from harness.core.ledger import Extent
from harness.core.ranks import RankSet
from harness.core.spec import (
    Accept,
    DeadlineExceeded,
    QuorumLost,
    Recovery,
    Result,
    StreamClosed,
    StreamError,
    StreamSpec,
    Sync,
    WavesLost,
)

#: After the last fault has passed, so much time until everything must be settled.
SETTLE_S = 6.0
#: How late a deadline may be noticed: the nodes' clocks are exact here, only frames that come together are handled together.
SLACK_S = 0.05
#: Back-ends come to the barrier when they have offered all they have, which a slow tree with windows of one or two units does
#: long after the front-end has given those waves up (seed 9469: 107 s). Beyond this, something is stuck.
BARRIER_S = 240.0


@dataclass
class Planned:
    """A stream of the scenario: when it opens, when it is closed in spite of what is outstanding (if at all), and the
    messages that go down on it, each to some or (empty) to all."""

    spec: StreamSpec
    waves: int
    open_at: float = 0.0
    close_at: float | None = None
    messages: list[RankSet] = field(default_factory=list)
    #: Close it as soon as its last wave has ended, from within that callback.
    tidy: bool = False
    #: Ask for so many waves at a time, and for more as they come (0: for all at once).
    step: int = 0


@dataclass
class Course:
    """What became of one stream."""

    plan: Planned
    opened: float
    next: int = 0
    since: float = 0.0
    sent: int = 0
    closed: bool = False
    over: bool = False
    results: int = 0
    #: Waves that a back-end is known to have contributed to; only what came in a result.
    delivered: dict[int, list[int]] = field(default_factory=dict)
    lost: list[tuple[int, int]] = field(default_factory=list)
    errors: list[StreamError] = field(default_factory=list)
    #: (when, missing) of each result that was not complete.
    partial: list[tuple[float, RankSet]] = field(default_factory=list)
    state: Any = None
    extent: Extent | None = None

    @property
    def waits(self) -> bool:
        """Whether every wave ends in exactly one result or error."""
        return self.plan.spec.sync is not Sync.DO_NOT_WAIT

    @property
    def done(self) -> bool:
        plan = self.plan
        said = self.over or self.sent >= len(plan.messages)
        return self.closed or (said and plan.close_at is None and (not self.waits or self.next >= plan.waves))


class Front:
    """Opens the planned streams, checks each outcome as it comes, and ends when all is quiet behind a barrier: one exact wave
    that back-ends offer when they have offered everything else."""

    def __init__(self, plans: list[Planned], quiet_at: float, abrupt: bool) -> None:
        self.plans = plans
        self.quiet_at = quiet_at
        self.abrupt = abrupt
        self.courses: dict[int, Course] = {}
        self.unopened = sorted(range(len(plans)), key=lambda k: plans[k].open_at)
        self.wrong: list[str] = []
        self.dead = RankSet()
        self.barrier: int | None = None
        self.settled: float | None = None
        self.finished: float | None = None
        self.began = 0.0
        self.nobody = False
        self.on_finish: Callable[[], None] = lambda: None

    # -- course of the run -----------------------------------------------------------------------------------------------

    def start(self, fe: Any) -> None:
        self.began = fe.now
        self.dead = fe.tree.ranks_below(0) - fe.alive
        self.on_timer(fe)

    def on_timer(self, fe: Any) -> None:
        if self.finished is not None:
            return
        now = fe.now - self.began
        while self.unopened and self.plans[self.unopened[0]].open_at <= now:
            self._open(fe, self.plans[self.unopened.pop(0)])
        for i, c in list(self.courses.items()):
            if c.plan.close_at is not None and not c.closed and c.plan.close_at <= now:
                self._close(fe, i, c)
        self._on(fe)

    def _open(self, fe: Any, plan: Planned) -> None:
        i = fe.open_stream(plan.spec)
        c = self.courses[i] = Course(plan, fe.now, since=fe.now)
        if c.waits:
            fe.expect(i, min(plan.waves, plan.step or plan.waves))
        self._talk(fe, i, c)

    def _close(self, fe: Any, i: int, c: Course) -> None:
        c.closed = True
        outstanding = c.waits and c.next < c.plan.waves
        before = len(c.errors)
        fe.close_stream(i)
        told = [e for e in c.errors[before:] if isinstance(e, StreamClosed)]
        if len(told) != int(outstanding):
            self.wrong.append(f"stream {i} was closed with wave {c.next} of {c.plan.waves} next: {told}")

    def _on(self, fe: Any) -> None:
        """What comes next, and when."""
        now = fe.now
        at = [self.began + self.plans[k].open_at for k in self.unopened]
        at += [self.began + c.plan.close_at for c in self.courses.values() if c.plan.close_at is not None and not c.closed]
        if not self.unopened and all(c.done for c in self.courses.values()):
            if self.abrupt or self.nobody or (self.settled is not None and now >= self.settled):
                self._finish(fe)
                return
            if now < self.quiet_at:
                at.append(self.quiet_at)
            elif self.barrier is None:
                self._open_barrier(fe)
            elif self.settled is not None:
                at.append(self.settled)
        if at:
            fe.call_at(min(at))

    def _open_barrier(self, fe: Any) -> None:
        everybody = fe.tree.ranks_below(0)
        spec = StreamSpec("barrier", everybody, "sum", deadline_s=BARRIER_S, params=(("barrier", 1),))
        self.barrier = fe.open_stream(spec)
        fe.expect(self.barrier, 1)

    def _finish(self, fe: Any) -> None:
        for i, c in self.courses.items():
            if not c.closed and c.plan.spec.recovery is Recovery.COMPOSE:
                c.state = fe.state(i)
            if not c.closed and c.plan.spec.recovery is Recovery.DECOMPOSE:
                c.state, c.extent = fe.state(i), fe.extent(i)
        self.finished = fe.now
        fe.finish()
        self.on_finish()

    def _talk(self, fe: Any, i: int, c: Course) -> None:
        while c.sent < len(c.plan.messages) and fe.send(i, b"%d:%d" % (i, c.sent), c.plan.messages[c.sent] or None):
            c.sent += 1

    def on_writable(self, fe: Any, stream: int) -> None:
        if stream in self.courses and not self.courses[stream].closed:
            self._talk(fe, stream, self.courses[stream])
            self.on_timer(fe)

    def on_membership(self, fe: Any, dead: RankSet) -> None:
        self.dead = dead
        if dead == fe.tree.ranks_below(0):
            self.nobody = True
            for c in self.courses.values():
                c.over = True
            self._on(fe)

    # -- outcomes --------------------------------------------------------------------------------------------------------

    def on_result(self, fe: Any, r: Result) -> None:
        if r.stream == self.barrier:
            self.settled = fe.now + SETTLE_S / 2
            self._on(fe)
            return
        c = self.courses[r.stream]
        spec = c.plan.spec
        where = f"stream {r.stream} ({spec.filter}, {spec.recovery}, {spec.sync}) wave {r.first}"
        if c.closed:
            self.wrong.append(f"{where}: a result of a closed stream")
        if r.count < 1 or len(r.values) != r.count:
            self.wrong.append(f"{where}: {len(r.values)} values for {r.count} waves")
        if not r.contributors or not r.contributors.issubset(spec.members):
            self.wrong.append(f"{where}: contributors {r.contributors}, members {spec.members}")
        if r.missing != spec.members - r.contributors or r.complete != (not r.missing):
            self.wrong.append(f"{where}: missing {r.missing}, contributors {r.contributors}, complete {r.complete}")
        if not r.granted_s <= fe.now:
            self.wrong.append(f"{where}: granted in the future")
        self._may_be_partial(fe, r, spec, where)
        c.results += r.count
        if r.missing:
            c.partial.append((fe.now, r.missing))
        for k in range(r.count):
            fault = loads.fault_in(spec.filter, r.values[k], r.contributors, r.first + k, spec.item_shape)
            if fault:
                self.wrong.append(f"{where}+{k}: {fault}, contributors {r.contributors}")
        for rank in r.contributors:
            c.delivered.setdefault(rank, []).extend(range(r.first, r.first + r.count))
        if c.waits:
            self._ends(fe, c, r.first, r.count, where)
        self.on_timer(fe)

    def _may_be_partial(self, fe: Any, r: Result, spec: StreamSpec, where: str) -> None:
        if spec.accept is Accept.QUORUM and spec.sync is not Sync.DO_NOT_WAIT and len(r.contributors) < spec.quorum:
            self.wrong.append(f"{where}: {len(r.contributors)} contributors, the quorum is {spec.quorum}")
        if spec.recovery is not Recovery.REPLAY:
            return
        suspects = fe._node.membership.suspect_ranks
        gone = self.dead | suspects if spec.accept is Accept.QUORUM else self.dead
        if spec.accept is not Accept.DEADLINE and not r.missing.issubset(gone):
            self.wrong.append(f"{where}: {r.missing} are missing, dead {self.dead}, suspect {suspects}")

    def _ends(self, fe: Any, c: Course, first: int, count: int, where: str) -> None:
        """Waves [first, first + count) have come to their end, which every wave does once and in order, and in time."""
        if first != c.next:
            self.wrong.append(f"{where}: comes when {c.next} is due")
        if fe.now > c.since + c.plan.spec.deadline_s + SLACK_S:
            self.wrong.append(f"{where}: ended after {fe.now - c.since:.3f} s, its deadline was {c.plan.spec.deadline_s} s")
        c.next = first + count
        c.since = fe.now
        if c.plan.tidy and c.next >= c.plan.waves and not c.closed:
            c.closed = True
            fe.close_stream(self._id(c))
        elif c.plan.step and not c.closed:
            fe.expect(self._id(c), min(c.plan.waves, c.next + c.plan.step))

    def _id(self, c: Course) -> int:
        return next(i for i, other in self.courses.items() if other is c)

    def on_error(self, fe: Any, error: StreamError) -> None:
        if error.stream == self.barrier:
            if not isinstance(error, QuorumLost) or fe.alive:
                self.wrong.append(f"the barrier ended in {error!r}")
            self.nobody = True
            self._on(fe)
            return
        c = self.courses[error.stream]
        spec = c.plan.spec
        where = f"stream {error.stream} ({spec.filter}, {spec.recovery}, {spec.sync}) {error!r}"
        c.errors.append(error)
        if isinstance(error, WavesLost):
            if spec.recovery is Recovery.REPLAY or not c.waits:
                self.wrong.append(f"{where}: such a stream loses no waves")
            c.lost.append((error.wave, error.count))
            self._ends(fe, c, error.wave, error.count, where)
        elif isinstance(error, DeadlineExceeded):
            if fe.now < c.since + spec.deadline_s:
                self.wrong.append(f"{where}: after {fe.now - c.since:.3f} s only")
            self._ends(fe, c, error.wave, 1, where)
        elif isinstance(error, QuorumLost):
            alive = len(spec.members - self.dead)
            needed = spec.quorum if spec.accept is Accept.QUORUM else 1
            if alive >= needed:
                self.wrong.append(f"{where}: {alive} are alive, {needed} are needed")
            c.plan.step = 0
            self._ends(fe, c, error.wave, c.plan.waves - error.wave, where)
            c.over = True
            if not c.closed:  # back-ends may be waiting for room that never comes
                c.closed = True
                fe.close_stream(error.stream)
        elif not isinstance(error, StreamClosed) or not c.closed:
            self.wrong.append(f"{where} was not to be expected")
        self.on_timer(fe)


class Back:
    """Offers waves in batches of random size, now and then none until a moment later; writes down every message."""

    def __init__(self, rank: int, seed: int, waves: dict[str, int], lazy: float, pause_s: float) -> None:
        self.rank, self.lazy, self.pause_s = rank, lazy, pause_s
        self.waves = waves
        self.rng = random.Random(seed * 1000 + rank)
        self.messages: dict[int, list[bytes]] = {}
        self.specs: dict[int, StreamSpec] = {}
        self.made: dict[int, int] = {}
        self.wrong: list[str] = []

    def on_open(self, be: Any, stream: int, spec: StreamSpec) -> None:
        if stream in self.made or be.rank not in spec.members:
            self.wrong.append(f"rank {self.rank}: stream {stream} opened twice or for others")
        self.specs[stream] = spec
        self.made[stream] = 0

    def on_message(self, be: Any, stream: int, payload: bytes) -> None:
        if stream not in self.specs:
            self.wrong.append(f"rank {self.rank}: a message on stream {stream}, which is not open")
        self.messages.setdefault(stream, []).append(payload)

    def produce(self, be: Any, stream: int, first: int, at_most: int) -> Any:
        spec = self.specs[stream]
        given_up = spec.recovery is Recovery.REPLAY and spec.accept is not Accept.COMPLETE
        if first != self.made[stream] and not (given_up and first > self.made[stream]):
            self.wrong.append(f"rank {self.rank}, stream {stream}: asked for wave {first}, {self.made[stream]} is next")
        self.made[stream] = first
        if spec.params:
            if any(self.made[i] < self.waves[s.name] for i, s in self.specs.items() if i != stream):
                be.call_at(be.now + 0.01)
                return None
            self.made[stream] = 1
            return None if first else loads.offer("sum", self.rank, 0, 1, ())
        if self.rng.random() < self.lazy:
            be.call_at(be.now + self.rng.random() * 2 * self.pause_s)
            return None
        n = min(self.waves[spec.name] - first, self.rng.randint(1, at_most))
        if n <= 0:
            return None
        self.made[stream] = first + n
        return loads.offer(spec.filter, self.rank, first, first + n, spec.item_shape)

    def on_close(self, be: Any, stream: int) -> None:
        if self.specs.pop(stream, None) is None:
            self.wrong.append(f"rank {self.rank}: stream {stream}, which is not open, was closed")
