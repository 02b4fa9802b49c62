"""The workload `reduce-stream`: every back-end offers wave after wave, the front-end takes the reductions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from harness.api.errors import UsageError
from harness.api.records import Check, TrialRecord
from harness.api.workload import BackEndApp, FrontEndApp, TrialContext
from harness.core.apps import BackEndHandle, FrontEndHandle
from harness.core.filters import Items, chunk_elements
from harness.core.ranks import EMPTY, RankSet
from harness.core.spec import Recovery, Result, StreamError, StreamSpec, Sync, WavesLost
from harness_workloads.common import FOR_EVER, BackEndBase, FrontEndBase, everybody, note_error, stream_spec
from harness_workloads.elements import Elements
from harness_workloads.extents import extent_told
from harness_workloads.handing_over import packed, unpacked
from harness_workloads.oracle import ARITHMETIC, observe
from harness_workloads.values import DTYPES, SMALL, Source, Values, value_bits

#: Filters that take no arrays of numbers, and what to use instead.
_REFUSED = {
    "classes": 'it takes counts by class; use the workload "trace-classes"',
    "union": "it takes lists of members; use a filter of numbers such as sum, min or concat",
    "null": "it does not merge; use a filter of numbers such as sum, min or concat",
}
_MOST_UNEVEN = 20
MOST_ITEM_BYTES = 1 << 30
_USUAL = StreamSpec(name="", members=EMPTY, filter="")
#: At a limited rate, a back-end wakes at most so often and offers what has become due.
_TICK_S = 0.0005
#: Recoveries that have a state at the end. How often it is looked at whether all parts of it have come.
_STATEFUL = (Recovery.COMPOSE, Recovery.DECOMPOSE)
_LOOK_S = 0.02


@dataclass(frozen=True)
class ReduceStream:
    """Waves as fast as the credit allows, or at a given rate, reduced on the way up and checked one by one.

    item: the type of an element (i64, f64, f32, i32). shape: of one item, [] for a scalar; or item_bytes, a vector of so many
    bytes. waves: how many; 0: until duration_s is over. rate: waves a second from each back-end, 0 = no limit. window_waves,
    window_bytes, chunk_bytes: of the stream, 0 = the default. streams: how many at once. members: the ranks that take part,
    [] = all. settle_s: how long a `compose` or `decompose` stream may wait at its end for back-ends that are still being
    adopted.
    """

    #: For the runner: its check knows back-ends that come and go.
    members_change: ClassVar[bool] = True

    item: str = "i64"
    shape: tuple[int, ...] = ()
    item_bytes: int = 0
    waves: int = 0
    duration_s: float = 0.0
    rate: float = 0.0
    window_waves: int = 0
    window_bytes: int = 0
    chunk_bytes: int = 0
    streams: int = 1
    members: tuple[int, ...] = ()
    settle_s: float = 3.0

    def filters(self, chosen: str) -> tuple[str, ...]:
        """The case's filter, sum where it names none."""
        return (chosen or "sum",)

    def mistakes(self, chosen: str) -> list[str]:
        """See Workload.mistakes."""
        found = []
        filter_ = chosen or "sum"
        if filter_ in _REFUSED:
            found.append(f"filter: reduce-stream cannot use '{filter_}': {_REFUSED[filter_]}")
        if self.item not in DTYPES:
            return [*found, f"item: unknown type '{self.item}'; one of {', '.join(DTYPES)}"]
        size = np.dtype(DTYPES[self.item]).itemsize
        if any(n < 1 for n in self.shape):
            found.append(f"shape: {list(self.shape)} has an extent below 1; leave it out for a scalar")
        if self.item_bytes and self.shape:
            found.append("item_bytes: give either item_bytes or shape, not both")
        if self.item_bytes < 0 or self.item_bytes % size:
            found.append(f"item_bytes: {self.item_bytes} is no positive multiple of the {size} bytes of {self.item}")
        if (item := math.prod(self.item_shape) * size) > MOST_ITEM_BYTES:
            most = f"more than {MOST_ITEM_BYTES >> 20} MiB"
            found.append(f"shape: an item has {item} bytes, {most}; every back-end holds a whole one")
        elif filter_ not in ARITHMETIC and self.elements > SMALL:
            found.append(f"shape: at most {SMALL} elements with filter '{filter_}'; larger items need sum, average, min or max")
        if min(self.waves, self.duration_s) >= 0 and (self.waves > 0) == (self.duration_s > 0):
            found.append("waves: give a number of waves or duration_s, one of the two")
        for key in ("waves", "duration_s", "rate", "window_waves", "window_bytes", "chunk_bytes", "settle_s"):
            if getattr(self, key) < 0:
                found.append(f"{key}: {getattr(self, key)} is negative; leave it out for the default")
        if not 1 <= self.streams <= 1000:
            found.append(f"streams: {self.streams} must be between 1 and 1000")
        if len(set(self.members)) != len(self.members) or any(r < 0 for r in self.members):
            found.append(f"members: {list(self.members)} must be different ranks, counted from 0")
        return found

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one item."""
        return (self.item_bytes // np.dtype(DTYPES[self.item]).itemsize,) if self.item_bytes else self.shape

    @property
    def elements(self) -> int:
        """Elements in one item."""
        return int(np.prod(self.item_shape, dtype=np.int64)) if self.item_shape else 1

    @property
    def chunk(self) -> int:
        """Elements that travel together, where the filter lets items be cut."""
        return chunk_elements(self.item_shape, np.dtype(DTYPES[self.item]).itemsize, self.chunk_bytes or _USUAL.chunk_bytes)

    @property
    def window(self) -> int:
        """Waves that may be on the way on one link."""
        item = self.elements * np.dtype(DTYPES[self.item]).itemsize
        waves, held = self.window_waves or _USUAL.window_waves, self.window_bytes or _USUAL.window_bytes
        return max(2, min(waves, -(-held // item)))

    def communicator(self, context: TrialContext) -> RankSet:
        """The ranks that take part. Raises UsageError where the tree has no such ranks, or too many for the item's type."""
        ranks = everybody(context)
        wanted = RankSet.of(self.members) if self.members else ranks
        if not wanted.issubset(ranks):
            raise UsageError(f"members: ranks {wanted - ranks} do not exist; the tree has ranks {ranks}")
        try:
            value_bits(self.item, self.filters(context.filter)[0], len(ranks))
        except ValueError as error:
            raise UsageError(f"item: {error}") from error
        return wanted

    def values(self, context: TrialContext, index: int) -> Values:
        """What the ranks contribute to the workload's stream number `index`."""
        filter_ = self.filters(context.filter)[0]
        return Values(context.seed, index, len(everybody(context)), self.item, filter_, self.elements)

    def offers(self, context: TrialContext) -> dict[str, Items]:
        """See Workload: one wave of rank 0, shape (1, *item). Zeros stand for a large item, which takes as much memory as it
        has elements."""
        values = self.values(context, 0)
        zeros = np.zeros((1, *self.item_shape), values.dtype)
        return {values.filter: zeros if values.sliding else Source(values, 0, self.item_shape).make(0, 1)}

    def front_end(self, context: TrialContext) -> FrontEndApp:
        """See Workload.front_end. Raises UsageError as `communicator` does."""
        return _FrontEnd(self, context)

    def back_end(self, context: TrialContext, rank: int) -> BackEndApp:
        """See Workload.back_end."""
        return _BackEnd(self, context, rank)

    def check(self, record: TrialRecord, context: TrialContext, expect: str) -> Check:
        """See Workload.check, and harness_workloads.audit for what is looked at."""
        from harness_workloads.audit import audit  # here, so that back-ends do not load it

        return audit(self, record, context, expect)


class _FrontEnd(FrontEndBase):
    def __init__(self, workload: ReduceStream, context: TrialContext) -> None:
        self.workload = workload
        self.context = context
        self.members = workload.communicator(context)
        self.filter = workload.filters(context.filter)[0]
        self.waiting: set[int] = set()
        self.elements: dict[int, Elements] = {}
        self.reached: dict[int, RankSet] = {}
        self.uneven = 0
        self.settling = False
        self.settled_s = 0.0
        self.heard = True
        self.finished = False
        self.ending = False
        self.patient = context.sync is Sync.DO_NOT_WAIT
        self.whole = self.filter in ARITHMETIC and workload.elements > 1
        self.end = workload.waves or FOR_EVER

    def start(self, fe: FrontEndHandle) -> None:
        """Open the streams."""
        w = self.workload
        for index in range(w.streams):
            spec = stream_spec(
                self.context,
                f"reduce-{index}",
                self.members,
                self.filter,
                dtype=DTYPES[w.item],
                item_shape=w.item_shape,
                window_waves=w.window_waves,
                window_bytes=w.window_bytes,
                chunk_bytes=w.chunk_bytes,
                params=(("index", index),),
            )
            stream = fe.open_stream(spec)
            fe.note("stream", stream=stream, index=index)
            fe.expect(stream, self.end)
            self.waiting.add(stream)
            self.elements[stream] = Elements(w.values(self.context, index))
            self.reached[stream] = EMPTY
        if w.duration_s:
            fe.call_at(fe.now + w.duration_s)
        elif self.context.recovery is not Recovery.REPLAY:
            fe.call_at(fe.now + self.context.deadline_s)

    def on_result(self, fe: FrontEndHandle, result: Result) -> None:
        """Record; the check comes afterwards."""
        if self.finished:  # what was on its way when the run ended: the final state has been told already
            return
        self.heard = True
        stream, values = result.stream, result.values
        fe.record(stream, result.first, observe(self.filter, values), result.contributors, result.complete, result.granted_s)
        if self.whole and isinstance(values, np.ndarray):
            self._look_inside(fe, result, values)
        if self.ending:
            self.reached[stream] = EMPTY  # more waves come: a later one with everybody in it is worth the wait
            self._at_the_end(fe, stream, result.contributors)
        elif result.first + result.count >= self.end and stream in self.waiting:
            self._at_the_end(fe, stream, result.contributors)

    def on_error(self, fe: FrontEndHandle, error: StreamError) -> None:
        """Waves that went down with a node are within what some recoveries promise: the run goes on. All else ends it."""
        if not isinstance(error, WavesLost) or self.context.recovery is Recovery.REPLAY:
            super().on_error(fe, error)
            self.finished = True
        elif not self.finished:
            self.heard = True
            note_error(fe, error)
            if error.wave + error.count >= self.end and error.stream in self.waiting:
                self._at_the_end(fe, error.stream, EMPTY)

    def _look_inside(self, fe: FrontEndHandle, result: Result, values: Any) -> None:
        for odd in self.elements[result.stream].odd(result.first, values, result.contributors):
            self.uneven += 1
            if self.uneven <= _MOST_UNEVEN:
                fe.note("uneven", stream=result.stream, contributors=list(result.contributors), **odd._asdict())

    def _at_the_end(self, fe: FrontEndHandle, stream: int, contributors: RankSet) -> None:
        reached = self.reached[stream] = self.reached[stream] | contributors
        if self.patient and not self.ending and not (self.members & fe.alive).issubset(reached):
            return
        self.waiting.discard(stream)
        if self.waiting:
            return
        if self.context.recovery not in _STATEFUL or not self.workload.settle_s or self._whole(fe):
            self._finish(fe)
        elif not self.settling:
            self.settling = True  # adopted back-ends still bring their state
            self.settled_s = fe.now + self.workload.settle_s
            fe.call_at(self._look_again(fe))

    def _look_again(self, fe: FrontEndHandle) -> float:
        """When to see whether the states are whole: at the end of `settle_s`; parts of states come without being told."""
        return min(self.settled_s, fe.now + _LOOK_S) if self.context.recovery is Recovery.DECOMPOSE else self.settled_s

    def _whole(self, fe: FrontEndHandle) -> bool:
        """Whether the states hold what they will ever hold."""
        if self.context.recovery is Recovery.DECOMPOSE:
            return not any(extent.pending for stream in self.elements if (extent := fe.extent(stream)) is not None)
        return self._everybody_reached(fe)

    def _everybody_reached(self, fe: FrontEndHandle) -> bool:
        """Whether all that are alive were in the last waves of all streams."""
        alive = self.members & fe.alive
        return all(alive.issubset(reached) for reached in self.reached.values())

    def on_timer(self, fe: FrontEndHandle) -> None:
        """The duration is over, or the adopted have had their time, or the last waves went down with a node for good.

        A timed run ends with one wave more of each stream (under `compose`, if one comes soon, with everybody in it):
        a stream that has come to a stop ends in the deadline's error instead.
        """
        if self.workload.duration_s and not self.settling and self.waiting:
            self.ending = True
            return
        if self.heard and not self.settling and not self.workload.duration_s:
            self.heard = False
            fe.call_at(fe.now + self.context.deadline_s)
        elif self.settling and fe.now < self.settled_s and not self._whole(fe):
            fe.call_at(self._look_again(fe))
        else:
            self._finish(fe)

    def on_membership(self, fe: FrontEndHandle, dead: RankSet) -> None:
        """Where only the dead have not said their last, that was it."""
        super().on_membership(fe, dead)
        if self.settling and self._whole(fe):
            self._finish(fe)
        if self.patient and self.waiting:
            alive = self.members & fe.alive
            self.waiting = {s for s in self.waiting if not self.reached[s] or not alive.issubset(self.reached[s])}
            if not self.waiting:
                self._finish(fe)

    def checkpoint(self) -> bytes:
        """See ResumableApp."""
        streams = [
            [stream, elements.values.stream, stream in self.waiting, self.reached[stream].encoded]
            for stream, elements in self.elements.items()
        ]
        ends = {"settling": self.settling, "heard": self.heard, "finished": self.finished, "ending": self.ending}
        return packed(streams=streams, uneven=self.uneven, **ends)

    def vet(self, state: bytes) -> None:
        """See ResumableApp."""
        self._unpacked(state)

    def _unpacked(self, state: bytes) -> dict[str, Any]:
        flags = {"settling": bool, "heard": bool, "finished": bool, "ending": bool}
        found = unpacked(state, streams=list, uneven=int, **flags)
        found["streams"] = [(int(s), int(index), bool(w), RankSet.decode(r)) for s, index, w, r in found["streams"]]
        if any(not 0 <= index < self.workload.streams for _, index, _, _ in found["streams"]):
            raise ValueError("a state of streams that the workload does not have")
        return found

    def resume(self, fe: FrontEndHandle, state: bytes, shift_s: float) -> None:
        """See ResumableApp."""
        found = self._unpacked(state)
        self.settling, self.heard = found["settling"], found["heard"]
        self.finished, self.ending, self.uneven = found["finished"], found["ending"], found["uneven"]
        self.settled_s = fe.now + self.workload.settle_s  # states are gathered anew, and have their time anew
        self.waiting = {stream for stream, _, waits, _ in found["streams"] if waits}
        self.reached = {stream: ranks for stream, _, _, ranks in found["streams"]}
        self.elements = {s: Elements(self.workload.values(self.context, index)) for s, index, _, _ in found["streams"]}

    def _finish(self, fe: FrontEndHandle) -> None:
        self.finished = True
        for stream in self.elements:
            state = fe.state(stream) if self.context.recovery in _STATEFUL else None
            if state is not None or self.context.recovery is Recovery.DECOMPOSE:
                value = None if state is None else _plain(state, self.elements[stream].values)
                fe.note("final-state", stream=stream, value=value, **extent_told(fe.extent(stream)))
        if self.uneven:
            fe.note("uneven-items", count=self.uneven)
        fe.finish()


def _plain(state: Items, values: Values) -> Any:
    """The state of one wave as plain values; of a large item its sample. Infinities (the free places of top-k) and NaN are
    told as text: the journal is strict JSON and would keep a null of each, so that the check could not tell them apart."""
    if not isinstance(state, np.ndarray):
        return state[0]
    told = state[0].reshape(-1)[values.sample] if values.sliding else state[0]
    if told.dtype.kind != "f" or np.isfinite(told).all():
        return told.tolist()
    return np.where(np.isfinite(told), told.astype(object), told.astype(str)).tolist()


class _BackEnd(BackEndBase):
    def __init__(self, workload: ReduceStream, context: TrialContext, rank: int) -> None:
        self.workload = workload
        self.context = context
        self.rank = rank
        self.sources: dict[int, Source] = {}
        self.opened_s: dict[int, float] = {}
        self.due_s: dict[int, float] = {}
        self.end = workload.waves or FOR_EVER

    def on_open(self, be: BackEndHandle, stream: int, spec: StreamSpec) -> None:
        """Prepare what this rank offers."""
        index = dict(spec.params)["index"]
        self.sources[stream] = Source(self.workload.values(self.context, index), self.rank, spec.item_shape)
        self.opened_s[stream] = be.now

    def produce(self, be: BackEndHandle, stream: int, first: int, at_most: int) -> Items | None:
        """The next waves, as many as are due."""
        if first + at_most > self.end:
            at_most = self.end - first
        rate = self.workload.rate
        if rate:
            if first and stream not in self.due_s:  # it came while the stream ran: what is before is none of its business
                self.opened_s[stream] = be.now - first / rate
            since = self.opened_s[stream]
            due = int((be.now - since) * rate + 1e-6) + 1
            if first + at_most >= due:
                at_most = due - first
                self.due_s[stream] = max(since + due / rate, be.now + _TICK_S)
                be.call_at(min(t for t in self.due_s.values() if t > be.now))
        return self.sources[stream].make(first, at_most) if at_most > 0 else None

    def on_close(self, be: BackEndHandle, stream: int) -> None:
        """Forget the stream."""
        self.sources.pop(stream, None)
        self.due_s.pop(stream, None)
