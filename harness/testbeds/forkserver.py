"""The fork server: a clean, single-threaded, pre-loaded process that turns into a node process by fork.

One agent has one of these. It does not come from the agent by fork (an agent lives in a Ray worker with dozens of threads) but
is started afresh; what nodes need is imported once and shared copy-on-write. As the parent of all nodes of its host, it is also
the one who can signal them without ever hitting a stranger's pid, and who sees first what became of them.

It ends when its agent ends, in two ways that do not depend on each other: the end of file on the socket pair, and the kernel's
signal on the death of the thread that started it. Either way its nodes end with it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pickle
import pkgutil
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from harness.api.errors import InfrastructureError
from harness.api.fault import Injection, late
from harness.api.testbed import DeploymentSpec
from harness.testbeds import procs, wire
from harness.testbeds import scratch as scratches
from harness.testbeds.children import Child, Children
from harness.testbeds.node_main import Birth, describe, run_child
from harness.testbeds.timers import Timers

#: Events that somebody waits for are passed on at once, the others in batches.
URGENT = frozenset({"workload-started", "finished", "node-failed", "fault", "fault-confirmed"})
_BATCH_S = 0.05
_IDLE_WAIT_S = 60.0
_SPARE_DESCRIPTORS = 64
_PRELOAD = ("numpy", "numpy.random", "msgpack", "harness.testbeds.loop")


class ForkServer:
    """The loop around one agent's orders and its trial's node processes."""

    def __init__(self, fd: int, scratch: Path) -> None:
        self._fd = fd
        self._scratch = scratch
        self._reader = wire.Reader(fd)
        self._timers = Timers()
        self._poller = select.poll()
        self._children: Children | None = None
        self._injections: list[Injection] = []
        self._events: list[dict[str, Any]] = []
        self._flush_due = False
        self._stopping: int | None = None
        self._trials = 0
        self._wake_fd, wake = os.pipe()
        for end in (self._wake_fd, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        self._orders: dict[str, Callable[..., Any]] = {
            "launch": self.launch,
            "command": self.command,
            "arm": self.arm,
            "probe": self.probe,
        }

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the agent is gone."""
        self._poller.register(self._fd, select.POLLIN)
        self._poller.register(self._wake_fd, select.POLLIN)
        with contextlib.suppress(EOFError, BrokenPipeError):
            while True:
                wait_s = self._timers.wait_s(time.monotonic(), _IDLE_WAIT_S)
                for fd, events in self._poller.poll(wait_s * 1000):
                    self._on_ready(fd, events)
                self._timers.run(time.monotonic())
                if self._stopping is not None and not self._children:
                    self._answer(self._stopping)
                    self._stopping = None

    def _on_ready(self, fd: int, events: int) -> None:
        if fd == self._fd:
            for message in self._reader.read():
                if isinstance(message, wire.Order):
                    self._obey(message)
        elif fd == self._wake_fd:
            with contextlib.suppress(BlockingIOError):
                if signal.SIGTERM in os.read(fd, 1 << 12):
                    raise EOFError
            if self._children is not None:
                self._children.reap()
        elif self._children is not None and self._children.owns(fd):
            self._children.on_ready(fd, events)

    def _obey(self, order: wire.Order) -> None:
        if order.name == "stop":
            self.stop(order.number, *order.args)
            return
        try:
            wire.send(self._fd, wire.Answer(order.number, self._orders[order.name](*order.args)))
        except InfrastructureError as error:
            wire.send(self._fd, wire.Answer(order.number, error=str(error)))
        except Exception as error:
            wire.send(self._fd, wire.Answer(order.number, error=describe(error)))

    def _emit(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        if event["kind"] in URGENT:
            self._flush()
        elif not self._flush_due:
            self._flush_due = True
            self._timers.add(time.monotonic() + _BATCH_S, self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._events:
            events, self._events = self._events, []
            wire.send(self._fd, wire.Events(events))

    def _answer(self, number: int, error: str = "") -> None:
        self._flush()
        wire.send(self._fd, wire.Answer(number, error=error))

    # --- orders -------------------------------------------------------------------------------------------------------

    def launch(self, launch: wire.Launch) -> str:
        """Fork the nodes that are there at the start; return the directory in which node i has its scratch directory `n<i>`."""
        if self._children:
            raise InfrastructureError(f"{len(self._children)} processes of the trial before are still running")
        shutil.rmtree(self._trial_scratch, ignore_errors=True)
        self._trials += 1
        self._timers.clear()
        self._flush_due = False
        self._children = None
        spec = self._load(launch.spec)
        fan_out = max(len(node.children) for node in spec.tree.nodes)
        # A node may have to adopt about as many children again as it has of its own.
        procs.raise_descriptor_limit(
            max(2 * fan_out, len(launch.nodes)) + _SPARE_DESCRIPTORS,
            f"a tree with {len(launch.nodes)} nodes on host {launch.host} and a fan-out of {fan_out}",
        )
        fork = partial(self._fork, spec, launch)
        self._children = Children(launch.host, launch.epoch_s, self._poller, self._timers, self._emit, fork)
        here, absent = set(launch.nodes), late(spec.injections)
        self._injections = [i for i in spec.injections if i.node in here]
        try:
            for node in launch.nodes:
                if node not in absent:
                    self._children.start(node)
        except OSError as error:
            self._children.kill_all()
            raise InfrastructureError(
                f"host {launch.host} could start only {len(self._children)} of {len(launch.nodes)} node processes: {error};"
                f" see the limits of processes (ulimit -u, pids.max of the control group) and memory"
            ) from error
        return str(self._trial_scratch)

    @property
    def _trial_scratch(self) -> Path:
        return self._scratch / f"t{self._trials}"

    def _load(self, blob: bytes) -> DeploymentSpec:
        gc.unfreeze()
        # Importing plugins runs code of others: until it returns, nothing but SIGKILL is sure to end this process.
        procs.die_with_parent(os.getppid(), signal.SIGKILL)
        try:
            spec: DeploymentSpec = pickle.loads(blob)
            unavailable = spec.transport.unavailable()
        except Exception as error:
            raise InfrastructureError(
                f"the trial's plugins cannot be loaded on this host: {describe(error)}\nInstall them on every host, or register"
                f" them through an entry point in the group 'harness', so that they are shipped to the cluster"
            ) from error
        finally:
            procs.die_with_parent(os.getppid(), signal.SIGTERM)
        if unavailable is not None:
            raise InfrastructureError(f"the trial's transport cannot be used on this host: {unavailable}")
        gc.collect()
        gc.freeze()
        return spec

    def _fork(self, spec: DeploymentSpec, launch: wire.Launch, node: int, life: int) -> Child:
        ours, theirs = (end.detach() for end in socket.socketpair())
        scratch = self._trial_scratch / (f"n{node}.{life}" if life else f"n{node}")
        birth = Birth(node, spec, launch.entry, launch.address, launch.epoch_s, theirs, scratch, os.getpid(), launch.bind, life)
        try:
            pid = os.fork()
        except OSError:
            os.close(ours)
            raise
        finally:
            if os.getpid() == birth.server_pid:
                os.close(theirs)
        if pid == 0:
            run_child(birth)
        return Child(node, pid, ours, scratch)

    def command(self, command: dict[str, Any]) -> None:
        """Pass a command on to every node of this host."""
        if self._children is not None:
            self._children.command(command)

    def arm(self, started_s: float) -> None:
        """The workload started so many seconds after the epoch: act on this host's nodes when the time comes."""
        if self._children is not None:
            self._children.arm(self._injections, started_s)

    def stop(self, number: int, timeout_s: float, patience_s: float, root: int = 0) -> None:
        """End the trial's nodes: the front-end and the standby that is the `root` in its place are told at once, the others
        (which follow it) after `patience_s`, and what is left after `timeout_s` is killed. Answered when all are gone."""
        if self._children is not None:
            self._children.no_more()
        if not self._children:
            self._answer(number)
            return
        children, now = self._children, time.monotonic()
        self._stopping = number
        children.release_stopped()
        for node in {0, root}:
            children.command({"cmd": "stop"}, only=node)
        self._timers.add(now + patience_s, lambda: children.command({"cmd": "stop"}))
        self._timers.add(now + timeout_s, children.kill_all)

    def probe(self) -> dict[str, str]:
        """What can be done to a process of this host, found by doing it to one: capability to mechanism."""
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            _idle_for_ever(server)
        able = {}
        try:
            os.kill(pid, signal.SIGSTOP)
            if _changes(pid, os.WUNTRACED, os.WIFSTOPPED):
                os.kill(pid, signal.SIGCONT)
                if _changes(pid, os.WCONTINUED, os.WIFCONTINUED):
                    able["hang"] = "SIGSTOP and SIGCONT by the host's fork server"
        finally:
            os.kill(pid, signal.SIGKILL)
            if _changes(pid, 0, os.WIFSIGNALED):
                able["kill"] = "SIGKILL by the host's fork server"
        if "kill" in able and _comes_and_goes():
            able["restart"] = "another process by the host's fork server"
            able["come-and-go"] = "forked when it is due, told to leave, seen to exit with status 0"
        return able

    def close(self) -> None:
        """End every node, by force, and remove what they left."""
        if self._children:
            self._children.kill_all()
            for child in self._children.alive:
                _changes(child.pid, 0, os.WIFSIGNALED)
        shutil.rmtree(self._scratch, ignore_errors=True)


def _idle_for_ever(parent: int) -> NoReturn:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    procs.die_with_parent(parent, signal.SIGKILL)
    while True:
        signal.pause()


def _comes_and_goes() -> bool:
    """Whether another process can be had that ends when it is told so, with status 0."""
    server = os.getpid()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            procs.die_with_parent(server, signal.SIGKILL)
            os._exit(0 if theirs.recv(1) else 1)
        ours.send(b"!")
        return _changes(pid, 0, lambda status: os.waitstatus_to_exitcode(status) == 0)


def _changes(pid: int, flag: int, test: Callable[[int], bool]) -> bool:
    """Whether the child changes its state as `test` says, within a second."""
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        seen, status = os.waitpid(pid, os.WNOHANG | flag)
        if seen:
            return test(status)
        time.sleep(0.001)
    return False


def preload() -> None:
    """Import what every node needs, so that it is there once for all of them."""
    core = importlib.import_module("harness.core")
    names = [f"harness.core.{m.name}" for m in pkgutil.iter_modules(core.__path__)]
    for name in (*_PRELOAD, *names):
        importlib.import_module(name)


def main(fd: int, parent: int, scratch_parent: str) -> None:
    """Serve the agent `parent` on the inherited descriptor `fd`."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # a Ray worker blocks some
    procs.die_with_parent(parent, signal.SIGKILL)
    procs.set_process_name("harness-forks")
    os.set_inheritable(fd, False)
    gc.disable()
    try:
        preload()
        scratch = scratches.make(scratch_parent)
    except Exception as error:
        wire.send(fd, wire.Answer(0, error=f"the fork server of this host could not start: {describe(error)}"))
        return
    server = ForkServer(fd, scratch)
    try:
        # From here on an orderly end is possible: nodes are killed and the scratch directory is removed.
        procs.die_with_parent(parent, signal.SIGTERM)
        wire.send(fd, wire.Answer(0, {"pid": os.getpid(), "scratch": str(scratch)}))
        server.run()
    finally:
        server.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
