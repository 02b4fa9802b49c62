"""The testbed `sim`: a whole trial in this process, under virtual time. The same seed is the same journal, on every machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
class Sim(Model):
    """Virtual time in one process: no socket, no thread, no clock. The transport of the suite is not used: every connection is
    ordered and reliable, as TCP's are.

    hosts: how many logical hosts. The other keys are those of the network and the machines (harness.sim.model.Model).
    """

    #: For the runner: what it reads from a clock does not go into the journal, and transports need not exist here.
    virtual: ClassVar[bool] = True
    one_process: ClassVar[bool] = True
    #: Its trials go on where a standby takes the front-end's place.
    standbys: ClassVar[bool] = True

    hosts: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.hosts <= MOST_HOSTS:
            raise ValueError(f"hosts = {self.hosts} must be between 1 and {MOST_HOSTS}")

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

    def possible(self) -> frozenset[str]:
        """Everything that harness.testbeds.sim_faults can do."""
        return frozenset(ABLE)

    def capabilities(self) -> Mapping[str, str]:
        """Everything that harness.testbeds.sim_faults can do."""
        return ABLE

    def deploy(self, spec: DeploymentSpec) -> SimDeployment:
        """A trial, not started yet."""
        return SimDeployment(spec, self)
