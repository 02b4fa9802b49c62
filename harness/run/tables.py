"""The tables of a suite file that are not a plugin's: their keys, types, defaults and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.api.fault import Fault, Trigger
from harness.core.spec import Accept, Recovery, Sync
from harness.registry.construct import Chosen
from harness.run.targets import Target

#: The tables of a suite.
TOP_KEYS = ("suite", "testbed", "node", "case")
#: The keys of a [[case]].
CASE_KEYS = (
    "name",
    "workload",
    "topology",
    "transport",
    "filter",
    "down_filter",
    "recovery",
    "sync",
    "accept",
    "deadline_s",
    "standby",
    "fault",
    "expect",
)
#: What a case has where it does not say.
CASE_DEFAULTS: Mapping[str, str | float] = {
    "transport": "tcp",
    "down_filter": "null",
    "recovery": "auto",
    "sync": "wait-for-all",
    "accept": "complete",
    "deadline_s": 30.0,
    "standby": "",
}
#: The keys of a [[case.fault]], beside those of the fault's kind.
FAULT_KEYS = ("kind", "target", "at_s", "at_wave", "moment", "at_event")

RecoveryChoice = Literal["auto", "replay", "compose", "decompose", "resume"]
Expected = Literal["exact", "equivalent", "bounded-loss"]

#: What a case expects where it does not say, by its recovery.
DEFAULT_EXPECTED: Mapping[Recovery, Expected] = {
    Recovery.REPLAY: "exact",
    Recovery.COMPOSE: "equivalent",
    Recovery.DECOMPOSE: "equivalent",
    Recovery.RESUME: "bounded-loss",
}


@dataclass(frozen=True)
class SuiteTable:
    """[suite]: every random choice follows from `seed`; `trials` is the number of fresh deployments of each case."""

    name: str
    seed: int = 0
    trials: int = 1
    description: str = ""

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("name is empty; give the suite a name")
        if self.seed < 0:
            raise ValueError(f"seed = {self.seed} must not be negative")
        if not 1 <= self.trials <= 100_000:
            raise ValueError(f"trials = {self.trials} must lie in 1..100000")


@dataclass(frozen=True)
class WaitForAll:
    """sync = "wait-for-all": a node reduces a wave when all of its children have sent theirs."""

    sync = Sync.WAIT_FOR_ALL


@dataclass(frozen=True)
class TimeOut:
    """sync = { kind = "time-out", after_s = ... }: or when `after_s` seconds have passed since the wave's first packet."""

    after_s: float
    sync = Sync.TIME_OUT

    def __post_init__(self) -> None:
        _positive("after_s", self.after_s)


@dataclass(frozen=True)
class DoNotWait:
    """sync = "do-not-wait": a node passes every packet on at once."""

    sync = Sync.DO_NOT_WAIT


SYNCS: Mapping[str, type[WaitForAll | TimeOut | DoNotWait]] = {
    "wait-for-all": WaitForAll,
    "time-out": TimeOut,
    "do-not-wait": DoNotWait,
}


@dataclass(frozen=True)
class Complete:
    """accept = "complete": the front-end delivers a wave when every live back-end is in it."""

    accept = Accept.COMPLETE


@dataclass(frozen=True)
class Quorum:
    """accept = { kind = "quorum", n = ... }: when at least `n` back-ends are in it."""

    n: int
    accept = Accept.QUORUM

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n = {self.n} must be at least 1")


@dataclass(frozen=True)
class Deadline:
    """accept = { kind = "deadline", after_s = ... }: with whoever is in it `after_s` seconds after it was asked for."""

    after_s: float
    accept = Accept.DEADLINE

    def __post_init__(self) -> None:
        _positive("after_s", self.after_s)


ACCEPTS: Mapping[str, type[Complete | Quorum | Deadline]] = {
    "complete": Complete,
    "quorum": Quorum,
    "deadline": Deadline,
}


@dataclass(frozen=True)
class RecoveryMs:
    """expect.recovery_ms: the most that a recovery may take, from the fault to the first complete wave, in milliseconds, by
    quantile over the trials of the case, each counted with its slowest recovery."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        for name in ("p50", "p90", "p99", "max"):
            if (limit := getattr(self, name)) is not None:
                _positive(name, limit)


@dataclass(frozen=True)
class Throughput:
    """expect.throughput: `within_s` seconds after the fault the throughput is at least this part of what it was before."""

    min_ratio_to_steady: float
    within_s: float

    def __post_init__(self) -> None:
        if not 0 < self.min_ratio_to_steady <= 1:
            raise ValueError(f"min_ratio_to_steady = {self.min_ratio_to_steady} must lie above 0 and be at most 1")
        _positive("within_s", self.within_s)


@dataclass(frozen=True)
class Expect:
    """[case.expect]. `recovery` is None where the suite leaves it to the case's recovery."""

    recovery: Expected | None = None
    recovery_ms: RecoveryMs | None = None
    throughput: Throughput | None = None


@dataclass(frozen=True)
class FaultEntry:
    """One [[case.fault]] at one point of the matrix."""

    fault: Chosen[Fault]
    target: Target
    trigger: Trigger
    path: str


@dataclass(frozen=True)
class FaultPart:
    """What is sound of a [[case.fault]] in which something is wrong; None: the rest."""

    fault: Chosen[Fault] | None
    target: Target | None
    trigger: Trigger | None
    path: str


def _positive(name: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"{name} = {value:g} must be positive")
