"""What the simulated network does, on trees of a few nodes."""

from __future__ import annotations

from typing import Any

import pytest
from tiny import PATIENT, Tiny

from harness.sim import acts

LATENCY = 0.001


def test_a_frame_takes_its_latency() -> None:
    t = Tiny().up()
    t.at(1.0, lambda: t.say(3, 1, 1))
    t.run(2.0)
    assert t.times(3, 1) == [pytest.approx(1.0 + LATENCY)]


def test_frames_of_one_connection_stay_in_order_and_connections_overtake_each_other() -> None:
    t = Tiny(seed=5, varies=1.0, jitter="exponential").run(0.5)
    for k in range(1, 401):
        t.at(1.0 + k * LATENCY / 4, lambda k=k: t.say(1 + k % 2, 0, k))
    t.run(3.0)
    assert t.numbers(1, 0) == list(range(2, 401, 2)) and t.numbers(2, 0) == list(range(1, 401, 2))
    together = [number for _, _, _, number in t.heard]
    assert sorted(together) == list(range(1, 401)) != together


def test_a_delay_varies_around_its_mean() -> None:
    for jitter in ("uniform", "exponential"):
        t = Tiny(varies=1.0, jitter=jitter).run(0.5)
        sent = [1.0 + k * 0.1 for k in range(400)]
        for k, when in enumerate(sent):
            t.at(when, lambda k=k, t=t: t.say(1, 0, k + 1))
        t.run(50.0)
        delays = [heard - at for heard, at in zip(t.times(1, 0), sent, strict=True)]
        assert min(delays) >= 0.0 and len(set(delays)) > 200
        assert sum(delays) / len(delays) == pytest.approx(LATENCY, rel=0.2)


def test_a_connection_has_a_rate() -> None:
    t = Tiny(bytes_per_s=10_000.0).up()
    for k in range(4):
        t.at(1.0, lambda k=k: t.say(1, 0, k + 1, size=1000))
    t.at(1.0, lambda: t.say(2, 0, 1, size=1000))
    t.run(3.0)
    assert t.times(1, 0) == pytest.approx([1.0 + LATENCY + 0.1 * k for k in (1, 2, 3, 4)])
    assert t.times(2, 0) == pytest.approx([1.0 + LATENCY + 0.1])


def test_a_full_buffer_blocks_its_sender_until_half_of_it_is_taken_in() -> None:
    t = Tiny(buffer_bytes=1000).up()
    acts.stop(t.world, 0)
    for k in range(1, 11):
        t.say(1, 0, k, size=100)
    assert not t.blocked(1, 0)
    t.say(1, 0, 11, size=100)
    assert t.blocked(1, 0)
    t.run(5.0)
    assert t.blocked(1, 0) and t.numbers(1, 0) == []
    acts.cont(t.world, 0)
    t.run(6.0)
    assert not t.blocked(1, 0) and t.numbers(1, 0) == list(range(1, 12))
    acts.slow(t.world, 0, 1.0)
    for k in range(12, 23):
        t.say(1, 0, k, size=100)
    t.run(t.world.now + 4.5)
    assert t.blocked(1, 0) and len(t.heard) == 16
    t.run(t.world.now + 2.0)
    assert not t.blocked(1, 0) and len(t.heard) == 18


def test_a_sender_is_blocked_though_there_is_room_and_goes_on() -> None:
    t = Tiny(stall=0.5).run(1.0)
    found = []
    for k in range(40):
        t.say(1, 0, k + 1)
        found.append(t.blocked(1, 0))
        t.run(t.world.now + 1.0)
        assert not t.blocked(1, 0)
    assert {True, False} == set(found) and t.numbers(1, 0) == list(range(1, 41))


def test_a_killed_process_resets_its_connections() -> None:
    t = Tiny().up()
    t.at(1.0, lambda: acts.kill(t.world, 1))
    t.run(1.0 + 2 * LATENCY)
    lost = t.told("link-lost", peer=1, cause="reset by peer")
    assert {e["node"] for e in lost} == {0, 3}
    assert [e["t_s"] for e in lost] == pytest.approx([1.0 + LATENCY] * 2)
    assert t.told("node-exited", node=1, status=-9)
    assert not acts.kill(t.world, 1)


def test_what_was_under_way_at_a_reset_arrives_in_part() -> None:
    found = set()
    for seed in range(40):
        t = Tiny(seed=seed, bytes_per_s=100_000.0).up()
        for k in range(1, 11):
            t.say(1, 0, k, size=1000)
        t.at(t.world.now + 0.02, lambda t=t: acts.kill(t.world, 1))
        t.run(10.0)
        came = t.numbers(1, 0)
        assert came == list(range(1, len(came) + 1))
        (lost,) = t.told("link-lost", node=0, peer=1)
        assert all(when <= lost["t_s"] for when in t.times(1, 0))
        found.add(len(came))
    assert {1, 10} < found, "nothing more, everything, and something in between"


def test_a_partition_holds_frames_back_and_heals_in_order() -> None:
    t = Tiny(retry_s=0.2).up()
    made: list[Any] = []
    t.at(1.0, lambda: made.append(acts.part(t.world, [1, 3], [0, 2, 4], "both")))
    for k in range(1, 11):
        t.at(1.0 + k * 0.1, lambda k=k: (t.say(1, 0, k), t.say(0, 1, k), t.say(1, 3, k)))
    t.at(3.0, lambda: acts.join(t.world, made[0]))
    t.run(2.9)
    assert t.numbers(1, 0) == t.numbers(0, 1) == [] and t.numbers(1, 3) == list(range(1, 11))
    t.run(3.0 + 0.2 + LATENCY)
    assert t.numbers(1, 0) == t.numbers(0, 1) == list(range(1, 11))
    assert t.told("link-lost") == [] and t.world.partitions == []


def test_what_is_sent_after_a_partition_has_healed_stays_behind_what_was_held_back() -> None:
    t = Tiny(retry_s=0.5).up()
    made = acts.part(t.world, [1], [0], "both")
    t.at(1.0, lambda: t.say(1, 0, 1))
    t.at(2.0, lambda: acts.join(t.world, made))
    t.at(2.0, lambda: t.say(1, 0, 2))
    t.run(3.0)
    assert t.numbers(1, 0) == [1, 2]


@pytest.mark.parametrize(("direction", "gets_through"), [("out", (0, 1)), ("in", (1, 0))])
def test_a_partition_may_be_one_way(direction: str, gets_through: tuple[int, int]) -> None:
    t = Tiny().up()
    made = acts.part(t.world, [1], [0], direction)
    t.say(0, 1, 1)
    t.say(1, 0, 1)
    t.run(5.0)
    a, b = gets_through
    assert t.numbers(a, b) == [1] and t.numbers(b, a) == []
    acts.join(t.world, made)
    t.run(6.0)
    assert t.numbers(b, a) == [1]


def test_of_two_partitions_one_may_heal() -> None:
    t = Tiny().up()
    both = [acts.part(t.world, [1], [0], "out") for _ in range(2)]
    t.say(1, 0, 1)
    acts.join(t.world, both[0])
    t.run(2.0)
    assert t.numbers(1, 0) == []
    acts.join(t.world, both[1])
    t.run(3.0)
    assert t.numbers(1, 0) == [1]


def test_a_sender_gives_a_connection_up_on_which_data_finds_no_way() -> None:
    t = Tiny(settings=PATIENT, user_timeout_s=3.0).up()
    acts.part(t.world, [1], [0], "out")
    t.at(1.0, lambda: t.say(1, 0, 1))
    t.run(3.9)
    assert not t.told("link-lost")
    t.run(20.0)
    (lost,) = t.told("link-lost")
    assert (lost["node"], lost["cause"]) == (1, "timed out"), "the other end is not told"
    assert lost["t_s"] == pytest.approx(1.0 + LATENCY + 3.0)


def test_a_connection_that_found_a_way_in_time_is_kept() -> None:
    t = Tiny(user_timeout_s=3.0).up()
    for begin in (1.0, 3.5):
        made: list[Any] = []
        t.at(begin, lambda made=made: made.append(acts.part(t.world, [1], [0], "both")))
        t.at(begin, lambda: t.say(1, 0, 1))
        t.at(begin + 2.0, lambda made=made: acts.join(t.world, made[0]))
    t.run(20.0)
    assert not t.told("link-lost") and t.numbers(1, 0) == [1, 1]


def test_a_dead_process_and_a_node_that_refuses_take_in_no_connection() -> None:
    t = Tiny(settings=PATIENT).up()
    t.world.refusing.add(2)
    acts.kill(t.world, 1)
    t.run(5.0)
    refused = [(e["adopter"], e["reason"]) for e in t.told("adopter-refused", node=3)]
    assert refused[0] == (2, "connection refused")
    assert t.told("reattached", child=3)[0]["parent"] == 0
    t.world.refusing.add(0)
    t.events.clear()
    acts.cut(t.world, 3)
    t.run(6.0)
    refused = [(e["adopter"], e["reason"]) for e in t.told("adopter-refused", node=3)]
    assert set(refused) == {(n, "connection refused") for n in (0, 1, 2)}
    assert not t.told("reattached")
    acts.accept(t.world, 0)
    t.run(8.0)
    assert t.told("reattached", child=3, parent=0)


def test_a_vanished_machine_does_not_answer_who_connects() -> None:
    t = Tiny().up()
    acts.vanish(t.world, 2)
    acts.kill(t.world, 1)
    t.run(5.0)
    (refused,) = t.told("adopter-refused", node=3)
    assert (refused["adopter"], refused["reason"]) == (2, "not connected within 1.0 s")
    assert t.told("reattached", child=3, parent=0)


def test_a_connection_over_a_partition_is_tried_again_until_it_heals() -> None:
    t = Tiny((None, 0, 1), PATIENT).up()
    made = acts.part(t.world, [2], [0], "both")
    acts.kill(t.world, 1)
    t.run(8.0)
    assert {e["reason"] for e in t.told("adopter-refused", adopter=0)} == {"not connected within 1.0 s"}
    acts.join(t.world, made)
    t.run(10.0)
    assert t.told("reattached", child=2, parent=0)


def test_the_first_packet_of_a_connection_is_sent_again() -> None:
    t = Tiny()
    made = acts.part(t.world, [1], [0], "both")
    t.at(2.5, lambda: acts.join(t.world, made))
    t.run(5.0)
    (attached,) = t.told("attached", node=1)
    assert 3.0 < attached["t_s"] < 3.1 and not t.told("adopter-refused", node=1)


def test_a_process_that_died_while_it_connected_is_not_connected() -> None:
    t = Tiny().up()
    t.at(1.0, lambda: acts.cut(t.world, 3))
    t.at(1.0 + 1.5 * LATENCY, lambda: acts.kill(t.world, 3))
    t.run(1.0 + 1.4 * LATENCY)
    assert t.told("adopter-chosen", node=3, adopter=2)
    t.run(2.0)
    assert t.seat(2).node.links.keys() == t.seat(2).pipes.keys() == {t.pipe(2, 0), t.pipe(2, 4)}
    assert not t.told("connected", node=3, parent=2)


def test_a_stopped_node_takes_in_a_connection_when_it_goes_on() -> None:
    t = Tiny().up()
    acts.stop(t.world, 2)
    acts.kill(t.world, 1)
    t.run(0.9)
    assert not t.told("connected", node=3)
    acts.cont(t.world, 2)
    t.run(1.0)
    assert t.told("reattached", child=3, parent=2)


def test_a_cut_resets_the_link_with_the_parent_or_all_links() -> None:
    t = Tiny().up()
    assert acts.cut(t.world, 1) == 1 and acts.cut(t.world, 0) == 0
    t.run(1.0)
    assert {(e["node"], e["peer"]) for e in t.told("link-lost")} == {(0, 1), (1, 0)}
    assert t.told("reattached", child=1, parent=0) and not t.told("node-exited")
    t.events.clear()
    assert acts.cut_all(t.world, 1) == 2
    t.run(2.0)
    assert {(e["node"], e["peer"]) for e in t.told("link-lost")} == {(0, 1), (1, 0), (3, 1), (1, 3)}


def test_late_frames_come_later_once() -> None:
    t = Tiny().up()
    t.at(1.0, lambda: acts.late(t.world, 1, 2.0))
    t.at(1.1, lambda: (t.say(1, 0, 1), t.say(0, 1, 1)))
    t.at(4.0, lambda: t.say(1, 0, 2))
    t.run(5.0)
    assert t.times(1, 0) == pytest.approx([3.0, 4.0 + LATENCY]) and t.times(0, 1) == pytest.approx([1.1 + LATENCY])
    assert not acts.late(t.world, 0, 1.0)
