"""Small kinds of every category, installed by the fixture `registry` as a distribution of their own.

Parsing and planning are tested with these, so that a new key of a built-in kind changes no expected message.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from small_kinds import Crash, Flat, Same, Sum, Wire

from harness.api.errors import UsageError
from harness.api.fault import Action, Injection, Trigger
from harness.api.filters import Algebra, Items, RankSet
from harness.api.records import Check, TrialRecord
from harness.api.testbed import Deployment, DeploymentSpec
from harness.api.topology import Tree
from harness.api.workload import BackEndApp, FrontEndApp, FrontEndHandle, TrialContext
from harness.core.spec import Result, StreamError
from harness.hookspecs import hookimpl


@dataclass(frozen=True)
class Kary:
    """A complete tree."""

    fanout: int
    depth: int

    def build(self) -> Tree:
        if self.fanout < 1:
            raise ValueError(f"fanout = {self.fanout} must be at least 1")
        parents: list[int | None] = [None]
        level = [0]
        for _ in range(self.depth):
            children = [parent for parent in level for _ in range(self.fanout)]
            level = list(range(len(parents), len(parents) + len(children)))
            parents.extend(children)
        return Tree.from_parents(parents)


@dataclass(frozen=True)
class Levels:
    """A tree by the fan-out of each level: a key that is a list by nature."""

    fanouts: tuple[int, ...]

    def build(self) -> Tree:
        parents: list[int | None] = [None]
        level = [0]
        for fanout in self.fanouts:
            children = [parent for parent in level for _ in range(fanout)]
            level = list(range(len(parents), len(parents) + len(children)))
            parents.extend(children)
        return Tree.from_parents(parents)


@dataclass(frozen=True)
class Largest(Sum):
    """Idempotent."""

    idempotent: ClassVar[bool] = True


@dataclass(frozen=True)
class Rows(Sum):
    """Keeps contributions apart, so that there is no fold of many waves."""

    @property
    def algebra(self) -> Algebra:
        return Algebra(idempotent=False, invertible=True, keyed=True, ordered=True)


@dataclass(frozen=True)
class TopK(Largest):
    """Idempotent, with a key that must be given; takes an item as a whole."""

    elementwise: ClassVar[bool] = False

    k: int = 0

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k = {self.k} must be at least 1")

    def lift(self, items: Items, rank: int) -> Items:
        if items.ndim > 2:
            raise ValueError(f"items are numbers or rows of them, and have no shape {items.shape[1:]}")
        return items


@dataclass(frozen=True)
class Rounded(Same):
    """A downstream filter with a key that may be left out."""

    bits: int = 7


class Item(StrEnum):
    """An enumeration among the keys."""

    I64 = "i64"
    F64 = "f64"


class FrontEnd:
    """Does nothing; a plan makes one to hear what the workload has to say about the tree."""

    def start(self, fe: FrontEndHandle) -> None: ...

    def on_result(self, fe: FrontEndHandle, result: Result) -> None: ...

    def on_error(self, fe: FrontEndHandle, error: StreamError) -> None: ...

    def on_writable(self, fe: FrontEndHandle, stream: int) -> None: ...

    def on_membership(self, fe: FrontEndHandle, dead: RankSet) -> None: ...

    def on_timer(self, fe: FrontEndHandle) -> None: ...


@dataclass(frozen=True)
class Load:
    """A workload with a key of every type."""

    waves: int
    item: Item = Item.I64
    rate: float = 0.0
    shape: tuple[int, ...] = ()
    note: str | None = None
    order: Literal["up", "down"] = "up"
    eager: bool = False
    weights: Mapping[str, float] | None = None
    duration_s: float = 0.0

    def filters(self, chosen: str) -> tuple[str, ...]:
        return (chosen or "sum",)

    def mistakes(self, chosen: str) -> list[str]:
        found = []
        if self.waves < 1:
            found.append(f"waves: {self.waves} must be positive")
        if chosen == "top-k" and self.item is Item.F64:
            found.append("filter: top-k takes whole numbers only; use item = 'i64'")
        if self.rate < 0:
            found.append("a negative rate is none")
        return found

    def offers(self, context: TrialContext) -> dict[str, Items]:
        filter_ = "unknown" if self.note == "for another filter" else context.filter or "sum"
        return {filter_: [0.0, 0.0] if self.note == "no array" else np.zeros((2, *self.shape))}

    def front_end(self, context: TrialContext) -> FrontEndApp:
        if self.waves > 1000 * len(context.tree.back_ends):
            raise UsageError(
                [f"waves: {self.waves} are too many for {len(context.tree.back_ends)} back-ends", "get a larger tree"]
            )
        return FrontEnd()

    def back_end(self, context: TrialContext, rank: int) -> BackEndApp:
        raise AssertionError("a plan starts no application")

    def check(self, record: TrialRecord, context: TrialContext, expect: str) -> Check:
        return Check(True, "nothing was looked at")


@dataclass(frozen=True)
class Hang:
    """Stops for a while."""

    for_s: float

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"hang"})

    def plan(self, index: int, targets: tuple[int, ...], trigger: Trigger, tree: Tree, rng: random.Random) -> list[Injection]:
        return [Injection(index, "hang", node, Action.STOP, trigger, self.for_s) for node in targets]


@dataclass(frozen=True)
class Local:
    """A testbed that is never opened."""

    hosts: int = 1

    def __post_init__(self) -> None:
        if self.hosts < 0:
            raise ValueError(f"hosts = {self.hosts} must not be negative")

    def open(self, run_dir: Path) -> None:
        raise AssertionError("a plan opens no testbed")

    def close(self) -> None:
        return None

    def possible(self) -> frozenset[str] | None:
        return None

    def capabilities(self) -> Mapping[str, str]:
        return {}

    def host_count(self) -> int:
        return self.hosts

    def deploy(self, spec: DeploymentSpec) -> Deployment:
        raise AssertionError("a plan deploys nothing")


@hookimpl
def harness_topologies() -> dict[str, Any]:
    return {"kary": Kary, "flat": Flat, "levels": Levels}


@hookimpl
def harness_transports() -> dict[str, Any]:
    return {"tcp": Wire, "memory": Wire, "inside": WithinAProcess}


@dataclass(frozen=True)
class WithinAProcess(Wire):
    """A transport that never leaves its process."""

    one_process: ClassVar[bool] = True


@hookimpl
def harness_filters() -> dict[str, Any]:
    return {"sum": Sum, "max": Largest, "top-k": TopK, "rows": Rows}


@hookimpl
def harness_down_filters() -> dict[str, Any]:
    return {"null": Same, "rounded": Rounded}


@hookimpl
def harness_workloads() -> dict[str, Any]:
    return {"load": Load}


@hookimpl
def harness_faults() -> dict[str, Any]:
    return {"crash": Crash, "hang": Hang}


@hookimpl
def harness_testbeds() -> dict[str, Any]:
    return {"local": Local}
