"""What is broken, where, when and for how long: plans that are expanded from the seed before anything starts."""

from __future__ import annotations

import random
from collections.abc import Iterable
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
    """What is done to a node: to its process, its machine, its clock or its connections."""

    KILL = "kill"  # SIGKILL; its undo is a new process in its place
    STOP = "stop"  # SIGSTOP
    CONT = "cont"  # SIGCONT: the undo of STOP
    VANISH = "vanish"  # its machine is gone: nothing is reset, nothing answers
    CUT = "cut"  # its connections are reset, or only the one with its parent
    PART = "part"  # frames between it (with others) and its peers do not arrive
    LATE = "late"  # what it has sent and sends to its parent comes so much later, once
    SLOW = "slow"  # everything that happens takes it so much longer
    SKEW = "skew"  # its clock runs at another rate
    REFUSE = "refuse"  # it takes in no new connection
    JOIN = "join"  # its process starts only now; before, it is absent
    LEAVE = "leave"  # it leaves in order; its undo is a new process in its place


@dataclass(frozen=True, slots=True)
class Trigger:
    """When: exactly one is set. `at_s` counts from the workload's start; `at_wave` is the first wave that the target node has
    passed on; `moment` strikes at the first time that the target gets there after `at_wave` (or 0); `at_event` strikes before
    the n-th event of a simulation."""

    at_s: float | None = None
    at_wave: int | None = None
    moment: Moment | None = None
    at_event: int | None = None


@dataclass(frozen=True, slots=True)
class Injection:
    """One planned act on one node. `fault` numbers the suite's fault entry; `undo_after_s` is None where nothing is undone.

    others: further nodes on the same side of the act (a partition has sides). peers: the nodes on the other side; empty for all
    the rest. amount: how much, in the unit of the action (seconds, or a factor).
    """

    fault: int
    kind: str
    node: int
    action: Action
    trigger: Trigger
    undo_after_s: float | None = None
    others: tuple[int, ...] = ()
    peers: tuple[int, ...] = ()
    amount: float = 0.0
    direction: str = "both"


def late(injections: Iterable[Injection]) -> frozenset[int]:
    """The nodes that are not there at the start."""
    return frozenset(i.node for i in injections if i.action is Action.JOIN)


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
