"""One-shot timers for a loop that waits elsewhere."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class Timers:
    """Callbacks by due time, in seconds on the caller's own clock. Those due at the same instant run in order of addition."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def add(self, due_s: float, act: Callable[[], None]) -> None:
        """Call `act` once, at or after `due_s`."""
        heapq.heappush(self._heap, (due_s, next(self._numbers), act))

    def wait_s(self, now_s: float, at_most_s: float) -> float:
        """How long to wait for the first one, at most `at_most_s`; never negative."""
        return max(0.0, min(at_most_s, self._heap[0][0] - now_s)) if self._heap else at_most_s

    def run(self, now_s: float) -> None:
        """Call everything that is due."""
        while self._heap and self._heap[0][0] <= now_s:
            heapq.heappop(self._heap)[2]()

    def clear(self) -> None:
        """Forget everything."""
        self._heap.clear()
