"""Hosts for the tests: real agents and fork servers, inside this process; only Ray is left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

import testbed_parts

from harness.core.tree import Tree
from harness.testbeds import procs
from harness.testbeds.agent import Agent, AgentConfig
from harness.testbeds.deployment import TreeDeployment
from harness.testbeds.hosts import Host

#: Long enough for anything that must happen at all, on a machine that does many things at once.
BOUND_S = 30.0


class InProcess:
    """An agent in this process, called by threads as Ray calls it."""

    def __init__(self, config: AgentConfig) -> None:
        self.agent = Agent(config)
        self._threads = ThreadPoolExecutor(4)

    def call(self, method: str, *args: Any) -> Future[Any]:
        return self._threads.submit(getattr(self.agent, method), *args)

    def close(self) -> None:
        self.agent.close()
        self._threads.shutdown()


class Hosts:
    """A few hosts, and the trials on them."""

    def __init__(self, mark: str, scratch: Path, count: int = 2, driver_lease_s: float = 120.0) -> None:
        self.mark = mark
        self.scratch = scratch
        self.handles = [InProcess(AgentConfig(mark, str(scratch), driver_lease_s)) for _ in range(count)]
        opened = [h.call("open").result(BOUND_S) for h in self.handles]
        self.hosts = [
            Host(i, h, "127.0.0.1", "here", o["boot_id"], o["pid"])
            for i, (h, o) in enumerate(zip(self.handles, opened, strict=True))
        ]

    def deploy(self, tree: Tree, **parts: Any) -> TreeDeployment:
        placed = tree.placed([n.id % len(self.hosts) for n in tree.nodes])
        return TreeDeployment(testbed_parts.make_spec(placed, **parts), self.hosts, testbed_parts.ENTRY)

    def processes(self) -> list[int]:
        return procs.marked(self.mark)

    def servers(self) -> list[int]:
        """The pids of the fork servers, by host."""
        return [h.agent.server_pid for h in self.handles]

    def close(self) -> None:
        for handle in self.handles:
            handle.close()


Event = Mapping[str, Any]


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {BOUND_S:g} s: {what}"
        time.sleep(0.02)


def poll_until(deployment: TreeDeployment, done: Callable[[list[Event]], bool], what: str) -> list[Event]:
    """All events up to the first batch after which `done` holds."""
    events: list[Event] = []

    def more() -> bool:
        events.extend(deployment.poll(0.5))
        return done(events)

    wait_for(more, what)
    return events


def kinds(events: list[Event]) -> list[str]:
    return [e["kind"] for e in events]


def listening_addresses(pids: list[int]) -> set[str]:
    """The addresses on which the given processes listen for TCP connections."""
    inodes = set()
    for pid in pids:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            target = str(fd.readlink()) if fd.is_symlink() else ""
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                raw = bytes.fromhex(fields[1].partition(":")[0])
                words = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))  # the kernel prints host order
                address = ip_address(words)
                mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
                found.add(str(mapped or address))
    return found
