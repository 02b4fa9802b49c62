"""What random scenarios and reviews once found wrong with streams, each as the smallest scenario that shows it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import loads
import pytest
from byhand import Hand, sent
from small import SETTINGS, Back, reduce, rig, spec

from harness.core import frames
from harness.core.apps import PluginError
from harness.core.spec import DeadlineExceeded, QuorumLost, StreamClosed, WavesLost
from harness.sim import acts

FLAT = (None, 0, 0)


def test_only_members_hear_of_the_end_of_a_stream() -> None:
    def begin(fe: Any) -> None:
        fe.close_stream(fe.open_stream(spec(members=[1, 2])))

    run = rig(begin).run(1.0)
    assert {rank: b.closed for rank, b in run.backs.items()} == {0: [], 1: [1], 2: [1], 3: []}


def test_closing_a_stream_ends_what_is_outstanding() -> None:
    def begin(fe: Any) -> None:
        fe.expect(fe.open_stream(spec()), 3)
        fe.open_stream(spec())
        fe.close_stream(1)
        fe.close_stream(2)

    run = rig(begin).run(1.0)
    assert [(type(e), e.stream, e.wave) for e in run.front.errors] == [(StreamClosed, 1, 0)]


def test_do_not_wait_delivers_large_items_whole() -> None:
    # Chunks of several senders used to mix.
    what = spec("sum", sync="do-not-wait", recovery="resume", item_shape=(40,), chunk_bytes=16, window_bytes=256)
    run = reduce(what, 5, stop=False).run(2.0)
    got = run.front.waves()
    assert sorted((w, who) for w, who, _ in got) == sorted((w, str(r)) for w in range(5) for r in range(4))
    assert all(int(v[7]) == loads.number(int(who), w) + 7 for w, who, v in got)


def test_no_result_has_fewer_contributors_than_the_quorum() -> None:
    run = reduce(spec(accept="quorum", quorum=3), 400, back=lambda rank: Back(rank, 400, every_s=0.01, batch=1))
    run.at(1.0, lambda: run.net.crash(3))
    run.at(2.0, lambda: run.net.crash(4))
    run.run()
    assert [type(e) for e in run.front.errors] == [QuorumLost]
    assert {len(r.contributors) for r in run.front.results} == {4, 3}


def test_a_wave_that_ended_in_an_error_is_not_lost_again() -> None:
    what = spec(members=[0], recovery="resume", deadline_s=0.1)
    run = reduce(what, 30, parents=(None, 0, 1), back=lambda rank: Back(rank, 30, every_s=0.05, batch=1))
    run.at(0.2, lambda: run.net.stall(1, 0.8))
    run.at(0.65, lambda: run.net.crash(1))
    run.run()
    assert {type(e) for e in run.front.errors} == {DeadlineExceeded, WavesLost}
    ends = [w for w, _, _ in run.front.waves()]
    for e in run.front.errors:
        ends += range(e.wave, e.wave + getattr(e, "count", 1))
    assert sorted(ends) == list(range(30))


def test_opaque_streams_go_on_behind_their_first_window() -> None:
    # Where nothing is acknowledged, back-ends must not wait for an acknowledgement.
    run = reduce(spec("union", recovery="compose", window_waves=4), 50).run()
    assert len(run.front.waves()) == 50


def test_a_wave_that_was_given_up_half_way_leaves_nothing_behind() -> None:
    # The rest of its chunks used to be sent as the next wave.
    how: dict[str, Any] = {"accept": "deadline", "accept_after_s": 0.02, "item_shape": (8,)}
    what = spec("concat", [0, 1], chunk_bytes=16, window_bytes=32, window_waves=2, **how)
    backs = {0: Back(0, 40), 1: Back(1, 40, every_s=0.03)}
    run = reduce(what, 40, parents=FLAT, back=backs.__getitem__, stall=0.3)
    run.at(0.1, lambda: run.net.stall(2, 0.5))
    run.run()
    assert len(run.front.waves()) == 40
    assert any(r.missing for r in run.front.results)
    for r in run.front.results:
        assert loads.fault_in("concat", r.values[0], r.contributors, r.first, (8,)) == ""


@pytest.mark.parametrize("recovery", ["replay", "resume"])
def test_who_is_left_out_of_one_chunk_is_left_out_of_the_wave(recovery: str) -> None:
    # Otherwise no wave of a straggler's stream is ever whole. And the patience is for the wave, not for each of its 8 chunks.
    how: dict[str, Any] = {"recovery": recovery, "item_shape": (8,), "chunk_bytes": 8}
    patience = {"accept": "deadline", "accept_after_s": 0.05}
    how |= patience if recovery == "replay" else {"sync": "time-out", "sync_timeout_s": 0.05}
    backs = {0: Back(0, 10), 1: Back(1, 10, begin_s=0.12, every_s=0.5)}
    run = reduce(spec("sum", [0, 1], **how), 10, parents=FLAT, back=backs.__getitem__).run()
    assert run.front.errors == []
    assert [w for w, _, _ in run.front.waves()] == list(range(10))
    assert str(run.front.results[0].contributors) == "0"
    times = [t for t, kind, _ in run.front.log if kind == "result"]
    assert all(b - a < 0.1 for a, b in pairwise(times))


def test_do_not_wait_goes_on_when_a_node_gets_members_again() -> None:
    # It had none for a while: the two sides of its uplink used to count from different starts then.
    what = spec("null", [0, 1], sync="do-not-wait", recovery="resume", window_waves=4)
    run = reduce(what, 100, stop=False, parents=(None, 0, 0, 1, 2), back=lambda rank: Back(rank, 100, every_s=0.02, batch=1))
    run.at(0.5, lambda: run.net.cut(3, 1))  # rank 0 goes from node 1 to node 2 ...
    run.at(1.0, lambda: run.net.cut(3, 2))  # ... and back
    run.run(10.0)
    assert run.events("reattached")[-1]["parent"] == 1
    late = [w for w, who, _ in run.front.waves() if who == "0" and w > 60]
    assert late == list(range(61, 100))


def test_opaque_units_share_a_frame_only_as_far_as_it_is_allowed_to_grow() -> None:
    sizes: list[int] = []
    run = reduce(spec("classes", chunk_bytes=600), 200, stall=0.2)
    run.net.on_send = lambda a, b, frame: sizes.append(len(frame)) if frame[1] == frames.DATA else None
    run.run()
    assert len(run.front.waves()) == 200
    assert max(sizes) < 600 + 300
    assert len(sizes) < 6 * 200  # but they do share


def test_what_does_not_fit_a_frame_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="raise max_frame_bytes"):
        list(frames.opaque_frames(1, 0, 0, [b"x" * 9000], loads.RankSet.of([0]), frames.Codec.BYTES, 100, 8192))


def test_the_wrong_kind_of_array_is_the_source_s_error() -> None:
    class Wrong(Back):
        def produce(self, be: Any, stream: int, first: int, at_most: int) -> Any:
            return loads.offer("sum", 0, first, first + 1, ()).astype("<i4")

    with pytest.raises(ValueError, match=r"int32 of shape .* where the stream has int64"):
        reduce(spec(members=[0]), 1, back=Wrong).run()


def test_an_application_s_error_is_nobody_else_s_fault() -> None:
    # A ValueError used to pass for a protocol error of the child whose frame had completed the tree.
    def begin(fe: Any) -> None:
        raise ValueError("the application is broken")

    with pytest.raises(PluginError):
        rig(begin).run(1.0)


def test_the_time_out_of_a_wave_begins_with_its_own_first_packet() -> None:
    """A wave that was completed took its age along: the next one, of which one packet was there, went out partial too early."""
    hand = Hand()
    hand.welcome()
    hand.attach(3, [0])
    hand.attach(4, [1])
    hand.open(spec(members=[0, 1], sync="time-out", sync_timeout_s=0.1, recovery="resume"))
    hand.data(3, 0, [7], [0])
    hand.wait(0.09)
    hand.data(3, 1, [7], [0])
    hand.data(4, 0, [7], [1])
    assert sent(hand.wait(0.011), "DATA", 0) == []
    assert len(sent(hand.wait(0.09), "DATA", 0)) == 1


@pytest.mark.parametrize("accept", ["complete", "deadline"])
def test_who_is_dead_is_in_no_later_wave(accept: str) -> None:
    # Node 2 takes in the orphans of node 1, and what it sends from then on comes after their death: waves that lacked them were
    # followed by one that had them.
    what = spec(window_waves=16, accept=accept, **({"accept_after_s": 5.0} if accept == "deadline" else {}))
    times = replace(SETTINGS, lease_s=2.0, orphan_grace_s=0.8)
    run = reduce(what, 200, back=lambda rank: Back(rank, 200, every_s=0.005, batch=1), even=True, settings=times)
    run.at(0.5, lambda: run.net.crash(1))
    run.at(0.5005, lambda: acts.late(run.net.world, 2, 0.9))
    run.run()
    assert [(e["node"], e["parent"]) for e in run.events("reattached")] == [(2, 2), (2, 2)]
    assert [e["ranks"] for e in run.events("dead") if e["ranks"]] == [[0], [1]]
    whose = [who for _, who, _ in run.front.waves()]
    gone = whose.index("2-3")
    assert [w for w, _, _ in run.front.waves()] == list(range(200)) and gone > 0
    assert set(whose[:gone]) == {"0-3"} and set(whose[gone:]) == {"2-3"}


def test_no_wave_goes_out_early_with_the_dead() -> None:
    # The same, where nodes are stopped so that the waves of node 2 are overdue before it hears of the death.
    what = spec(members=[0, 1, 2], window_waves=16, accept="deadline", accept_after_s=0.05)
    times = replace(SETTINGS, lease_s=2.0, orphan_grace_s=0.8)
    tree = (None, 0, 0, 0, 1, 2, 3)
    run = reduce(what, 300, back=lambda rank: Back(rank, 300, every_s=0.005, batch=1), even=True, settings=times, parents=tree)
    run.at(0.5, lambda: run.net.crash(1))
    run.at(0.5005, lambda: acts.late(run.net.world, 2, 0.9))
    run.at(0.56, lambda: run.net.hang(3, 1.4))
    run.at(1.2, lambda: run.net.hang(2, 0.5))
    run.run()
    (dead_s,) = [e["t_s"] for e in run.events("dead") if e["ranks"] == [0]]
    after = [r for t_s, kind, r in run.front.log if kind == "result" and t_s >= dead_s]
    assert after and not any(0 in r.contributors for r in after)
    assert [w for w, _, _ in run.front.waves()] == list(range(300))
