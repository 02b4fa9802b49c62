"""The final state of a compose stream whose items are cut or large: judged chunk by chunk, large items by a sample."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core.spec import Recovery
from harness_plugins.filters import TopK
from harness_workloads import states
from harness_workloads.oracle import ByFilter
from harness_workloads.reduce_stream import ReduceStream
from harness_workloads.values import SMALL, Values

CUT = ReduceStream(waves=30, shape=(5, 8), chunk_bytes=64)
LARGE = ReduceStream(waves=12, shape=(40_000,), chunk_bytes=1 << 16)
TOP = ReduceStream(waves=20)
BOTH = pytest.mark.parametrize("workload", [CUT, LARGE], ids=["cut", "large"])
#: The rank that has the largest number of CUT, so that its share shows.
HIT = 1


def ended(make_world, workload):
    """A run in which a rank was killed when it had offered everything."""
    world = make_world(workload, "max", recovery=Recovery.COMPOSE)
    world.strike(HIT, workload.waves)
    return world.run()


def state(world, waves_of_hit):
    """The state at the sampled elements, where the hit rank's part goes up to wave waves_of_hit(element), wave by wave."""
    values = world.workload.values(world.context, 0)
    found = np.full(len(values.sample), np.iinfo(np.int64).min)
    limit = np.array([waves_of_hit(int(e)) for e in values.sample])
    for rank in range(values.ranks):
        for wave in range(world.workload.waves):
            row = values.row(rank, wave)
            there = wave < limit if rank == HIT else np.full(len(limit), True)
            found = np.where(there, np.maximum(found, row[values.sample % len(row)]), found)
    return found


def judged(world, value):
    (note,) = world.notes("final-state")
    note["value"] = np.asarray(value).reshape(CUT.shape if world.workload is CUT else -1).tolist()
    return world.check("equivalent")


@BOTH
def test_the_front_end_tells_the_state_of_the_sampled_elements(make_world, workload):
    world = ended(make_world, workload)
    (note,) = world.notes("final-state")
    assert np.array_equal(np.ravel(note["value"]), state(world, lambda element: workload.waves))
    assert world.check("equivalent").passed


@pytest.mark.parametrize("fanouts", [(1,), (4,), (2, 2), (3, 3)])
@pytest.mark.parametrize("k", [1, 4, 10])
def test_a_top_k_state_may_have_free_places(make_world, fanouts, k):
    """They hold -inf, which JSON does not know: still the check reads them as such, and sees what is put there."""
    world = make_world(TOP, "top-k", fanouts=fanouts, recovery=Recovery.COMPOSE, filters={"top-k": TopK(k)}).run()
    plan = {"filters": {"top-k": {"kind": "top-k", "k": k}}}
    check = world.check("equivalent", plan)
    assert check.passed, check
    (note,) = world.notes("final-state")
    rows = note["value"]
    members = len(world.ends)
    assert [row[0] == "-inf" for row in rows] == [place >= members for place in range(k)]
    right = rows[-1]
    rows[-1] = [7.0, 1_000.0]
    assert {v.what for v in world.check("equivalent", plan).violations} <= {"lost", "unexpected"}
    assert world.check("equivalent", plan).passed is False
    rows[-1] = right
    rows[0] = ["-inf", -1.0]
    assert {v.what for v in world.check("equivalent", plan).violations} == {"lost"}


@BOTH
def test_each_chunk_may_hold_another_prefix_of_a_rank_that_was_hit(make_world, workload):
    world = ended(make_world, workload)
    shares = state(world, lambda element: element // workload.chunk * 5 % (workload.waves + 1))
    assert not np.array_equal(shares, state(world, lambda element: workload.waves))
    assert judged(world, shares).passed


@BOTH
def test_within_a_chunk_the_prefix_is_the_same(make_world, workload):
    world = ended(make_world, workload)
    check = judged(world, state(world, lambda element: element % 2 * workload.waves))
    assert {v.what for v in check.violations} == {"unexpected"}


@BOTH
@pytest.mark.parametrize(("change", "what"), [(-1, "lost"), (1, "unexpected")])
def test_one_wrong_element_is_found_and_its_chunk_named(make_world, workload, change, what):
    world = ended(make_world, workload)
    value = state(world, lambda element: 0)
    sample = workload.values(world.context, 0).sample
    (third,) = np.nonzero(sample // workload.chunk == 3)
    value[third[-1]] += change
    check = judged(world, value)
    assert {v.what for v in check.violations} == {what}
    assert f"the final state, elements {sample[third[0]]} to {sample[third[-1]]}, " in check.summary


@BOTH
def test_of_very_many_numbers_fewer_elements_are_compared(make_world, workload, monkeypatch):
    world = ended(make_world, workload)
    whole = state(world, lambda element: workload.waves)
    each = workload.waves * 4
    monkeypatch.setattr(states, "ENOUGH_NUMBERS", each * len(whole) // 3)
    for element in range(6):
        value = whole.copy()
        value[element] += 1
        assert judged(world, value).passed is (element % 3 != 0)


@pytest.mark.parametrize("elements", [1, SMALL, SMALL + 1, 10_000, 1 << 20, SMALL * 32771])
def test_the_sample_has_its_share_of_every_stretch(elements):
    sample = Values(7, 0, 4, "i64", "max", elements).sample
    assert len(sample) == min(elements, SMALL)
    assert sample[0] >= 0 and sample[-1] < elements and (np.diff(sample) > 0).all()
    shares = np.bincount(sample * 16 // elements, minlength=16)
    assert elements < SMALL or shares.min() >= SMALL // 16 - 1
    assert elements <= SMALL + 1 or not np.array_equal(sample, Values(8, 0, 4, "i64", "max", elements).sample)


@pytest.mark.parametrize("item", ["i64", "f32"])
def test_picked_elements_are_those_of_whole_items(item, make_world):
    for workload in (ReduceStream(item=item, waves=9, shape=(5, 8)), ReduceStream(item=item, waves=9, shape=(40_000,))):
        world = make_world(workload, "min", recovery=Recovery.COMPOSE)
        values, filter_ = workload.values(world.context, 0), world.filters["min"]
        picked = np.array([0, 3, 17, values.elements - 1])
        whole = ByFilter(values, filter_, workload.item_shape).state([0, 3], 9).reshape(-1)
        assert np.array_equal(ByFilter(values, filter_, workload.item_shape, picked).state([0, 3], 9)[0], whole[picked])
