"""What a stream of `mixed` is asked to be: drawn from the trial's seed and the stream's number alone."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np

from harness.core.filters import chunk_elements
from harness.core.ranks import EMPTY, RankSet
from harness.core.spec import Accept, Recovery, StreamSpec, Sync
from harness_workloads.values import DTYPES

T = TypeVar("T")

#: What a stream may draw, and how many times as often as others. `null` merges nothing; `compose` takes what is idempotent.
FILTERS = {"sum": 2, "max": 2, "min": 1, "average": 1, "concat": 1, "count": 1, "union": 1, "classes": 1, "null": 1}
IDEMPOTENT = ("max", "min", "union", "classes")
DECOMPOSABLE = ("sum", "count", "average")
OPAQUE = ("union", "classes", "null")
RECOVERIES = {Recovery.REPLAY: 2, Recovery.COMPOSE: 1, Recovery.RESUME: 1, Recovery.DECOMPOSE: 1}
SYNCS = {Sync.WAIT_FOR_ALL: 2, Sync.TIME_OUT: 1, Sync.DO_NOT_WAIT: 1}
ACCEPTS = {Accept.COMPLETE: 4, Accept.QUORUM: 1, Accept.DEADLINE: 1}
#: The deadline of a stream whose waves should all come out; others have one that recoveries exceed.
LONG_S = 60.0
#: Streams that come and go do so within so many seconds.
COMING_S = 2.5
#: States that grow with each wave cost memory, and chunks cost time: such a stream has fewer waves.
_FEW_WAVES, _FEW_OF_CHUNKS = 40, 10


class Choice(NamedTuple):
    """A combination that the protocol takes."""

    recovery: Recovery
    sync: Sync
    filter: str
    accept: Accept


def choices(
    recoveries: Sequence[Recovery], syncs: Sequence[Sync], filters: Sequence[str], accepts: Sequence[Accept]
) -> list[Choice]:
    """The combinations that work, out of these values; all values of an empty list."""
    every = itertools.product(recoveries or RECOVERIES, syncs or SYNCS, filters or FILTERS, accepts or ACCEPTS)
    return [c for c in map(Choice._make, every) if _works(c)]


def _works(c: Choice) -> bool:
    if c.recovery is Recovery.REPLAY and c.sync is not Sync.WAIT_FOR_ALL:
        return False
    if c.recovery is Recovery.COMPOSE and c.filter not in IDEMPOTENT:
        return False
    if c.recovery is Recovery.DECOMPOSE and (c.filter not in DECOMPOSABLE or c.sync is not Sync.WAIT_FOR_ALL):
        return False
    if c.filter == "null" and c.sync is not Sync.DO_NOT_WAIT:
        return False
    return c.accept is Accept.COMPLETE or c.sync is Sync.WAIT_FOR_ALL


@dataclass(frozen=True)
class Message:
    """A message down: to some ranks, or (empty) to all members; so many bytes more than its name takes."""

    to: RankSet
    more: int


@dataclass(frozen=True)
class StreamPlan:
    """One stream. index: its number in the workload. open_at_s: seconds after the start; close_at_s: the same, where it is
    closed whatever is outstanding. tidy: it is closed from within the callback of its last wave. step: so many waves are asked
    for at a time (0: all at once)."""

    index: int
    spec: StreamSpec
    waves: int
    messages: tuple[Message, ...] = ()
    open_at_s: float = 0.0
    close_at_s: float | None = None
    tidy: bool = False
    step: int = 0

    @property
    def label(self) -> str:
        """What people read."""
        return f"stream {self.index} ({self.spec.filter}, {self.spec.recovery}, {self.spec.sync})"

    @property
    def waits(self) -> bool:
        """Whether every wave ends in exactly one result or error."""
        return self.spec.sync is not Sync.DO_NOT_WAIT

    def payload(self, number: int) -> bytes:
        """Message `number`, as it goes down and arrives."""
        return b"%d.%d" % (self.index, number) + b"." * self.messages[number].more

    def meant_for(self, rank: int) -> list[int]:
        """The numbers of the messages that `rank` must receive, in order."""
        return [n for n, m in enumerate(self.messages) if not m.to or rank in m.to]


def draw(
    seed: int, index: int, everybody: RankSet, allowed: Sequence[Choice], most_waves: int, most_messages: int, goes: bool
) -> StreamPlan:
    """Stream `index` of the trial with this seed, the same whatever other streams there are. `allowed`: see `choices`. goes:
    whether it may come late and be closed early."""
    rng = random.Random(f"mixed {seed} {index}")
    members = everybody if rng.random() < 0.6 else _some(rng, everybody)
    recovery, sync, filter_, accept = _choose(rng, random.Random(f"mixed recovery {seed} {index}"), allowed)
    shape: tuple[int, ...] = rng.choice([(), (), (3,), (2, 5), (40,)])
    grows = recovery is Recovery.COMPOSE and filter_ in OPAQUE
    waves = int(most_waves ** rng.random())
    spec = StreamSpec(
        f"mixed-{index}",
        members,
        filter_,
        sync=sync,
        sync_timeout_s=rng.choice([0.005, 0.1, 0.7]) if sync is Sync.TIME_OUT else 0.0,
        recovery=recovery,
        accept=accept,
        quorum=rng.randint(1, len(members)) if accept is Accept.QUORUM else 0,
        accept_after_s=rng.choice([0.02, 0.3, 2.0]) if accept is Accept.DEADLINE else 0.0,
        deadline_s=rng.choice([LONG_S, LONG_S, LONG_S, 0.1, 0.4, 2.0]),
        dtype=DTYPES[item_of(filter_)],
        item_shape=shape,
        window_waves=rng.choice([2, 3, 16, 100]),
        window_bytes=rng.choice([64, 1024, 1 << 20]),
        chunk_bytes=rng.choice([8, 24, 100, 1 << 18]),
        params=(("index", index),),
    )
    talkative = int(most_messages ** rng.random()) if most_messages and rng.random() < 0.5 else 0
    plan = StreamPlan(
        index,
        spec,
        _affordable(waves, spec, grows),
        tuple(_message(rng, members) for _ in range(talkative)),
        step=rng.choice([0, 0, 1, 7]),
    )
    return _come_and_go(rng, plan) if goes else plan


def _affordable(waves: int, spec: StreamSpec, grows: bool) -> int:
    if grows:
        waves = min(waves, _FEW_WAVES)
    elements, chunk = (
        math.prod(spec.item_shape),
        chunk_elements(spec.item_shape, np.dtype(spec.dtype).itemsize, spec.chunk_bytes),
    )
    return max(waves // -(-elements // chunk), min(waves, _FEW_OF_CHUNKS))


def item_of(filter_: str) -> str:
    """The type of the items that a filter is given, as a key of DTYPES."""
    return "f64" if filter_ == "average" else "i64"


def _choose(rng: random.Random, apart: random.Random, allowed: Sequence[Choice]) -> Choice:
    """One of `allowed`, key after key, so that what goes with many values of the later keys is not drawn more often. Then, for
    some of those that can have it, recovery `decompose` instead."""
    left = [c for c in allowed if c.recovery is not Recovery.DECOMPOSE] or list(allowed)
    left = _keep(rng, left, 0, RECOVERIES)
    left = _keep(rng, left, 1, SYNCS)
    left = _keep(rng, left, 2, FILTERS)
    chosen = _keep(rng, left, 3, ACCEPTS)[0]
    instead = chosen._replace(recovery=Recovery.DECOMPOSE)
    return instead if instead in allowed and apart.random() < 0.4 else chosen


def _keep(rng: random.Random, left: list[Choice], key: int, weights: dict[T, int]) -> list[Choice]:
    values = [v for v in weights if any(c[key] == v for c in left)]
    chosen = rng.choices(values, [weights[v] for v in values])[0]
    return [c for c in left if c[key] == chosen]


def _message(rng: random.Random, members: RankSet) -> Message:
    kind = rng.random()
    to = EMPTY if kind < 0.4 else _some(rng, members) if kind < 0.6 else RankSet.of([rng.choice(list(members))])
    return Message(to, rng.choice([0, 0, 0, 100, 3000]))


def _come_and_go(rng: random.Random, plan: StreamPlan) -> StreamPlan:
    open_at_s = rng.choice([0.0, rng.random() * COMING_S]) if plan.index else 0.0
    close_at_s = open_at_s + rng.choice([0.0, rng.random() * 0.1, rng.random() * 2.0]) if rng.random() < 0.2 else None
    tidy = close_at_s is None and rng.random() < 0.2
    return replace(plan, open_at_s=open_at_s, close_at_s=close_at_s, tidy=tidy)


def _some(rng: random.Random, ranks: RankSet) -> RankSet:
    return RankSet.of(rng.sample(list(ranks), rng.randint(1, len(ranks))))
