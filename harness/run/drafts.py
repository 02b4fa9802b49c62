"""Points of a suite's matrix in which something is wrong: what is sound of them is looked at all the same, so that one mistake
hides no other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.api.workload import Workload
from harness.core.spec import Accept, Recovery, Sync
from harness.core.tree import Tree
from harness.registry import Chosen
from harness.run.axes import Choice
from harness.run.tables import FaultEntry, FaultPart

if TYPE_CHECKING:
    from harness.run.cases import Case

Point = Mapping[str, Choice[Any]]


@dataclass(frozen=True)
class Draft:
    """What is known of a point of the matrix in which something is wrong; None: nothing.

    id, name, path, faults: as of a Case. parts: what is left of the faults that have mistakes. whole: the case itself, where
    all is sound that its front-end must know.
    """

    id: str
    name: str
    path: str
    tree: Tree | None
    workload: Chosen[Workload] | None
    recovery: Recovery | None
    sync: Sync | None
    accept: Accept | None
    faults: tuple[FaultEntry, ...]
    parts: tuple[FaultPart, ...]
    whole: Case | None


def points(columns: Mapping[str, list[Choice[Any]]], all_of_them: bool) -> Iterator[Point]:
    """The points of a matrix, the last axis turning fastest; else, where it has too many, enough to see every value once."""
    names = list(columns)
    if all_of_them:
        yield from (dict(zip(names, point, strict=True)) for point in itertools.product(*columns.values()))
        return
    first = {name: choices[0] for name, choices in columns.items()}
    yield first
    for name, choices in columns.items():
        yield from (first | {name: choice} for choice in choices[1:])
