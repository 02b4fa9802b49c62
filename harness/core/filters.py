"""What a filter is: an algebra over the packets of one wave.

A filter is described the way incremental aggregation describes it: `lift` turns what a back-end offers into a partial
aggregate, `combine` merges partial aggregates (associative always), `lower` turns the root's aggregate into the result.
`fold` combines consecutive waves into one, which is the filter state that `compose` and `decompose` rebuild (Arnold and Miller,
"Scalable Failure Recovery for Tree-based Overlay Networks", IPDPS 2010, state composition and decomposition).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from harness.core.ranks import RankSet

Array = NDArray[Any]
#: The packets of consecutive waves: an array of shape (waves, *item), or a list with one object per wave.
Items = Array | list[Any]


class Codec(StrEnum):
    """How items travel: as one contiguous array, or one opaque value a wave."""

    ARRAY = "array"
    BYTES = "bytes"
    MSGPACK = "msgpack"


@dataclass(frozen=True, slots=True)
class Algebra:
    """The laws that `combine` obeys beside associativity.

    idempotent: combining a value with itself changes nothing, so a state may be sent twice (`compose` recovery is exact).
    invertible: a contribution can be taken out again. keyed: contributions stay apart by key, so that replacing one is
    possible. ordered: the order of the contributions (by rank) matters; otherwise `combine` is commutative. decomposable: not
    idempotent, but the fold of many waves is the same however the contributions are split into parts that do not overlap
    (Jesus, Baquero and Almeida, "A Survey of Distributed Data Aggregation Algorithms", IEEE Communications Surveys and
    Tutorials 17(1), 2015, section II), so a state can be put together from parts (`decompose` recovery is exact).
    """

    idempotent: bool
    invertible: bool
    keyed: bool
    ordered: bool
    decomposable: bool = False


@runtime_checkable
class Filter(Protocol):
    """An upstream filter. Implementations are frozen dataclasses; every method is pure and keeps its inputs unchanged.

    `elementwise` says that `combine` treats every element of the flattened item alone, so that a large item may be cut into
    chunks that are combined as they come. An ordered filter with elementwise items (concat) works on rows: its partial
    aggregates have shape (waves, contributors, *item), rows in rank order.
    """

    @property
    def algebra(self) -> Algebra: ...

    @property
    def codec(self) -> Codec: ...

    @property
    def elementwise(self) -> bool: ...

    def lift(self, items: Items, rank: int) -> Items:
        """Turn what the back-end `rank` offers, shape (waves, *item), into partial aggregates, one a wave."""
        ...

    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        """Merge partial aggregates of the same waves; `ranks[i]` contributed to `parts[i]`; the sets are disjoint
        except where an idempotent state is merged again. At least one part; one part is returned as it is."""
        ...

    def fold(self, items: Items) -> Items:
        """Combine all waves of `items` into one: shape (waves, *item) to (1, *item). Only for idempotent and decomposable
        filters. A decomposable one may have `lower_fold(items, contributions)` as well: what `lower` is for one wave, for the
        fold of so many contributions (one a rank and wave); without it, the fold is the result."""
        ...

    def lower(self, items: Items, contributors: RankSet) -> Items:
        """Turn the root's aggregates into results, one a wave."""
        ...


@runtime_checkable
class DownFilter(Protocol):
    """A downstream filter: what each node does to a message on its way to the back-ends. Pure, and idempotent, since an
    adopter may pass a message that was filtered before."""

    def apply(self, payload: bytes) -> bytes: ...


def chunk_elements(item_shape: Sequence[int], itemsize: int, chunk_bytes: int) -> int:
    """Elements in a chunk of an item that is cut in pieces of at most `chunk_bytes` bytes (at least one element)."""
    total = int(np.prod(item_shape, dtype=np.int64)) if item_shape else 1
    return max(1, min(total, chunk_bytes // max(1, itemsize)))
