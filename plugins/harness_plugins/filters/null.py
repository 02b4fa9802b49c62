"""The filter that does nothing: null."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from harness.api.filters import Algebra, Codec, Items, RankSet


@dataclass(frozen=True)
class Null:
    """No aggregation: every contribution reaches the front-end by itself, so a stream of it is run with do-not-wait.

    carries: what the items are, "bytes", "msgpack" or "array". Items are not cut, so one of them must fit a frame.
    """

    #: Tells the conformance check that there is nothing to merge, so the laws of merging do not apply.
    aggregates: ClassVar[bool] = False

    algebra: ClassVar[Algebra] = Algebra(idempotent=False, invertible=False, keyed=False, ordered=False)
    elementwise: ClassVar[bool] = False

    carries: str = "bytes"

    def __post_init__(self) -> None:
        if self.carries not in tuple(Codec):
            raise ValueError(f'null: carries = "{self.carries}" must be one of {", ".join(Codec)}')

    @property
    def codec(self) -> Codec:
        """What `carries` says."""
        return Codec(self.carries)

    def lift(self, items: Items, rank: int) -> Items:
        """The items as they are."""
        return items

    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        """The only part. Raises TypeError where there are more."""
        if len(parts) != 1:
            raise TypeError(f'null does not merge, but was given {len(parts)} parts; use sync = "do-not-wait"')
        return parts[0]

    def fold(self, items: Items) -> Items:
        """Raises TypeError: there is no state."""
        raise TypeError('null has no state to compose; use recovery = "replay" or "resume"')

    def lower(self, items: Items, contributors: RankSet) -> Items:
        """The items as they are."""
        return items
