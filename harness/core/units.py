"""How the waves of a stream are numbered on the wire, and how many of them may be under way.

A wave of a small item is one unit; a large item is cut into chunks, one unit each, so that parents reduce the first chunk
while the rest is still coming. Everything that is counted (first, limits, marks) counts units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.core.filters import Codec, Filter, Items, chunk_elements
from harness.core.spec import Recovery, StreamSpec, Sync

#: Where nothing is acknowledged, nothing waits for it.
_NO_WINDOW = 1 << 62


@dataclass(frozen=True, slots=True)
class Units:
    """per_wave: units in a wave. elements: array elements in a whole item. chunk: elements in a unit (the last may be
    shorter). link_window: units that may be queued on one link. window: units that may be unacknowledged (replay only).
    batch: units that one frame may carry. dtype and shape: what the partial aggregate of a unit is (arrays only), which every
    filter keeps (harness.testing checks it); for an ordered filter, `shape` begins with the rows, one a contributor."""

    per_wave: int
    elements: int
    chunk: int
    link_window: int
    window: int
    batch: int
    unit_bytes: int
    ordered: bool = False
    dtype: np.dtype[Any] | None = None
    shape: tuple[int, ...] = ()

    @classmethod
    def of(cls, spec: StreamSpec, filter_: Filter) -> Units:
        """The numbering for one stream; the same at every node, since it follows from the announced spec alone."""
        replay = spec.recovery is Recovery.REPLAY
        waves = max(2, spec.window_waves)
        if filter_.codec is not Codec.ARRAY:
            link = min(waves, 1024)
            return cls(1, 0, 0, link, link if replay else _NO_WINDOW, max(1, link // 2), 0)
        itemsize = np.dtype(spec.dtype).itemsize
        elements = int(np.prod(spec.item_shape, dtype=np.int64)) if spec.item_shape else 1
        # The aggregate of an ordered filter holds a row of every contributor: at the root all of them.
        rows = len(spec.members) if filter_.algebra.ordered else 1
        chunk = max(1, elements)
        if filter_.elementwise and spec.sync is not Sync.DO_NOT_WAIT:  # chunks of several senders would mix
            chunk = chunk_elements(spec.item_shape, itemsize * rows, spec.chunk_bytes)
        per_wave = max(1, -(-elements // chunk))
        sample = np.zeros((1, chunk) if per_wave > 1 else (1, *spec.item_shape), spec.dtype)
        lifted = filter_.lift(sample, 0)
        lifted = lifted if isinstance(lifted, np.ndarray) else sample
        unit = rows * lifted.nbytes
        by_bytes = max(2, spec.window_bytes // max(1, unit))
        link = min(waves * per_wave, by_bytes)
        window = link if per_wave == 1 else max(link, 2 * per_wave)
        if not replay:
            window = _NO_WINDOW
        batch = 1 if per_wave > 1 else max(1, min(link // 2, spec.chunk_bytes // max(1, unit)))
        ordered = filter_.algebra.ordered
        return cls(per_wave, elements, chunk, link, window, batch, unit, ordered, lifted.dtype, lifted.shape[1:])

    def misfit(self, first: int, items: Items, contributors: int) -> str:
        """What is wrong with the partial aggregates of units from `first` on, shape (count, ...); empty where all is right."""
        if self.dtype is None:
            return ""
        shape = self.shape
        if self.ordered:
            shape = (contributors, *shape[1:])
        if self.per_wave > 1 and first % self.per_wave == self.per_wave - 1:
            shape = (*shape[:-1], self.elements - (self.per_wave - 1) * self.chunk)
        if isinstance(items, np.ndarray) and items.dtype == self.dtype and items.shape[1:] == shape:
            return ""
        what = f"{items.dtype} of shape {items.shape[1:]}" if isinstance(items, np.ndarray) else "no array"
        return f"unit {first} is {what} where the stream has {self.dtype} of shape {shape}"
