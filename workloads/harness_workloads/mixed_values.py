"""What the back-ends offer on the streams of `mixed`, and what must come out: known from the seed, the ranks and the wave, and
from no filter's code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from harness.core.filters import Items
from harness_workloads.extents import Span
from harness_workloads.mixed_plan import StreamPlan, item_of
from harness_workloads.oracle import fingerprint
from harness_workloads.values import Array, Values

#: A result, or a state, in the form in which two are compared: an array, or texts in order.
Plain = Array | list[Any]


class Contributions:
    """The contributions of all ranks to one stream. `ranks` is how many back-ends the tree has."""

    def __init__(self, seed: int, plan: StreamPlan, ranks: int) -> None:
        self.index, self.filter, self.shape = plan.index, plan.spec.filter, plan.spec.item_shape
        elements = int(np.prod(self.shape, dtype=np.int64)) if self.shape else 1
        self.values = Values(seed, plan.index, ranks, item_of(self.filter), self.filter, elements)

    def offer(self, rank: int, first: int, count: int) -> Items:
        """What `rank` offers for waves [first, first + count): shape (count, *item), or a list."""
        waves = range(first, first + count)
        if self.filter == "union":
            return [self._members(rank, w) for w in waves]
        if self.filter == "classes":
            return [self._counts(rank, w) for w in waves]
        if self.filter == "null":
            return [self._packet(rank, w) for w in waves]
        items = self._heads([rank], first, count) + self.values.offsets.astype(np.int64)
        return items.astype(self.values.dtype).reshape(count, *self.shape)

    def reduced(self, ranks: list[int], first: int, count: int) -> Plain:
        """What must come of these waves where each of `ranks` (ascending) contributed once; see `plain`."""
        waves = range(first, first + count)
        if self.filter == "union":
            return [sorted({repr(m) for r in ranks for m in self._members(r, w)}) for w in waves]
        if self.filter == "classes":
            return [_texts(self._classes((r, [w]) for r in ranks)) for w in waves]
        if self.filter == "null":
            return [" ".join(repr(self._packet(r, w)) for r in ranks) for w in waves]
        if self.filter == "count":
            return np.full(count, len(ranks), np.int64)
        heads, offsets = self._heads(ranks, first, count), self.values.offsets.astype(np.int64)
        if self.filter == "concat":
            rows: Array = heads[:, :, None] + offsets
            return rows.reshape(count, len(ranks), *self.shape)
        found: Array
        if self.filter in ("max", "min"):
            found = (heads.max(axis=1) if self.filter == "max" else heads.min(axis=1))[:, None] + offsets
        else:
            found = heads.sum(axis=1)[:, None] + offsets * len(ranks)
        if self.filter == "average":
            found = found / len(ranks)
        return found.reshape(count, *self.shape)

    def plain(self, values: Items) -> Plain:
        """Results as `reduced` gives them."""
        if self.filter == "union":
            return [sorted(repr(m) for m in v) for v in values]
        if self.filter == "classes":
            return [sorted(repr([key, [list(pair) for pair in pairs]]) for key, pairs in v) for v in values]
        if self.filter == "null":
            return [repr(bytes(v)) for v in values]
        return np.asarray(values)

    def first_wrong(self, got: Plain, want: Plain) -> int | None:
        """Where two lists of waves begin to differ; None where they do not."""
        if isinstance(got, np.ndarray) and isinstance(want, np.ndarray):
            if got.shape != want.shape:
                return 0
            same = (got == want).reshape(len(want), -1).all(axis=1)
            return None if same.all() else int(np.argmin(same))
        return next((k for k in range(len(want)) if k >= len(got) or got[k] != want[k]), None)

    @staticmethod
    def number(found: Plain) -> Array:
        """One int64 a wave that depends on all of it."""
        return fingerprint(found)

    def state_fault(self, told: Any, least: Mapping[int, int], most: Mapping[int, int]) -> str:
        """What is wrong with a composed state (of one wave, as it was noted), which holds at least the first waves that `least`
        names (rank: how many) and at most those of `most`; "" where nothing is."""
        if told is None:
            return "is not there" if any(least.values()) else ""
        if self.filter == "union":
            have, low, high = {repr(m) for m in told}, self._seen(least), self._seen(most)
            return _between(low - have, have - high)
        if self.filter == "classes":
            counts = {key: dict(map(tuple, pairs)) for key, pairs in told}
            must = self._classes((r, range(n)) for r, n in least.items())
            may = self._classes((r, range(n)) for r, n in most.items())
            return _between(_above(must, counts), _above(counts, may))
        return self._extreme_fault(np.asarray(told).reshape(-1), least, most)

    def fold_fault(self, told: Any, held: Sequence[Mapping[tuple[Span, ...], Sequence[int]]], chunk: int) -> str:
        """What is wrong with a decomposed state (as it was noted), whose chunk c, of `chunk` elements, says that it holds the
        waves held[c] of the ranks (see `holds`); "" where nothing is. Floats are whole numbers that float64 holds."""
        sums, counts = [], []
        for chunk_held in held:
            each = [(r, a, b - a) for spans, ranks in chunk_held.items() for r in ranks for a, b in spans]
            counts.append(sum(n for _, _, n in each))
            sums.append(sum((int(self._heads([r], a, n).sum()) for r, a, n in each), 0))
        if told is None:
            return "" if 0 in counts else "is not there"
        got = np.asarray(told).reshape(-1)
        if self.filter == "count":
            return "" if got.tolist() == counts else f"counts {got.tolist()}, not {counts}"
        wrap = 1 << 64
        for e, offset in enumerate(self.values.offsets.astype(np.int64).reshape(-1).tolist()):
            n, total = counts[e // chunk], sums[e // chunk] + offset * counts[e // chunk]
            if self.filter == "average":
                right = bool(np.isclose(got[e], total / n, rtol=n * np.finfo(np.float64).eps, atol=0.0))
            else:
                right = (int(got[e]) - total) % wrap == 0
            if not right:
                return f"is {got[e]} instead of {total} over {n} contributions, in element {e}"
        return ""

    def _extreme_fault(self, state: Array, least: Mapping[int, int], most: Mapping[int, int]) -> str:
        offered = [self._heads([r], 0, n)[:, 0] for r, n in most.items() if n]
        heads = state - self.values.offsets.astype(np.int64)
        if not np.isin(heads, np.concatenate(offered) if offered else ()).all():
            return f"is {state[:3].tolist()}..., which nobody offered"
        must = [self._heads([r], 0, n)[:, 0] for r, n in least.items() if n]
        if not must:
            return ""
        end = np.concatenate(must).max() if self.filter == "max" else np.concatenate(must).min()
        lacks = (heads < end).any() if self.filter == "max" else (heads > end).any()
        return f"is {state[:3].tolist()}..., but a live rank contributed {end}" if lacks else ""

    # -- one contribution --------------------------------------------------------------------------------------------------

    def _heads(self, ranks: list[int], first: int, count: int) -> Array:
        """Element 0 of the contributions, shape (count, ranks), int64."""
        a, b = self.values.secrets
        heads = self.values.keys(np.arange(first, first + count))[:, None] * a[ranks] + b[ranks]
        if self.values.bits < 64:
            heads &= np.uint64((1 << self.values.bits) - 1)
        found: Array = heads.view(np.int64)
        return found

    def _packet(self, rank: int, wave: int) -> bytes:
        return b"%d.%d.%d" % (self.index, rank, wave)

    def _members(self, rank: int, wave: int) -> list[Any]:
        """Some that no other wave has, some that others have as well."""
        return [f"{self.index}.{rank}.{wave}", wave % 5, [rank, wave % 3]]

    def _counts(self, rank: int, wave: int) -> dict[str, int]:
        """Totals so far, so that they never fall."""
        return {f"class {(rank + wave + self.index) % 3}": wave + 1, "all": 2 * wave + 1}

    def _seen(self, waves: Mapping[int, int]) -> set[str]:
        return {repr(m) for r, n in waves.items() for w in range(n) for m in self._members(r, w)}

    def _classes(self, made: Iterable[tuple[int, Iterable[int]]]) -> dict[str, dict[int, int]]:
        found: dict[str, dict[int, int]] = {}
        for rank, waves in made:
            for wave in waves:
                for key, count in self._counts(rank, wave).items():
                    ranks = found.setdefault(key, {})
                    ranks[rank] = max(count, ranks.get(rank, 0))
        return found


def state_told(state: Items | None) -> Any:
    """A composed state as it is noted: that of its one wave."""
    if state is None:
        return None
    return state[0].tolist() if isinstance(state, np.ndarray) else state[0]


def _texts(classes: Mapping[str, Mapping[int, int]]) -> list[str]:
    return sorted(repr([key, [list(pair) for pair in sorted(ranks.items())]]) for key, ranks in classes.items())


def _above(some: Mapping[str, Mapping[int, int]], other: Mapping[str, Mapping[int, int]]) -> set[str]:
    """The counts of `some` that `other` does not reach."""
    return {f"{key} of rank {r}" for key, ranks in some.items() for r, n in ranks.items() if other.get(key, {}).get(r, 0) < n}


def _between(lacks: set[str], invents: set[str]) -> str:
    if lacks:
        return f"lacks {sorted(lacks)[:5]}, which live ranks contributed"
    return f"holds {sorted(invents)[:5]}, which nobody contributed" if invents else ""
