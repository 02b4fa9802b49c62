"""Back-ends that come late, leave in order and come back, step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import loads
import pytest
from comers_rig import begin_late, streaming
from small import SETTINGS, Back, Rig, reduce, rig, spec

from harness.core import frames, vetting
from harness.core.comers import Comers
from harness.core.frontend import FrontEnd
from harness.core.lives import begin_without, first_unit
from harness.core.ranks import RankSet
from harness.core.spec import StreamSpec, WavesLost
from harness.core.tree import Tree
from harness.core.upstream import UpStream
from harness_plugins.filters import harness_filters

REJOIN = replace(SETTINGS, rejoin=True)


def steady(rank: int) -> Back:
    """A wave every 10 ms."""
    return Back(rank, 40, every_s=0.01, batch=1, begin_s=0.02)


def spans(run: Rig, rank: int) -> list[tuple[int, bool, bool]]:
    """(wave, whether the rank is in it, whether it is called complete) of all that was delivered."""
    return [(r.first + k, rank in r.contributors, r.complete) for r in run.front.results for k in range(r.count)]


def first_of(run: Rig, kind: str) -> int:
    """From which wave of stream 1 on the order holds."""
    (event,) = run.events(kind)
    return int(event["first"]["1"])


def test_who_comes_late_is_a_member_from_its_first_wave_on() -> None:
    run = begin_late(streaming(9, steady), 3)
    run.at(0.035, lambda: run.net.start_anew(3))
    run.run()
    first = first_of(run, "admitted")
    assert spans(run, 1) == [(wave, wave >= first, True) for wave in range(10)] and 0 < first < 9
    assert [v for _, _, v in run.front.waves()] == [loaded(0, w) + (loaded(1, w) if w >= first else 0) for w in range(10)]


def loaded(rank: int, wave: int) -> int:
    """What a rank offers."""
    return int(loads.offer("sum", rank, wave, wave + 1, ())[0])


def test_who_leaves_is_in_all_that_it_had_produced() -> None:
    run = streaming(9, steady)
    run.at(0.042, lambda: run.net.leave(3))
    run.run()
    made = run.backs[1].made[1]
    assert first_of(run, "left") >= made == 3
    assert spans(run, 1) == [(wave, wave < made, True) for wave in range(10)]
    assert run.net.exits[3] == (0, "left")


def test_alive_and_what_the_application_is_told() -> None:
    """`alive` shrinks by who leaves and grows by who is let in; on_membership is told each time."""
    seen: list[tuple[str, str]] = []

    def note(fe: Any, kind: str, what: Any) -> None:
        if kind == "dead":
            seen.append((str(what), str(fe.alive)))
        elif kind == "result" and what.first + what.count > 12:
            fe.finish()

    def begin(fe: Any) -> None:
        seen.append(("begin", str(fe.alive)))
        fe.expect(fe.open_stream(spec(members=[0, 1], window_waves=2)), 13)

    run = begin_late(rig(begin, note, parents=(None, 0, 1, 1), back=steady), 3)
    run.at(0.035, lambda: run.net.start_anew(3))
    run.at(0.080, lambda: run.net.leave(3))
    run.run()
    assert seen == [("begin", "0"), (str(RankSet()), "0-1"), ("1", "0")]


def test_a_successor_is_let_in_only_where_the_suite_says_so() -> None:
    for settings, kinds in ((SETTINGS, ["fenced"]), (REJOIN, ["admitted"])):
        run = streaming(12, steady, settings=settings)
        run.at(0.042, lambda run=run: run.net.crash(3))
        run.at(0.047, lambda run=run: run.net.start_anew(3))
        run.run()
        assert [e["kind"] for e in run.events("fenced", "admitted")] == kinds


def test_between_two_lives_the_rank_is_missing() -> None:
    """It died, and did not leave: the waves in between are partial."""
    run = streaming(12, steady, settings=REJOIN)
    run.at(0.042, lambda: run.net.crash(3))
    run.at(0.047, lambda: run.net.start_anew(3))
    run.run()
    first = first_of(run, "admitted")
    there = [inside for _, inside, _ in spans(run, 1)]
    assert [complete for *_, complete in spans(run, 1)] == there
    assert there[first:] == [True] * (13 - first) and False in there[3:first]


def test_who_is_let_in_and_does_not_come_is_declared_dead() -> None:
    """The waves from its first on wait for it, for as long as for any orphan."""
    run = begin_late(streaming(9, steady), 3)
    run.at(0.035, lambda: run.net.start_anew(3))
    run.at(0.0385, lambda: run.net.crash(3))
    run.run()
    (admitted,), (dead,) = run.events("admitted"), run.events("dead")
    assert dead["t_s"] - admitted["t_s"] >= SETTINGS.orphan_grace_s
    assert [complete for *_, complete in spans(run, 1)] == [wave < first_of(run, "admitted") for wave in range(10)]


def test_waves_that_nobody_contributes_to_are_lost_by_name() -> None:
    """Rank 0 leaves while rank 1, let in, contributes from a later wave on."""
    run = begin_late(streaming(20, steady), 3)
    run.at(0.035, lambda: run.net.start_anew(3))
    run.at(0.0405, lambda: run.net.leave(2))
    run.run()
    (error,) = run.front.errors
    assert isinstance(error, WavesLost)
    assert (error.wave, error.wave + error.count) == (first_of(run, "left"), first_of(run, "admitted"))


def test_nobody_but_a_back_end_comes_late() -> None:
    run = streaming(1, steady)
    with pytest.raises(ValueError, match="node 1 is no back-end: it cannot come late"):
        begin_without(run.node(0), [1])


@pytest.mark.parametrize("recovery", ["replay", "resume"])
def test_the_first_unit_is_beyond_what_can_have_been_granted(recovery: str) -> None:
    what = spec("sum", [0], window_waves=4, recovery=recovery)
    s = UpStream(1, what, harness_filters()["sum"]())
    s.acknowledge(7)
    s.next = 9
    granted = s.acked + s.units.window if recovery == "replay" else s.next + 3 * s.units.link_window
    assert first_unit(s, 2, 0, 0) >= granted


def test_the_first_unit_is_beyond_what_the_life_before_can_have_made() -> None:
    """Its parent, with nobody else below it, has skipped to where that began; here nothing was delivered since."""
    s = UpStream(1, spec("sum", [0, 1], window_waves=4, recovery="resume"), harness_filters()["sum"]())
    s.comers = Comers()
    s.comers.came(0, 30, 0)
    s.comers.forget(RankSet.of([0]))
    assert first_unit(s, 2, 0, 0) >= 30 + 2 * s.units.link_window > first_unit(s, 2, 1, 0)


def test_the_first_unit_begins_a_wave() -> None:
    what = StreamSpec("s", RankSet.of([0]), "sum", item_shape=(10,), chunk_bytes=32, window_waves=2)
    s = UpStream(1, what, harness_filters()["sum"]())
    assert s.units.per_wave == 3 and first_unit(s, 2, 0, 0) % 3 == 0


def test_floors_bounds_and_gaps() -> None:
    c = Comers()
    c.came(1, 10, 5)
    c.came(2, 20, 5)
    assert [c.floor(RankSet.of(r)) for r in ([1], [1, 2], [2], [0, 1], [])] == [10, 10, 20, 0, 0]
    assert [str(c.coming(unit)) for unit in (9, 10, 19, 20)] == ["1-2", "2", "2", str(RankSet())]
    assert [c.bound(unit) for unit in (0, 10, 19)] == [10, 20, 20] and c.bound(20) > 1 << 60
    c.forget(RankSet.of([1]))
    assert c.floor(RankSet.of([1])) == 0 and c.bound(0) == 10
    c.leave(3, 4)
    assert [3 in c.outside(unit) for unit in (3, 4, 99)] == [False, True, True]
    c.enter(3, 8)
    c.enter(3, 12)  # it is a member already
    assert [3 in c.outside(unit) for unit in (4, 7, 8, 12)] == [True, True, False, False]


TREE = Tree.from_parents((None, 0, 1, 1))


@pytest.mark.parametrize(
    "wish",
    [
        {"op": "applies", "node": 1, "life": 0},
        {"op": "applies", "node": 9, "life": 0},
        {"op": "applies", "node": 2, "life": -1},
        {"op": "applies", "node": 2},
        {"op": "leaves", "node": 2, "life": 0},
        {"op": "leaves", "node": 2, "life": 0, "ends": {1: -1}},
    ],
)
def test_wishes_that_no_node_has(wish: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        vetting.notice(wish, TREE)


def test_an_old_wish_to_leave_is_none_of_its_successor() -> None:
    run = streaming(3, steady, settings=REJOIN)
    run.run(0.03)
    front = run.node(0)
    assert isinstance(front, FrontEnd)
    front.comings.take({"op": "leaves", "node": 3, "life": 1, "ends": {}})  # of a life that is not let in
    assert not front.comings.pending
    front.comings.take({"op": "leaves", "node": 3, "life": 0, "ends": {1: 1 << 40}})
    front.comings.take({"op": "applies", "node": 3, "life": 1})
    front.comings.act()
    assert not front.comings.pending and front.lives.life(3) == 1 and 3 not in front.dead


def ahead(rank: int) -> Back:
    """Rank 0 is far ahead of the others."""
    return Back(rank, 60, every_s=0.001 if rank == 0 else 0.02, batch=1)


def leaving_ahead(crash_s: float = 0.25) -> Rig:
    """Node 3 leaves with waves that wait for the others at its parent, which is lost; nobody takes it in until 0.75 s, and the
    others go on without it meanwhile."""
    run = reduce(spec("union", window_waves=16, recovery="compose"), 60, back=ahead, even=True, stop=False)
    run.at(0.2, lambda: run.net.leave(3))
    run.at(0.24, lambda: run.net.world.refusing.update((0, 2)))
    run.at(crash_s, lambda: run.net.crash(1))
    run.at(0.75, lambda: run.net.world.refusing.clear())
    return run


def lacks(run: Rig) -> list[int]:
    """Which waves of rank 0 are not in the state at the end."""
    state: list[Any] = []
    run.at(8.0, lambda: state.extend(run.node(0).context.state(1)[0]))  # type: ignore[attr-defined]
    run.run(8.5)
    there = {repr(m) for m in state}
    return [w for w in range(run.backs[0].made[1]) if any(repr(m) not in there for m in loads.members(0, w))]


def test_who_leaves_stays_until_its_state_has_come() -> None:
    # It was seen off as soon as the others had got so far, and turned away with its state when it came.
    run = leaving_ahead()
    assert lacks(run) == [] and run.backs[0].made[1] > 16
    assert run.net.exits[3] == (0, "left")
    (left,) = run.events("left")
    assert [e["t_s"] < left["t_s"] for e in run.events("rejoined") if e["member"] == 3] == [True]


def test_who_leaves_says_so_behind_the_state_that_its_adopter_owes() -> None:
    # Node 2, whose parent takes nothing, owes the state of node 3, and is lost before it has sent it.
    run = leaving_ahead()
    run.at(0.7, lambda: run.net.stall(2, 0.8))
    run.at(1.5005, lambda: run.net.crash(2))
    assert lacks(run) == []
    assert [e["parent"] for e in run.events("reattached") if e["child"] == 3] == [2, 0]
    assert run.net.exits[3] == (0, "left")


def test_who_leaves_brings_its_wave_to_an_end_before_it_says_how_far_it_got() -> None:
    what = spec("max", recovery="compose", item_shape=(40,), chunk_bytes=16, window_bytes=32)
    run = reduce(what, 60, back=lambda rank: Back(rank, 60), even=True, stop=False)
    said: list[tuple[int | None, int]] = []

    def heard(a: int, b: int, frame: memoryview) -> None:
        kind = frames.parse_header(frame)[1]
        if a == 3 and kind == frames.NOTICE:
            for n in frames.decode_object(frame)["notices"]:
                said.append((None if n["ends"] is None else n["ends"][1], run.node(3).streams.up[1].next))

    run.net.on_send = heard
    run.at(0.02, lambda: run.net.leave(3))
    run.run(3.0)
    asked, *ends = said
    assert asked[0] is None and asked[1] % 20
    assert ends and all(end is None if made % 20 else end == made for end, made in ends)
    assert run.net.exits[3] == (0, "left")
