"""What random scenarios and reviews once found wrong with links, membership, messages and memory, each as the smallest
scenario that shows it."""

from __future__ import annotations

from typing import Any

import pytest
from byhand import Hand, sent
from small import Back, reduce, rig, spec

from harness.core import frames
from harness.core.apps import PluginError
from harness.core.ranks import RankSet
from harness.core.spec import DeadlineExceeded

FLAT = (None, 0, 0)


def talk(payloads: list[bytes], to: Any = None, **how: Any) -> Any:
    """One stream on which messages go down, as fast as they may."""
    left = list(payloads)

    def more(fe: Any, *what: Any) -> None:
        while left and fe.send(1, left[0], to):
            left.pop(0)

    def begin(fe: Any) -> None:
        fe.open_stream(spec(**how))
        more(fe)

    return rig(begin, more), left


def test_messages_to_one_back_end_do_not_fill_the_window_for_ever() -> None:
    # The others get place-holders, which used to weigh nothing: they never reported.
    run, left = talk([b"x" * 40] * 100, RankSet.of([2]), window_bytes=100)
    run.run(2.0)
    assert left == []
    assert {rank: len(b.messages) for rank, b in run.backs.items()} == {0: 0, 1: 0, 2: 100, 3: 0}


def test_messages_to_nobody_do_not_fill_the_window_for_ever() -> None:
    run, left = talk([b"x" * 40] * 50, members=[0], window_bytes=100)
    run.at(0.0, lambda: run.net.crash(3))
    run.run(15.0)
    assert left == []


def test_what_children_have_is_told_even_if_they_say_so_during_the_attach() -> None:
    hand = Hand()
    hand.welcome()
    hand.attach(3, [0])
    hand.attach(4, [1])
    hand.open(spec(members=[0, 1]))
    for n in (1, 2):
        hand.feed(0, frames.control_frame(frames.DOWN, 1, n, b"message"))
    hand.node.link_lost(0, "reset", 0.0)
    hand.turn()
    hand.node.refused(0, "busy", 0.0)
    hand.now = 0.1
    hand.node.tick(0.1)
    hand.node.link_up(0, 0, True, 0.1)
    assert sent(hand.turn(), "ATTACH")[0].body["streams"][1][4] == 0
    for child in (3, 4):
        hand.feed(child, frames.control_frame(frames.DACK, 1, 2))
    done = hand.feed(0, frames.object_frame(frames.WELCOME, {"streams": {1: [0, 99]}}))
    assert [f.first for f in sent(done, "DACK", 0)] == [2]


def test_the_application_may_open_and_close_streams_whenever_it_is_called() -> None:
    # Where a death opens a window, the news comes while the node goes through its streams.
    left = [100]

    def then(fe: Any, kind: str, what: Any) -> None:
        if kind == "writable" and left[0]:
            fe.close_stream(fe.open_stream(spec(members=[0])))
            fe.open_stream(spec(members=[0, 1]))
        while left[0] and fe.send(1, b"x" * 30):
            left[0] -= 1

    def begin(fe: Any) -> None:
        fe.open_stream(spec(members=[0, 1], window_bytes=100))
        fe.call_at(0.2)

    run = rig(begin, then, parents=(None, 0, 0, 1, 2))
    run.at(0.1, lambda: run.net.hang(3, 20.0))  # its death opens the window
    run.run(10.0)
    assert left == [0]
    assert len(run.backs[1].messages) == 100


def test_who_comes_while_the_tree_closes_is_told_so_and_tells_those_below() -> None:
    run = rig(lambda fe: fe.call_at(0.5), lambda fe, kind, what: fe.finish())
    run.at(0.5005, lambda: run.net.crash(2))  # before the order has passed
    run.run()
    run.net.run_out(run.net.now + 5.0)
    hand = Hand()
    hand.welcome()
    hand.attach(3, [0])
    hand.node.link_lost(0, "reset", 0.0)
    hand.turn()
    hand.node.link_up(0, 0, True, 0.0)
    done = hand.feed(0, frames.object_frame(frames.REFUSE, {"reason": "closing"}))
    assert sent(done, "DOWN", 3)[0].body == {"op": "shutdown"}
    hand.feed(3, frames.control_frame(frames.BYE))
    assert hand.node.out.exit == (0, "closed")


def test_a_deadline_that_comes_before_the_next_heartbeat_is_kept() -> None:
    # The loop asks for the next deadline only where the node says that it may be a new one.
    def begin(fe: Any) -> None:
        fe.open_stream(spec(deadline_s=0.05))

    def then(fe: Any, kind: str, what: Any) -> None:
        if kind == "result":
            fe.expect(1, 2)

    run = rig(begin, then, back=lambda rank: Back(rank, 1, begin_s=0.3))
    run.run(1.0)
    (when, _, error), came = run.front.log[-1], run.front.log[0]
    assert isinstance(error, DeadlineExceeded)
    assert when - came[0] == pytest.approx(0.05, abs=0.001)


def test_an_inbox_holds_one_window_also_after_a_rewind() -> None:
    # What had been granted to a child far ahead used to stay granted when the stream began again further back.
    what = spec(item_shape=(64,), chunk_bytes=16, window_bytes=64)  # 32 units a wave, windows of 4 units
    run = reduce(what, 6, back=lambda rank: Back(rank, 6, every_s=0.03 if rank == 3 else 0.0))
    most = [0]

    def look(node: Any) -> None:
        for s in node.streams.up.values():
            most[0] = max([most[0], *(sum(p.units for p in inbox.queue) for inbox in s.inboxes.values())])

    run.net.on_node = look
    run.at(0.12, lambda: run.net.crash(1))
    run.at(0.3, lambda: run.net.cut(5, 2))
    run.run()
    assert len(run.front.waves()) == 6
    assert run.events("rewound")
    assert most == [4]


def test_a_node_takes_in_no_more_packets_than_its_window_though_its_parent_takes_none() -> None:
    # Packets to be relayed used to be counted as frames, whatever each of them held.
    hand = Hand()
    hand.welcome()
    hand.attach(3, [0])
    hand.open(spec("sum", sync="do-not-wait", recovery="resume", window_waves=100))
    limit, first = 100, 0
    while first < limit:
        n = min(50, limit - first)
        done = hand.data(3, first, [1] * n, [0])
        first += n
        limit = max([limit, *(f.first for f in sent(done, "CREDIT", 3))])
        assert first < 1000
    assert 100 <= sum(p.units for p in hand.node.streams.up[1].relay) <= 200


def test_a_node_that_keeps_sending_garbage_is_given_up() -> None:
    # It used to be taken in again and again, a thousand times a second.
    run = rig(lambda fe: fe.open_stream(spec()))

    def spoil(a: int, b: int, frame: memoryview) -> None:
        if a == 3 and frame[1] == frames.ATTACH:
            run.at(run.net.now + 0.01, lambda: run.net.send(a, b, b"garbage" * 9))

    run.net.on_send = spoil
    run.run(5.0)
    assert 3 <= len(run.events("protocol-error")) <= 6
    assert [e["member"] for e in run.events("dead")] == [3]
    assert run.net.exits[3][0] == 4


def test_units_of_another_shape_end_the_link_and_not_the_node() -> None:
    hand = Hand()
    hand.welcome()
    hand.attach(3, [0])
    hand.attach(4, [1])
    hand.open(spec("sum", [0, 1], item_shape=(3,)))
    hand.data(3, 0, [1, 2, 3], [0])
    assert [e["kind"] for e in hand.node.out.events][-2:] == ["protocol-error", "link-lost"]
    assert [c.node for c in hand.node.children.values()] == [4]


def test_what_a_filter_raises_is_not_the_neighbour_s_fault() -> None:
    hand = Hand()
    hand.welcome()
    hand.attach(3, [0])
    hand.open(spec("classes", [0], recovery="compose"))
    parts = frames.data_frame(frames.STATE, 1, 0, 0, [7], RankSet.of([0]), frames.Codec.MSGPACK)
    with pytest.raises(PluginError, match="classes"):
        hand.feed(3, b"".join(bytes(p) for p in parts))


def test_an_order_that_cannot_be_read_is_neither_kept_nor_passed_on() -> None:
    hand = Hand()
    hand.welcome()
    hand.attach(3, [0])
    done = hand.feed(0, frames.control_frame(frames.DOWN, 0, 1, b"\xc1"))
    assert sent(done, "DOWN", 3) == []
    assert hand.node.control.last == 0  # so that it is asked for again where the node attaches next


def test_news_that_would_make_a_circle_of_the_tree_ends_the_link() -> None:
    # It used to be believed, and looking for everybody below a node never ended.
    hand = Hand()
    hand.welcome()
    hand.attach(3, [0])
    news = [{"op": "joined", "node": 3, "by": 1, "inc": 2, "below": [[1, 3, 9]]}]
    hand.feed(3, frames.object_frame(frames.NOTICE, {"notices": news, "ranks": b"", "next": {}}))
    assert list(hand.node.links) == [0]


@pytest.mark.parametrize("gone", ["the parent is lost", "the parent takes nothing"])
def test_a_time_out_that_nothing_can_be_done_about_does_not_keep_a_node_busy(gone: str) -> None:
    # Its deadline used to lie in the past until there was a parent again: the loop around it never slept.
    hand = Hand()
    hand.welcome()
    hand.attach(3, [0])
    hand.attach(4, [1])
    hand.open(spec(members=[0, 1], sync="time-out", sync_timeout_s=0.1, recovery="resume"))
    hand.data(3, 0, [7], [0])
    assert hand.node.deadline() == pytest.approx(0.1)
    if gone == "the parent is lost":
        hand.node.link_lost(0, "reset", 0.0)
    else:
        hand.node.blocked(0)
    hand.wait(0.24)
    hand.wait(0.02)  # a heartbeat
    assert hand.node.deadline() > hand.now
    hand.node.rearm = False
    if gone == "the parent is lost":
        done = hand.welcome()
    else:
        hand.node.writable(0, hand.now)
        done = hand.turn()
    assert hand.node.rearm
    assert [(f.first, f.count) for f in sent(done, "DATA", 0)] == [(0, 1)]


def test_nothing_is_told_after_the_end() -> None:
    def begin(fe: Any) -> None:
        fe.expect(fe.open_stream(spec(deadline_s=0.2)), 5)
        fe.call_at(fe.now + 0.1)

    run = rig(begin, lambda fe, kind, what: fe.finish())
    run.at(0.11, lambda: run.net.hang(1, 30.0))  # closing takes a while
    run.run()
    assert run.front.errors == []
    assert run.events("stream-error") == []
    assert run.net.now > 0.5
