"""The workload round-trip: answers are checked one by one, errors are counted or end the run."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.api.errors import UsageError
from harness.api.workload import TrialContext, Workload
from harness.core.spec import DeadlineExceeded, QuorumLost, Recovery, Sync
from harness.core.tree import Tree
from harness.registry import load
from harness.run.plan import load_plan
from harness_workloads.round_trip import RoundTrip, tokens


def blamed(check):
    assert check.passed is False
    return {(v.what, v.rank, v.wave) for v in check.violations}


def at_request(number, change, stream=2):
    """A planted mistake in one answer; stream 1 is the warm-up where there is one."""

    def plant(batch):
        if batch.stream != stream:
            return
        place = number - batch.first
        if 0 <= place < len(batch.parts[0]):
            batch.parts = {r: np.array(p) for r, p in batch.parts.items()}
            change(batch, place)

    return plant


@given(
    seed=st.integers(0, 2**64 - 1),
    fanouts=st.lists(st.integers(1, 3), min_size=1, max_size=2),
    outstanding=st.integers(1, 100),
    filter_=st.sampled_from(["sum", "average", "min", "max", "count"]),
    busy=st.integers(0, 3),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_request_is_answered(make_world, seed, fanouts, outstanding, filter_, busy):
    workload = RoundTrip(requests=150, warm_up=20, outstanding=outstanding)
    world = make_world(workload, filter_, fanouts=tuple(fanouts), seed=seed)
    world.busy = busy  # the window is full for a while
    world.run()
    check = world.check()
    assert check.passed, check
    assert check.counts["waves"] == 150 and check.counts["delivered"] == 150 * len(world.ends)


def test_latency_is_from_the_request_to_its_answer(make_world):
    world = make_world(RoundTrip(requests=50, warm_up=5)).run()
    samples = world.trial({}).samples
    assert list(samples["first"]) == list(range(50)) and set(samples["count"]) == {1}
    took = samples["t_s"] - samples["granted_s"]
    assert took == pytest.approx(0.001)


def test_only_so_many_are_outstanding(make_world):
    world = make_world(RoundTrip(requests=50, warm_up=0, outstanding=7))
    world.front.start(world)
    assert world.streams[1].expected == 7
    assert {len(leaf.inbox) for leaf in world.ends.values()} == {7}


def test_a_duration_ends_it_without_losing_an_answer(make_world):
    world = make_world(RoundTrip(duration_s=0.2, warm_up=3, outstanding=4)).run()
    check = world.check()
    assert check.passed and 300 < check.counts["waves"] < 900
    assert world.notes("requests")[0]["sent"] == check.counts["waves"]


def test_payloads_are_padded(make_world):
    world = make_world(RoundTrip(requests=5, warm_up=0, payload_bytes=1000))
    world.front.start(world)
    assert [len(payload) for _, payload in world.ends[0].inbox] == [1000]


def test_tokens_are_all_different_and_follow_from_the_seed():
    numbers = np.arange(100_000)
    values = RoundTrip(requests=5).values(TrialContext(7, Tree.from_parents([None, 0, 0]), "sum", Recovery.REPLAY))
    drawn = tokens(values, numbers)
    assert len(np.unique(drawn)) == len(numbers) and drawn.min() >= 0
    assert np.array_equal(drawn[500:510], tokens(values, np.arange(500, 510)))
    assert not np.array_equal(drawn[:10], tokens(replace(values, seed=8), numbers[:10]))
    assert not np.array_equal(drawn[:10], tokens(replace(values, stream=1), numbers[:10]))


# -- what is wrong is named ---------------------------------------------------------------------------------------------


def test_a_lost_answer(make_world):
    world = make_world(RoundTrip(requests=50, warm_up=10))
    world.plant = at_request(33, lambda batch, place: batch.parts[2].__setitem__(place, 0))
    check = world.run().check()
    assert blamed(check) == {("lost", 2, 33)} and "request 33" in check.summary


def test_an_answer_to_another_request(make_world):
    kept = {}

    def late(batch):
        last = batch.parts[1][-1:]
        if "last" in kept and batch.first > 20 and batch.stream == 2:
            batch.parts[1] = np.concatenate([kept["last"], batch.parts[1]])[:-1]
        kept["last"] = last

    world = make_world(RoundTrip(requests=50, warm_up=10))
    world.plant = late
    check = world.run().check()
    assert {(v.what, v.rank) for v in check.violations} == {("mixed", 1)}
    assert "holds what rank 1 answered to request 20" in check.summary


def test_a_wrong_answer_while_warming_up(make_world):
    world = make_world(RoundTrip(requests=50, warm_up=10))
    world.plant = at_request(4, lambda batch, place: batch.parts[2].__setitem__(place, 0), stream=1)
    check = world.run().check()
    assert blamed(check) == {("mixed", None, 4)} and "warm-up" in check.summary


def test_a_request_that_is_lost_on_the_way_down(make_world):
    world = make_world(RoundTrip(requests=40, warm_up=0, outstanding=5))
    world.front.start(world)
    del world.ends[1].inbox[2]
    while world.finished is None and world.now < 101:
        world.now += 0.001
        world._turn()
    check = world.check()
    assert check.passed is False
    assert "rank 1 got request 3 where 2 was next" in {v.message for v in check.violations}


def test_an_answer_that_comes_twice(make_world):
    def repeat(batch):
        batch.repeat = batch.first == 30 and batch.stream == 2

    world = make_world(RoundTrip(requests=50, warm_up=10))
    world.plant = repeat
    assert blamed(world.run().check()) == {("duplicated", None, 30)}


def test_a_live_rank_that_is_left_out(make_world):
    def leave_out(batch):
        if batch.first >= 30 and batch.stream == 2:
            del batch.parts[3]
            batch.named.discard(3)

    world = make_world(RoundTrip(requests=50, warm_up=10))
    world.plant = leave_out
    world.run()
    assert {(v.what, v.rank) for v in world.check().violations} == {("lost", 3)}
    assert world.check("equivalent").passed


def test_a_dead_rank_is_missing_after_its_death(make_world):
    world = make_world(RoundTrip(requests=200, warm_up=10))
    world.strike(3, 100)
    check = world.run().check()
    assert check.passed, check
    assert check.counts["partial"] == 100


# -- errors -------------------------------------------------------------------------------------------------------------


def silent_once(batch):
    batch.skip = batch.first == 25


def test_an_error_stops_the_run(make_world):
    world = make_world(RoundTrip(requests=50, warm_up=0))
    world.front.start(world)
    world.fail(DeadlineExceeded(1, 0, "too late"))
    assert world.finished == (False, "DeadlineExceeded: too late")
    assert world.check().passed is False


def test_an_error_lets_the_run_go_on_if_the_suite_says_so(make_world):
    world = make_world(RoundTrip(requests=50, warm_up=0, on_error="continue"))
    world.plant = silent_once
    world.front.start(world)
    for _ in range(100):
        world.now += 0.001
        world._turn()
    assert world.finished is None
    world.fail(DeadlineExceeded(1, 25, "too late"))
    while world.finished is None:
        world.now += 0.001
        world._turn()
    check = world.check("bounded-loss")
    assert check.passed and check.counts["errors"] == 1 and check.counts["waves"] == 49
    assert blamed(world.check()) == {("missing", None, 25)}


def test_a_lost_quorum_ends_the_run_whatever_the_suite_says(make_world):
    world = make_world(RoundTrip(requests=50, warm_up=0, on_error="continue"))
    world.front.start(world)
    world.fail(QuorumLost(1, 3, "nobody is left"))
    assert world.finished == (False, "QuorumLost: nobody is left")


# -- parameters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "filter_", "part"),
    [
        ({}, "sum", "requests or duration_s"),
        ({"requests": 5}, "concat", "cannot check 'concat'"),
        ({"requests": 5, "outstanding": 0}, "sum", "outstanding: 0"),
        ({"requests": 5, "payload_bytes": 8}, "sum", "payload_bytes: 8"),
        ({"requests": 5, "warm_up": -1}, "sum", "cannot be negative"),
    ],
)
def test_mistakes_are_found(keys, filter_, part):
    mistakes = RoundTrip(**keys).mistakes(filter_)
    assert any(part in line for line in mistakes), mistakes


def test_it_needs_one_answer_a_request(make_world):
    with pytest.raises(UsageError, match="do-not-wait"):
        make_world(RoundTrip(requests=5), sync=Sync.DO_NOT_WAIT, recovery=Recovery.RESUME)


@pytest.mark.parametrize("down", ["quantize", "clamp"])
def test_a_down_filter_that_changes_requests_is_a_mistake_of_the_suite(tmp_path, down):
    suite = tmp_path / "suite.toml"
    suite.write_text(
        '[suite]\nname = "x"\n[testbed]\nkind = "local"\n[[case]]\nname = "y"\n'
        'workload = { kind = "round-trip", requests = 5 }\n'
        f'topology = {{ kind = "flat", back_ends = 2 }}\ndown_filter = ["null", "{down}"]\n'
    )
    with pytest.raises(UsageError) as raised:
        load_plan(suite, load())
    (line,) = raised.value.mistakes
    assert "case[0].down_filter (case '" in line and f"'{down}' changes" in line and "use 'null'" in line
    suite.write_text(suite.read_text().replace("round-trip", "reduce-stream").replace("requests", "waves"))
    assert len(load_plan(suite, load()).cases) == 2


def test_another_down_filter_that_changes_requests_is_named(make_world):
    """What a plugin's down filter does is seen only when it does it."""
    world = make_world(RoundTrip(requests=50, warm_up=10), down_filter="mangle")
    send = world.send
    world.send = lambda stream, payload, to=None: send(stream, payload[:8] + bytes(8) + payload[16:], to)
    check = world.run().check()
    assert check.summary.startswith("request 0 reached rank 0 changed: down filter 'mangle'")
    assert len([v for v in check.violations if "reached rank" in v.message]) == 2 * len(world.ends)
    assert make_world(RoundTrip(requests=50, warm_up=10), down_filter="mangle").run().check().passed


def test_it_is_a_plain_workload():
    workload = RoundTrip(requests=5)
    assert isinstance(workload, Workload) and workload.mistakes("") == []
    assert pickle.loads(pickle.dumps(workload)) == workload
