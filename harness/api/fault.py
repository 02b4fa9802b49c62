"""What is broken, where, when and for how long: plans that are expanded from the seed before anything starts."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from harness.core.tree import Tree


class Moment(StrEnum):
    """Moments of the protocol at which a fault may strike its target."""

    MID_FLUSH = "mid-flush"  # half of a data frame is in the socket
    MID_LOAD = "mid-load"  # the node holds some, not all, inputs of a wave
    START_UP = "start-up"  # the node is connecting to its parent
    SHUTDOWN = "shutdown"  # the node has been told to close


class Action(StrEnum):
    """What is done to a node process."""

    KILL = "kill"  # SIGKILL
    STOP = "stop"  # SIGSTOP
    CONT = "cont"  # SIGCONT: the undo of STOP


@dataclass(frozen=True, slots=True)
class Trigger:
    """When: exactly one of the three is set. `at_s` counts from the workload's start; `at_wave` is the first wave that the
    target node has passed on; `moment` strikes at the first time that the target gets there after `at_wave` (or 0)."""

    at_s: float | None = None
    at_wave: int | None = None
    moment: Moment | None = None


@dataclass(frozen=True, slots=True)
class Injection:
    """One planned act on one node. `fault` numbers the suite's fault entry; `undo_after_s` is None where nothing is undone."""

    fault: int
    kind: str
    node: int
    action: Action
    trigger: Trigger
    undo_after_s: float | None = None


@runtime_checkable
class Fault(Protocol):
    """The plugin: a frozen dataclass whose fields are its TOML keys (beside target, at_s, at_wave, moment)."""

    @property
    def needs(self) -> frozenset[str]:
        """Capabilities of the testbed that it uses, e.g. {"kill"}."""
        ...

    def plan(self, index: int, targets: tuple[int, ...], trigger: Trigger, tree: Tree, rng: random.Random) -> list[Injection]:
        """The acts on the chosen target nodes. Deterministic in its arguments."""
        ...
