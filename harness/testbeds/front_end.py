"""Whether the suite itself has stopped the front-end for good: then no result can come any more, and nobody says so."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from harness.api.fault import Action, Injection


class FrontEndWatch:
    """Follows what is done to the process of the front-end (`node`: 0, or its standby), by the events of its fork server."""

    def __init__(self, injections: Iterable[Injection], node: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._node = node
        # A later act may set it going again, and so may the undo of a later stop: the fork server continues the process.
        self._to_come = Counter(
            (i.fault, str(i.action))
            for i in injections
            if i.node == node and i.trigger.at_s is not None and (i.action is Action.CONT or i.undo_after_s is not None)
        )
        self._done: dict[int, tuple[str, bool]] = {}
        self._to_undo: set[int] = set()
        self._stopped: tuple[float, float] | None = None

    def take(self, event: Mapping[str, Any]) -> None:
        """Take in an event of the trial."""
        if event.get("node") != self._node:
            return
        match event["kind"]:
            case "fault":
                fault, action = int(event["fault"]), str(event["action"])
                self._to_come[fault, action] -= 1
                self._done[fault] = (action, event.get("undo_after_s") is not None)
            case "fault-confirmed":
                self._confirmed(int(event["fault"]), float(event["t_s"]))
            case "fault-undone" | "node-exited":
                self._goes_on()

    def _confirmed(self, fault: int, t_s: float) -> None:
        action, undone_later = self._done.get(fault, ("", False))
        if action == Action.CONT:
            self._goes_on()
        elif action == Action.STOP:
            self._stopped = self._stopped or (t_s, self._clock())
            if undone_later:
                self._to_undo.add(fault)

    @property
    def stopped(self) -> bool:
        """Whether the process is stopped now."""
        return self._stopped is not None

    def _goes_on(self) -> None:
        self._stopped = None
        self._to_undo.clear()

    def hopeless_s(self, patience_s: float) -> float | None:
        """Now, in seconds since the trial's start, where the process has been stopped for `patience_s` and nothing is going to
        continue it; else None."""
        if self._stopped is None or self._to_undo or any(n > 0 for n in self._to_come.values()):
            return None
        stopped_s, heard_s = self._stopped
        since_s = self._clock() - heard_s
        return stopped_s + since_s if since_s > patience_s else None
