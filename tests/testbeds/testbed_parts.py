"""Parts of a trial that has no tree inside: what node processes do is chosen by the test."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.errors import InfrastructureError
from harness.api.fault import Injection
from harness.api.testbed import DeploymentSpec
from harness.api.workload import TrialContext
from harness.core.settings import NodeSettings
from harness.core.spec import Recovery
from harness.core.tree import Tree

if TYPE_CHECKING:
    from harness.testbeds.loop import NodeBoot

ENTRY = "testbed_parts:run_node"


@dataclass
class Endpoint:
    """Talks to nobody."""

    address: str

    def connect(self, peer: int, address: str, timeout_s: float) -> None: ...

    def poll(self, timeout_s: float | None, sink: object) -> int:
        return 0

    def fileno(self) -> int:
        return -1

    def close(self) -> None: ...


@dataclass(frozen=True)
class Transport:
    """`refuses`: the node whose endpoint cannot be had. `mute`: the node that hangs while it makes one."""

    refuses: int = -1
    mute: int = -1
    missing: str = ""

    def unavailable(self) -> str | None:
        return self.missing or None

    def endpoint(self, *, node: int, host: str, secret: bytes, listen: bool, max_frame_bytes: int) -> Endpoint:
        if node == self.refuses:
            raise InfrastructureError(f"no port on {host} for node {node}")
        if node == self.mute:
            time.sleep(600)
        return Endpoint(f"{host}:{10_000 + node}" if listen else "")


@dataclass(frozen=True)
class Unloadable:
    """A transport that cannot be unpickled where the nodes are."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_explode, ())


def _explode() -> None:
    raise RuntimeError("this plugin raises when it is loaded")


@dataclass(frozen=True)
class Workload:
    """`acts`: node to what it does once it runs, instead of waiting for the end. `gate`: a file for whose appearance all but
    the front-end wait before they act. `sign`: a file that a node makes when it kills itself, for which "give_up_later"
    waits."""

    acts: Mapping[int, str] = field(default_factory=dict)
    starts: bool = True
    front_end_samples: bytes = b""
    gate: str = ""
    sign: str = ""

    def filters(self, chosen: str) -> tuple[str, ...]:
        return ()


def make_spec(
    tree: Tree,
    *,
    transport: object = None,
    workload: Workload | None = None,
    injections: tuple[Injection, ...] = (),
    start_timeout_s: float = 20.0,
    lease_s: float = 2.0,
) -> DeploymentSpec:
    return DeploymentSpec(
        trial="fake",
        secret=b"s" * 32,
        tree=tree,
        transport=transport or Transport(),  # type: ignore[arg-type]
        workload=workload or Workload(),  # type: ignore[arg-type]
        context=TrialContext(seed=1, tree=tree, filter="", recovery=Recovery.REPLAY),
        filters={},
        down_filters={},
        settings=NodeSettings(lease_s=lease_s, heartbeat_s=lease_s / 8, start_timeout_s=start_timeout_s),
        injections=injections,
        start_timeout_s=start_timeout_s,
    )


def run_node(boot: NodeBoot) -> int:
    """Report what a node reports, do the one act that the workload asks for, wait for the end."""
    workload: Any = boot.spec.workload
    act = workload.acts.get(boot.node)
    if act == "hide":
        return _wait(boot)
    if boot.node:
        boot.report({"kind": "attached", "parent": boot.spec.tree.nodes[boot.node].parent, "depth": 1})
    elif workload.starts:
        (boot.scratch / "samples.bin").write_bytes(workload.front_end_samples)
        boot.report({"kind": "tree-ready", "nodes": len(boot.spec.tree.nodes), "took_s": 0.0})
        boot.report({"kind": "workload-started"})
        boot.report({"kind": "note", "name": "addresses", "fields": {str(k): v for k, v in boot.addresses.items()}})
    while boot.node and workload.gate and not Path(workload.gate).exists():
        time.sleep(0.02)
    if act is not None:
        status = globals()["_" + act](boot)
        if status is not None:
            return int(status)
    return _wait(boot)


def _wait(boot: NodeBoot) -> int:
    received = b""
    while data := os.read(boot.control_fd, 4096):
        received += data
        *lines, received = received.split(b"\n")
        if any(json.loads(line)["cmd"] == "stop" for line in lines):
            return 0
    return 7


def _finish(boot: NodeBoot) -> int:
    boot.report({"kind": "finished", "ok": True, "reason": ""})
    return 0


def _raise(boot: NodeBoot) -> int:
    raise RuntimeError(f"node {boot.node} does not feel like it")


def _abort(boot: NodeBoot) -> int:
    os.write(2, b"terminate called after throwing an instance of nothing\n")
    os.abort()


def _give_up(boot: NodeBoot) -> int:
    boot.report({"kind": "finished", "ok": False, "reason": "nobody came"})
    return 5


def _give_up_later(boot: NodeBoot) -> int:
    workload: Any = boot.spec.workload
    while not Path(workload.sign).exists():
        time.sleep(0.02)
    return _give_up(boot)


def _lie(boot: NodeBoot) -> None:
    boot.report({"kind": "fault", "fault": 0, "action": "kill", "trigger": "wave 1", "undo_after_s": None})


def _ignore_stop(boot: NodeBoot) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)


def _stop_itself(boot: NodeBoot) -> None:
    boot.report({"kind": "fault", "fault": 0, "action": "stop", "trigger": "wave 1", "undo_after_s": 0.2})
    os.kill(os.getpid(), signal.SIGSTOP)
    boot.report({"kind": "note", "name": "awake", "fields": {}})


def _kill_itself(boot: NodeBoot) -> None:
    boot.report({"kind": "fault", "fault": 0, "action": "kill", "trigger": "start-up", "undo_after_s": None})
    workload: Any = boot.spec.workload
    if workload.sign:
        Path(workload.sign).touch()
    os.kill(os.getpid(), signal.SIGKILL)


def _restart_itself(boot: NodeBoot) -> None:
    boot.report({"kind": "fault", "fault": 0, "action": "kill", "trigger": "wave 1", "undo_after_s": 0.05})
    os.kill(os.getpid(), signal.SIGKILL)


def _babble(boot: NodeBoot) -> None:
    os.write(boot.control_fd, b"this is no event\n")


def _flood(boot: NodeBoot) -> None:
    os.set_blocking(boot.control_fd, False)  # as the real loop does
    for i in range(5000):
        boot.report({"kind": "note", "name": "flood", "fields": {"i": i, "text": "x" * 200}})
    os.set_blocking(boot.control_fd, True)


def _leave_a_child(boot: NodeBoot) -> int:
    """Leave a process that keeps the node's descriptors open for a while."""
    if os.fork() == 0:
        select.select([], [], [], 3.0)
        os._exit(0)
    return 0


def matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None
