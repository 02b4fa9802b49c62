"""The one real loop: poll -> receive -> tick -> send, around a pure node."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.api.fault import Action, Injection
from harness.api.testbed import STOPPED, DeploymentSpec
from harness.api.transport import Buffer, Endpoint, Link
from harness.core.actions import CONNECT, SEND
from harness.core.agreement import view
from harness.core.backend import BackEnd
from harness.core.frontend import FrontEnd
from harness.core.node import Node
from harness.core.standby import Standby
from harness.testbeds.nodes import make_node
from harness.testbeds.recorder import Recorder
from harness.testbeds.traps import Traps, fault_event

#: How often the front-end writes samples, and how often the other nodes, which the front-end closes in
#: order, look for commands of their own. Their turns are spread, or a whole tree would stop for its chores at once.
_CHORES_S: Final = 0.5
_RARE_CHORES_S: Final = 1.0
#: The same for a node that the suite tells to leave.
_LEAVER_CHORES_S: Final = 0.05
#: Telling the driver wakes a dozen processes and threads between it and us, which take their time from what is measured.
_PROGRESS_S: Final = 2.0

_SIGNALS: Final = {Action.KILL: signal.SIGKILL, Action.STOP: signal.SIGSTOP}

monotonic: Final = time.monotonic


@dataclass(frozen=True)
class NodeBoot:
    """What a started node process has: its id, the trial, its endpoint (already listening where it must), everybody's
    addresses, the trial's epoch on this host's monotonic clock, a socket from which commands come as JSON lines (its end of
    file means that the agent is gone), a function that reports an event, a directory of its own trial, and how many processes
    were in its place before."""

    node: int
    spec: DeploymentSpec
    endpoint: Endpoint
    addresses: Mapping[int, str]
    epoch_s: float
    control_fd: int
    report: Callable[[dict[str, Any]], None]
    scratch: Path
    life: int = 0


def run_node(boot: NodeBoot) -> int:
    """Run the node until the run ends; return the process's exit status. What the application raises comes out of here."""
    loop = Loop(boot)
    try:
        return loop.run()
    finally:
        loop.close()


class Loop:
    """Connects one node with its endpoint; it is the endpoint's Sink. A link is the node's name for a connection."""

    def __init__(self, boot: NodeBoot) -> None:
        self.boot = boot
        self.endpoint = boot.endpoint
        self.node = make_node(boot.spec, boot.node, monotonic(), boot.life)
        # What waits for a wave or a moment was planned for the first process in this place.
        mine = [] if boot.life else [i for i in boot.spec.injections if i.action in _SIGNALS or i.action is Action.LEAVE]
        self.traps = Traps(self.node, mine, self._strike)
        self.recorder: Recorder | None = None
        if isinstance(self.node, FrontEnd | Standby):
            boot.scratch.mkdir(parents=True, exist_ok=True)
            self.recorder = Recorder(boot.scratch)
        self.control = socket.socket(fileno=boot.control_fd)
        self.control.setblocking(False)
        self.commands = b""
        self.chores_s = _CHORES_S if self.recorder is not None else _RARE_CHORES_S
        if any(i.action is Action.LEAVE and i.node == boot.node for i in boot.spec.injections):
            self.chores_s = _LEAVER_CHORES_S
        self.next_chores = monotonic() + self.chores_s * (boot.node * 0.618 % 1.0)
        self.next_progress = 0.0
        self.stopping = False

    # -- Sink ------------------------------------------------------------------------------------------------------------

    def on_link(self, link: Link, initiated: bool) -> None:
        self.node.link_up(link, link.peer, initiated, monotonic())

    def on_frame(self, link: Link, frame: memoryview) -> None:
        self.node.receive(link, frame, monotonic())

    def on_lost(self, link: Link, reason: str) -> None:
        self.node.link_lost(link, reason, monotonic())

    def on_writable(self, link: Link) -> None:
        self.node.writable(link, monotonic())

    def on_refused(self, peer: int, reason: str) -> None:
        self.node.refused(peer, reason, monotonic())

    # -- the loop ---------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        node, out, poll, advance = self.node, self.node.out, self.endpoint.poll, self.node.advance
        logs = isinstance(node, FrontEnd) and node.log is not None
        now = monotonic()
        node.start(now)
        self._carry_out()
        due = 0.0
        while out.exit is None:
            if node.rearm:
                node.rearm = False
                due = min(node.deadline(), self.next_chores)
            poll(due - now if due > now else 0.0, self)
            now = monotonic()
            if now >= due:
                if now >= node.deadline():
                    node.tick(now)
                node.rearm = True
            advance(now)
            if out.successor is not None:
                node = self._succeed(out.successor)
                out, advance = node.out, node.advance
            if logs and out.events:  # before the standby can be told that the journal has them
                self._report()
            if out.actions:
                self._carry_out()
            if out.events:
                self._report()
            if self.traps.armed:
                self.traps.check()
                if out.actions:
                    self._carry_out()
            if now >= self.next_chores and not self._chores(now):
                return 1
        self._carry_out()
        status, reason = out.exit
        if status:
            out.event("gave-up", status=status, reason=reason)
        out.event("view", **view(node))
        self._report()
        return status

    def _succeed(self, node: Node) -> Node:
        """The standby becomes the root, with the same links."""
        node.out.successor = None
        self.node = self.traps.node = node
        return node

    def _carry_out(self) -> None:
        node, armed = self.node, self.traps.armed
        while node.out.actions:
            todo, node.out.actions = node.out.actions, []
            for op, a, b in todo:
                if op is SEND:
                    whole = self._send_trapped(a, b) if armed else a.send(b)
                    if not whole:
                        node.blocked(a)
                elif op is CONNECT:
                    self._connect(a)
                else:
                    a.close()

    def _send_trapped(self, link: Link, parts: Sequence[Buffer]) -> bool:
        """Send a frame; where that was asked for, strike with half of it on the wire (all of it, if the transport cannot)."""
        struck = self.traps.mid_flush(parts)
        whole: bool = (getattr(link, "send_half", link.send) if struck else link.send)(parts)
        for injection in struck:
            self.traps.spring(injection)
        return whole

    def _strike(self, injection: Injection) -> None:
        self.boot.report(fault_event(injection))
        if injection.action is Action.LEAVE:
            self._leave()
        else:
            os.kill(os.getpid(), _SIGNALS[injection.action])

    def _connect(self, peer: int) -> None:
        address = self.boot.addresses.get(peer, "")
        if address:
            self.endpoint.connect(peer, address, self.node.uplink.patience())
        else:
            self.node.refused(peer, "it has no address", monotonic())

    def _report(self) -> None:
        events, self.node.out.events = self.node.out.events, []
        for event in events:
            if "t_s" in event:  # of the front-end's log, by the node's clock
                event["t_s"] -= self.boot.epoch_s
            self.boot.report(event)

    # -- now and then -----------------------------------------------------------------------------------------------------

    def _chores(self, now: float) -> bool:
        """Commands, samples, progress. False where the agent is gone."""
        self.next_chores = now + self.chores_s
        if self.recorder is not None:
            self._write_samples(self.recorder)
        if isinstance(self.node, FrontEnd) and self.node.in_charge and now >= self.next_progress:
            self.next_progress = now + _PROGRESS_S
            self._tell_progress(self.node)
        there = self._commands()
        if self.stopping:
            self._stop()
        return there

    def _tell_progress(self, node: FrontEnd) -> None:
        alive = len(node.tree.nodes) - len(node.membership.dead) - len(node.membership.suspects)
        self.boot.report({"kind": "progress", "waves": node.results.delivered, "alive": alive})

    def _write_samples(self, recorder: Recorder) -> None:
        """Those of the application, or at a standby those that are in the front-end's log: its own follow if it takes over."""
        node = self.node
        keeper = node.context if isinstance(node, FrontEnd) and node.in_charge else getattr(node, "logbook", None)
        if keeper is not None and keeper.samples:
            samples, keeper.samples = keeper.samples, []
            recorder.write(samples, self.boot.epoch_s)
            recorder.flush()

    def _commands(self) -> bool:
        while True:
            try:
                data = self.control.recv(1 << 16)
            except BlockingIOError:
                return True
            if not data:
                return False
            self.commands += data
            *lines, self.commands = self.commands.split(b"\n")
            told = {json.loads(line)["cmd"] for line in lines}
            self.stopping = self.stopping or "stop" in told
            if "leave" in told:
                self._leave()
                self._carry_out()

    def _leave(self) -> None:
        """A back-end leaves in order."""
        if isinstance(self.node, BackEnd):
            self.node.leave()

    def _stop(self) -> None:
        """The agent wants us to end: the front-end closes the tree in order, as long as it may, and the others follow it."""
        node = self.node
        if isinstance(node, FrontEnd) and node.may_close:
            node.finish(False, STOPPED)
        elif node.out.exit is None:
            node.out.exit = (0, STOPPED)

    def close(self) -> None:
        """Write what is left and let go of everything."""
        if self.recorder is not None:
            self._write_samples(self.recorder)
            self.recorder.close()
        self.endpoint.close()
        self.control.detach()
