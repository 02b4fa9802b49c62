"""Random scenarios, each from one seed: trees, streams and faults of every kind, and an oracle that knows every contribution.

To look at one seed: `python -m pytest tests/core/test_recovery_seeds.py -k "storm and 17"`, or `run_storm(17)` at a prompt.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.pool import Pool

import pytest
import scenarios
import storm_oracle
import storms

#: Seeds of the first generation that once failed, and what they found.
REGRESSIONS = {
    28: "all members dead: a typed error, not a deadline",
    29: "a cut link in a flat tree: the old parent must be tried again",
    30: "news about lost members that died with a hung parent",
    41: "a back-end that was dead before the stream opened",
    155: "message marks trimmed while a member's whereabouts were unknown",
    169: "waves lost at the very end of a compose stream",
    207: "a hole of many units",
    297: "terms for a stream that the orphan did not know yet",
    301: "terms for a stream that the orphan did not know yet",
    1043: "a queue cut at the acknowledged mark",
    1408: "an orphan was adopted by a node that had no parent yet itself, and ran out of grace with it",
    1803: "orphans were adopted by a node that had no parent yet itself, and ran out of grace with it",
    4031: "a childless zombie that had missed messages which were trimmed meanwhile",
    4401: "a childless zombie that had missed messages which were trimmed meanwhile",
}
#: Seeds of storms that once failed, and why.
STORMS = {
    5381: "a timer of the application that fell due while the tree was closing kept the front-end busy",
    9469: "slow, not stuck: the barrier of the oracle itself had too short a deadline",
}
#: Seeds without a fault, or that take longer than their share.
SLOW = {2, 3, 10, 13, 15, 18, 20, 32, 33, 34, 35, 37, 41, 42, 43, 46, 47, 49, 50, 59, 60, 61, 62, 67, 70, 72, 74, 76, 79}
LONG, BLOCK = 10_000, 200


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_regression(seed: int) -> None:
    assert scenarios.judge(seed) == []


@pytest.mark.parametrize("seed", [*(s for s in range(80) if s not in SLOW), *STORMS])
def test_storm(seed: int) -> None:
    assert storm_oracle.judge(seed) == []


@pytest.mark.parametrize("seed", range(100, 110))
def test_first_generation(seed: int) -> None:
    assert scenarios.judge(seed) == []


def test_a_seed_is_a_run() -> None:
    """The same seed is the same run, event by event."""

    def events(seed: int) -> list[str]:
        return [repr(sorted(e.items(), key=lambda kv: kv[0])) for e in storms.run_storm(seed).net.events]

    assert events(8) == events(8)
    assert events(8) != events(9)


def test_the_oracle_sees_what_is_wrong() -> None:
    """A run whose record is changed by one contribution, one message, one wave or one exit is not a good run."""
    seed = 14
    assert storm_oracle.judge(seed) == []
    storm = storms.run_storm(seed)
    i, course = next((i, c) for i, c in storm.front.courses.items() if c.delivered and c.waits and not c.closed)
    rank = next(iter(course.delivered))
    course.delivered[rank].append(course.delivered[rank][-1])
    assert any("came twice" in w for w in storm_oracle.verdict(storm))
    del course.delivered[rank][-1]
    storm.backs[rank].messages.setdefault(i, []).append(b"nobody sent this")
    assert any("got messages" in w for w in storm_oracle.verdict(storm))
    storm.backs[rank].messages[i].pop()
    course.next -= 1
    assert any("came to an end" in w for w in storm_oracle.verdict(storm))
    course.next += 1
    del storm.net.exits[max(storm.net.exits)]
    assert any("ended with -1" in w for w in storm_oracle.verdict(storm))


@pytest.fixture(scope="module")
def workers() -> Iterator[Pool]:
    """A process for each core."""
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        yield pool


@pytest.mark.long
@pytest.mark.parametrize("block", range(0, LONG, BLOCK))
def test_many_storms(workers: Pool, block: int) -> None:
    wrong = workers.map(storm_oracle.judge, range(block, block + BLOCK), chunksize=4)
    assert [w for found in wrong for w in found] == []


@pytest.mark.long
@pytest.mark.parametrize("block", range(0, 2000, BLOCK))
def test_many_of_the_first_generation(workers: Pool, block: int) -> None:
    wrong = workers.map(scenarios.judge, range(block, block + BLOCK), chunksize=4)
    assert [w for found in wrong for w in found] == []
