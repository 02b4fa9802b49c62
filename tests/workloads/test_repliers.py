"""The check of round-trip where back-ends come and go: who answered which request, and who should have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.core.spec import WavesLost
from harness_workloads.round_trip import RoundTrip

REQUESTS = 50
#: Its place in a tree of 2 by 2.
RANK, NODE = 3, 6


@pytest.fixture
def answered(make_world: Any) -> Callable[..., Any]:
    """A run with RANK in the answers to the requests `present` alone; all are called complete, or those that are told."""

    def run(present: set[int], complete: set[int] | None = None) -> Any:
        def leave_out(batch: Any) -> None:
            if batch.first not in present:
                del batch.parts[RANK]
                batch.named.discard(RANK)

        world = make_world(RoundTrip(requests=REQUESTS, warm_up=0))
        world.plant = leave_out
        world.run()
        named = set(range(REQUESTS)) if complete is None else complete
        world.rows = [(*row[:-1], int(row[4] in named)) for row in world.rows]
        return world

    return run


def told(world: Any, *events: dict[str, Any]) -> Any:
    """What the front-end and the testbed reported besides, at the times of requests."""
    when = {row[4]: row[0] for row in world.rows}
    head = [{"t_s": 100.0, "kind": "node-started", "node": NODE}, {"t_s": 100.0, "kind": "stream-opened", "stream": 1}]
    world.events += [*head, *({**e, "t_s": when[e["t_s"]]} for e in events)]
    world.events.sort(key=lambda e: (e["t_s"], e["kind"] == "finished"))
    return world


def absent() -> dict[str, Any]:
    return {"t_s": 0, "kind": "absent", "ranks": [RANK]}


def admitted(first: int, life: int = 0) -> dict[str, Any]:
    return {"t_s": first, "kind": "admitted", "ranks": [RANK], "life": life, "first": {"1": first}}


def left(first: int) -> dict[str, Any]:
    return {"t_s": first, "kind": "left", "ranks": [RANK], "first": {"1": first}}


def blamed(world: Any) -> set[tuple[str, int | None, int | None]]:
    check = world.check()
    assert check.passed is False
    return {(v.what, v.rank, v.wave) for v in check.violations}


def requests(first: int, stop: int = REQUESTS) -> set[int]:
    return set(range(first, stop))


def come_late(world: Any) -> Any:
    """It is no member before request 30: that its absence is the first word is part of the record."""
    told(world, admitted(30))
    world.events.insert(0, {**absent(), "t_s": 99.0})
    return world


def test_who_comes_late_owes_answers_from_then_on(answered: Any) -> None:
    check = come_late(answered(requests(30))).check()
    assert check.passed, check
    assert check.counts["delivered"] == REQUESTS * 3 + 20 and check.counts["partial"] == 0


def test_a_member_that_is_not_in_an_answer(answered: Any) -> None:
    world = come_late(answered(requests(30) - {41}, requests(0) - {41}))
    assert blamed(world) == {("lost", RANK, 41)}
    assert world.check("equivalent").passed
    assert world.check().counts["lost"] == 1


def test_one_that_never_answers_anything(answered: Any) -> None:
    world = come_late(answered(set(), requests(0, 30)))
    assert blamed(world) == {("lost", RANK, 30)} and world.check().counts["lost"] == 20


def test_an_answer_of_somebody_who_is_no_member_yet(answered: Any) -> None:
    assert blamed(come_late(answered(requests(20)))) == {("misnamed", RANK, 20)}


def test_an_answer_of_somebody_who_has_left(answered: Any) -> None:
    assert told(answered(requests(0, 30)), left(30)).check().passed
    assert blamed(told(answered(requests(0, 35)), left(30))) == {("misnamed", RANK, 30)}


def test_an_answer_that_calls_itself_complete_and_is_not(answered: Any) -> None:
    world = come_late(answered(requests(30) - {41}))
    assert blamed(world) == {("lost", RANK, 41), ("misnamed", None, 41)}
    assert blamed(come_late(answered(requests(30), requests(0) - {7}))) == {("misnamed", None, 7)}


def test_between_two_lives_a_dead_one_is_missing(answered: Any) -> None:
    killed = {"t_s": 10, "kind": "fault", "fault": 0, "action": "kill", "node": NODE}
    again = {"t_s": 25, "kind": "node-started", "node": NODE, "life": 1}
    present = requests(0, 10) | requests(30)
    world = told(answered(present, present), killed, again, admitted(30, life=1))
    assert world.check().passed and world.check().counts["partial"] == 20
    world = told(answered(present - {33}, present - {33}), killed, again, admitted(30, life=1))
    assert blamed(world) == {("lost", RANK, 33)}


@pytest.mark.parametrize("outstanding", [1, 4])
def test_requests_that_are_lost_together_are_errors_each(make_world: Any, outstanding: int) -> None:
    """Three that nobody answered, and the load goes on behind them."""
    world = make_world(RoundTrip(requests=REQUESTS, warm_up=0, outstanding=outstanding, on_error="continue"))
    lost = range(20, 20 + min(3, outstanding))

    def skip(batch: Any) -> None:
        batch.skip = batch.first in lost
        if batch.skip and batch.first == lost[0]:
            world.fail(WavesLost(1, lost[0], len(lost)))

    world.plant = skip
    world.rng.randint = lambda a, b: a  # type: ignore[method-assign]  # one request at a time
    world.run()
    check = world.check("bounded-loss")
    assert check.passed and check.counts["errors"] == len(lost) and check.counts["waves"] == REQUESTS - len(lost)
    assert blamed(world) == {("missing", None, wave) for wave in lost}
