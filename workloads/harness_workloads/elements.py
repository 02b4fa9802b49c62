"""The front-end's check that every element of an item agrees with its first: a large item travels in chunks, and each of
them must hold the same waves of the same ranks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from harness.core.ranks import RankSet
from harness_workloads.oracle import LINEAR
from harness_workloads.values import PERIOD, Array, Values

_TABLES = 4


class Odd(NamedTuple):
    """An item whose elements do not agree: the first wrong element, what it holds, what it should, and how many are wrong."""

    wave: int
    element: int
    value: Any
    wanted: Any
    wrong: int


class Elements:
    """Compares whole items, for the filters that are known by arithmetic. Small items: against their own element 0, since the
    elements' offsets y(e) are the same in every wave. Large ones: against PERIOD expected numbers, that are computed once for
    each contributor set."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.idle = values.elements == 1 or values.filter == "count"
        self._tables: dict[RankSet, Array] = {}

    def odd(self, first: int, results: Array, contributors: RankSet) -> list[Odd]:
        """The items of waves [first, ...) that are not even, results of shape (n, *item)."""
        if self.idle:
            return []
        flat = results.reshape(len(results), -1)
        if self.values.sliding:
            table = self._table(contributors)
            return [odd for i, item in enumerate(flat) if (odd := self._slide(first + i, item, table)) is not None]
        wanted = self._from_heads(flat[:, :1], len(contributors))
        bad = np.flatnonzero((flat != wanted).any(axis=1))
        return [_first_odd(first + int(i), flat[i], wanted[i]) for i in bad]

    def _from_heads(self, heads: Array, n: int) -> Array:
        offsets = self.values.offsets
        if self.values.filter == "average":
            sums: Array = np.rint(heads * n) + offsets.astype(np.float64) * n
            return sums / n
        weight = offsets.dtype.type(n if self.values.filter in LINEAR else 1)
        wanted: Array = heads + offsets * weight
        return wanted

    def _table(self, contributors: RankSet) -> Array:
        """What each place of the ring holds in the result, twice over, so that a window never wraps."""
        table = self._tables.get(contributors)
        if table is None:
            if len(self._tables) >= _TABLES:
                self._tables.pop(next(iter(self._tables)))
            merge = {"min": np.minimum, "max": np.maximum}.get(self.values.filter, np.add)
            ranks = list(contributors)
            total = self.values.ring_of(ranks[0])
            total = total.astype(np.float64) if self.values.filter == "average" else total.copy()
            for rank in ranks[1:]:
                merge(total, self.values.ring_of(rank), out=total)
            if self.values.filter == "average":
                total /= len(ranks)
            table = self._tables[contributors] = np.concatenate([total, total])
        return table

    def _slide(self, wave: int, item: Array, table: Array) -> Odd | None:
        start = self.values.shift(wave)
        window = table[start : start + PERIOD]
        for at in range(0, len(item), PERIOD):
            part = item[at : at + PERIOD]
            if not np.array_equal(part, window[: len(part)]):
                return _first_odd(wave, item, np.resize(window, len(item)))
        return None


def _first_odd(wave: int, item: Array, wanted: Array) -> Odd:
    wrong = np.flatnonzero(item != wanted)
    first = int(wrong[0])
    return Odd(wave, first, item[first].item(), wanted[first].item(), len(wrong))
