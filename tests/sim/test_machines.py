"""What simulated processes, machines and clocks do, on trees of a few nodes."""

from __future__ import annotations

from typing import Any

import pytest
from tiny import LIVELY, TWO_ARMS, Tiny

from harness.sim import acts
from harness.sim.model import Model
from harness.sim.world import BUSY, BusyLoop

LATENCY = 0.001


def test_of_a_machine_that_vanished_nobody_is_told() -> None:
    t = Tiny(settings=LIVELY).up()
    t.at(1.0, lambda: acts.vanish(t.world, 1))
    t.run(1.4)
    assert not t.told("link-lost") and t.told("node-exited", node=1)
    t.run(3.0)
    lost = t.told("link-lost", peer=1)
    assert {e["node"] for e in lost} == {0, 3}
    assert all(str(e["cause"]).startswith("silent for") for e in lost)
    assert not acts.vanish(t.world, 1)


def test_what_a_vanished_machine_had_sent_still_arrives_until_then_only() -> None:
    t = Tiny().up()
    t.at(1.0, lambda: t.say(1, 0, 1))
    t.at(1.0 + 1.5 * LATENCY, lambda: t.say(1, 0, 2))
    t.at(1.0 + 2 * LATENCY, lambda: acts.vanish(t.world, 1))
    t.run(2.0)
    assert t.numbers(1, 0) == [1]


def test_a_stopped_node_takes_in_everything_when_it_goes_on() -> None:
    t = Tiny().up()
    t.at(1.0, lambda: acts.stop(t.world, 0))
    for k in range(1, 21):
        t.at(1.0 + k * 0.1, lambda k=k: t.say(1 + k % 2, 0, k))
    t.at(5.0, lambda: acts.cont(t.world, 0))
    t.run(4.9)
    assert t.heard == []
    t.run(6.0)
    assert [number for _, _, _, number in t.heard] == list(range(1, 21))
    assert {when for when, *_ in t.heard} == {5.0}
    assert not acts.cont(t.world, 0), "it is not stopped any more"
    assert acts.stop(t.world, 0) and not acts.stop(t.world, 0)


def test_a_clock_changes_its_rate_without_a_jump() -> None:
    t = Tiny(settings=LIVELY).up()
    seat = t.seat(1)
    t.run(2.0)
    for rate in (2.0, 0.5, 1.0):
        now = t.world.now
        shows = seat.clock(now)
        acts.skew(t.world, 1, rate)
        assert seat.clock(now) == pytest.approx(shows) and seat.when(shows) == pytest.approx(now)
        assert seat.clock(now + 1.0) == pytest.approx(shows + rate)
        t.run(now + 2.0)
        assert seat.node.now <= seat.clock(t.world.now)
        assert seat.clock(t.world.now) - seat.node.last_tick <= 0.1 + 1e-6, "its timers go by its own clock"
    assert not t.told("link-lost")


def test_a_slow_node_takes_its_turns_in_order() -> None:
    t = Tiny().up()
    assert acts.slow(t.world, 0, 0.01) == 0.0
    for k in range(1, 11):
        t.at(1.0, lambda k=k: t.say(1 + k % 2, 0, k))
    t.run(2.0)
    assert [number for _, _, _, number in t.heard] == list(range(1, 11))
    assert [when for when, *_ in t.heard] == pytest.approx([1.0 + LATENCY + 0.01 * k for k in range(10)])
    acts.fast(t.world, 0, 0.0)
    t.heard.clear()
    t.at(3.0, lambda: (t.say(1, 0, 1), t.say(1, 0, 2)))
    t.run(4.0)
    assert t.times(1, 0) == pytest.approx([3.0 + LATENCY] * 2)


def test_a_restarted_node_is_empty_and_gets_nothing_that_was_meant_for_the_one_before() -> None:
    t = Tiny().up()
    before, life = t.seat(1).node, t.seat(1).life
    assert not acts.restart(t.world, 1)
    t.at(1.0, lambda: t.say(0, 1, 1))
    t.at(1.0 + LATENCY / 2, lambda: (acts.kill(t.world, 1), acts.restart(t.world, 1)))
    t.run(1.0 + LATENCY / 2)
    seat = t.seat(1)
    assert seat.node is not before and seat.life == life + 1 and seat.alive
    assert seat.node.links == {} and list(seat.pipes) == []
    t.run(2.0)
    assert t.numbers(0, 1) == []
    assert t.told("node-started", node=1) and t.told("attached", node=1, parent=0)
    t.say(0, 1, 2)
    t.run(3.0)
    assert t.numbers(0, 1) == [2]


def test_a_restarted_back_end_is_fenced() -> None:
    """Its waves would be taken for those of the process before."""
    t = Tiny().up()
    t.at(1.0, lambda: (acts.kill(t.world, 3), acts.restart(t.world, 3)))
    t.run(2.0)
    (end,) = t.told("gave-up", node=3)
    assert "fenced: another process contributed in its name" in end["reason"]
    assert t.told("dead", member=3) and not t.told("attached", node=3)


def test_a_node_that_is_killed_before_it_begins_begins_once_all_the_same() -> None:
    t = Tiny()
    assert acts.kill(t.world, 3) and acts.restart(t.world, 3)
    t.run(1.0)
    assert len(t.told("attached", node=3)) == 1 and t.seat(3).node.uplink.attempt == 0


def test_a_node_that_is_stopped_before_it_begins_begins_when_it_goes_on() -> None:
    t = Tiny()
    acts.stop(t.world, 3)
    t.run(1.0)
    assert not t.told("attached", node=3)
    acts.cont(t.world, 3)
    t.run(2.0)
    assert t.told("attached", node=3)


def test_a_busy_loop_is_found() -> None:
    t = Tiny(timer=lambda fe: fe.call_at(fe.now))
    with pytest.raises(BusyLoop, match="node 0 is busy with nothing"):
        t.run(10.0)
    assert t.world.now < 0.1


def test_a_timer_that_goes_off_often_is_no_busy_loop() -> None:
    times: list[float] = []

    def soon(fe: Any) -> None:
        times.append(fe.now)
        fe.call_at(fe.now + 0.0005)

    Tiny(timer=soon).run(4.0)
    assert len(times) > BUSY
    times.clear()

    def in_bursts(fe: Any) -> None:
        times.append(fe.now)
        fe.call_at(fe.now + (0.001 if len(times) % 100 == 0 else 0.0))

    Tiny(timer=in_bursts).run(0.2)
    assert len(times) > 2 * BUSY


def test_acts_may_be_put_before_the_nth_thing_that_happens() -> None:
    t = Tiny().up()
    n = t.world.happened + 3
    seen: list[tuple[int, float]] = []
    t.world.before[n] = [lambda: seen.append((t.world.happened, t.world.now))]
    for k in range(10):
        t.at(1.0 + k, lambda: None)
    t.run(20.0)
    assert seen == [(n, 3.0)]


def test_one_seed_is_one_run() -> None:
    def run(seed: int) -> tuple[list[Any], list[Any]]:
        t = Tiny(TWO_ARMS, LIVELY, seed, varies=1.0, jitter="exponential", apart=0.3, stall=0.1)
        t.at(1.0, lambda: acts.kill(t.world, 1))
        t.at(1.1, lambda: acts.restart(t.world, 1))
        return t.run(5.0).events, t.heard

    assert run(3) == run(3) != run(4)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"jitter": "normal"}, "must be one of none, uniform, exponential"),
        ({"latency_s": 0.0}, "latency_s = 0.0 must be positive"),
        ({"user_timeout_s": float("inf")}, "must be positive"),
        ({"bytes_per_s": -1.0}, "must not be negative"),
        ({"turn_s": float("nan")}, "must not be negative"),
        ({"varies": 1.5}, "must be between 0 and 1"),
        ({"rate_varies": -0.5}, "must be between 0 and 1"),
        ({"links_differ": 0.5}, r"links_differ = 0.5 must be between 1 \(all alike\) and 10000"),
        ({"machines_differ": float("inf")}, "must be between 1"),
        ({"between_hosts": float("nan")}, "must be between 1"),
        ({"stall": 0.95}, "at most 0.9"),
        ({"buffer_bytes": 0}, "must be positive"),
    ],
)
def test_an_impossible_model_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Model(**keys)
