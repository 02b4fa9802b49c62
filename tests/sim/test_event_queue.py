"""The queue of a simulated world gives what one heap would give."""

from __future__ import annotations

import heapq
import random

import pytest

from harness.sim.event_queue import NEVER, EventQueue


@pytest.mark.parametrize("many", [3, 100, 3000])
@pytest.mark.parametrize("spread_s", [1e-5, 1e-3, 2.0])
def test_entries_come_in_the_order_of_time_and_number(many: int, spread_s: float) -> None:
    """Few and many, close together and far apart, with some at the same time and some in the past."""
    chance = random.Random(f"{many} {spread_s}")
    queue, heap = EventQueue(), []
    now, number = 0.0, 0
    for turn in range(10 * many):
        while len(heap) < many and (not heap or chance.random() < 0.7):
            number += 1
            when = chance.choice([now, now - spread_s, now + spread_s, now + chance.expovariate(1 / spread_s)])
            when = now + 60.0 if turn % 97 == 0 else when
            queue.push((when, number, 0, None, None, None, None))
            heapq.heappush(heap, (when, number))
        assert len(queue) == len(heap)
        assert queue.next_at() == heap[0][0]
        entry = queue.pop()
        assert (entry[0], entry[1]) == heapq.heappop(heap)
        now = max(now, entry[0])
    while heap:
        assert queue
        assert queue.pop()[:2] == heapq.heappop(heap)
    assert not queue


def test_an_empty_queue_has_nothing_ahead() -> None:
    """No time, no entry."""
    queue = EventQueue()
    assert queue.next_at() == NEVER
    assert len(queue) == 0
    with pytest.raises(IndexError):
        queue.pop()
    queue.push((1.5, 1, 0, None, None, None, None))
    assert queue.pop()[0] == 1.5
    assert queue.next_at() == NEVER
