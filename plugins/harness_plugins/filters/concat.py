"""The filter that keeps every contribution apart: concat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.api.filters import Algebra, Codec, Items, RankSet


@dataclass(frozen=True)
class Concat:
    """All contributions of a wave, one row each, in rank order: shape (waves, contributors, *item).

    Row i belongs to the i-th smallest contributing rank, whatever the shape of the tree and in whichever order the parts
    came. Large items may be cut: then rows hold chunks, shape (waves, contributors, chunk elements).
    """

    algebra: ClassVar[Algebra] = Algebra(idempotent=False, invertible=True, keyed=True, ordered=True)
    codec: ClassVar[Codec] = Codec.ARRAY
    elementwise: ClassVar[bool] = True

    def lift(self, items: Items, rank: int) -> Items:
        """One row a wave: shape (waves, *item) to (waves, 1, *item)."""
        return np.asarray(items)[:, None]

    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        """All rows in rank order. Raises ValueError where a rank is in two parts, or rows and ranks differ in number."""
        if len(parts) == 1:
            return parts[0]
        total, order = _row_order(tuple(ranks))
        rows = np.concatenate(parts, axis=1)
        if rows.shape[1] != total:
            raise ValueError(f"concat: {rows.shape[1]} rows of {total} ranks")
        return rows if order is None else np.take(rows, order, axis=1)

    def remove(self, total: Items, part: Items, contributors: RankSet, taken: RankSet) -> Items:
        """`total`, the rows of `contributors`, without those of `taken`."""
        return np.asarray(total)[:, [i for i, rank in enumerate(contributors) if rank not in taken]]

    def pick(self, total: Items, contributors: RankSet, rank: int) -> Items:
        """What `rank` alone contributed to `total`, shape (waves, 1, *item)."""
        i = list(contributors).index(rank)
        return np.asarray(total)[:, i : i + 1]

    def fold(self, items: Items) -> Items:
        """Raises TypeError: rows that are sent twice would be there twice."""
        raise TypeError('concat is not idempotent, so it has no state to compose; use recovery = "replay"')

    def lower(self, items: Items, contributors: RankSet) -> Items:
        """The rows themselves."""
        return items


@lru_cache(maxsize=1024)
def _row_order(ranks: tuple[RankSet, ...]) -> tuple[int, NDArray[Any] | None]:
    """The number of rows, and the permutation that puts the rows of the parts, laid end to end, in rank order (None where
    they already are). Cached, since the parts of a stream hardly ever change."""
    flat = np.array([rank for part in ranks for rank in part], dtype=np.int64)
    order = np.argsort(flat, kind="stable")
    if np.any(np.diff(flat[order]) == 0):
        raise ValueError(f"concat: a rank is in two of the parts {', '.join(f'[{part}]' for part in ranks)}")
    if np.all(np.diff(flat) > 0):
        return len(flat), None
    order.flags.writeable = False
    return len(flat), order
