"""The node processes of one trial on one host, as their parent sees them: pipes, signals, ends, and faults with their proof."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from harness.api.fault import Action, Injection
from harness.api.members import ORDERLY
from harness.testbeds import procs
from harness.testbeds.last_words import last_words
from harness.testbeds.node_main import stderr_path
from harness.testbeds.timers import Timers
from harness.testbeds.traps import fault_event

_SIGNALS = {Action.KILL: signal.SIGKILL, Action.STOP: signal.SIGSTOP, Action.CONT: signal.SIGCONT}
_LONGEST_LINE = 1 << 20
#: A fault whose effect has not shown after so long did not work, and the trial says so.
_CONFIRM_WITHIN_S = 2.0


@dataclass(eq=False, slots=True)
class Pending:
    """A fault that was done to a node and whose effect has not been seen yet."""

    fault: int
    action: Action
    undo_after_s: float | None
    confirmed: bool = False
    undone: bool = False


@dataclass(eq=False, slots=True)
class Child:
    """One node process. `fd` is our end of its socket pair."""

    node: int
    pid: int
    fd: int
    scratch: Path
    received: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)
    pending: list[Pending] = field(default_factory=list)
    stopped: bool = False
    hung_up: bool = False  # it closed its end of the pair
    explained: bool = False  # its end needs no further words: it reported them, or we did it
    forced: bool = False
    leaving: bool = False  # it said that its turn to leave has come
    followed: Pending | None = None  # what a new process takes back once this one has ended


class Children:
    """All node processes of a trial on this host. Single-threaded; nothing here waits.

    `emit` takes each event; times are seconds since `epoch_s` on this host's monotonic clock. `fork` makes the process of a
    node on this host, given how many were in its place before; it raises OSError where the system has none to give.
    """

    def __init__(
        self,
        host: int,
        epoch_s: float,
        poller: select.poll,
        timers: Timers,
        emit: Callable[[dict[str, Any]], None],
        fork: Callable[[int, int], Child],
    ) -> None:
        self._host = host
        self._epoch_s = epoch_s
        self._poller = poller
        self._timers = timers
        self._emit = emit
        self._fork = fork
        self._lives: dict[int, int] = {}
        self._go = b""
        self._over = False
        self._by_fd: dict[int, Child] = {}
        self._by_pid: dict[int, Child] = {}
        self._by_node: dict[int, Child] = {}

    def __len__(self) -> int:
        """How many are alive."""
        return len(self._by_pid)

    @property
    def alive(self) -> list[Child]:
        """Those that have not been reaped."""
        return list(self._by_pid.values())

    def owns(self, fd: int) -> bool:
        """Whether the descriptor is one of ours."""
        return fd in self._by_fd

    def start(self, node: int) -> Child:
        """Fork the process of a node and take charge of it. One that comes while the trial runs is told where the others are.
        Raises OSError where there can be none."""
        life = self._lives.get(node, 0)
        child = self._fork(node, life)
        self._lives[node] = life + 1
        os.set_blocking(child.fd, False)
        self._by_fd[child.fd] = self._by_pid[child.pid] = self._by_node[child.node] = child
        self._poller.register(child.fd, select.POLLIN)
        self._say("node-started", node=child.node, pid=child.pid, host=self._host, **({"life": life} if life else {}))
        child.unsent += self._go
        self._write(child)
        return child

    # --- talking to nodes ---------------------------------------------------------------------------------------------

    def command(self, command: Mapping[str, Any], only: int | None = None) -> None:
        """Send one command to every living node, or to node `only` where that is here and alive."""
        line = json.dumps(command).encode() + b"\n"
        if command["cmd"] == "go":
            self._go = line
        for child in self.alive:
            if only is None or child.node == only:
                child.unsent += line
                self._write(child)

    def on_ready(self, fd: int, events: int) -> None:
        """The poller found something on one of our descriptors."""
        child = self._by_fd[fd]
        if events & select.POLLOUT:
            self._write(child)
        if events & ~select.POLLOUT and not self._read(child):
            # The process itself may still be there: its end is told by waitpid alone.
            child.hung_up = True
            self._poller.unregister(fd)

    def _write(self, child: Child) -> None:
        if child.hung_up:
            return
        try:
            while child.unsent:
                del child.unsent[: os.write(child.fd, child.unsent)]
        except BlockingIOError:
            pass
        except ConnectionError:
            child.unsent.clear()
        self._poller.modify(child.fd, select.POLLIN | (select.POLLOUT if child.unsent else 0))

    def _read(self, child: Child) -> bool:
        """Take in what the node has reported; False at the end of its reports."""
        while True:
            try:
                data = os.read(child.fd, 1 << 16)
            except BlockingIOError:
                return True
            except ConnectionError:
                return False
            if not data:
                return False
            child.received += data
            *lines, rest = child.received.split(b"\n")
            child.received = bytearray() if len(rest) > _LONGEST_LINE else rest
            for line in lines:
                self._heard(child, bytes(line))

    def _heard(self, child: Child, line: bytes) -> None:
        try:
            event = json.loads(line)
            kind = event["kind"]
        except (ValueError, TypeError, KeyError):
            self._note("garbled-report", node=child.node, text=line[:200].decode(errors="replace"))
            return
        self._emit(event)
        if kind == "fault":
            self._pend(child, Pending(int(event["fault"]), Action(event["action"]), event.get("undo_after_s")))
        elif kind in ("node-failed", "usage"):  # it raised, or returned a status of its own choice
            child.explained = True
        elif kind == "listening":  # its first word
            self._confirm(child, Action.JOIN, "started")
        elif kind == "leaving":
            child.leaving = True

    # --- faults -------------------------------------------------------------------------------------------------------

    def arm(self, injections: Iterable[Injection], started_s: float) -> None:
        """Carry out the injections of this host that have a time, counted from `started_s` (seconds since the epoch)."""
        for injection in injections:
            if injection.trigger.at_s is not None:
                due = self._epoch_s + started_s + injection.trigger.at_s
                self._timers.add(due, partial(self._inflict, injection))

    def _inflict(self, injection: Injection) -> None:
        t_s = time.monotonic() - self._epoch_s
        reason = self._why_not(injection)
        if not reason:
            try:
                child = self._strike(injection)
            except OSError as error:
                reason = f"the process could not be started: {error}"
        if reason:
            self._note("fault-missed", fault=injection.fault, node=injection.node, reason=reason)
            return
        self._emit({"t_s": t_s, **fault_event(injection)})
        self._pend(child, Pending(injection.fault, injection.action, injection.undo_after_s))

    def _why_not(self, injection: Injection) -> str:
        """Why this cannot be done now; empty where it can."""
        child, action = self._by_node.get(injection.node), injection.action
        if self._over and action in ORDERLY:
            return "the trial was being ended"
        if action is Action.JOIN:
            return ""
        if child is None:
            return "the process had not started yet"
        if child.pid not in self._by_pid:
            return "the process had already ended"
        return "the process was stopped" if action is Action.LEAVE and child.stopped else ""

    def _strike(self, injection: Injection) -> Child:
        """Do it; the process that it was done to. Raises OSError where one is to join and cannot be had."""
        if injection.action is Action.JOIN:
            return self.start(injection.node)
        child = self._by_node[injection.node]
        if injection.action is Action.LEAVE:
            self.command({"cmd": "leave"}, only=child.node)
        else:
            os.kill(child.pid, _SIGNALS[injection.action])  # still our pid: we are the parent and have not reaped it
        return child

    def _pend(self, child: Child, fault: Pending) -> None:
        child.pending.append(fault)
        now = time.monotonic()
        if fault.action is Action.KILL:
            child.explained = True
        if fault.action is Action.STOP and child.stopped:
            self._on_stopped(child)
        if fault.action in (Action.KILL, Action.LEAVE) and fault.undo_after_s is not None:
            self._timers.add(now + fault.undo_after_s, partial(self._follow, child, fault))
        if fault.action is not Action.LEAVE:  # which takes as long as the others need to take in what it produced
            self._timers.add(now + _CONFIRM_WITHIN_S, partial(self._doubt, child, fault))

    def _doubt(self, child: Child, fault: Pending) -> None:
        if not fault.confirmed:
            self._note("fault-unconfirmed", fault=fault.fault, node=child.node, state=procs.state_of(child.pid) or "ended")

    def _confirm(self, child: Child, action: Action, effect: str) -> list[Pending]:
        done = [f for f in child.pending if f.action is action and not f.confirmed]
        for fault in done:
            fault.confirmed = True
            self._say("fault-confirmed", fault=fault.fault, node=child.node, effect=effect)
        return done

    def _on_stopped(self, child: Child) -> None:
        child.stopped = True
        state = procs.state_of(child.pid)
        for fault in self._confirm(child, Action.STOP, f"stopped (state {state})" if state else "stopped"):
            if fault.undo_after_s is not None:
                self._timers.add(time.monotonic() + fault.undo_after_s, partial(self._undo, child, fault))

    def _undo(self, child: Child, fault: Pending) -> None:
        if not fault.undone:
            self._continue(child)

    def _continue(self, child: Child) -> None:
        if child.pid in self._by_pid and child.stopped:
            os.kill(child.pid, signal.SIGCONT)
            child.stopped = False
            for fault in child.pending:
                if fault.action is Action.STOP and fault.confirmed and not fault.undone:
                    fault.undone = True
                    self._say("fault-undone", fault=fault.fault, node=child.node)

    def _follow(self, child: Child, fault: Pending) -> None:
        """Give the place of `child` to a new process, once that one has ended. Nothing where another one came first."""
        if child.pid in self._by_pid:
            child.followed = fault
            return
        if self._over or self._by_node[child.node] is not child:
            return
        try:
            self.start(child.node)
        except OSError as error:
            self._note("restart-failed", fault=fault.fault, node=child.node, reason=str(error))
            return
        self._say("fault-undone", fault=fault.fault, node=child.node)

    # --- ends ---------------------------------------------------------------------------------------------------------

    def reap(self) -> None:
        """Look at everything that SIGCHLD may have meant."""
        while self._by_pid:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if pid == 0:
                return
            child = self._by_pid.get(pid)
            if child is None:
                continue
            self._read(child)  # first what it said, then what became of it
            if os.WIFSTOPPED(status):
                self._on_stopped(child)
            elif os.WIFCONTINUED(status):
                child.stopped = False
                self._confirm(child, Action.CONT, "continued")
            else:
                self._on_exited(child, os.waitstatus_to_exitcode(status))

    def _on_exited(self, child: Child, status: int) -> None:
        del self._by_pid[child.pid], self._by_fd[child.fd]
        if status == -signal.SIGKILL:
            self._confirm(child, Action.KILL, "exited by signal 9")
        if status == 0 and child.leaving:
            self._confirm(child, Action.LEAVE, "produced no more, exited with status 0")
        for fault in child.pending:
            if fault.action is Action.LEAVE:
                self._doubt(child, fault)
        if status != 0 and not child.explained:
            said = last_words(stderr_path(child.scratch))
            self._say("node-failed", node=child.node, message=said or f"ended with status {status} and said nothing")
        self._say("node-exited", node=child.node, status=status, **({"forced": True} if child.forced else {}))
        if not child.hung_up:
            self._poller.unregister(child.fd)
        os.close(child.fd)
        if child.followed is not None:
            self._follow(child, child.followed)

    def no_more(self) -> None:
        """The trial is being ended: from now on nobody joins, leaves, or comes back."""
        self._over = True

    def release_stopped(self) -> None:
        """Continue every stopped process, so that it can end in order."""
        for child in self.alive:
            self._continue(child)

    def kill_all(self) -> None:
        """End by force whatever is left; works on stopped processes too."""
        for child in self.alive:
            child.forced = child.explained = True
            os.kill(child.pid, signal.SIGKILL)

    def _say(self, kind: str, **fields: Any) -> None:
        self._emit({"t_s": time.monotonic() - self._epoch_s, "kind": kind, **fields})

    def _note(self, name: str, **fields: Any) -> None:
        self._say("note", name=name, fields=fields)
