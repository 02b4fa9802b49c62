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
    restart_after_s: so much later a new process takes its place, which knows nothing; left out, none does.
    """

    spread_s: float = 0.0
    restart_after_s: float | None = None

    def __post_init__(self) -> None:
        not_negative("spread_s", self.spread_s)
        if self.restart_after_s is not None:
            positive("restart_after_s", self.restart_after_s, "leave it out to restart never")

    @property
    def needs(self) -> frozenset[str]:
        """The testbed kills processes, and starts others in their place where that is asked for."""
        return frozenset({"kill"} if self.restart_after_s is None else {"kill", "restart"})

    def plan(self, index: int, targets: tuple[int, ...], trigger: Trigger, tree: Tree, rng: random.Random) -> list[Injection]:
        """One KILL for each target. Raises ValueError where the strikes are to be spread, but have no time to start from."""
        return [
            Injection(index, "crash", node, Action.KILL, when, self.restart_after_s)
            for node, when in zip(targets, spread(trigger, len(targets), self.spread_s, rng), strict=True)
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
        not_negative("spread_s", self.spread_s)
        if self.resume_after_s is not None:
            positive("resume_after_s", self.resume_after_s, "leave it out to resume never")

    def plan(self, index: int, targets: tuple[int, ...], trigger: Trigger, tree: Tree, rng: random.Random) -> list[Injection]:
        """One STOP for each target, with its undo. Raises ValueError as for crash."""
        return [
            Injection(index, "hang", node, Action.STOP, when, self.resume_after_s)
            for node, when in zip(targets, spread(trigger, len(targets), self.spread_s, rng), strict=True)
        ]


def not_negative(name: str, value: float) -> None:
    """Raise ValueError where a key is negative, or no number."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} = {value:g} must not be negative")


def positive(name: str, value: float, hint: str) -> None:
    """Raise ValueError, with the hint, where a key is not positive."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name} = {value:g} must be positive; {hint}")


def spread(trigger: Trigger, count: int, spread_s: float, rng: random.Random) -> list[Trigger]:
    """When each of `count` targets is struck: the first at `at_s`, the others within `spread_s` after it."""
    if not spread_s or count == 1:
        return [trigger] * count
    if trigger.at_s is None:
        raise ValueError("spread_s needs at_s: strikes at a wave or a moment come when the target gets there")
    later = [0.0, *(rng.uniform(0.0, spread_s) for _ in range(count - 1))]
    rng.shuffle(later)
    return [replace(trigger, at_s=trigger.at_s + delay) for delay in later]
