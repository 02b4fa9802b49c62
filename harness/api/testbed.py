"""Where a trial runs, and the only thing that a fault may touch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from harness.api.adopter import AdopterByName
from harness.api.fault import Injection
from harness.api.transport import Transport
from harness.api.workload import TrialContext, Workload
from harness.core.filters import DownFilter, Filter
from harness.core.settings import NodeSettings
from harness.core.tree import Tree

#: The reason in `finished` where nothing failed, but `Deployment.stop` ended the workload before its time.
STOPPED = "stopped by the harness"


@dataclass(frozen=True)
class DeploymentSpec:
    """Everything a testbed needs to run one trial. Plugins are instances; all of it can be sent to a Ray actor. adopters: the
    policy of adoption by its name, None for the core's own."""

    trial: str
    secret: bytes
    tree: Tree
    transport: Transport
    workload: Workload
    context: TrialContext
    filters: Mapping[str, Filter]
    down_filters: Mapping[str, DownFilter]
    settings: NodeSettings
    injections: Sequence[Injection]
    start_timeout_s: float = 60.0
    adopters: AdopterByName | None = None


class Deployment(Protocol):
    """One running trial. Use it as a context manager: leaving it ends every process of the trial, whatever happened."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def start(self) -> None:
        """Start all node processes and wait until the tree is ready and the workload has started. Raises
        InfrastructureError where that does not happen in time."""
        ...

    def poll(self, timeout_s: float) -> list[dict[str, Any]]:
        """The events that happened since the last call (harness.api.records.EVENT_KINDS), waiting at most `timeout_s` for
        the first. Time-triggered injections are carried out on the way. `finished` is the workload's last word."""
        ...

    def stop(self, timeout_s: float) -> list[dict[str, Any]]:
        """End the tree in order, then by force; return the last events. Idempotent."""
        ...

    def collect(self, into: Path) -> None:
        """Fetch the front-end's samples into directory `into`: samples.bin, observed.bin, contributors.jsonl."""
        ...


@runtime_checkable
class Testbed(Protocol):
    """The plugin: a frozen dataclass whose fields are the keys of the suite's [testbed]. `open` and `close` bracket a whole
    run; `close` leaves nothing of ours behind and is safe to call twice."""

    @property
    def hosts(self) -> int:
        """How many hosts the tree is placed on (0: whatever the testbed has)."""
        ...

    def open(self, run_dir: Path) -> None: ...

    def close(self) -> None: ...

    def possible(self) -> frozenset[str] | None:
        """The capabilities that it may have on some machine, known before `open`; None where only trying tells. A suite whose
        faults need others is refused when it is read."""
        ...

    def capabilities(self) -> Mapping[str, str]:
        """What it can do, found by trying: name to mechanism, e.g. {"kill": "SIGKILL by the host's agent"}. After open."""
        ...

    def host_count(self) -> int:
        """How many hosts there are. After open."""
        ...

    def deploy(self, spec: DeploymentSpec) -> Deployment: ...
