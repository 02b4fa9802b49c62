"""The workload reduce-stream: right trials pass, and each kind of mistake is named."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.api.errors import UsageError
from harness.api.workload import TrialContext, Workload
from harness.core.spec import Recovery, Sync
from harness.core.tree import Tree
from harness.registry import load
from harness.run.plan import load_plan
from harness_plugins.filters import FILTERS
from harness_workloads.reduce_stream import ReduceStream
from harness_workloads.values import Source

FILTER_NAMES = ["sum", "average", "min", "max", "count", "concat", "top-k", "histogram"]
LARGE = (40_000,)


def run(make_world, workload, filter_="sum", plant=None, spoil=None, **more):
    world = make_world(workload, filter_, **more)
    world.plant = plant or world.plant
    world.spoil = spoil or world.spoil
    return world.run()


# -- what is right passes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filter_", FILTER_NAMES)
@pytest.mark.parametrize("item", ["i64", "f64", "f32", "i32"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
def test_every_filter_and_type_passes(make_world, filter_, item, shape):
    workload = ReduceStream(item=item, shape=shape, waves=150)
    assert workload.mistakes(filter_) == []
    check = run(make_world, workload, filter_).check()
    assert check.passed, check
    assert check.counts["waves"] == 150 and check.counts["delivered"] == 600


@pytest.mark.parametrize("filter_", ["sum", "average", "min", "max", "count"])
@pytest.mark.parametrize("item", ["i64", "f64", "f32", "i32"])
def test_large_items_are_windows_over_a_ring(make_world, filter_, item):
    check = run(make_world, ReduceStream(item=item, shape=LARGE, waves=20), filter_).check()
    assert check.passed, check


@given(
    seed=st.integers(0, 2**64 - 1),
    fanouts=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    filter_=st.sampled_from(FILTER_NAMES),
    item=st.sampled_from(["i64", "f64", "f32", "i32"]),
    waves=st.integers(1, 300),
    streams=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_passes_for_any_seed_and_tree(make_world, seed, fanouts, filter_, item, waves, streams):
    workload = ReduceStream(item=item, waves=waves, streams=streams)
    world = make_world(workload, filter_, fanouts=tuple(fanouts), seed=seed).run()
    check = world.check()
    assert check.passed, check
    assert check.counts["waves"] == waves * streams
    assert check.counts["delivered"] == waves * streams * len(world.ends)


def test_the_filters_parameters_come_from_the_plan(make_world):
    table = {"kind": "histogram", "low": 0.0, "high": 2.0**32, "bins": 8}
    wide = FILTERS["histogram"](low=0.0, high=2.0**32, bins=8)
    world = run(make_world, ReduceStream(waves=50), "histogram", filters={"histogram": wide})
    assert world.check(plan={"filters": {"histogram": table}}).passed
    assert not world.check(plan={}).passed  # the default bins would have given something else


def test_members_are_a_communicator(make_world):
    world = run(make_world, ReduceStream(waves=80, members=(1, 3)), fanouts=(2, 2))
    assert world.check().passed
    assert world.check().counts["delivered"] == 160
    assert [list(s) for s in world.sets] == [[1, 3]]


def test_streams_have_numbers_of_their_own(make_world):
    world = run(make_world, ReduceStream(waves=30, streams=2))
    by_stream = {r.stream: r for r in world.results if r.first == 0}
    assert by_stream[1].values[0] != by_stream[2].values[0]


def test_a_duration_ends_the_run(make_world):
    world = run(make_world, ReduceStream(duration_s=0.05))
    assert world.now == pytest.approx(100.05, abs=0.003)
    check = world.check()
    assert check.passed and check.counts["waves"] > 100


def test_a_rate_is_kept(make_world):
    world = make_world(ReduceStream(duration_s=0.5, rate=200.0)).run()
    assert 98 <= world.check().counts["waves"] <= 102


def test_a_dead_back_end_is_missing_for_good_and_nothing_else(make_world):
    world = make_world(ReduceStream(waves=500))
    world.strike(2, 123)
    check = world.run().check()
    assert check.passed, check
    assert check.counts["partial"] == 377 and check.counts["delivered"] == 3 * 500 + 123


def test_do_not_wait_delivers_every_packet_alone(make_world):
    world = run(make_world, ReduceStream(waves=200), sync=Sync.DO_NOT_WAIT, recovery=Recovery.RESUME)
    check = world.check()
    assert check.passed, check
    assert check.counts["delivered"] == 800 and all(len(s) == 1 for s in world.sets)


def test_do_not_wait_ends_when_only_the_dead_have_not_finished(make_world):
    world = make_world(ReduceStream(waves=200), "sum", sync=Sync.DO_NOT_WAIT, recovery=Recovery.RESUME)
    world.strike(1, 20)
    assert world.run().check().passed


# -- compose -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filter_", ["min", "max", "top-k"])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_the_final_state_is_checked(make_world, filter_, shape):
    world = make_world(ReduceStream(waves=300, shape=shape), filter_, recovery=Recovery.COMPOSE)
    world.strike(2, 100)
    check = world.run().check("equivalent")
    assert check.passed, check
    assert len(world.notes("final-state")) == 1


def spoiled_state(world, change):
    world.run()
    note = next(e["fields"] for e in world.events if e.get("name") == "final-state")
    note["value"] = change(note["value"])
    return world.check("equivalent")


def test_a_state_that_lacks_something(make_world):
    world = make_world(ReduceStream(waves=300), "max", recovery=Recovery.COMPOSE)
    check = spoiled_state(world, lambda value: value - 1)
    assert {v.what for v in check.violations} == {"lost"} and "final state" in check.summary


def test_a_state_that_holds_something_else(make_world):
    world = make_world(ReduceStream(waves=300), "max", recovery=Recovery.COMPOSE)
    check = spoiled_state(world, lambda value: value + 1)
    assert {v.what for v in check.violations} == {"unexpected"}


def test_a_state_may_hold_any_prefix_of_a_dead_rank_and_nothing_between(make_world):
    workload = ReduceStream(waves=300)
    world = make_world(workload, "max", recovery=Recovery.COMPOSE)
    world.strike(2, 300)
    world.run()
    values = workload.values(world.context, 0)
    live = max(int(values.column(r, np.arange(300)).max()) for r in (0, 1, 3))
    prefixes = np.maximum.accumulate(values.column(2, np.arange(300)))
    note = next(e["fields"] for e in world.events if e.get("name") == "final-state")
    for allowed in {live, *(int(p) for p in prefixes if p > live)}:
        note["value"] = allowed
        assert world.check("equivalent").passed, allowed
    for wrong in (live - 1, max(live, int(prefixes[-1])) + 1):
        note["value"] = wrong
        assert world.check("equivalent").passed is False, wrong


def test_who_left_owes_all_that_it_had_produced(make_world):
    workload = ReduceStream(waves=300)
    world = make_world(workload, "max", recovery=Recovery.COMPOSE)
    world.run()
    values = workload.values(world.context, 0)
    highest = {r: int(values.column(r, np.arange(300)).max()) for r in range(4)}
    gone = max(highest, key=highest.__getitem__)  # else the state would not show it
    rest = max(n for r, n in highest.items() if r != gone)
    (stream,) = world.notes("stream")
    first = {str(stream["stream"]): 300}
    at_s = world.events[-1]["t_s"]
    world.events.insert(0, {"kind": "stream-opened", "t_s": 0.0, "stream": stream["stream"]})
    world.events.append({"kind": "leaving", "t_s": at_s, "rank": gone, "made": first})
    world.events.append({"kind": "left", "t_s": at_s, "ranks": [gone], "first": first})
    note = next(e["fields"] for e in world.events if e.get("name") == "final-state")
    assert world.check("equivalent").passed
    note["value"] = rest
    check = world.check("equivalent")
    assert {v.what for v in check.violations} == {"lost"}
    assert f"rank {gone} contributed to waves 0 to 299, before it left" in check.summary


def test_what_comes_after_the_end_does_not_count(make_world):
    """The final state is told at the end, so that a wave that is delivered later would be judged against an old one."""
    world = make_world(ReduceStream(duration_s=0.05), "max", recovery=Recovery.COMPOSE).run()
    rows = len(world.rows)
    world.front.on_result(world, world.results[-1])
    assert len(world.rows) == rows and world.check("equivalent").passed


def test_a_missing_state_is_noticed(make_world):
    world = make_world(ReduceStream(waves=50), "min", recovery=Recovery.COMPOSE).run()
    world.events = [e for e in world.events if e.get("name") != "final-state"]
    assert "was not delivered" in world.check("equivalent").summary


def test_compose_settles_for_adopted_ranks(make_world):
    def late(batch):
        del batch.parts[0]
        batch.named.discard(0)

    world = make_world(ReduceStream(waves=50, settle_s=0.5), "min", recovery=Recovery.COMPOSE)
    world.plant = late
    began = world.now
    assert world.run().now - began > 0.5


@pytest.mark.parametrize("streams", [1, 3])
def test_a_timed_run_settles_for_adopted_ranks(make_world, streams):
    """It ends with waves that everybody is in: before that, adopted ranks may not have brought their states."""

    def away(batch):
        if 100.05 <= world.now < 100.2:
            del batch.parts[0]
            batch.named.discard(0)

    world = make_world(ReduceStream(duration_s=0.1, streams=streams), "min", recovery=Recovery.COMPOSE)
    world.plant = away
    assert 100.2 <= world.run().now < 100.3
    assert any(not result.complete for result in world.results) and world.results[-1].complete
    assert world.check("equivalent").passed


def test_a_timed_run_does_not_wait_for_ever_for_ranks_that_stay_away(make_world):
    def away(batch):
        del batch.parts[0]
        batch.named.discard(0)

    world = make_world(ReduceStream(duration_s=0.1, settle_s=0.4), "min", recovery=Recovery.COMPOSE)
    world.plant = away
    assert 100.5 <= world.run().now < 100.6


def test_compose_ends_where_the_last_waves_are_gone(make_world):
    def lose_the_end(batch):
        batch.skip = batch.first >= 40

    world = make_world(ReduceStream(waves=50), "min", recovery=Recovery.COMPOSE, deadline_s=0.2)
    world.plant = lose_the_end
    assert world.run().finished == (True, "")
    check = world.check("equivalent")
    assert "never delivered" in check.summary


# -- parameters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "filter_", "part"),
    [
        ({}, "sum", "waves: give a number of waves or duration_s"),
        ({"waves": 5, "duration_s": 1.0}, "sum", "one of the two"),
        ({"waves": 5, "item": "i16"}, "sum", "unknown type 'i16'"),
        ({"waves": 5, "shape": (0,)}, "sum", "extent below 1"),
        ({"waves": 5, "shape": (2,), "item_bytes": 16}, "sum", "not both"),
        ({"waves": 5, "item_bytes": 12}, "sum", "multiple of the 8 bytes"),
        ({"waves": 5, "item_bytes": 1 << 20}, "concat", "at most 4096 elements"),
        ({"waves": 5}, "classes", "trace-classes"),
        ({"waves": 5}, "null", "does not merge"),
        ({"waves": 5, "rate": -1.0}, "sum", "rate: -1.0 is negative"),
        ({"waves": -5}, "sum", "waves: -5 is negative"),
        ({"waves": 5, "streams": 0}, "sum", "streams: 0"),
        ({"waves": 5, "members": (1, 1)}, "sum", "different ranks"),
    ],
)
def test_mistakes_are_found(keys, filter_, part):
    found_mistakes = ReduceStream(**keys).mistakes(filter_)
    assert any(part in line for line in found_mistakes), found_mistakes


def test_members_must_exist(make_world):
    with pytest.raises(UsageError, match="ranks 9 do not exist"):
        make_world(ReduceStream(waves=5, members=(1, 9)))


def test_too_many_ranks_for_the_type():
    tree = Tree.from_parents([None, *[0] * 40_000])
    context = TrialContext(1, tree, "sum", Recovery.REPLAY)
    with pytest.raises(UsageError, match="too many for exact reductions of f32"):
        ReduceStream(waves=5, item="f32").front_end(context)
    assert ReduceStream(waves=5, item="f64").front_end(context) is not None


def test_item_bytes_are_a_vector():
    assert ReduceStream(waves=5, item_bytes=1 << 20).item_shape == (131072,)
    assert ReduceStream(waves=5, item_bytes=16, item="f32").elements == 4


def test_it_is_a_plain_workload():
    workload = ReduceStream(waves=5)
    assert isinstance(workload, Workload)
    assert pickle.loads(pickle.dumps(workload)) == workload


def test_the_window_is_in_waves():
    assert ReduceStream(waves=5).window == 8192
    assert ReduceStream(waves=5, item_bytes=1 << 20).window == 4
    assert ReduceStream(waves=5, window_waves=64, window_bytes=80).window == 10


PAIRS = '[suite]\nname = "x"\n[testbed]\nkind = "local"\n[[case]]\nname = "y"\ntopology = { kind = "flat", back_ends = 2 }\n'


def planned(tmp_path, workload, filter_):
    (tmp_path / "suite.toml").write_text(PAIRS + f"workload = {workload}\nfilter = {filter_}\n")
    return load_plan(tmp_path / "suite.toml", load())


def test_items_that_the_filter_does_not_take_are_a_mistake_of_the_suite(tmp_path):
    pairs = '{ kind = "top-k", pairs = true }'
    with pytest.raises(UsageError) as raised:
        planned(tmp_path, '{ kind = "reduce-stream", waves = 5, shape = [4] }', pairs)
    (line,) = raised.value.mistakes
    assert line.startswith("case[0].filter (case 'y'): cannot take what 'reduce-stream' offers: top-k: with pairs = true")
    assert line.endswith("not (4,); change the workload's items, or the filter or its keys")
    assert planned(tmp_path, '{ kind = "reduce-stream", waves = 5, shape = [4, 2] }', pairs).trials


@pytest.mark.parametrize("filter_", FILTER_NAMES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 5), LARGE])
def test_samples_are_what_a_back_end_offers(make_world, filter_, shape):
    workload = ReduceStream(shape=shape, waves=5)
    world = make_world(workload, filter_)
    (name, items), *others = workload.offers(world.context).items()
    assert (name, others) == (filter_, [])
    assert (items.shape, items.dtype) == ((1, *shape), np.dtype("<i8"))
    assert shape == LARGE or (items == Source(workload.values(world.context, 0), 0, shape).make(0, 1)).all()
    assert len(FILTERS[filter_]().lift(items, 0)) == 1
