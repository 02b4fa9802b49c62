"""Faults that strike when the victim gets to a certain point: the victim signals itself, so that the moment is exact."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from harness.api.fault import Action, Injection, Moment
from harness.api.transport import Buffer, Link
from harness.core import frames
from harness.core.node import Node

_SIGNALS = {Action.KILL: signal.SIGKILL, Action.STOP: signal.SIGSTOP}


class Traps:
    """The injections of one node that wait for a wave or a moment."""

    def __init__(self, node: Node, injections: Sequence[Injection], report: Callable[[dict[str, Any]], None]) -> None:
        self._node = node
        self._report = report
        self.armed = [i for i in injections if i.node == node.id and i.trigger.at_s is None and i.action in _SIGNALS]

    def check(self) -> None:
        """Strike what is due. Called after each turn of the loop."""
        for injection in list(self.armed):
            if injection.trigger.moment is not Moment.MID_FLUSH and self._due(injection):
                self._strike(injection)

    def send(self, link: Link, parts: Sequence[Buffer]) -> bool:
        """Send a frame; where that was asked for, strike with half of it on the wire (all of it, if the transport cannot)."""
        for injection in list(self.armed):
            if injection.trigger.moment is Moment.MID_FLUSH and parts[0][1] == frames.DATA and self._reached(injection):
                whole: bool = getattr(link, "send_half", link.send)(parts)
                self._strike(injection)
                return whole
        return link.send(parts)

    def _due(self, injection: Injection) -> bool:
        node, moment = self._node, injection.trigger.moment
        if moment is Moment.START_UP:
            return node.parent is None and node.uplink.target is not None
        if moment is Moment.SHUTDOWN:
            return node.closing
        if not self._reached(injection):
            return False
        if moment is Moment.MID_LOAD:
            streams = node.streams.up.values()
            return any((s.has_input() and not s.all_here()) if s.inboxes else s.next > 0 for s in streams)
        return True

    def _reached(self, injection: Injection) -> bool:
        """Whether the node has passed on the trigger's wave on any stream."""
        wave = injection.trigger.at_wave or 0
        streams = self._node.streams.up.values()
        if not wave:
            return any(True for _ in streams)
        return any(s.next >= wave * s.units.per_wave for s in streams)

    def _strike(self, injection: Injection) -> None:
        self.armed.remove(injection)
        t = injection.trigger
        self._report(
            {
                "kind": "fault",
                "fault": injection.fault,
                "action": str(injection.action),
                "node": injection.node,
                "trigger": str(t.moment) if t.moment else f"wave {t.at_wave}",
                "undo_after_s": injection.undo_after_s,
            }
        )
        os.kill(os.getpid(), _SIGNALS[injection.action])
