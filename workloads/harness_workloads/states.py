"""The filter state of a `compose` stream at its end, against the same filter applied to all contributions in one process.

States of an idempotent, commutative and associative filter form a semilattice: x is contained in y where combining the two
gives y. So the state must contain everything that the live back-ends contributed, and, for each back-end that was
hit, the contributions up to some wave: the longest such prefix that the state contains is found by bisection, and the live
ranks' state combined with these prefixes must be the state itself, no less and no more. A back-end that came or went while the
stream ran has such a prefix of each of its lives.

Items that are cut come in chunks, and a back-end may have been hit between two of them: so each chunk has its own prefixes. Of
a large item the front-end tells a sample (values.py), some elements of every chunk, which are judged like whole items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api.records import TrialRecord, Violation
from harness.api.workload import TrialContext
from harness.core.filters import Items
from harness.core.ranks import RankSet
from harness.core.spec import Sync
from harness_workloads import common
from harness_workloads.oracle import ARITHMETIC, ByFilter
from harness_workloads.values import Values

if TYPE_CHECKING:
    from harness_workloads.reduce_stream import ReduceStream

#: To recompute more contributions than this would take minutes.
MOST_NUMBERS = 1 << 31
#: Where there are more, fewer elements are compared: these take seconds.
ENOUGH_NUMBERS = 1 << 28


class _Lattice:
    """The states that ranks' prefixes have."""

    def __init__(self, oracle: ByFilter, everyone: RankSet) -> None:
        self.oracle = oracle
        self.everyone = everyone

    def join(self, a: Items, b: Items) -> Items:
        return self.oracle.filter.combine([a, b], [self.everyone, self.everyone])

    def contains(self, whole: Items, part: Items) -> bool:
        return same(self.join(whole, part), whole)

    def longest(self, whole: Items, rank: int, begin: int, end: int) -> int:
        """How far from wave `begin` on, and at most to `end`, the state contains the waves of `rank`."""
        low, high = begin, end
        while low < high:
            middle = (low + high + 1) // 2
            if self.contains(whole, self.oracle.state([rank], middle, begin)):
                low = middle
            else:
                high = middle - 1
        return low


def same(a: Items, b: Items) -> bool:
    """Whether two states are equal, element by element."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and bool(np.array_equal(a, b))
    return not isinstance(a, np.ndarray) and not isinstance(b, np.ndarray) and list(a) == list(b)


def judge_state(
    workload: ReduceStream,
    record: TrialRecord,
    context: TrialContext,
    values: Values,
    stream: int,
    sure: Mapping[int, int],
    waves: int,
    lives: Mapping[int, Sequence[tuple[int, int]]],
    made: Mapping[int, Sequence[tuple[int, int]]],
) -> list[Violation]:
    """What is wrong with the state that the front-end noted for `stream`; of a cut item, with its first chunk that is wrong.
    sure: for each member, the waves that it must have contributed to [0, n); 0 for one whose process was hit. waves: how many
    there were. lives: for members that came or went, the waves [first, stop) that each of their processes may have contributed
    to; they are not sure. made: the waves [first, stop) that processes had produced when they left in order; those are."""
    noted = [n for n in common.notes(record, "final-state") if n["stream"] == stream]
    where = f"stream {stream}: the final state"
    if not noted:
        return [Violation("missing", f"{where} was not delivered")] if record.of_kind("finished") else []
    told = noted[-1]["value"]
    every = max(1, waves * len(sure) * len(values.sample) // ENOUGH_NUMBERS) if values.filter in ARITHMETIC else 1
    sample = values.sample[::every]
    if waves * len(sure) * len(sample) > MOST_NUMBERS:
        return []
    filter_ = common.filter_of(record, values.filter)
    beyond = 0 if workload.waves else waves + workload.window * (context.tree.depth + 2)
    if values.filter not in ARITHMETIC:
        return _judged(ByFilter(values, filter_, workload.item_shape), told, sure, waves, beyond, lives, made, where)
    chunk = workload.chunk if context.sync is not Sync.DO_NOT_WAIT else values.elements
    cuts = np.flatnonzero(np.diff(sample // chunk)) + 1
    for elements, part in zip(np.split(sample, cuts), np.split(np.ravel(told)[::every], cuts), strict=True):
        at = f"{where}, elements {elements[0]} to {elements[-1]}," if len(cuts) else where
        oracle = ByFilter(values, filter_, workload.item_shape, elements)
        if found := _judged(oracle, part, sure, waves, beyond, lives, made, at):
            return found
    return []


def _judged(
    oracle: ByFilter,
    told: Any,
    sure: Mapping[int, int],
    waves: int,
    beyond: int,
    lives: Mapping[int, Sequence[tuple[int, int]]],
    made: Mapping[int, Sequence[tuple[int, int]]],
    where: str,
) -> list[Violation]:
    """What is wrong with a state. beyond: where it is not known how many waves there were, more than there can have been."""
    lattice = _Lattice(oracle, RankSet.of(sure))
    state = _typed(told, oracle, next(iter(sure)))
    live = [rank for rank, n in sure.items() if n]
    for rank, a, b in ((rank, a, b) for rank, spans in made.items() for a, b in spans):
        if not lattice.contains(state, oracle.state([rank], b, a)):
            text = f"{where} lacks something that rank {rank} contributed to waves {a} to {b - 1}, before it left"
            return [Violation("lost", text, rank, a)]
    if not beyond:
        spans = [(r, *span) for r in sure if r not in live for span in lives.get(r, [(0, waves)])]
        return _exactly(lattice, state, live, spans, waves, where)
    if live and not lattice.contains(state, oracle.state(live, waves)):
        return [Violation("lost", f"{where} lacks something that the live ranks contributed to waves 0 to {waves - 1}")]
    if not lattice.contains(oracle.state(list(sure), beyond), state):
        return [Violation("unexpected", f"{where} holds something that no rank can have contributed")]
    return []


def _exactly(
    lattice: _Lattice, state: Items, live: list[int], hit: Sequence[tuple[int, int, int]], waves: int, where: str
) -> list[Violation]:
    """hit: (rank, first wave, stop): what may be inside, up to some wave."""
    built: Items | None = lattice.oracle.state(live, waves) if live else None
    if built is not None and not lattice.contains(state, built):
        missing = [r for r in live if not lattice.contains(state, lattice.oracle.state([r], waves))]
        return [Violation("lost", f"{where} lacks something that rank {r} contributed", r) for r in missing]
    for rank, begin, end in hit:
        prefix = lattice.longest(state, rank, begin, end)
        if prefix > begin:
            part = lattice.oracle.state([rank], prefix, begin)
            built = part if built is None else lattice.join(built, part)
    if built is None or not same(built, state):
        return [Violation("unexpected", f"{where} holds something that no rank contributed")]
    return []


def _typed(value: Any, oracle: ByFilter, rank: int) -> Items:
    """The noted state in the type that the filter gives; numpy reads back the infinities that were noted as text."""
    example = oracle.state([rank], 1)
    return np.asarray([value], dtype=example.dtype) if isinstance(example, np.ndarray) else [value]
