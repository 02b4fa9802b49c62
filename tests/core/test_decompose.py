"""Recovery decompose: the account that the front-end keeps, what back-ends keep, and states after failures."""

from __future__ import annotations

import random
from typing import Any

import loads
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import FILTERS, TWO_BY_TWO, Back, Rig, reduce, spec

from harness.core.ledger import ASK_S, Kept, Lack, Ledger
from harness.core.ranks import EMPTY, RankSet
from harness.core.units import Units

ALL = RankSet([(0, 4)])


def ranks(*who: int) -> RankSet:
    return RankSet.of(who)


# -- the account ---------------------------------------------------------------------------------------------------------------


def test_a_state_without_failures_has_no_holes() -> None:
    ledger = Ledger(ALL, 1)
    ledger.add(0, 5, ALL)
    ledger.add(5, 1, RankSet([(0, 4)]))
    assert ledger.extent() == (6, (), ())
    assert (ledger.settled(), ledger.contributions(0)) == (6, 24)


def test_what_a_wave_lacks_is_a_hole_until_it_comes() -> None:
    ledger = Ledger(ALL, 1)
    ledger.add(0, 3, ALL)
    ledger.add(3, 2, ranks(0, 1))
    ledger.add(5, 1, ranks(0, 1))
    ledger.add(7, 1, ALL)  # wave 6 is lost
    assert ledger.extent().pending == (Lack(0, ranks(2, 3), 3, 6), Lack(0, ALL, 6, 7))
    assert (ledger.settled(), ledger.contributions(0)) == (3, 22)
    assert ledger.fill(3, 3, ranks(2))
    assert ledger.settled() == 3
    assert ledger.fill(3, 3, ranks(3))
    assert ledger.settled() == 6
    assert ledger.fill(6, 1, ALL)
    assert (ledger.settled(), ledger.contributions(0)) == (8, 32)


def test_a_part_counts_once_and_as_a_whole_only() -> None:
    ledger = Ledger(ALL, 1)
    ledger.reach(10)
    assert ledger.fill(2, 3, ranks(1))
    assert not ledger.fill(2, 3, ranks(1)), "it is there already"
    assert not ledger.fill(4, 2, ranks(1)), "wave 4 is there already"
    assert not ledger.fill(2, 3, ranks(1, 2)), "rank 1 is there already"
    assert not ledger.fill(8, 3, ranks(2)), "wave 10 has not been"
    assert ledger.fill(5, 5, ranks(1)) and ledger.fill(0, 2, ranks(1))
    assert not any(1 in x.ranks for x in ledger.extent().pending)


def test_the_dead_are_not_waited_for() -> None:
    ledger = Ledger(ALL, 1)
    ledger.reach(2)
    ledger.bury(ranks(0))
    ledger.add(2, 2, ALL - ranks(0))
    assert ledger.fill(0, 2, ranks(1, 2, 3))
    assert ledger.extent() == (4, (), (Lack(0, ranks(0), 0, 4),))
    assert not ledger.fill(0, 2, ranks(0)), "given up is given up"
    assert (ledger.settled(), ledger.contributions(0)) == (4, 12)


def test_chunks_have_accounts_of_their_own() -> None:
    ledger = Ledger(ALL, 3)
    for unit in range(9):
        ledger.add(unit, 1, ALL - ranks(3) if unit in (4, 7) else ALL)
    assert ledger.extent().pending == (Lack(1, ranks(3), 1, 3),)
    assert (ledger.settled(), ledger.contributions(0), ledger.contributions(1)) == (4, 12, 10)
    assert not ledger.fill(3, 2, ranks(3)), "another chunk"
    assert ledger.fill(4, 2, ranks(3))
    assert ledger.settled() == 9


def test_who_is_asked_and_when() -> None:
    ledger = Ledger(ALL, 1)
    ledger.add(0, 2, ALL - ranks(2, 3))
    assert ledger.wanted(1.0, ranks(3), 0.25) == [(0, 2, ranks(2))]
    assert ledger.wanted(1.1, ranks(3), 0.25) == [] and ledger.due == 1.25
    ledger.add(2, 1, ALL - ranks(2, 3))
    asked = [(2, 1, ranks(2, 3)), (0, 2, ranks(3))]
    assert sorted(ledger.wanted(1.1, EMPTY, 0.25), key=lambda a: -a[0]) == asked, "a new hole, and who is back"
    assert ledger.wanted(1.25, EMPTY, 0.25) == [(0, 2, ranks(2))], "it may have been lost"
    ledger.reach(4)
    assert ledger.wanted(1.255, EMPTY, 0.25) == [] and ledger.due == 1.25 + ASK_S, "not for each wave alone"
    assert ledger.wanted(1.255, ranks(3), 0.25) == [], "rank 3 goes away with two requests"
    again = {(first, str(who)) for first, _, who in ledger.wanted(1.25 + ASK_S, EMPTY, 0.25)}
    assert again == {(3, "0-3"), (0, "3"), (2, "3")}, "and is asked anew"


@given(st.integers(0, 1 << 32), st.integers(1, 3))
def test_the_account_is_that_of_a_set(seed: int, per_wave: int) -> None:
    """Against a set of (rank, unit): random units and parts, in any order, and deaths."""
    rng = random.Random(seed)
    ledger, have, gone, dead, top = Ledger(ALL, per_wave), set[tuple[int, int]](), set[tuple[int, int]](), EMPTY, 0
    for _ in range(30):
        if rng.random() < 0.5:
            skip, units = rng.choice([0, 0, 2]), rng.randint(1, 4) if per_wave == 1 else 1
            who = RankSet.of(r for r in ALL - dead if rng.random() < 0.8)
            ledger.add(top + skip, units, who)
            have |= {(r, u) for r in who for u in range(top + skip, top + skip + units)}
            gone |= {(r, u) for r in dead for u in range(top, top + skip + units)}
            top += skip + units
        elif rng.random() < 0.9:
            unit, waves = rng.randrange(top + 2), rng.randint(1, 4)
            who = RankSet.of(rng.sample(range(4), rng.randint(1, 3)))
            part = {(r, unit + w * per_wave) for r in who for w in range(waves)}
            fits = all(u < top for _, u in part) and part.isdisjoint(have | gone)
            assert ledger.fill(unit, waves, who) == fits
            have |= part if fits else set()
        else:
            dead = dead | ranks(rng.randrange(4))
            ledger.bury(dead)
            gone |= {(r, u) for r in dead for u in range(top)} - have
        extent = ledger.extent()
        told = [
            {(r, w * per_wave + x.chunk) for x in lacks for r in x.ranks for w in range(x.first, x.stop)}
            for lacks in (extent.pending, extent.absent)
        ]
        everything = {(r, u) for r in ALL for u in range(top)}
        assert (extent.units, told[0], told[1]) == (top, everything - have - gone, gone)
        assert ledger.settled() == min((u for _, u in told[0]), default=top)
        assert sum(ledger.contributions(c) for c in range(per_wave)) == len(have)


# -- what a back-end keeps -----------------------------------------------------------------------------------------------------


def test_a_back_end_gives_what_it_was_asked_for() -> None:
    kept = Kept(100)
    kept.add(0, np.arange(4))
    kept.add(4, np.arange(4, 10))
    assert [list(f[1]) if (f := kept.part(2, n, 1)) else None for n in (1, 5, 20)] == [[2], [2, 3, 4, 5, 6], [*range(2, 10)]]
    kept.trim(5)
    assert (kept.units, kept.part(3, 2, 1)) == (6, None)
    assert kept.part(10, 1, 1) is None


def test_of_one_chunk_only() -> None:
    kept = Kept(100)
    for unit in range(9):
        kept.add(unit, np.array([unit]))
    found = kept.part(4, 5, 3)
    assert found is not None and (found[0], found[1].tolist()) == (2, [4, 7])


# -- whole runs ----------------------------------------------------------------------------------------------------------------


def decomposed(filter_: str, waves: int, faults: Any, parents: Any = TWO_BY_TWO, **fields: Any) -> tuple[Rig, Any, Any]:
    """A run that ends when its state is whole; the rig, the state and its extent."""
    found: list[Any] = []
    what = spec(filter_, recovery="decompose", **fields)

    def then(fe: Any, kind: str, came: Any) -> None:
        extent = fe.extent(1)
        done = extent.units >= waves * Units.of(what, FILTERS[filter_]).per_wave
        if done and not extent.pending and not found:
            found.extend([fe.state(1), extent])
            fe.finish()
        elif done or kind == "timer":
            fe.call_at(fe.now + 0.01)

    run = reduce(what, waves, stop=False, parents=parents, back=lambda r: Back(r, waves, every_s=0.002, batch=3))
    run.front.then = then
    faults(run)
    run.run()
    units = Units.of(what, FILTERS[filter_])
    assert loads.state_of(filter_, found[0], found[1], what.members, units.chunk, units.per_wave) == ""
    return run, found[0], found[1]


@pytest.mark.parametrize("filter_", ["sum", "average", "count"])
@pytest.mark.parametrize("shape", [(), (5,)])
def test_a_dead_process_leaves_no_trace_in_the_state(filter_: str, shape: tuple[int, ...]) -> None:
    """The state is to the last bit that of a tree that never failed."""
    how: dict[str, Any] = {"item_shape": shape, "chunk_bytes": 16}
    _, never, _ = decomposed(filter_, 60, lambda run: None, **how)
    run, state, extent = decomposed(filter_, 60, lambda run: run.at(0.03, lambda: run.net.crash(1)), **how)
    assert run.events("decomposed") and not extent.absent
    assert np.array_equal(state, never)


def test_a_dead_back_end_stays_with_what_it_had_given() -> None:
    def faults(run: Rig) -> None:
        run.at(0.03, lambda: run.net.crash(3))
        run.at(0.05, lambda: run.net.crash(2))

    run, _, extent = decomposed("sum", 100, faults)
    (lack,) = {x.ranks for x in extent.absent}
    first = min(x.first for x in extent.absent)
    assert lack == ranks(0) and first > 0
    assert run.events("decomposed")


def test_only_what_is_lacking_is_asked_for() -> None:
    run, _, _ = decomposed("sum", 60, lambda run: run.at(0.03, lambda: run.net.crash(1)))
    parts = run.events("decomposed")
    assert {r for e in parts for r in e["ranks"]} == {0, 1}
    assert sum(e["count"] for e in parts) < 60


def test_a_blocked_node_holds_one_part_for_each_hole() -> None:
    """The parts of both back-ends become one while the way up takes nothing."""
    held: list[int] = []

    def faults(run: Rig) -> None:
        run.at(0.03, lambda: run.net.crash(2))
        run.at(0.0355, lambda: run.net.stall(1, 0.1))
        run.net.on_node = lambda node: held.extend(len(s.parts) for s in node.streams.up.values())

    decomposed("sum", 60, faults, parents=(None, 0, 1, 2, 2, 1), members=(0, 1, 2))
    assert max(held) == 1


def test_a_back_end_is_at_most_its_window_ahead_of_the_state() -> None:
    """While a subtree is away, the others go on for a window and wait: the mark stands still."""
    most = [0]

    def faults(run: Rig) -> None:
        run.at(0.03, lambda: run.net.crash(1))
        run.at(0.03, lambda: run.net.hang(3, 1.2))  # shorter than its time of grace

        def look(node: Any) -> None:
            for s in node.streams.up.values():
                if s.kept is not None:
                    most[0] = max(most[0], s.kept.units)
                    assert s.kept.units < s.kept.window + 3  # a batch is kept as a whole

        run.net.on_node = look

    run, _, extent = decomposed("sum", 500, faults, window_waves=10)
    assert most[0] >= 3 * 10 + 1 and not extent.absent
    assert [e["member"] for e in run.events("dead")] == [1]
