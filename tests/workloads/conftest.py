"""A whole tree in one process: the handles' protocol, implemented with the real filters and virtual time, for tests of both
ends of a workload. Waves are reduced in one step, in batches of random size; mistakes can be planted on the way."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from harness.api.records import SAMPLE_DTYPE, Check, TrialRecord
from harness.api.workload import TrialContext, Workload
from harness.core.filters import Codec, Filter, Items
from harness.core.ranks import RankSet
from harness.core.spec import Recovery, Result, StreamError, StreamSpec, Sync
from harness.core.tree import Tree
from harness.run.journal import dump_json
from harness.testbeds.node_main import plain
from harness_plugins.filters import FILTERS

WINDOW = 64


def tree_of(*fanouts: int) -> Tree:
    """A balanced tree, numbered breadth first."""
    parents: list[int | None] = [None]
    level = [0]
    for fanout in fanouts:
        above, level = level, []
        for parent in above:
            level += range(len(parents), len(parents) + fanout)
            parents += [parent] * fanout
    return Tree.from_parents(parents)


def journalled(told: Any) -> Any:
    """What a check reads where a node told `told`: it goes to the agent as one JSON text, and into the journal as another."""
    return json.loads(dump_json(json.loads(json.dumps(told, default=plain))))


@dataclass
class Batch:
    """What is about to be reduced and delivered; a planted mistake changes it. parts: by rank, what was lifted; extra: parts
    merged once more; named: the contributors that the front-end is told."""

    stream: int
    first: int
    parts: dict[int, Items]
    extra: list[tuple[int, Items]]
    named: set[int]
    repeat: bool = False
    skip: bool = False


class _Stream:
    def __init__(self, spec: StreamSpec, filter_: Filter) -> None:
        self.spec = spec
        self.filter = filter_
        self.offered: dict[int, list[tuple[int, Items]]] = {r: [] for r in spec.members}
        self.produced = dict.fromkeys(spec.members, 0)
        self.delivered = 0
        self.expected = 0
        self.state: Items | None = None


class World:
    """The front-end's handle, and everything behind it."""

    def __init__(self, workload: Workload, context: TrialContext, filters: Mapping[str, Filter], seed: int = 0) -> None:
        self.workload, self.context, self.filters = workload, context, filters
        self.tree, self.now = context.tree, 100.0
        self.rng = random.Random(seed)
        self.front = workload.front_end(context)
        self.ends = {r: Leaf(self, r, workload.back_end(context, r)) for r in range(len(self.tree.back_ends))}
        self.streams: dict[int, _Stream] = {}
        self.dead: set[int] = set()
        self.stops: dict[int, int] = {}
        self.timer: float | None = None
        self.finished: tuple[bool, str] | None = None
        self.events: list[dict[str, Any]] = [{"t_s": 100.0, "kind": "workload-started"}]
        self.rows: list[tuple[float, float, int, int, int, int, int]] = []
        self.observed: list[Any] = []
        self.sets: list[RankSet] = []
        self.results: list[Result] = []
        self.plant: Callable[[Batch], None] = lambda batch: None
        self.spoil: Callable[[int, int, Items], Items] = lambda stream, first, values: values
        self.busy = self.opened = 0

    # -- the handle ----------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> RankSet:
        return RankSet.of(set(self.ends) - self.dead)

    def open_stream(self, spec: StreamSpec) -> int:
        self.opened += 1
        stream = self.opened
        self.streams[stream] = _Stream(StreamSpec.from_wire(spec.to_wire()), self.filters[spec.filter])
        for rank in spec.members:
            self.ends[rank].app.on_open(self.ends[rank], stream, self.streams[stream].spec)
        return stream

    def send(self, stream: int, payload: bytes, to: RankSet | None = None) -> bool:
        if self.busy:
            return False
        for rank in to or self.streams[stream].spec.members:
            self.ends[rank].inbox.append((stream, payload))
        return True

    def expect(self, stream: int, waves: int) -> None:
        self.streams[stream].expected = waves

    def state(self, stream: int) -> Items | None:
        s = self.streams[stream]
        return s.state if s.spec.recovery is Recovery.COMPOSE else None

    def extent(self, stream: int) -> None:
        return None

    def close_stream(self, stream: int) -> None:
        del self.streams[stream]
        for leaf in self.ends.values():
            leaf.app.on_close(leaf, stream)

    def call_at(self, when_s: float) -> None:
        self.timer = when_s

    def record(self, stream: int, first: int, observed: Any, contributors: RankSet, complete: bool, granted_s: float) -> None:
        assert observed.ndim == 1 and observed.dtype.itemsize == 8 and observed.dtype.kind in "if"
        if contributors not in self.sets:
            self.sets.append(contributors)
        index = self.sets.index(contributors)
        self.rows.append((self.now, granted_s, stream, index, first, len(observed), int(complete)))
        self.observed.append(np.array(observed))

    def note(self, kind: str, **fields: Any) -> None:
        self.events.append({"t_s": self.now, "kind": "note", "name": kind, "fields": journalled(fields)})

    def finish(self, ok: bool = True, reason: str = "") -> None:
        if self.finished is None:
            self.finished = (ok, reason)
            self.events.append({"t_s": self.now, "kind": "finished", "ok": ok, "reason": reason})

    # -- what the tests do ---------------------------------------------------------------------------------------------

    def strike(self, rank: int, at_wave: int) -> None:
        """Kill a back-end once it has offered `at_wave` waves."""
        self.stops[rank] = at_wave

    def run(self, rounds: int = 100_000) -> World:
        """Until the workload finishes."""
        self.front.start(self)
        for _ in range(rounds):
            if self.finished is not None:
                break
            self.now += 0.001
            self._turn()
        assert self.finished is not None, "the workload did not finish"
        return self

    def fail(self, error: StreamError) -> None:
        """A request ends in a typed error."""
        self.front.on_error(self, error)

    def check(self, expect: str = "exact", plan: Mapping[str, Any] | None = None) -> Check:
        """The workload's own judgement."""
        return self.workload.check(self.trial(plan or {}), self.context, expect)

    def trial(self, plan: Mapping[str, Any]) -> TrialRecord:
        samples = np.zeros(len(self.rows), SAMPLE_DTYPE)
        names = ("t_s", "granted_s", "stream", "contributors", "first", "count", "complete")
        for i, name in enumerate(names):
            samples[name] = [row[i] for row in self.rows]
        observed = np.concatenate(self.observed) if self.observed else np.zeros(0)
        return TrialRecord(plan, self.tree, self.events, samples, observed, self.sets)

    def notes(self, name: str) -> list[dict[str, Any]]:
        """The workload's own events of that name."""
        return [e["fields"] for e in self.events if e["kind"] == "note" and e["name"] == name]

    # -- behind the handle ---------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        for rank, leaf in self.ends.items():
            if rank not in self.dead:
                leaf.turn()
        self._deaths()
        for stream in list(self.streams):
            if stream in self.streams:
                self._deliver(stream)
        if self.busy:
            self.busy -= 1
            for stream in () if self.busy else list(self.streams):
                self.front.on_writable(self, stream)
        if self.timer is not None and self.now >= self.timer and self.finished is None:
            self.timer = None
            self.front.on_timer(self)

    def _deaths(self) -> None:
        for rank, wave in list(self.stops.items()):
            if any(s.produced.get(rank, -1) >= wave for s in self.streams.values()):
                del self.stops[rank]
                self.dead.add(rank)
                node = next(n.id for n in self.tree.nodes if n.rank == rank)
                self.events.append({"t_s": self.now, "kind": "fault", "fault": 0, "action": "kill", "node": node})
                self.front.on_membership(self, RankSet.of(self.dead))

    def offer(self, stream: int, rank: int, items: Items) -> None:
        s = self.streams[stream]
        if s.filter.codec is Codec.ARRAY:
            assert items.dtype == s.spec.dtype and items.shape[1:] == s.spec.item_shape
        lifted = s.filter.lift(items, rank)
        s.offered[rank].append((s.produced[rank], lifted))
        s.produced[rank] += len(items)
        if s.spec.recovery is Recovery.COMPOSE:
            folded = s.filter.fold(lifted)
            everyone = s.spec.members
            s.state = folded if s.state is None else s.filter.combine([s.state, folded], [everyone, everyone])

    def room(self, stream: int, rank: int) -> int:
        s = self.streams[stream]
        limit = self.stops.get(rank, 1 << 60)
        return min(s.delivered + WINDOW - s.produced[rank], limit - s.produced[rank])

    def _deliver(self, stream: int) -> None:
        s = self.streams[stream]
        while self.finished is None and stream in self.streams:
            if s.spec.sync is Sync.DO_NOT_WAIT:
                ready = [r for r, q in s.offered.items() if q]
                if not ready:
                    return
                rank = self.rng.choice(ready)
                first, items = s.offered[rank].pop(0)
                s.delivered = min((n for r, n in s.produced.items() if r not in self.dead), default=0)
                self._merge(s, Batch(stream, first, {rank: items}, [], {rank}))
                continue
            have = {r: s.produced[r] for r in s.offered if s.produced[r] > s.delivered}
            if not have or any(r not in have and r not in self.dead for r in s.offered):
                return
            count = self.rng.randint(1, min(have.values()) - s.delivered)
            parts = {r: self._take(s, r, s.delivered, count) for r in have}
            s.delivered += count
            self._merge(s, Batch(stream, s.delivered - count, parts, [], set(parts)))

    @staticmethod
    def _take(s: _Stream, rank: int, first: int, count: int) -> Items:
        found: list[Any] = []
        for start, items in s.offered[rank]:
            lo, hi = max(first - start, 0), min(first + count - start, len(items))
            if lo < hi:
                found.append(items[lo:hi])
        s.offered[rank] = [(a, i) for a, i in s.offered[rank] if a + len(i) > first + count]
        return np.concatenate(found) if isinstance(found[0], np.ndarray) else [x for part in found for x in part]

    def _merge(self, s: _Stream, batch: Batch) -> None:
        self.plant(batch)
        if batch.skip:
            return
        order = sorted(batch.parts)
        parts = [batch.parts[r] for r in order] + [items for _, items in batch.extra]
        sets = [RankSet.of([r]) for r in order] + [RankSet.of([r]) for r, _ in batch.extra]
        named = RankSet.of(batch.named)
        values = s.filter.lower(s.filter.combine(parts, sets), named)
        values = self.spoil(batch.stream, batch.first, values)
        missing = s.spec.members - named
        result = Result(batch.stream, batch.first, len(values), values, named, missing, not missing, self.now - 0.0005)
        for _ in range(2 if batch.repeat else 1):
            self.results.append(result)
            self.front.on_result(self, result)


class Leaf:
    """One back-end's handle."""

    def __init__(self, world: World, rank: int, app: Any) -> None:
        self.world, self.rank, self.app = world, rank, app
        self.inbox: list[tuple[int, bytes]] = []
        self.due = 0.0

    @property
    def now(self) -> float:
        return self.world.now

    def call_at(self, when_s: float) -> None:
        self.due = when_s

    def note(self, kind: str, **fields: Any) -> None:
        self.world.note(kind, **fields)

    def turn(self) -> None:
        inbox, self.inbox = self.inbox, []
        for stream, payload in inbox:
            self.app.on_message(self, stream, payload)
        for stream, s in self.world.streams.items():
            while self.rank in s.offered and (room := self.world.room(stream, self.rank)) > 0:
                room = self.world.rng.randint(1, room)
                items = self.app.produce(self, stream, s.produced[self.rank], room)
                if items is None:
                    break
                assert 0 < len(items) <= room
                self.world.offer(stream, self.rank, items)


@pytest.fixture
def make_world() -> Callable[..., World]:
    """Make a world for a workload: make_world(workload, "sum", fanouts=(2, 2), seed=1, recovery=..., filters={...})."""
    return world_of


def world_of(
    workload: Workload,
    filter_: str = "",
    *,
    fanouts: tuple[int, ...] = (2, 2),
    seed: int = 1,
    filters: Mapping[str, Filter] | None = None,
    **context: Any,
) -> World:
    """See `make_world`."""
    context.setdefault("recovery", Recovery.REPLAY)
    case = TrialContext(seed=seed, tree=tree_of(*fanouts), filter=filter_, **context)
    known = {name: FILTERS[name]() for name in workload.filters(filter_)}
    return World(workload, case, {**known, **(filters or {})}, seed)
