"""Who is the front-end of a trial as it goes on (node 0, or the standby that takes its place), by what the nodes report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.core.tree import Tree


class Roots:
    """`alive` says of a node whether its process is there; `why_ended` how the process ended, in words.

    root: who is in charge, as far as was told; its samples are those of the trial.
    """

    def __init__(self, tree: Tree, alive: Callable[[int], bool], why_ended: Callable[[int], str]) -> None:
        self._standby = tree.standby
        self._alive = alive
        self._why_ended = why_ended
        self._told: set[int] = set()
        self._gave_up: dict[int, str] = {}
        self._voting = self._decided = self._finished = False
        self.root = 0

    def take(self, event: dict[str, Any]) -> bool:
        """Take in an event as a node reported it, in any order of the nodes. False for one of the front-end's log that was told
        already: the standby tells again what the front-end may have told (harness.core.handover). Its number is taken off."""
        told = event.pop("told", None)
        if told is not None:
            if told in self._told:
                return False
            self._told.add(told)
        kind = event["kind"]
        if kind == "took-over":
            self.root, self._decided = int(event["node"]), True
        elif kind == "alone":
            self._decided = True
        elif kind == "front-end-lost" and event["node"] == self._standby:
            self._voting = True
        elif kind == "finished":
            self._finished = True
        elif kind == "gave-up":
            self._gave_up[int(event["node"])] = str(event["reason"])
        return True

    @property
    def candidates(self) -> tuple[int, ...]:
        """Who is in charge, or still may be."""
        return (self.root,) if self._standby < 0 or self._decided else (0, self._standby)

    @property
    def in_charge(self) -> bool:
        """Whether somebody is there who can close the tree in order, as far as is known: once the workload has finished, the
        standby can, too, whose log says so."""
        alive = [self._alive(n) for n in self.candidates]
        return any(alive) if self._finished else all(alive) and (self._decided or not self._voting)

    def end_of(self, node: int) -> str:
        """Why nobody goes on now that the process of `node` has ended; empty where somebody does, or may."""
        if node not in self.candidates or any(self._alive(n) for n in self.candidates):
            return ""
        if self.root:
            return f"the process of node {self.root}, which had taken the front-end's place, is gone: {self._why(self.root)}"
        reason = f"the front-end's process is gone: {self._why(0)}"
        if self._standby in self.candidates:
            reason += f"; so is that of its standby, node {self._standby}: {self._why(self._standby)}"
        return reason

    def _why(self, node: int) -> str:
        return f"it gave up: {self._gave_up[node]}" if node in self._gave_up else self._why_ended(node)


def how_ended(status: int) -> str:
    """The end of a process with this status, negative for a signal, in words."""
    return f"it ended by signal {-status}" if status < 0 else f"it ended with status {status}"


def patience(tree: Tree) -> int:
    """How many times the usual time a tree may take to come up: a front-end that is lost meanwhile, and the vote on another
    one, take theirs."""
    return 3 if tree.standby >= 0 else 1
