"""What back-ends offer in the simulated runs, for every kind of filter, and what must come out of it: an oracle that works
from (rank, wave) alone and shares no code with the filters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from harness.core.ledger import Extent
from harness.core.ranks import RankSet


def number(rank: int, wave: int) -> int:
    """The contribution of a back-end to a wave: sums over different sets or waves differ."""
    return (rank + 1) * 1_000_003 + wave * 7919 * (2 * rank + 1) + ((rank * 31 + wave * 17) % 1009) * 1_000_000_007


def members(rank: int, wave: int) -> list[Any]:
    return [f"{rank}.{wave}", wave % 5, [rank, wave % 3]]


def counts(rank: int, wave: int) -> dict[str, int]:
    """Totals so far, so they never fall."""
    return {f"class {(rank + wave) % 3}": wave + 1, "all": 2 * wave + 1}


def offer(kind: str, rank: int, first: int, stop: int, shape: tuple[int, ...]) -> Any:
    """Waves [first, stop) of one back-end."""
    waves = range(first, stop)
    if kind == "union":
        return [members(rank, w) for w in waves]
    if kind == "classes":
        return [counts(rank, w) for w in waves]
    if kind == "null":
        return [b"%d.%d" % (rank, w) for w in waves]
    base = np.array([number(rank, w) for w in waves], "<i8")
    size = int(np.prod(shape)) if shape else 1
    whole = (base[:, None] + np.arange(size)).reshape(len(waves), *shape)
    return whole.astype("<f8") if kind == "average" else whole


def fault_in(kind: str, got: Any, who: RankSet, wave: int, shape: tuple[int, ...]) -> str:
    """What is wrong with the result of one wave that holds the contributions of `who`; empty where it is right."""
    if kind == "null":
        want: Any = [b"%d.%d" % (r, wave) for r in who]
        return "" if [got] == want else f"{got!r} instead of {want!r}"
    if kind == "union":
        want = {repr(m) for r in who for m in members(r, wave)}
        return "" if {repr(m) for m in got} == want and len(got) == len(want) else f"{got!r} is not the union of {who}"
    if kind == "classes":
        want = classes((r, [wave]) for r in who)
        return "" if {k: dict(v) for k, v in got} == want else f"{got!r} instead of {want!r}"
    if kind == "count":
        return "" if int(got) == len(who) else f"{got} instead of {len(who)}"
    size = int(np.prod(shape)) if shape else 1
    element = np.arange(size).reshape(shape)
    values = [number(r, wave) for r in who]
    if kind == "concat":
        want = np.array([v + element for v in values])
    elif kind == "max":
        want = max(values) + element
    else:
        want = sum(values) + element * len(values)
    if kind == "average":
        want = want / len(values)
    flat, right = np.asarray(got).reshape(-1), np.asarray(want).reshape(-1)
    return "" if np.array_equal(np.asarray(got), want) else f"{flat[:3]} instead of {right[:3]}"


def classes(made: Iterable[tuple[int, Iterable[int]]]) -> dict[str, dict[int, int]]:
    """The classes of all (rank, waves), as {key: {rank: count}}."""
    whole: dict[str, dict[int, int]] = {}
    for rank, waves in made:
        for wave in waves:
            for key, count in counts(rank, wave).items():
                ranks = whole.setdefault(key, {})
                ranks[rank] = max(count, ranks.get(rank, 0))
    return whole


def state_of(kind: str, got: Any, extent: Extent, members: RankSet, chunk: int, per_wave: int) -> str:
    """Whether a decomposed state is the fold of exactly the contributions that `extent` names; what is wrong with it otherwise.
    `chunk`: elements in a chunk, of which an item has `per_wave`."""
    cells: list[set[tuple[int, int]]] = []
    for c in range(per_wave):
        cells.append({(r, w) for r in members for w in range(-(-(extent.units - c) // per_wave))})
        for x in (*extent.pending, *extent.absent):
            if x.chunk == c:
                gone = {(r, w) for r in x.ranks for w in range(x.first, x.stop)}
                if not gone <= cells[c]:
                    return f"lacks {sorted(gone - cells[c])[:3]} twice"
                cells[c] -= gone
    if got is None:
        return f"no state, but {len(cells[0])} contributions should be in it" if all(cells) else ""
    flat = np.asarray(got).reshape(-1)
    if kind == "count":
        return "" if flat.tolist() == [len(cells[0])] else f"the state counts {flat}, not {len(cells[0])}"
    for e, value in enumerate(flat):
        mine = cells[e // chunk]
        want = sum(number(r, w) for r, w in mine) + e * len(mine)
        if value != (want / len(mine) if kind == "average" else want):
            return f"element {e} of the state is {value} instead of {want}, of {len(mine)} contributions"
    return ""
