"""The filter state of a `decompose` stream at its end, against the contributions that it says it holds.

The front-end tells which contributions are in its state. So two things are judged: whether it had a right to lack what it lacks
(everything of the living and everything that was delivered must be inside), and whether the state is the fold of the rest, each
contribution once: exactly for integers, within the rounding of one addition a contribution for floats (Higham, "Accuracy and
Stability of Numerical Algorithms", 2nd edition, 2002, section 4.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api.filters import Filter
from harness.api.records import TrialRecord, Violation
from harness.core.ledger import Extent
from harness.core.ranks import RankSet
from harness_workloads import common
from harness_workloads.coverage import Span
from harness_workloads.extents import extent_read, holds
from harness_workloads.oracle import ARITHMETIC, LINEAR
from harness_workloads.states import ENOUGH_NUMBERS, MOST_NUMBERS
from harness_workloads.values import Array, Picked, Source, Values

if TYPE_CHECKING:
    from harness_workloads.reduce_stream import ReduceStream

#: So many numbers are in memory at once.
_NUMBERS = 1 << 22
_BLOCK = 1 << 13


def judge_parts(
    workload: ReduceStream, record: TrialRecord, values: Values, stream: int, members: RankSet, rows: Any, waves: int
) -> list[Violation]:
    """What is wrong with the state that the front-end noted for `stream`. rows: the stream's samples. waves: how many waves the
    state must be about at least."""
    noted = [n for n in common.notes(record, "final-state") if n["stream"] == stream]
    where = f"stream {stream}: the final state"
    if not noted:
        return [Violation("missing", f"{where} was not delivered")] if record.of_kind("finished") else []
    extent, told = extent_read(noted[-1]), noted[-1]["value"]
    elementwise = values.filter in LINEAR
    chunk = workload.chunk if elementwise else values.elements
    per_wave = -(-values.elements // chunk)
    found = _lacking(extent, record, rows, where)
    if extent.units < waves * per_wave and members - RankSet.of(common.struck(record)):  # the dead owe nothing
        found.append(Violation("lost", f"{where} is about {extent.units // per_wave} of {waves} waves"))
    if told is None:
        return found
    every = max(1, waves * len(members) * len(values.sample) // ENOUGH_NUMBERS) if elementwise else 1
    elements = values.sample[::every] if elementwise else np.arange(values.elements)
    if waves * len(members) * len(elements) > MOST_NUMBERS and values.filter != "count":
        return found
    state = np.ravel(np.asarray(told, dtype=np.float64 if values.filter == "average" else None))
    fold = Fold(values, common.filter_of(record, values.filter), workload.item_shape)
    if not elementwise:
        return found + _differs(fold, holds(extent, members, 0, 1), elements, state, where)
    for c in np.unique(elements // chunk):
        mine = elements // chunk == c
        found += _differs(fold, holds(extent, members, int(c), per_wave), elements[mine], state[::every][mine], where)
    return found


def _lacking(extent: Extent, record: TrialRecord, rows: Any, where: str) -> list[Violation]:
    """What the state lacks without a reason."""
    found = []
    struck = RankSet.of(common.struck(record))
    for x in (*extent.pending, *extent.absent):
        waves = f"waves {x.first} to {x.stop - 1}"
        if owing := x.ranks - struck:
            text = f"{where} lacks {waves} of ranks {owing}, though alive"
            found.append(Violation("lost", text, next(iter(owing)), x.first))
        there = rows[(rows["first"].astype(np.int64) < x.stop) & (rows["first"] + rows["count"] > x.first)]
        for i in np.unique(there["contributors"]):
            if came := x.ranks & record.contributor_sets[int(i)]:
                text = f"{where} lacks some of {waves} of ranks {came}, which were delivered"
                found.append(Violation("lost", text, next(iter(came)), x.first))
    return found


def _differs(
    fold: Fold, held: Mapping[tuple[Span, ...], Sequence[int]], elements: Array, state: Array, where: str
) -> list[Violation]:
    """Whether the state is no fold of what it says it holds."""
    wanted, slack = fold.of(held, elements)
    if wanted.shape != state.shape:
        return [Violation("mixed", f"{where} has {state.shape[0]} numbers, not {wanted.shape[0]}")]
    wrong = (state != wanted) & ~(np.abs(state - wanted) <= slack) if slack.any() else state != wanted
    if not wrong.any():
        return []
    at = int(np.argmax(wrong))
    text = f"number {at} is {state[at]} instead of {wanted[at]}"
    return [Violation("mixed", f"{where} is not the fold of what it says it holds: {text}")]


class Fold:
    """The fold of contributions, recomputed. sum, average and count by arithmetic; other filters are their own oracle."""

    def __init__(self, values: Values, filter_: Filter, item_shape: tuple[int, ...]) -> None:
        self.values, self.filter, self.shape = values, filter_, item_shape

    def of(self, held: Mapping[tuple[Span, ...], Sequence[int]], elements: Array) -> tuple[Array, Array]:
        """The state that holds these waves of these ranks, and by how much another order of additions may differ from it: shape
        (elements,) each."""
        each = [(rank, span) for spans, ranks in held.items() for rank in ranks for span in spans]
        number = sum(b - a for _, (a, b) in each)
        if self.values.filter == "count":
            return np.array([number]), np.zeros(1)
        if self.values.filter not in ARITHMETIC:
            total = self._by_filter(each, number)
            return total, np.zeros(len(total))
        exact = self.values.dtype.kind != "f" and self.values.filter == "sum"
        total = np.zeros(len(elements), self.values.dtype if exact else np.float64)
        size = np.zeros(len(elements))
        for rank, (a, b) in each:
            for items in _blocks(Picked(self.values, rank, elements), a, b, len(elements)):
                total += items.sum(axis=0, dtype=total.dtype)
                if not exact:
                    size += np.abs(items).sum(axis=0, dtype=np.float64)
        if exact:
            return total, size
        slack = size * number * np.finfo(np.float64 if self.values.filter == "average" else self.values.dtype).eps
        return (total / number, slack / number) if self.values.filter == "average" else (total, slack)

    def _by_filter(self, each: Iterable[tuple[int, Span]], number: int) -> Array:
        folds = []
        for rank, (a, b) in each:
            source = Source(self.values, rank, self.shape)
            folds += [self.filter.fold(self.filter.lift(items, rank)) for items in _blocks(source, a, b, self.values.elements)]
        whole = self.filter.combine(folds, [RankSet.of([i]) for i in range(len(folds))])
        lower = getattr(self.filter, "lower_fold", None)
        return np.ravel(np.asarray(whole if lower is None else lower(whole, number)))


def _blocks(source: Source | Picked, first: int, stop: int, elements: int) -> Iterator[Array]:
    """The waves [first, stop) of a rank, in arrays of a size that fits the memory."""
    most = max(1, min(_BLOCK, _NUMBERS // max(1, elements)))
    while first < stop:
        made = source.make(first, min(most, stop - first))
        yield made
        first += len(made)
