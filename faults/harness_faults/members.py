"""Back-ends that come late, or leave in order, while streams run: no faults, but planned and triggered as faults are."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from harness.api.fault import Action, Injection, Trigger
from harness.core.tree import Tree
from harness_faults.process import positive


@dataclass(frozen=True)
class Join:
    """The back-end is not there at the start: its process starts only now. Before, it is no member of any stream; then
    it is let in, and contributes from a wave on that the front-end orders."""

    needs: ClassVar[frozenset[str]] = frozenset({"come-and-go"})

    def plan(self, index: int, targets: tuple[int, ...], trigger: Trigger, tree: Tree, rng: random.Random) -> list[Injection]:
        """One JOIN for each target. Raises ValueError where a target is no back-end, nobody is left to begin with, or the
        trigger is one that only a running process can notice."""
        _back_ends("join", targets, tree)
        if trigger.at_s is None and trigger.at_event is None:
            raise ValueError("join needs at_s (or at_event): a process that is not there comes to no wave and no moment")
        if len(set(targets)) == len(tree.back_ends):
            raise ValueError("the targets are all back-ends: leave one that is there at the start")
        return [Injection(index, "join", n, Action.JOIN, trigger) for n in targets]


@dataclass(frozen=True)
class Leave:
    """The back-end leaves in order: it produces nothing more, and ends once all that it produced has been delivered.

    rejoin_after_s: so much later a new process takes its place, and is let in again; left out, none does.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"come-and-go"})

    rejoin_after_s: float | None = None

    def __post_init__(self) -> None:
        if self.rejoin_after_s is not None:
            positive("rejoin_after_s", self.rejoin_after_s, "leave it out to stay away")

    def plan(self, index: int, targets: tuple[int, ...], trigger: Trigger, tree: Tree, rng: random.Random) -> list[Injection]:
        """One LEAVE for each target. Raises ValueError where a target is no back-end, or all of them are targets."""
        _back_ends("leave", targets, tree)
        if len(set(targets)) == len(tree.back_ends):
            raise ValueError("the targets are all back-ends: leave one that stays")
        return [Injection(index, "leave", n, Action.LEAVE, trigger, self.rejoin_after_s) for n in targets]


def _back_ends(kind: str, targets: tuple[int, ...], tree: Tree) -> None:
    """Raise ValueError where a target is no back-end."""
    for n in targets:
        if tree.nodes[n].rank is None:
            raise ValueError(f'node {n} is no back-end: only back-ends {kind}; write target = "any 1 of role:back-end"')
