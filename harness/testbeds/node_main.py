"""What runs in a forked node process, from the fork to its end."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import random
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from harness.api.errors import HarnessError
from harness.api.testbed import DeploymentSpec
from harness.core.tree import Role
from harness.testbeds import procs
from harness.testbeds.binding import processors
from harness.testbeds.loop import NodeBoot

CONTROL_FD = 3
_FAILED = 1
_TAIL_CHARS = 4000
#: A node makes next to no cycles: what it keeps is not to be searched for them many times a second.
_COLLECT = (20_000, 50, 1000)


@dataclass(frozen=True, slots=True)
class Birth:
    """What the fork server hands to a child. `entry` is "module:function" of the node's main function, which takes a NodeBoot
    and returns the exit status. `address` is the data address of this host. `life`: how many processes had its place before."""

    node: int
    spec: DeploymentSpec
    entry: str
    address: str
    epoch_s: float
    control_fd: int
    scratch: Path
    server_pid: int
    bind: bool = False
    life: int = 0


def run_child(birth: Birth) -> NoReturn:
    """Never returns: nothing of the fork server's own (objects, exit handlers, buffers) may run in the child."""
    status = _FAILED
    try:
        _separate(birth)
        report = Reporter(birth.node, birth.epoch_s)
        try:
            _redirect(birth.scratch)
            status = _run(birth, report)
            report({"kind": "usage", **procs.usage()})
        except BaseException as failure:
            status = status or _FAILED
            report({"kind": "node-failed", "message": describe(failure)})
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def describe(failure: BaseException) -> str:
    """What a person needs: our own errors speak for themselves, of others the end of the traceback."""
    if isinstance(failure, HarnessError):
        return str(failure)
    return "".join(traceback.format_exception(failure)).strip()[-_TAIL_CHARS:]


class Reporter:
    """Writes events as JSON lines to the agent. Fills in the time and the node."""

    def __init__(self, node: int, epoch_s: float, fd: int = CONTROL_FD) -> None:
        self._node = node
        self._epoch_s = epoch_s
        self._fd = fd

    def __call__(self, event: dict[str, Any]) -> None:
        """Report one event; plain values and numpy scalars only. Waits where the fork server is slow, also when the node has
        made the descriptor non-blocking; that the other end is gone is noticed by whoever reads commands, not here."""
        stamped = {"t_s": time.monotonic() - self._epoch_s, "node": self._node} | event
        view = memoryview(json.dumps(stamped, default=plain).encode() + b"\n")
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                select.select([], [self._fd], [])
            except ConnectionError:
                return


def plain(value: Any) -> Any:
    """A JSON value for what json does not know: numpy scalars and arrays by content, the rest by name."""
    convert: Callable[[], Any] | None = getattr(value, "tolist", None)
    return convert() if convert is not None else str(value)


def _separate(birth: Birth) -> None:
    """Make the forked copy of the server a process of its own: signals, life line, descriptors, chance."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    procs.die_with_parent(birth.server_pid, signal.SIGKILL)
    procs.set_process_name(f"harness-n{birth.node}")
    if birth.control_fd != CONTROL_FD:
        os.dup2(birth.control_fd, CONTROL_FD, inheritable=False)
    # What the server had open is closed by number; the objects that own those numbers are never collected, since the
    # frames that hold them are never left.
    os.closerange(CONTROL_FD + 1, os.sysconf("SC_OPEN_MAX"))
    random.seed()
    gc.enable()
    gc.set_threshold(*_COLLECT)
    if birth.bind:
        # Not more than a hint: where it cannot be had, the kernel goes on deciding.
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, processors(birth.spec.tree, birth.node, sorted(os.sched_getaffinity(0))))


def _redirect(scratch: Path) -> None:
    scratch.mkdir(parents=True, exist_ok=True)
    for path, flags, targets in (
        (Path(os.devnull), os.O_RDONLY, (0,)),
        (stderr_path(scratch), os.O_WRONLY | os.O_CREAT | os.O_APPEND, (1, 2)),
    ):
        fd = os.open(path, flags, 0o600)
        for target in targets:
            os.dup2(fd, target)
        os.close(fd)
    faulthandler.enable(2)  # where a crash by signal leaves its traceback


def stderr_path(scratch: Path) -> Path:
    """Where a node's standard output and error go: beside its scratch directory, which belongs to the node."""
    return scratch.with_name(scratch.name + ".stderr")


def _run(birth: Birth, report: Reporter) -> int:
    spec, node = birth.spec, birth.spec.tree.nodes[birth.node]
    endpoint = spec.transport.endpoint(
        node=birth.node,
        host=birth.address,
        secret=spec.secret,
        listen=node.role is not Role.BACK_END,
        max_frame_bytes=spec.settings.max_frame_bytes,
    )
    report({"kind": "listening", "address": endpoint.address})
    addresses = _wait_for_go()
    if addresses is None:
        endpoint.close()
        return 0
    module, _, name = birth.entry.partition(":")
    main: Callable[[NodeBoot], int] = getattr(importlib.import_module(module), name)
    return main(
        NodeBoot(
            node=birth.node,
            spec=spec,
            endpoint=endpoint,
            addresses=addresses,
            epoch_s=birth.epoch_s,
            control_fd=CONTROL_FD,
            report=report,
            scratch=birth.scratch,
            life=birth.life,
        )
    )


def _wait_for_go() -> dict[int, str] | None:
    """The address table, or None where the trial ends before it began. Takes one line from the control descriptor and leaves
    what follows to the node."""
    control = socket.socket(fileno=os.dup(CONTROL_FD))
    with control:
        line = b""
        while not line.endswith(b"\n"):
            select.select([control], [], [])
            seen = control.recv(1 << 16, socket.MSG_PEEK)
            if not seen:
                return None
            end = seen.find(b"\n") + 1
            line += control.recv(end or len(seen))
    command = json.loads(line)
    if command["cmd"] != "go":
        return None
    return {int(node): str(address) for node, address in command["addresses"].items()}
