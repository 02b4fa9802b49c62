"""Which contributions the state of a `decompose` stream holds, as the front-end's application notes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.core.ledger import Extent, Lack
from harness.core.ranks import RankSet

#: A half-open range of waves.
Span = tuple[int, int]


def extent_told(extent: Extent | None) -> dict[str, Any]:
    """An extent in plain values, as it is noted."""
    if extent is None:
        return {}
    told: dict[str, Any] = {"units": extent.units}
    for name, lacks in (("pending", extent.pending), ("absent", extent.absent)):
        told[name] = [[x.chunk, [list(pair) for pair in x.ranks.ranges], x.first, x.stop] for x in lacks]
    return told


def extent_read(told: Mapping[str, Any]) -> Extent:
    """The inverse of `extent_told`."""
    pending, absent = (
        tuple(Lack(chunk, RankSet(tuple(p) for p in pairs), first, stop) for chunk, pairs, first, stop in told[name])
        for name in ("pending", "absent")
    )
    return Extent(int(told["units"]), pending, absent)


def holds(extent: Extent, members: RankSet, chunk: int, per_wave: int) -> dict[tuple[Span, ...], list[int]]:
    """Which waves of which ranks the state of a chunk holds: ranks by what they have in common, as half-open
    ranges of waves."""
    waves = -(-(extent.units - chunk) // per_wave)
    found: dict[tuple[Span, ...], list[int]] = {}
    mine = [x for x in (*extent.pending, *extent.absent) if x.chunk == chunk]
    for rank in members:
        at, spans = 0, []
        for first, stop in sorted((x.first, x.stop) for x in mine if rank in x.ranks):
            if first < at:
                raise ValueError(f"rank {rank} is said to lack wave {first} twice")
            spans.append((at, first))
            at = stop
        spans.append((at, waves))
        found.setdefault(tuple((a, b) for a, b in spans if a < b), []).append(rank)
    return found
