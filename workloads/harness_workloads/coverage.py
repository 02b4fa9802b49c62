"""Which waves each rank is named in: gaps and overlaps of runs of waves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.ranks import RankSet

#: An event is stamped when it is reported, a wave when it is delivered.
CLOCK_SLACK_S = 0.05
#: A half-open range of waves.
Span = tuple[int, int]


@dataclass(frozen=True)
class Coverage:
    """The waves that one or more ranks with the same history are named in. gaps: ranges before the last wave without them;
    overlaps: ranges named more than once; end: one behind the last wave; named: waves, counted as often as named."""

    ranks: tuple[int, ...]
    gaps: tuple[Span, ...]
    overlaps: tuple[Span, ...]
    end: int
    named: int


def runs(first: NDArray[Any], count: NDArray[Any]) -> tuple[tuple[Span, ...], tuple[Span, ...], int]:
    """Gaps, overlaps and the end of runs of waves [first, first + count), in any order; a gap starts at wave 0 or later."""
    if not len(first):
        return (), (), 0
    order = np.argsort(first, kind="stable")
    start = first[order].astype(np.int64)
    stop = start + count[order].astype(np.int64)
    reach = np.concatenate([[0], np.maximum.accumulate(stop)])
    holes, doubles = np.flatnonzero(start > reach[:-1]), np.flatnonzero(start < reach[:-1])
    gaps = tuple((int(reach[i]), int(start[i])) for i in holes)
    overlaps = tuple((int(start[i]), int(min(stop[i], reach[i]))) for i in doubles)
    return gaps, overlaps, int(reach[-1])


def coverage(rows: NDArray[Any], sets: Sequence[RankSet], members: Iterable[int]) -> list[Coverage]:
    """The coverage of every member by the sample rows of one stream. Ranks that are in the same contributor sets share one
    entry, so that the work grows with the number of histories, not of ranks."""
    used = [int(i) for i in np.unique(rows["contributors"])]
    histories: dict[tuple[int, ...], list[int]] = {}
    for rank in members:
        histories.setdefault(tuple(i for i in used if rank in sets[i]), []).append(rank)
    found = []
    for history, ranks in histories.items():
        mine = rows[np.isin(rows["contributors"], history)]
        gaps, overlaps, end = runs(mine["first"], mine["count"])
        found.append(Coverage(tuple(ranks), gaps, overlaps, end, int(mine["count"].sum())))
    return found


def owed(part: Coverage, rows: NDArray[Any], struck_s: Mapping[int, float], last: int) -> list[tuple[tuple[int, ...], Span]]:
    """Which ranks of `part` are missing from which waves in spite of being alive. A rank owes all waves [0, last); one whose
    process was hit (`struck_s`: when) owes those of `rows` that were delivered before."""
    found = [(part.ranks, hole) for hole in part.gaps]
    late: dict[int, list[int]] = {}
    for rank in part.ranks:
        end = last
        if rank in struck_s:
            before = rows[rows["t_s"] < struck_s[rank] - CLOCK_SLACK_S]
            end = int((before["first"] + before["count"]).max()) if len(before) else 0
        if part.end < end:
            late.setdefault(end, []).append(rank)
    return found + [(tuple(ranks), (part.end, end)) for end, ranks in late.items()]


def within(part: Coverage, spans: Iterable[Span], last: int) -> list[Span]:
    """What of `spans` lies in the gaps of `part`, the waves from its end to `last` among them."""
    holes = [*part.gaps, (part.end, last)]
    found = [(max(a, c), min(b, d)) for a, b in spans for c, d in holes]
    return [(a, b) for a, b in found if a < b]


def outside(part: Coverage, spans: Iterable[Span]) -> list[Span]:
    """What of the waves that the ranks of `part` are named in lies in none of `spans`, which are in order."""
    rest = [(-1, 0), *spans, (part.end, part.end)]
    between = [(stop, start) for (_, stop), (start, _) in pairwise(rest)]
    ends = [*part.gaps, (part.end, part.end)]
    named, at = [], 0
    for start, stop in ends:
        named.append((at, start))
        at = stop
    found = [(max(a, c), min(b, d)) for a, b in named for c, d in between]
    return [(a, b) for a, b in found if a < b]


def length(spans: Iterable[Span]) -> int:
    """How many waves the ranges hold."""
    return sum(stop - start for start, stop in spans)
