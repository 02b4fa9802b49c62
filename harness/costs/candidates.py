"""The trees that are worth a comparison for a number of back-ends: flat, balanced of depth 2 to 5, k-nomial."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt, prod
from typing import Any

from harness.costs.shape import Shape, shape_of_fanouts, shape_of_levels

MOST_BACK_ENDS = 100_000
MOST_DEPTH = 5
_LARGEST_K = 8
#: Trees that do not divide evenly are tried for so many fan-outs of the upper levels.
_UNEVEN = 24


@dataclass(frozen=True)
class Candidate:
    """A tree to be compared. name: as `harness topology show` takes it, e.g. `4:4`. spec: the table of a suite's `topology`."""

    name: str
    spec: dict[str, Any]
    shape: Shape

    @property
    def toml(self) -> str:
        """The line of a suite."""
        keys = ", ".join(f'{k} = "{v}"' if isinstance(v, str) else f"{k} = {v}" for k, v in self.spec.items())
        return f"topology = {{ {keys} }}"


@dataclass(frozen=True)
class Knomial:
    """A k-nomial tree of `nodes` nodes in all, of which the caller builds the shape."""

    k: int
    nodes: int


def candidates(back_ends: int, budget: int | None = None) -> list[Candidate]:
    """Flat and balanced trees with exactly `back_ends` back-ends and at most `budget` communication processes (None: any
    number).

    Balanced are all ordered factorizations of `back_ends` into two to five fan-outs of at least 2; and trees with one fan-out
    for all upper levels whose last level shares the back-ends out as evenly as can be. Raises ValueError for a number of
    back-ends below 1 or above MOST_BACK_ENDS, and for a negative budget.
    """
    _check(back_ends, budget)
    found = [Candidate(f"flat back_ends={back_ends}", {"kind": "flat", "back_ends": back_ends}, shape_of_fanouts([back_ends]))]
    seen = set()
    for fanouts in _factorizations(back_ends, MOST_DEPTH):
        if len(fanouts) > 1 and _fits(fanouts[:-1], budget):
            spec = ":".join(map(str, fanouts))
            seen.add(fanouts[:-1])
            found.append(_generic(spec, shape_of_fanouts(fanouts)))
    for upper in _upper_levels(back_ends):
        if upper not in seen and _fits(upper, budget):
            found.append(_uneven(upper, back_ends))
    return found


def knomials(back_ends: int, budget: int | None = None) -> list[Knomial]:
    """The smallest k-nomial trees with exactly so many back-ends, for k = 2 to 8, within the budget; not the flat ones
    among them. Raises as `candidates`."""
    _check(back_ends, budget)
    found = []
    for k in range(2, _LARGEST_K + 1):
        least, most = back_ends + 1, 2 * back_ends + k
        while least < most:  # leaves never become fewer as the tree grows
            middle = (least + most) // 2
            if _knomial_leaves(k, middle) < back_ends:
                least = middle + 1
            else:
                most = middle
        inner = least - back_ends - 1
        if _knomial_leaves(k, least) == back_ends and inner and (budget is None or inner <= budget):
            found.append(Knomial(k, least))
    return found


def _check(back_ends: int, budget: int | None) -> None:
    if not 1 <= back_ends <= MOST_BACK_ENDS:
        raise ValueError(f"back_ends = {back_ends} must be between 1 and {MOST_BACK_ENDS:,}")
    if budget is not None and budget < 0:
        raise ValueError(f"budget = {budget} must not be negative; 0 leaves the flat tree alone")


def _knomial_leaves(k: int, nodes: int) -> int:
    """Leaves of a k-nomial tree: after full rounds there are k^j nodes, of which the k^(j-1) that had been there before have
    children; a round that is not full gives k - 1 children to the oldest nodes first."""
    full = 1
    while full * k <= nodes:
        full *= k
    parents = -(-(nodes - full) // (k - 1))
    return nodes - max(full // k, parents)


def _generic(spec: str, shape: Shape) -> Candidate:
    return Candidate(spec, {"kind": "generic", "spec": spec}, shape)


def _uneven(upper: tuple[int, ...], back_ends: int) -> Candidate:
    """The upper levels full, the back-ends shared out evenly; the first nodes of the last level have one more."""
    width = prod(upper)
    share, rest = divmod(back_ends, width)
    last = f"{_times(rest, share + 1)},{_times(width - rest, share)}" if rest else str(share)
    levels = [[fanout] * prod(upper[:depth]) for depth, fanout in enumerate(upper)]
    shape = shape_of_levels([*levels, [share + 1] * rest + [share] * (width - rest)])
    return _generic(":".join([*map(str, upper), last]), shape)


def _times(number: int, fanout: int) -> str:
    return f"{number}x{fanout}" if number > 1 else str(fanout)


def _factorizations(n: int, most: int) -> Iterator[tuple[int, ...]]:
    """All ordered factorizations of n into one to `most` factors of at least 2."""
    if n > 1:
        yield (n,)
    if most > 1:
        small = [d for d in range(2, isqrt(n) + 1) if n % d == 0]
        for first in sorted({*small, *(n // d for d in small)}):
            for rest in _factorizations(n // first, most - 1):
                yield (first, *rest)


def _upper_levels(back_ends: int) -> Iterator[tuple[int, ...]]:
    """The same fan-out k for one to four levels, whose nodes have two back-ends or more each; where there are many k, some,
    spaced evenly in their logarithm."""
    for levels in range(1, MOST_DEPTH):
        widest = int((back_ends / 2) ** (1 / levels) + 1e-9)
        steps = min(_UNEVEN, max(1, widest - 1))
        fanouts = {round(2 * (widest / 2) ** (i / max(1, steps - 1))) for i in range(steps)} if widest >= 2 else set()
        for k in sorted(fanouts):
            yield (k,) * levels


def _fits(upper: tuple[int, ...], budget: int | None) -> bool:
    """Whether so many communication processes are allowed."""
    return budget is None or sum(prod(upper[: d + 1]) for d in range(len(upper))) <= budget
