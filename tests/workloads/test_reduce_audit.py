"""The audit of reduce-stream: each kind of mistake that is planted on the way is named, with its rank and wave."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core.spec import Accept, DeadlineExceeded, Recovery, WavesLost
from harness_workloads.reduce_stream import ReduceStream

LARGE = (40_000,)


def found(check):
    """What a failed check blames: (what, rank, wave) of each violation."""
    assert check.passed is False
    return {(v.what, v.rank, v.wave) for v in check.violations}


def run(make_world, workload, filter_="sum", plant=None, spoil=None, **more):
    world = make_world(workload, filter_, **more)
    world.plant = plant or world.plant
    world.spoil = spoil or world.spoil
    return world.run()


def at_wave(wave, change):
    """A planted mistake that strikes the batch with `wave` in it; `change` gets the batch and the wave's place in it."""

    def plant(batch):
        place = wave - batch.first
        parts = next(iter(batch.parts.values()))
        if 0 <= place < len(parts):
            batch.parts = {r: np.array(p) for r, p in batch.parts.items()}
            change(batch, place)

    return plant


@pytest.mark.parametrize("filter_", ["sum", "average", "count", "concat", "top-k", "histogram"])
def test_a_lost_contribution(make_world, filter_):
    def lose(batch):
        if batch.first > 10 and not done:
            done.append(batch.first)
            del batch.parts[2]

    done: list[int] = []
    world = run(make_world, ReduceStream(waves=100), filter_, lose)
    check = world.check()
    blamed = found(check)
    assert {what for what, *_ in blamed} == {"lost"} and done[0] in {wave for *_, wave in blamed}
    if filter_ not in ("count", "histogram"):  # whose results do not depend on who it was
        assert {rank for _, rank, _ in blamed} == {2}
    assert check.counts["lost"] == len(blamed)


@pytest.mark.parametrize("filter_", ["min", "max"])
def test_a_lost_extreme(make_world, filter_):
    world = run(make_world, ReduceStream(waves=100), filter_, lambda batch: batch.parts.pop(2))
    check = world.check()
    assert {(v.what, v.rank) for v in check.violations} == {("lost", 2)}
    assert 5 < check.counts["lost"] < 50  # it is missed only where it would have been the extreme


def test_a_lost_subtree(make_world):
    def lose(batch, place):
        for rank in (2, 3):
            batch.parts[rank][place] = 0

    check = run(make_world, ReduceStream(waves=100), plant=at_wave(50, lose)).check()
    assert found(check) == {("lost", 2, 50)}
    assert "ranks 2, 3" in check.summary and check.counts["lost"] == 2


@pytest.mark.parametrize("item", ["i64", "f64", "f32", "i32"])
def test_a_duplicated_contribution(make_world, item):
    def double(batch, place):
        batch.parts[1][place : place + 1] *= 2

    check = run(make_world, ReduceStream(waves=100, item=item), plant=at_wave(61, double)).check()
    assert found(check) == {("duplicated", 1, 61)} and check.counts["duplicated"] == 1


@pytest.mark.parametrize("filter_", ["sum", "average"])
def test_mixed_waves(make_world, filter_):
    """From some wave on, one rank's contributions are one wave late: the classic mistake after a recovery."""
    kept = {}

    def shift(batch):
        last = batch.parts[3][-1:]
        if "last" in kept:
            batch.parts[3] = np.concatenate([kept["last"], batch.parts[3]])[:-1]
        kept["last"] = last

    check = run(make_world, ReduceStream(waves=100), filter_, shift).check()
    assert {(v.what, v.rank) for v in check.violations} == {("mixed", 3)}
    first = min(v.wave for v in check.violations)
    assert f"wave {first}: holds the contribution of rank 3 to wave {first - 1}" in check.summary
    assert check.counts["mixed"] == 100 - first


def test_mixed_waves_of_a_subtree(make_world):
    def mix(batch, place):
        for rank in (0, 1):
            batch.parts[rank][place] = batch.parts[rank][place - 1]

    def only_inside(batch):
        if len(batch.parts[0]) > 2 and not struck:
            struck.append(batch.first + 1)
            at_wave(batch.first + 1, mix)(batch)

    struck: list[int] = []
    check = run(make_world, ReduceStream(waves=300), plant=only_inside).check()
    assert found(check) == {("mixed", 0, struck[0])} and "ranks 0, 1" in check.summary


def test_many_mixed_waves_are_counted_even_if_not_explained(make_world):
    def garble(batch):
        batch.parts[0] = batch.parts[0] * 3

    check = run(make_world, ReduceStream(waves=1000), plant=garble).check()
    assert check.counts["mixed"] == 1000 and len(check.violations) == 100


@pytest.mark.parametrize("filter_", ["sum", "max", "average"])
@pytest.mark.parametrize("item", ["i64", "f64", "f32"])
def test_a_flipped_bit(make_world, filter_, item):
    def flip(stream, first, values):
        if not first <= 42 < first + len(values):
            return values
        values = np.array(values)
        word = values.view(np.uint64 if values.dtype.itemsize == 8 else np.uint32)
        word[42 - first] ^= word.dtype.type(1 << 5)
        return values

    check = run(make_world, ReduceStream(waves=100, item=item), filter_, spoil=flip).check()
    assert found(check) == {("unexpected", None, 42)}
    assert "bit 5 alone" in check.summary and check.counts["mixed"] == 1


@pytest.mark.parametrize("shape", [(8,), LARGE])
@pytest.mark.parametrize("filter_", ["sum", "min", "average"])
def test_swapped_chunks(make_world, shape, filter_):
    half = shape[0] // 2

    def swap(stream, first, values):
        if not first <= 7 < first + len(values):
            return values
        values = np.array(values)
        values[7 - first] = np.roll(values[7 - first], half)
        return values

    check = run(make_world, ReduceStream(waves=12, shape=shape), filter_, spoil=swap).check()
    assert {(v.what, v.wave) for v in check.violations} == {("mixed", 7)}
    assert "belongs to element" in check.summary


@pytest.mark.parametrize("shape", [(8,), LARGE])
def test_swapped_chunks_behind_the_first(make_world, shape):
    n = shape[0] // 4

    def swap(stream, first, values):
        if first <= 7 < first + len(values):
            values = np.array(values)
            row = values[7 - first]
            row[n : 2 * n], row[2 * n : 3 * n] = row[2 * n : 3 * n].copy(), row[n : 2 * n].copy()
        return values

    check = run(make_world, ReduceStream(waves=12, shape=shape), spoil=swap).check()
    assert found(check) == {("mixed", None, 7)}
    assert f"element {n} holds what belongs to element {2 * n}" in check.summary


@pytest.mark.parametrize("shape", [(8,), LARGE])
def test_a_chunk_of_another_wave(make_world, shape):
    half = shape[0] // 2

    def mix(batch, place):
        source = world.ends[1].app.sources[1].make(4, 1)
        batch.parts[1][place, half:] = source[0, half:]

    world = make_world(ReduceStream(waves=12, shape=shape))
    world.plant = at_wave(7, mix)
    check = world.run().check()
    assert found(check) == {("mixed", 1, 7)}
    assert "rank 1 to wave 4" in check.summary and f"from element {half} on" in check.summary


@pytest.mark.parametrize("shape", [(8,), LARGE])
def test_a_chunk_without_a_contribution(make_world, shape):
    half = shape[0] // 2

    def lose(batch, place):
        batch.parts[3][place, half:] = 0

    check = run(make_world, ReduceStream(waves=12, shape=shape), plant=at_wave(5, lose)).check()
    assert found(check) == {("lost", 3, 5)}


def test_a_contribution_that_is_not_named(make_world):
    check = run(make_world, ReduceStream(waves=100), plant=lambda batch: batch.named.discard(1)).check()
    assert ("misnamed", 1, 0) in found(check)
    assert ("lost", 1, 0) in found(check)  # by its name it is missing, and nothing had happened to it


def test_a_live_rank_that_is_left_out(make_world):
    def leave_out(batch):
        if batch.first >= 40:
            del batch.parts[0]
            batch.named.discard(0)

    world = run(make_world, ReduceStream(waves=100), plant=leave_out)
    check = world.check()
    assert check.passed is False and {(v.what, v.rank) for v in check.violations} == {("lost", 0)}
    assert check.counts["lost"] == check.counts["partial"] > 30
    assert world.check("equivalent").passed  # named as missing, and nothing else is wrong


def test_a_dead_rank_may_not_be_left_out_before_its_death(make_world):
    def leave_out(batch):
        if batch.first >= 40:
            batch.parts.pop(0, None)
            batch.named.discard(0)

    world = make_world(ReduceStream(waves=5000))
    world.plant = leave_out
    world.strike(0, 4900)
    check = world.run().check()
    assert check.passed is False and ("lost", 0) in {(v.what, v.rank) for v in check.violations}


def test_waves_delivered_twice(make_world):
    def repeat(batch):
        batch.repeat = batch.first == 0

    check = run(make_world, ReduceStream(waves=100), plant=repeat).check()
    assert {what for what, *_ in found(check)} == {"duplicated"}
    assert check.counts["duplicated"] % 4 == 0 and check.counts["delivered"] == 400


def test_a_wave_that_never_comes(make_world):
    def skip(batch):
        batch.skip = batch.first == 0

    check = run(make_world, ReduceStream(waves=100), plant=skip).check()
    assert {v.what for v in check.violations} == {"lost"} and check.counts["waves"] < 100


def test_bounded_loss_is_bounded_by_the_window(make_world):
    def skip(batch):
        batch.skip = 20 <= batch.first < 60

    world = run(make_world, ReduceStream(waves=500, window_waves=64), plant=skip, recovery=Recovery.RESUME)
    assert world.check("bounded-loss").passed
    world.workload = ReduceStream(waves=500, window_waves=2)
    assert world.check("bounded-loss").passed is False


def test_what_others_finish_while_somebody_has_no_parent_is_within_the_bound(make_world):
    def skip(batch):
        batch.skip = 100 <= batch.first < 300

    world = run(make_world, ReduceStream(waves=500, window_waves=2), plant=skip, recovery=Recovery.RESUME)

    def allowed(*events):
        kept, world.events = world.events, [*world.events, *events]
        passed = world.check("bounded-loss").passed
        world.events = kept
        return passed

    def fault(t_s):
        return {"t_s": t_s, "kind": "fault", "fault": 0, "action": "kill", "node": 1}

    def back(t_s):
        return {"t_s": t_s, "kind": "reattached", "node": 2, "child": 3, "parent": 2, "lost": 1}

    assert not allowed() and not allowed(fault(100.0))
    assert allowed(fault(100.0), back(101.0)), "everything came in between"
    assert not allowed(fault(200.0), back(201.0)), "nothing did"
    assert not allowed(back(101.0), fault(200.0))


def test_an_error_ends_the_run_and_fails_it(make_world):
    world = make_world(ReduceStream(waves=100_000))
    world.front.start(world)
    world.fail(DeadlineExceeded(1, 17, "too late"))
    assert world.finished == (False, "DeadlineExceeded: too late")
    check = world.check()
    assert check.passed is False and "too late" in check.summary
    assert world.notes("request-error") == [{"stream": 1, "wave": 17, "error": "DeadlineExceeded", "message": "too late"}]


@pytest.mark.parametrize("recovery", [Recovery.COMPOSE, Recovery.RESUME])
def test_waves_that_are_named_as_lost_do_not_end_the_run(make_world, recovery):
    """Neither in its midst nor at its end; what is lost and not named is a mistake at the end."""

    def lose(batch):
        for first, stop in ((20, 22), (97, 100)):
            batch.skip = batch.skip or (batch.first < stop and batch.first + len(batch.parts[0]) > first)
        if batch.skip:
            count = len(batch.parts[0])
            lost.append((batch.first, count))
            if told:
                world.fail(WavesLost(1, batch.first, count))

    for told in (True, False):
        lost = []
        world = make_world(ReduceStream(waves=100), "max", recovery=recovery, deadline_s=0.2)
        world.plant = lose
        world.run()
        assert world.finished == (True, "") and len(lost) >= 2
        check = world.check("equivalent" if recovery is Recovery.COMPOSE else "bounded-loss")
        assert check.passed is told, check
        assert told or "never delivered" in check.summary
        assert [(n["wave"], n["waves"]) for n in world.notes("request-error")] == (lost if told else [])


def test_no_wave_may_be_lost_under_replay(make_world):
    world = make_world(ReduceStream(waves=100_000))
    world.front.start(world)
    world.fail(WavesLost(1, 17, 2))
    assert world.finished is not None and world.finished[0] is False


def test_nothing_is_said_of_a_trial_that_never_started(make_world):
    world = make_world(ReduceStream(waves=10))
    world.events.clear()
    assert world.check().passed is None


def test_a_partial_wave_is_no_mistake_where_the_policy_allows_it(make_world):
    def leave_out(batch):
        del batch.parts[0]
        batch.named.discard(0)

    world = run(make_world, ReduceStream(waves=50), plant=leave_out, accept=Accept.QUORUM, quorum=2)
    check = world.check()
    assert check.passed and check.counts["partial"] == 50 and check.counts["lost"] == 50
