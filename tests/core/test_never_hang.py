"""Every request ends, once: in a result, or in a typed error by its deadline."""

from __future__ import annotations

from typing import Any

import pytest
from small import SETTINGS, Back, Rig, reduce, rig, spec

from harness.core.spec import DeadlineExceeded, QuorumLost, StreamError, WavesLost


def ends(run: Rig, stream: int = 1) -> list[int]:
    """The waves of a stream, as they ended."""
    found: list[int] = []
    for _, kind, what in run.front.log:
        if kind == "result" and what.stream == stream:
            found += range(what.first, what.first + what.count)
        elif isinstance(what, WavesLost):
            found += range(what.wave, what.wave + what.count)
        elif isinstance(what, DeadlineExceeded):
            found.append(what.wave)
    return found


def errors(run: Rig) -> list[type[StreamError]]:
    return [type(e) for e in run.front.errors]


def test_each_wave_that_does_not_come_is_one_error_at_its_deadline() -> None:
    run = reduce(spec(deadline_s=0.5), 3, back=lambda rank: Back(rank, 3, begin_s=0.0 if rank else 99.0))
    run.run(5.0)
    assert errors(run) == [DeadlineExceeded] * 3
    assert [e.wave for e in run.front.errors] == [0, 1, 2]
    start = run.events("stream-opened")[0]["t_s"]
    assert [t - start for t, _, _ in run.front.log] == pytest.approx([0.5, 1.0, 1.5], abs=0.01)
    assert "waiting for child nodes [1]" in str(run.front.errors[0])


def test_a_wave_that_comes_after_its_error_is_not_delivered() -> None:
    run = reduce(spec(deadline_s=0.2), 10, back=lambda rank: Back(rank, 10, begin_s=0.0 if rank else 0.7)).run()
    assert errors(run) == [DeadlineExceeded] * 3
    assert ends(run) == list(range(10))


def test_the_clock_starts_when_something_is_outstanding() -> None:
    def begin(fe: Any) -> None:
        fe.open_stream(spec(deadline_s=0.3))
        fe.call_at(fe.now + 1.0)

    def then(fe: Any, kind: str, what: Any) -> None:
        if kind == "timer":
            fe.expect(1, 1)

    run = rig(begin, then, back=lambda rank: Back(rank, 1, begin_s=99.0)).run(5.0)
    (asked, _, _), (told, _, _) = run.front.log
    assert told - asked == pytest.approx(0.3, abs=0.01)


def test_when_all_members_are_dead_all_that_is_outstanding_ends_at_once() -> None:
    run = reduce(spec(members=[0, 1], deadline_s=60.0), 1000, stop=False, back=lambda r: Back(r, 1000, every_s=0.01, batch=1))
    run.at(0.5, lambda: run.net.crash(3))
    run.at(0.5, lambda: run.net.crash(4))
    run.run(5.0)
    assert errors(run) == [QuorumLost]
    assert run.front.errors[0].wave == len(ends(run))
    assert run.front.log[-1][0] == max(e["t_s"] for e in run.events("dead"))


def test_a_quorum_that_cannot_be_met_any_more_is_one_error() -> None:
    run = reduce(spec(accept="quorum", quorum=3), 1000, stop=False, back=lambda r: Back(r, 1000, every_s=0.01, batch=1))
    run.at(0.5, lambda: run.net.crash(3))
    run.at(1.5, lambda: run.net.crash(5))
    run.run(5.0)
    assert errors(run) == [QuorumLost]
    assert "2 of 4 back-ends are alive, 3 are needed" in str(run.front.errors[0])
    assert {str(r.contributors) for r in run.front.results} >= {"0-3", "1-3"}


def test_a_request_to_the_dead_ends_as_well() -> None:
    # They had died before the stream opened.
    def begin(fe: Any) -> None:
        fe.call_at(fe.now + 1.0)

    def then(fe: Any, kind: str, what: Any) -> None:
        if kind == "timer":
            fe.expect(fe.open_stream(spec(members=[0], deadline_s=60.0)), 1)

    run = rig(begin, then)
    run.at(0.2, lambda: run.net.crash(3))
    run.run(5.0)
    assert errors(run) == [QuorumLost]


def test_what_went_down_with_a_node_is_named_and_the_stream_goes_on() -> None:
    run = reduce(
        spec(members=[0], recovery="resume"), 60, parents=(None, 0, 1), back=lambda r: Back(r, 60, every_s=0.01, batch=1)
    )
    run.at(0.3, lambda: run.net.stall(1, 0.5))
    run.at(0.5, lambda: run.net.crash(1))
    run.run()
    assert errors(run) == [WavesLost]
    assert ends(run) == list(range(60))


def test_what_went_down_at_the_very_end_is_named_too() -> None:
    what = spec("max", members=[0], recovery="compose")
    run = reduce(what, 6, parents=(None, 0, 1), back=lambda r: Back(r, 6, begin_s=0.1), even=True)
    run.at(0.09, lambda: run.net.stall(1, 0.6))
    run.at(0.3, lambda: run.net.crash(1))
    run.run()
    assert ends(run) == list(range(6))
    assert errors(run) == [WavesLost]


def test_a_deadline_accepts_whoever_is_there() -> None:
    what = spec(accept="deadline", accept_after_s=0.1)
    run = reduce(what, 5, back=lambda rank: Back(rank, 5, begin_s=0.0 if rank else 0.25)).run()
    assert errors(run) == []
    assert ends(run) == list(range(5))
    # Node 1 waits for rank 0; the front-end does not wait for node 1 for more than 0.1 s a wave.
    late = [r for r in run.front.results if r.missing]
    assert [(r.first, str(r.contributors)) for r in late] == [(0, "2-3"), (1, "2-3")]
    assert [t for t, kind, _ in run.front.log][1] - run.front.log[0][0] == pytest.approx(0.1, abs=0.01)


def test_a_deadline_policy_does_not_wait_where_everybody_is_there() -> None:
    run = reduce(spec(accept="deadline", accept_after_s=5.0), 50).run()
    assert all(r.complete for r in run.front.results)
    assert run.front.log[-1][0] < 1.0


def test_a_quorum_goes_on_without_the_suspects_only() -> None:
    what = spec(accept="quorum", quorum=2)
    run = reduce(what, 400, back=lambda r: Back(r, 400, every_s=0.01, batch=1))
    run.at(0.5, lambda: run.net.hang(3, 4.0))  # suspect from 1.5 on, declared dead at 3.0
    run.run()
    assert errors(run) == []
    partial = [t for t, kind, r in run.front.log if kind == "result" and str(r.missing) == "0"]
    suspected, dead = run.events("suspect")[0]["t_s"], run.events("dead")[0]["t_s"]
    assert suspected <= partial[0] < dead
    assert dead - suspected == pytest.approx(SETTINGS.orphan_grace_s, abs=0.01)


def test_a_wave_below_the_quorum_is_lost_where_nothing_can_be_waited_for() -> None:
    what = spec("max", recovery="compose", accept="quorum", quorum=3)
    run = reduce(what, 200, back=lambda r: Back(r, 200, every_s=0.01, batch=1))
    run.at(0.498, lambda: run.net.crash(1))
    run.run()
    assert set(errors(run)) == {WavesLost}
    assert ends(run) == list(range(200))
    assert min(len(r.contributors) for r in run.front.results) >= 3


@pytest.mark.parametrize("parents", [(None, 0, 0), (None, 0, 0, 1, 1, 2, 2)])
def test_the_front_end_s_death_ends_every_node(parents: tuple[int | None, ...]) -> None:
    run = reduce(spec(members=[0, 1]), 10**6, parents=parents, back=lambda r: Back(r, 10**6, every_s=0.01, batch=1))
    run.at(1.0, lambda: run.net.crash(0))
    run.run()
    run.net.run_out(60.0)
    assert run.net.living() == []
    assert {status for status, _ in run.net.exits.values()} == {5}


def test_a_tree_of_which_nothing_comes_up_ends() -> None:
    run = rig(lambda fe: None)
    for n in range(1, 7):
        run.net.crash(n)
    run.run(100.0)
    assert run.net.exits[0] == (5, "no node attached")


def test_a_tree_of_which_some_never_come_up_begins_without_them() -> None:
    run = reduce(spec(), 5)
    run.net.crash(3)
    run.net.crash(2)
    run.run()
    assert sorted(e["member"] for e in run.events("dead")) == [2, 3]
    assert {str(r.contributors) for r in run.front.results} == {"1-3"}
