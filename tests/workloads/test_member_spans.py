"""Who was a member for which waves, from the events of a trial."""

from __future__ import annotations

from typing import Any

from harness.api.members import MemberSpans, is_member
from harness.core.ranks import RankSet
from harness_workloads.coverage import Coverage, outside, within

OPENED = {"kind": "stream-opened", "t_s": 1.0, "stream": 1}
LAST = 100


def started(life: int = 0, t_s: float = 0.0) -> dict[str, Any]:
    return {"kind": "node-started", "t_s": t_s, "node": 7, **({"life": life} if life else {})}


def admitted(life: int, first: int) -> dict[str, Any]:
    return {"kind": "admitted", "t_s": 2.0, "ranks": [3], "life": life, "first": {"1": first}}


def left(first: int) -> dict[str, Any]:
    return {"kind": "left", "t_s": 2.0, "ranks": [3], "first": {"1": first}}


def fault(action: str, t_s: float = 2.0, fault: int = 0) -> dict[str, Any]:
    return {"kind": "fault", "t_s": t_s, "node": 7, "action": action, "fault": fault}


ABSENT = {"kind": "absent", "t_s": 0.0, "ranks": [3]}
DEAD = {"kind": "dead", "t_s": 2.5, "ranks": [3]}


def members(*events: dict[str, Any]) -> list[tuple[int, int]]:
    return MemberSpans(events).members(1, 3, LAST)


def owed(*events: dict[str, Any]) -> list[tuple[int, int]]:
    """Waves were delivered at ten a second."""
    return MemberSpans(events).owed(1, 3, 7, LAST, lambda t_s: int(10 * t_s))


def test_nobody_came_or_went() -> None:
    assert members(OPENED) == [(0, LAST)] and not MemberSpans([OPENED, DEAD]).changed


def test_late_left_and_back() -> None:
    assert members(ABSENT, OPENED) == []
    assert members(ABSENT, OPENED, admitted(0, 30)) == [(30, LAST)]
    assert members(OPENED, left(30)) == [(0, 30)]
    assert members(OPENED, left(30), admitted(1, 60)) == [(0, 30), (60, LAST)]
    assert members(OPENED, left(0)) == []


def test_let_in_before_the_stream_was_opened() -> None:
    assert members(ABSENT, {**admitted(0, 0), "first": {}}, OPENED) == [(0, LAST)]


def test_another_stream_and_another_rank_say_nothing() -> None:
    assert members(OPENED, {**left(30), "ranks": [4]}) == [(0, LAST)]
    assert members({**OPENED, "stream": 2}) == []


def test_the_dead_stay_members_and_owe_from_their_successor_on() -> None:
    events = (started(), OPENED, fault("kill"), DEAD, started(1, 3.0), admitted(1, 60))
    assert members(*events) == [(0, LAST)]
    assert owed(*events) == [(0, 20), (60, LAST)]


def test_who_was_let_in_after_it_was_killed_owes_nothing() -> None:
    """The order was about a process that was no more."""
    events = (ABSENT, OPENED, started(), fault("kill"), admitted(0, 30))
    assert owed(*events) == [] and members(*events) == [(30, LAST)]
    assert owed(*events, DEAD, started(1, 3.0), admitted(1, 60)) == [(60, LAST)]


def test_a_fault_of_the_place_strikes_the_next_process_as_well() -> None:
    events = (started(), OPENED, fault("part"), left(20))
    undone = {"kind": "fault-undone", "t_s": 2.9, "fault": 0, "node": 7}
    assert owed(*events, started(1, 3.0), admitted(1, 60)) == [(0, 20)]
    assert owed(*events, undone, started(1, 3.0), admitted(1, 60)) == [(0, 20), (60, LAST)]


def test_to_join_and_to_leave_are_no_excuse() -> None:
    assert owed(started(), OPENED, fault("leave"), left(50)) == [(0, 50)]


def test_who_leaves_owes_what_it_had_produced() -> None:
    leaving = {"kind": "leaving", "t_s": 1.9, "rank": 3, "made": {"1": 55}}
    assert owed(started(), OPENED, leaving, left(50)) == [(0, 55)]


def test_the_lives_of_a_rank() -> None:
    spans = MemberSpans([OPENED, DEAD, admitted(1, 60), left(80)])
    assert spans.lives(1, 3, LAST) == [(0, 60), (60, 80)]
    assert MemberSpans([ABSENT, OPENED, admitted(0, 30)]).lives(1, 3, LAST) == [(30, LAST)]


def test_is_member() -> None:
    assert [is_member([(2, 4), (8, 9)], wave) for wave in range(10)] == [w in (2, 3, 8) for w in range(10)]


def test_what_is_named_outside_of_the_membership() -> None:
    part = Coverage(ranks=(3,), gaps=((10, 20), (40, 50)), overlaps=(), end=60, named=40)
    assert outside(part, [(0, 60)]) == []
    assert outside(part, [(0, 10), (20, 40), (50, 90)]) == []
    assert outside(part, [(5, 30)]) == [(0, 5), (30, 40), (50, 60)]
    assert outside(part, []) == [(0, 10), (20, 40), (50, 60)]


def test_what_is_owed_within_gaps() -> None:
    part = Coverage(ranks=(3,), gaps=((10, 20),), overlaps=(), end=60, named=50)
    assert within(part, [(0, 15), (18, 80)], 70) == [(10, 15), (18, 20), (60, 70)]


def test_what_was_made_until_it_left() -> None:
    def made(*events: dict[str, Any]) -> list[tuple[int, int]]:
        return MemberSpans(events).made(1, 3)

    leaving = {"kind": "leaving", "t_s": 2.0, "rank": 3, "made": {"1": 20}}
    assert made(OPENED) == made(OPENED, leaving) == made(OPENED, left(30)) == []
    assert made(OPENED, leaving, left(30)) == [(0, 20)]
    assert made(leaving, left(30), OPENED) == []
    assert made(OPENED, {**leaving, "rank": 4}, left(30)) == []
    again = admitted(1, 60), {**leaving, "made": {"1": 75}}, left(80)
    assert made(OPENED, leaving, left(30), *again) == [(0, 20), (60, 75)]
    assert made(OPENED, leaving, left(30), *again[:2]) == [(0, 20)]
    assert [MemberSpans(e).leaving for e in ([OPENED], [OPENED, leaving])] == [RankSet(), RankSet.of([3])]
