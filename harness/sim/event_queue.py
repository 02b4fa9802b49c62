"""What will happen, soonest first. An entry costs a large tree about what it costs a small one: it waits unsorted in a bucket
of its time, and buckets are sorted when they are due.

After Brown, "Calendar Queues: A Fast O(1) Priority Queue Implementation for the Simulation Event Set Problem" (CACM 31(10),
1988), with buckets of one fixed width, found by a heap of those that are in use, so that no year is searched in vain.
"""

from __future__ import annotations

import heapq
from typing import Any, Final

NEVER: Final = float("inf")

#: (when, number, what, and four things that go with it). Numbers differ, so that the order is total. Of no fixed length, since
#: compiled code would take each apart and put it together again.
Entry = tuple[Any, ...]

_BUCKETS_PER_S: Final = 8192.0
#: So few entries are quicker in one heap.
_FEW: Final = 1024
#: At least so many are sorted at once, if there are as many.
_BATCH: Final = 256


class EventQueue:
    """Entries come out by time, and those of one time by number."""

    __slots__ = ("_far", "_late", "_order", "_ready", "_until")

    def __init__(self) -> None:
        #: What is due next, latest first; and a heap of what has come into the queue too late to be sorted with it.
        self._ready: list[Entry] = []
        self._late: list[Entry] = []
        #: All else: buckets by number, and a heap of their numbers. The first two have all that belongs below bucket `_until`.
        self._far: dict[int, list[Entry]] = {}
        self._order: list[int] = []
        self._until = 0

    def push(self, entry: Entry) -> None:
        """Put an entry in. Its time may lie in the past, but must be finite."""
        when: float = entry[0]
        bucket = int(when * _BUCKETS_PER_S)
        if bucket < self._until:
            heapq.heappush(self._late, entry)
        elif not self._order and len(self._late) < _FEW:
            self._until = bucket + 1
            heapq.heappush(self._late, entry)
        else:
            waiting = self._far.get(bucket)
            if waiting is None:
                self._far[bucket] = [entry]
                heapq.heappush(self._order, bucket)
            else:
                waiting.append(entry)

    def pop(self) -> Entry:
        """Take the next entry out. Raises IndexError where there is none."""
        if self._late:
            if not self._ready or self._late[0] < self._ready[-1]:
                return heapq.heappop(self._late)
        elif not self._ready:
            self._refill()
        return self._ready.pop()

    def next_at(self) -> float:
        """When the next entry is due; NEVER where there is none."""
        if not self._late and not self._ready:
            self._refill()
        late: float = self._late[0][0] if self._late else NEVER
        ready: float = self._ready[-1][0] if self._ready else NEVER
        return min(late, ready)

    def _refill(self) -> None:
        """Get the soonest buckets ready."""
        ready = self._ready
        while self._order and len(ready) < _BATCH:
            bucket = heapq.heappop(self._order)
            ready += self._far.pop(bucket)
            self._until = bucket + 1
        ready.sort(reverse=True)

    def __len__(self) -> int:
        return len(self._ready) + len(self._late) + sum(map(len, self._far.values()))

    def __bool__(self) -> bool:
        return bool(self._ready or self._late or self._order)
