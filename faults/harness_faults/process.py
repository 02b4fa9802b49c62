"""Faults of a node's process: it is killed, or stopped for a while."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import ClassVar

from harness.api.fault import Action, Injection, Trigger
from harness.core.tree import Tree


@dataclass(frozen=True)
class Crash:
    """The process is killed with SIGKILL: its sockets are closed by the kernel, so that neighbours notice at once.

    spread_s: several targets are struck at random moments within so many seconds, the first at once; 0 strikes all together.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"kill"})

    spread_s: float = 0.0

    def __post_init__(self) -> None:
        _not_negative("spread_s", self.spread_s)

    def plan(self, index: int, targets: tuple[int, ...], trigger: Trigger, tree: Tree, rng: random.Random) -> list[Injection]:
        """One KILL for each target. Raises ValueError where the strikes are to be spread, but have no time to start from."""
        return [
            Injection(index, "crash", node, Action.KILL, when)
            for node, when in zip(targets, _spread(trigger, len(targets), self.spread_s, rng), strict=True)
        ]


@dataclass(frozen=True)
class Hang:
    """The process is stopped with SIGSTOP: its sockets stay open and silent, so that only a missed lease tells.

    resume_after_s: SIGCONT so much later, to a world that may have gone on; left out, it never comes. spread_s: as for crash.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"hang"})

    resume_after_s: float | None = None
    spread_s: float = 0.0

    def __post_init__(self) -> None:
        _not_negative("spread_s", self.spread_s)
        if self.resume_after_s is not None and not 0 < self.resume_after_s < math.inf:
            raise ValueError(f"resume_after_s = {self.resume_after_s:g} must be positive; leave it out to resume never")

    def plan(self, index: int, targets: tuple[int, ...], trigger: Trigger, tree: Tree, rng: random.Random) -> list[Injection]:
        """One STOP for each target, with its undo. Raises ValueError as for crash."""
        return [
            Injection(index, "hang", node, Action.STOP, when, self.resume_after_s)
            for node, when in zip(targets, _spread(trigger, len(targets), self.spread_s, rng), strict=True)
        ]


def _not_negative(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} = {value:g} must not be negative")


def _spread(trigger: Trigger, count: int, spread_s: float, rng: random.Random) -> list[Trigger]:
    """When each of `count` targets is struck: the first at `at_s`, the others within `spread_s` after it."""
    if not spread_s or count == 1:
        return [trigger] * count
    if trigger.at_s is None:
        raise ValueError("spread_s needs at_s: strikes at a wave or a moment come when the target gets there")
    later = [0.0, *(rng.uniform(0.0, spread_s) for _ in range(count - 1))]
    rng.shuffle(later)
    return [replace(trigger, at_s=trigger.at_s + delay) for delay in later]
