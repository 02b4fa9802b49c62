"""The filter `range`: the least and the greatest value of every element, in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.api.filters import Algebra, Array, Codec, Filter, Items, RankSet
from harness.hookspecs import hookimpl


@dataclass(frozen=True)
class Range:
    """Least and greatest of each element over all back-ends; NaN wins both, so that a bad sample is seen.

    Items have shape (waves, *item), aggregates and results (waves, *item, 2): the least at [..., 0], the greatest at [..., 1].
    """

    algebra: ClassVar[Algebra] = Algebra(idempotent=True, invertible=False, keyed=False, ordered=False)
    codec: ClassVar[Codec] = Codec.ARRAY
    elementwise: ClassVar[bool] = False  # an aggregate has more elements than its item, so no item may be cut into chunks

    def lift(self, items: Items, rank: int) -> Items:
        """Every value is both the least and the greatest of itself."""
        return np.stack([items, items], axis=-1)

    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        """The range over several subtrees, wave by wave."""
        if len(parts) == 1:
            return parts[0]
        whole: Array = _range(np.stack([np.asarray(part) for part in parts]))[0]
        return whole

    def fold(self, items: Items) -> Items:
        """The range over all waves: the state from which an adopter goes on."""
        return _range(np.asarray(items))

    def lower(self, items: Items, contributors: RankSet) -> Items:
        """The pairs themselves."""
        return items


def _range(pairs: Array) -> Array:
    """One pair for all along the first axis, which stays, with length 1."""
    return np.stack([pairs[..., 0].min(axis=0, keepdims=True), pairs[..., 1].max(axis=0, keepdims=True)], axis=-1)


@hookimpl
def harness_filters() -> Mapping[str, type[Filter]]:
    """Kinds for `case.filter`."""
    return {"range": Range}
