"""The agent of one host: what runs inside its Ray actor, and knows nothing of Ray.

It owns the host's fork server, passes orders on to it and keeps its events until the driver fetches them. Methods may be called
from several threads at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.api.errors import InfrastructureError
from harness.testbeds import procs, wire

#: Memory and threads of node processes: one thread each, one arena each.
NODE_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    # Freed chunks stay with the process: giving them back and faulting them in again costs as much as a copy.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "PYTHONUNBUFFERED": "1",
}
_ORDER_TIMEOUT_S = 60.0
_LOOK_ROUND_S = 1.0
_END_WITHIN_S = 3.0


@dataclass(frozen=True)
class AgentConfig:
    """mark: value of the environment variable procs.MARK for everything that the agent starts. scratch: where its scratch
    directory is made ("": the system's place). driver_lease_s: a driver that was silent for so long during a trial is taken
    for dead, and the trial's nodes are ended."""

    mark: str
    scratch: str = ""
    driver_lease_s: float = 120.0
    start_timeout_s: float = 60.0


class Agent:
    """Does nothing before `open`."""

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        self._changed = threading.Condition()
        self._events: list[dict[str, Any]] = []
        self._answers: dict[int, wire.Answer] = {}
        self._orders = 0
        self._lost = ""
        self._expired = ""
        self._closing = False
        self._deployed = False
        self._heard_s = time.monotonic()
        self.server_pid = 0
        self._scratch = ""
        self._trial_scratch: Path | None = None
        self._sending = threading.Lock()
        self._pair, self._theirs = socket.socketpair()
        # The kernel ties the fork server's life to the thread that starts it, so that thread must live as long as we do.
        self._keeper = threading.Thread(target=self._keep, name="harness-keeper", daemon=True)

    # --- what the driver calls ----------------------------------------------------------------------------------------

    def open(self) -> dict[str, Any]:
        """Start the fork server; the same answer as `hello`. Raises InfrastructureError where it does not come up in time."""
        self._keeper.start()
        self._wait_for(0, self._config.start_timeout_s, "start")
        return self.hello()

    def hello(self) -> dict[str, Any]:
        """Who and where this agent is: pid, kernel, version and place of the project's code. Raises InfrastructureError where
        it can run nothing any more."""
        import harness

        if self._lost:
            raise InfrastructureError(self._lost)
        return {
            "pid": os.getpid(),
            "boot_id": procs.boot_id(),
            "hostname": socket.gethostname(),
            "version": harness.__version__,
            "code": str(Path(harness.__file__ or "").parent),
        }

    def clock(self) -> float:
        """This host's monotonic clock, in seconds."""
        self._hear()
        return time.monotonic()

    def probe(self) -> dict[str, str]:
        """What this host can do to a process, found by trying: capability to mechanism."""
        able: dict[str, str] = self._order("probe")
        return able

    def launch(self, launch: wire.Launch) -> None:
        """Fork the nodes of a trial. Raises InfrastructureError where that cannot be done."""
        with self._changed:
            self._events.clear()
        self._deployed, self._expired = True, ""
        self._hear()
        self._trial_scratch = None
        self._trial_scratch = Path(self._order("launch", launch))

    def command(self, command: Mapping[str, Any]) -> None:
        """Send a command to all nodes of this host."""
        self._order("command", dict(command))

    def arm(self, started_s: float) -> None:
        """The workload started at `started_s` (seconds since the epoch): carry out the timed injections of this host."""
        self._order("arm", started_s)

    def poll(self, wait_s: float) -> list[dict[str, Any]]:
        """The events since the last call; waits at most `wait_s` for the first, and not at all between trials. Raises
        InfrastructureError once the fork server is gone and everything that it said has been fetched."""
        self._hear()
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._lost or not self._deployed, wait_s)
            events, self._events = self._events, []
            if not events and (self._lost or self._expired):
                raise InfrastructureError(self._lost or self._expired)
            return events

    def stop(self, timeout_s: float, patience_s: float, root: int = 0) -> None:
        """End the trial's nodes, in order if possible. See ForkServer.stop."""
        self._hear()
        if not self._lost:
            self._order("stop", timeout_s, patience_s, root, wait_s=timeout_s + _ORDER_TIMEOUT_S)
        with self._changed:
            self._deployed = False
            self._changed.notify_all()

    def files(self, node: int) -> dict[str, int]:
        """The files that a node of the last trial left in its scratch directory, with their sizes in bytes."""
        place = self._node_scratch(node)
        return {f.name: f.stat().st_size for f in place.iterdir() if f.is_file()} if place and place.is_dir() else {}

    def fetch(self, node: int, name: str, offset: int, size: int) -> bytes:
        """A piece of one of these files. Raises OSError where it cannot be read."""
        with ((self._node_scratch(node) or Path()) / name).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def _node_scratch(self, node: int) -> Path | None:
        return self._trial_scratch / f"n{node}" if self._trial_scratch else None

    def close(self) -> None:
        """End the fork server and with it every node. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        with contextlib.suppress(OSError):
            self._pair.shutdown(socket.SHUT_RDWR)  # wakes the keeper, and is the fork server's end of file
        if self._keeper.ident is not None:
            self._keeper.join(_END_WITHIN_S + 5.0)

    # --- orders and answers -------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        self._heard_s = time.monotonic()

    def _order(self, name: str, *args: Any, wait_s: float = _ORDER_TIMEOUT_S) -> Any:
        with self._sending:
            self._orders += 1
            number = self._orders
            try:
                wire.send(self._pair.fileno(), wire.Order(number, name, args))
            except OSError as error:
                raise InfrastructureError(self._lost or f"the fork server does not take orders: {error}") from error
        return self._wait_for(number, wait_s, name)

    def _wait_for(self, number: int, wait_s: float, what: str) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: number in self._answers or self._lost or self._closing, wait_s)
            answer = self._answers.pop(number, None)
        if answer is None:
            raise InfrastructureError(self._lost or f"the fork server did not {what} within {wait_s:g} s")
        if answer.error:
            raise InfrastructureError(answer.error)
        return answer.value

    # --- the keeper's thread ------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        """Start the fork server, take in what it says, and end it when it is time."""
        parent = os.getppid()
        lost = "it was closed"
        with self._pair:
            try:
                server = _start_server(self._theirs.fileno(), self._config)
                self._theirs.close()
                lost = f"the fork server (pid {server.pid}) {self._serve(server, parent)}, and with it all nodes of this host"
            except OSError as error:
                lost = f"the fork server could not be started: {error}"
        with self._changed:
            self._lost = lost
            self._changed.notify_all()
        if os.getppid() != parent:
            os._exit(1)

    def _serve(self, server: subprocess.Popen[bytes], parent: int) -> str:
        """Until the fork server or our own parent is gone, or we are closed; how the fork server ended."""
        reader = wire.Reader(self._pair.fileno())
        with contextlib.suppress(EOFError, ConnectionError):
            while not self._closing and os.getppid() == parent:
                if select.select([self._pair], [], [], _LOOK_ROUND_S)[0]:
                    self._take(reader.read())
                self._watch_driver()
        with contextlib.suppress(OSError):
            self._pair.shutdown(socket.SHUT_RDWR)
        status = _end(server)
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)
        return f"ended by signal {-status}" if status < 0 else f"ended with status {status}"

    def _take(self, messages: Iterable[wire.Message]) -> None:
        with self._changed:
            for message in messages:
                if isinstance(message, wire.Events):
                    self._events += message.events
                elif isinstance(message, wire.Answer):
                    if message.number == 0 and message.value:
                        self._scratch, self.server_pid = str(message.value["scratch"]), int(message.value["pid"])
                    self._answers[message.number] = message
            self._changed.notify_all()

    def _watch_driver(self) -> None:
        if self._deployed and time.monotonic() - self._heard_s > self._config.driver_lease_s:
            with self._changed:
                self._deployed = False
                self._expired = f"the driver was silent for {self._config.driver_lease_s:g} s: its trial was ended"
            with self._sending:
                wire.send(self._pair.fileno(), wire.Order(-1, "stop", (0.0, 0.0)))


def _start_server(fd: int, config: AgentConfig) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        **NODE_ENVIRONMENT,
        procs.MARK: config.mark,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    # -P: the current directory is no place to import from. A session of its own: Ctrl-C at a terminal is for the driver.
    command = [sys.executable, "-P", "-m", "harness.testbeds.forkserver", str(fd), str(os.getpid()), config.scratch]
    return subprocess.Popen(command, env=environment, pass_fds=(fd,), stdin=subprocess.DEVNULL, start_new_session=True)


def _end(server: subprocess.Popen[bytes]) -> int:
    """Wait for the fork server, whose descriptor is closed by now, to end; make it end where it does not."""
    for force in (server.terminate, server.kill):
        try:
            return server.wait(_END_WITHIN_S / 2)
        except subprocess.TimeoutExpired:
            force()
    return server.wait(_END_WITHIN_S)
