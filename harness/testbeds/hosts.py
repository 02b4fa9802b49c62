"""The hosts of an open testbed as the driver sees them: one agent each, asked in parallel, every question with a time-out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, Protocol

from harness.api.errors import InfrastructureError

#: How long an agent may take for a question that it answers at once.
ANSWER_WITHIN_S = 30.0
_CLOCK_ROUNDS = 5


class AgentGone(InfrastructureError):
    """An agent has ended (with everything that it started) or cannot be reached any more."""


class AgentHandle(Protocol):
    """How the driver reaches an agent (harness.testbeds.agent.Agent)."""

    def call(self, method: str, *args: Any) -> Future[Any]:
        """Call a method of the agent. The future's error is an InfrastructureError: AgentGone where there is no agent."""
        ...


@dataclass(frozen=True)
class Host:
    """One logical host. `place` says for people where it is; `address` is where its nodes listen; `boot_id` is the same for
    hosts that share a kernel, and with it a clock; `pid` is the agent's, 0 before it has told."""

    number: int
    handle: AgentHandle
    address: str
    place: str
    boot_id: str
    pid: int

    def __str__(self) -> str:
        return f"host {self.number} ({self.place}, agent {self.pid})"


def ask(hosts: Sequence[Host], method: str, *args: Any, within_s: float = ANSWER_WITHIN_S) -> list[Any]:
    """Ask all hosts the same; their answers in order. Raises what `settle` raises."""
    return settle(hosts, [h.handle.call(method, *args) for h in hosts], method, within_s)


def ask_each(hosts: Sequence[Host], method: str, arg: Callable[[Host], Any], within_s: float = ANSWER_WITHIN_S) -> list[Any]:
    """Ask every host with an argument of its own."""
    return settle(hosts, [h.handle.call(method, arg(h)) for h in hosts], method, within_s)


def settle(hosts: Sequence[Host], futures: Sequence[Future[Any]], what: str, within_s: float) -> list[Any]:
    """Wait for one answer of each host. Raises AgentGone or InfrastructureError, naming the host, for the first one that failed
    or (after all others had their time) did not answer."""
    wait(futures, timeout=within_s)
    for host, future in zip(hosts, futures, strict=True):
        if future.done() and (error := future.exception()) is not None:
            raise named(host, error)
    silent = [str(h) for h, f in zip(hosts, futures, strict=True) if not f.done()]
    if silent:
        raise InfrastructureError(f"no answer to '{what}' within {within_s:.0f} s from {', '.join(silent)}")
    return [f.result() for f in futures]


def named(host: Host, error: BaseException) -> BaseException:
    """The error with the host in front; errors that are not ours stay what they are."""
    if isinstance(error, AgentGone) and not host.pid:
        return AgentGone(f"host {host.number} ({host.place}): its agent did not come up: {error}")
    if isinstance(error, AgentGone):
        return AgentGone(f"{host}: the agent is gone, and all nodes of its host with it: {error}")
    return InfrastructureError(f"{host}: {error}") if isinstance(error, InfrastructureError) else error


@dataclass(frozen=True)
class ClockReading:
    """A host's clock minus the driver's, in seconds, known to within half of `round_trip_s`."""

    offset_s: float
    round_trip_s: float


def read_clock(host: Host) -> ClockReading:
    """Compare clocks by the exchange with the shortest round trip of a few (Cristian, Probabilistic clock synchronization,
    Distributed Computing 3, 1989)."""
    readings = []
    for _ in range(_CLOCK_ROUNDS):
        before = time.monotonic()
        (theirs,) = ask([host], "clock")
        after = time.monotonic()
        readings.append(ClockReading(theirs - (before + after) / 2, after - before))
    return min(readings, key=lambda r: r.round_trip_s)


def clock_offsets(hosts: Sequence[Host], reference: Host) -> dict[int, float]:
    """For each host number: its monotonic clock minus that of `reference`, in seconds.

    Processes of one kernel share CLOCK_MONOTONIC: where both hosts are of one boot and the estimate does not contradict it
    by more than its own uncertainty (a time namespace would), the offset is 0 exactly.
    """
    base = read_clock(reference)
    offsets = {}
    for host in hosts:
        reading = base if host is reference else read_clock(host)
        offset = reading.offset_s - base.offset_s
        doubt = reading.round_trip_s + base.round_trip_s
        same = host is reference or (host.boot_id != "" and host.boot_id == reference.boot_id and abs(offset) < doubt)
        offsets[host.number] = 0.0 if same else offset
    return offsets
