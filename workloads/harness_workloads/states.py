"""The filter state of a `compose` stream at its end, against the same filter applied to all contributions in one process.

States of an idempotent, commutative and associative filter form a semilattice: x is contained in y where combining the two
gives y. So the state must contain everything that the live back-ends contributed, and, for each back-end that was
hit, the contributions up to some wave: the longest such prefix that the state contains is found by bisection, and the live
ranks' state combined with these prefixes must be the state itself, no less and no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api.records import TrialRecord, Violation
from harness.api.workload import TrialContext
from harness.core.filters import Items
from harness.core.ranks import RankSet
from harness_workloads import common
from harness_workloads.oracle import ByFilter
from harness_workloads.values import SMALL, Values

if TYPE_CHECKING:
    from harness_workloads.reduce_stream import ReduceStream

#: Contributions that one check may recompute for items beyond this size would take minutes.
_MOST_NUMBERS = 1 << 31


class _Lattice:
    """The states that ranks' prefixes have."""

    def __init__(self, oracle: ByFilter, everyone: RankSet) -> None:
        self.oracle = oracle
        self.everyone = everyone

    def join(self, a: Items, b: Items) -> Items:
        return self.oracle.filter.combine([a, b], [self.everyone, self.everyone])

    def contains(self, whole: Items, part: Items) -> bool:
        return same(self.join(whole, part), whole)

    def longest(self, whole: Items, rank: int, most: int) -> int:
        """How many of the first `most` waves of `rank` the state contains."""
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            if self.contains(whole, self.oracle.state([rank], middle)):
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
) -> list[Violation]:
    """What is wrong with the state that the front-end noted for `stream`. sure: for each member, the waves that it must have
    contributed to [0, n); 0 for one whose process was hit. Items of more than SMALL elements are not judged."""
    noted = [n for n in common.notes(record, "final-state") if n["stream"] == stream]
    where = f"stream {stream}: the final state"
    if not noted:
        return [Violation("missing", f"{where} was not delivered")] if record.of_kind("finished") else []
    waves = max(sure.values(), default=0)
    if values.elements > SMALL or waves * len(sure) * values.elements > _MOST_NUMBERS:
        return []
    oracle = ByFilter(values, common.filter_of(record, values.filter), workload.item_shape)
    lattice = _Lattice(oracle, RankSet.of(sure))
    live = [rank for rank, n in sure.items() if n]
    state = _typed(noted[-1]["value"], oracle, next(iter(sure)))
    if workload.waves:
        return _exactly(lattice, state, live, [r for r in sure if r not in live], waves, where)
    beyond = waves + workload.window * (context.tree.depth + 2)
    if live and not lattice.contains(state, oracle.state(live, waves)):
        return [Violation("lost", f"{where} lacks something that the live ranks contributed to waves 0 to {waves - 1}")]
    if not lattice.contains(oracle.state(list(sure), beyond), state):
        return [Violation("unexpected", f"{where} holds something that no rank can have contributed")]
    return []


def _exactly(
    lattice: _Lattice, state: Items, live: list[int], hit: list[int], waves: int, where: str
) -> list[Violation]:
    built: Items | None = lattice.oracle.state(live, waves) if live else None
    if built is not None and not lattice.contains(state, built):
        missing = [r for r in live if not lattice.contains(state, lattice.oracle.state([r], waves))]
        return [Violation("lost", f"{where} lacks something that rank {r} contributed", r) for r in missing]
    for rank in hit:
        prefix = lattice.longest(state, rank, waves)
        if prefix:
            part = lattice.oracle.state([rank], prefix)
            built = part if built is None else lattice.join(built, part)
    if built is None or not same(built, state):
        return [Violation("unexpected", f"{where} holds something that no rank contributed")]
    return []


def _typed(value: Any, oracle: ByFilter, rank: int) -> Items:
    """The noted state in the type that the filter gives."""
    example = oracle.state([rank], 1)
    return np.asarray([value], dtype=example.dtype) if isinstance(example, np.ndarray) else [value]
