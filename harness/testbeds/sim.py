"""The testbed `sim`: a whole trial in this process, under virtual time. The same seed is the same journal, on every machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from harness.api.errors import InfrastructureError
from harness.api.testbed import DeploymentSpec
from harness.sim.model import Model
from harness.testbeds.sim_deployment import SimDeployment
from harness.testbeds.sim_faults import ABLE

#: More of them cost nothing, but are a mistake rather than a wish.
MOST_HOSTS = 100_000


@dataclass(frozen=True)
class Sim:
    """Virtual time in one process: no socket, no thread, no clock. The transport of the suite is not used: every connection is
    ordered and reliable, as TCP's are.

    hosts: how many logical hosts. latency_s: mean one-way delay of a frame; `varies` is the part of it (0 to 1) that follows
    `jitter` (none, uniform, exponential). bytes_per_s: rate of a connection, 0 for no limit. buffer_bytes: what a connection
    holds before its sender is blocked. stall: how often a sender is blocked although there is room. apart: how often a node
    takes in more than one frame before it moves on. turn_s: what each thing that happens costs a node.
    user_timeout_s: after so long without a way through, a connection is given up. retry_s: after a partition has healed, what
    was sent before comes within so much.
    """

    #: For the runner: what it reads from a clock does not go into the journal, and transports need not exist here.
    virtual: ClassVar[bool] = True
    one_process: ClassVar[bool] = True

    hosts: int = 4
    latency_s: float = 0.0002
    jitter: str = "exponential"
    varies: float = 0.8
    bytes_per_s: float = 0.0
    buffer_bytes: int = 4 << 20
    stall: float = 0.0
    apart: float = 0.2
    turn_s: float = 0.0
    user_timeout_s: float = 10.0
    retry_s: float = 0.2

    def __post_init__(self) -> None:
        if not 1 <= self.hosts <= MOST_HOSTS:
            raise ValueError(f"hosts = {self.hosts} must be between 1 and {MOST_HOSTS}")
        self.model()

    def model(self) -> Model:
        """The network and the machines. Raises ValueError."""
        return Model(**{f.name: getattr(self, f.name) for f in fields(Model)})

    @cached_property
    def _open(self) -> set[str]:
        return set()

    def open(self, run_dir: Path) -> None:
        """Nothing has to be started."""
        if self._open:
            raise InfrastructureError("the testbed is open already")
        self._open.add(str(run_dir))

    def close(self) -> None:
        """Nothing has been started. Idempotent."""
        self._open.clear()

    def host_count(self) -> int:
        """How many hosts there are."""
        return self.hosts

    def capabilities(self) -> Mapping[str, str]:
        """Everything that harness.testbeds.sim_faults can do."""
        return ABLE

    def deploy(self, spec: DeploymentSpec) -> SimDeployment:
        """A trial, not started yet."""
        return SimDeployment(spec, self.model())
