"""Faults of machines, clocks and the network between nodes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from harness.api.fault import Action, Injection, Trigger
from harness.core.tree import Tree
from harness_faults.process import not_negative, positive, spread


@dataclass(frozen=True)
class HostLoss:
    """The node's machine loses its power: no connection is reset, and nothing answers any more.

    spread_s: as for crash.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"vanish"})

    spread_s: float = 0.0

    def __post_init__(self) -> None:
        not_negative("spread_s", self.spread_s)

    def plan(self, index: int, targets: tuple[int, ...], trigger: Trigger, tree: Tree, rng: random.Random) -> list[Injection]:
        """One VANISH for each target. Raises ValueError as for crash."""
        whens = spread(trigger, len(targets), self.spread_s, rng)
        return [Injection(index, "host-loss", n, Action.VANISH, when) for n, when in zip(targets, whens, strict=True)]


@dataclass(frozen=True)
class Cut:
    """Connections are reset; the processes live on and may connect again.

    links: the one with the node's parent, or (`"all"`) every one, as if it had been restarted and remembered everything.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"cut"})

    links: Literal["parent", "all"] = "parent"

    def plan(self, index: int, targets: tuple[int, ...], trigger: Trigger, tree: Tree, rng: random.Random) -> list[Injection]:
        """One CUT for each target; its direction says which links."""
        direction = "up" if self.links == "parent" else "both"
        return [Injection(index, "cut", n, Action.CUT, trigger, direction=direction) for n in _below_root(targets, self.links)]


@dataclass(frozen=True)
class Partition:
    """The targets are cut off: what is sent to the other side does not arrive, and nobody is told.

    heal_after_s: when frames get through again, and what was held back arrives; left out, never. side: what the targets are cut
    off from, all other nodes (`"rest"`), or only each from its parent of the plan (`"parent"`, a partial partition). direction:
    `"both"`; `"out"`: what the targets send is lost; `"in"`: what is sent to them.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"partition"})

    heal_after_s: float | None = None
    side: Literal["rest", "parent"] = "rest"
    direction: Literal["both", "out", "in"] = "both"

    def __post_init__(self) -> None:
        if self.heal_after_s is not None:
            positive("heal_after_s", self.heal_after_s, "leave it out to heal never")

    def plan(self, index: int, targets: tuple[int, ...], trigger: Trigger, tree: Tree, rng: random.Random) -> list[Injection]:
        """One PART for all targets, or one for each where only their parents are on the other side."""
        if self.side == "parent":
            pairs = [(n, tree.nodes[n].parent) for n in _below_root(targets, "parent")]
            return [self._part(index, trigger, (n,), (parent,)) for n, parent in pairs if parent is not None]
        rest = tuple(n.id for n in tree.nodes if n.id not in set(targets))
        if not rest:
            raise ValueError("the targets are the whole tree: there is nothing to cut them off from")
        return [self._part(index, trigger, targets, rest)]

    def _part(self, index: int, trigger: Trigger, side: Sequence[int], peers: tuple[int, ...]) -> Injection:
        first, *others = side
        return Injection(
            index, "partition", first, Action.PART, trigger, self.heal_after_s, tuple(others), peers, direction=self.direction
        )


@dataclass(frozen=True)
class Late:
    """What a node sends to its parent arrives `by_s` later, once, as after a pause of the network. What is under way is not
    late."""

    needs: ClassVar[frozenset[str]] = frozenset({"late"})

    by_s: float

    def __post_init__(self) -> None:
        positive("by_s", self.by_s, "it is how much later frames arrive")

    def plan(self, index: int, targets: tuple[int, ...], trigger: Trigger, tree: Tree, rng: random.Random) -> list[Injection]:
        """One LATE for each target."""
        return [Injection(index, "late", n, Action.LATE, trigger, amount=self.by_s) for n in _below_root(targets, "parent")]


@dataclass(frozen=True)
class Slow:
    """A node becomes slow: each thing that happens to it takes it `turn_s`.

    for_s: how long that lasts; left out, to the end.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"slow"})

    turn_s: float
    for_s: float | None = None

    def __post_init__(self) -> None:
        positive("turn_s", self.turn_s, "it is how long each thing takes")
        if self.for_s is not None:
            positive("for_s", self.for_s, "leave it out to stay slow")

    def plan(self, index: int, targets: tuple[int, ...], trigger: Trigger, tree: Tree, rng: random.Random) -> list[Injection]:
        """One SLOW for each target."""
        return [Injection(index, "slow", n, Action.SLOW, trigger, self.for_s, amount=self.turn_s) for n in targets]


@dataclass(frozen=True)
class Skew:
    """A node's clock runs at another rate; it does not jump. The front-end's is left alone: all times are told by it.

    rate: seconds it shows for each second, 0.5 to 2. for_s: how long that lasts; left out, to the end.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"skew"})

    rate: float
    for_s: float | None = None

    def __post_init__(self) -> None:
        if not 0.5 <= self.rate <= 2:
            raise ValueError(f"rate = {self.rate:g} must be between 0.5 and 2")
        if self.for_s is not None:
            positive("for_s", self.for_s, "leave it out to stay skewed")

    def plan(self, index: int, targets: tuple[int, ...], trigger: Trigger, tree: Tree, rng: random.Random) -> list[Injection]:
        """One SKEW for each target. Raises ValueError where the front-end is the only one."""
        found = [n for n in targets if n]
        if not found:
            raise ValueError("the front-end's clock is the one that all times are told by: choose other targets")
        return [Injection(index, "skew", n, Action.SKEW, trigger, self.for_s, amount=self.rate) for n in found]


@dataclass(frozen=True)
class Refuse:
    """A node takes in no new connection: its queue of them is full.

    for_s: how long that lasts; left out, to the end.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"refuse"})

    for_s: float | None = None

    def __post_init__(self) -> None:
        if self.for_s is not None:
            positive("for_s", self.for_s, "leave it out to refuse for good")

    def plan(self, index: int, targets: tuple[int, ...], trigger: Trigger, tree: Tree, rng: random.Random) -> list[Injection]:
        """One REFUSE for each target."""
        return [Injection(index, "refuse", n, Action.REFUSE, trigger, self.for_s) for n in targets]


def _below_root(targets: tuple[int, ...], links: str) -> tuple[int, ...]:
    """The targets that have a parent. Raises ValueError where the front-end is the only one and its parent is meant."""
    found = tuple(n for n in targets if n) if links == "parent" else targets
    if not found:
        raise ValueError("the front-end has no parent: choose other targets")
    return found
