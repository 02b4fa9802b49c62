"""Faults that strike when the victim gets to a certain point, so that the moment is exact. Whoever runs the node strikes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from harness.api.fault import Injection, Moment
from harness.api.transport import Buffer
from harness.core import frames
from harness.core.node import Node


class Traps:
    """The injections of one node that wait for a wave or a moment; `strike` is called with each when it is due. node: what
    runs there, which may change into another one (the standby into a front-end)."""

    def __init__(self, node: Node, injections: Sequence[Injection], strike: Callable[[Injection], None]) -> None:
        self.node = node
        self._strike = strike
        self.armed = [
            i for i in injections if i.node == node.id and (i.trigger.at_wave is not None or i.trigger.moment is not None)
        ]

    def check(self) -> None:
        """Strike what is due. Called after each turn of the loop."""
        for injection in list(self.armed):
            if injection.trigger.moment is not Moment.MID_FLUSH and self._due(injection):
                self.spring(injection)

    def mid_flush(self, parts: Sequence[Buffer]) -> list[Injection]:
        """Which injections are to strike while the frame made of `parts` is being sent."""
        if parts[0][1] != frames.DATA:
            return []
        return [i for i in self.armed if i.trigger.moment is Moment.MID_FLUSH and self._reached(i)]

    def spring(self, injection: Injection) -> None:
        """Strike now, once."""
        self.armed.remove(injection)
        self._strike(injection)

    def _due(self, injection: Injection) -> bool:
        node, moment = self.node, injection.trigger.moment
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
        streams = self.node.streams.up.values()
        if not wave:
            return any(True for _ in streams)
        return any(s.next >= wave * s.units.per_wave for s in streams)


def fault_event(injection: Injection, root: int = 0) -> dict[str, Any]:
    """What the journal is told when an injection strikes. Where several nodes are struck, or others than the one that it is
    named by, they are listed: of a partition, those that are cut off from the front-end."""
    t = injection.trigger
    if t.moment:
        trigger = str(t.moment)
    elif t.at_s is not None:
        trigger = f"{t.at_s:g} s"
    else:
        trigger = f"wave {t.at_wave}" if t.at_event is None else f"event {t.at_event}"
    side = (injection.node, *injection.others)
    struck = injection.peers if root in side and injection.peers else side
    return {
        "kind": "fault",
        "fault": injection.fault,
        "action": str(injection.action),
        "node": injection.node,
        **({"nodes": list(struck)} if struck != (injection.node,) else {}),
        "trigger": trigger,
        "undo_after_s": injection.undo_after_s,
    }
