"""What bounds memory, what recovery costs when nothing fails, and when units share a frame."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from byhand import NAMES, Hand, sent
from small import FILTERS, Back, Rig, reduce, spec

from harness.core import frames
from harness.core.node import Node
from harness.core.spec import StreamSpec
from harness.core.units import Units


class Peak:
    """The most bytes that any node held: for one child (`inbox`), for its parent (`outbox`), and, on one link, frames that were
    sent but had not arrived yet (`wire`)."""

    def __init__(self, run: Rig) -> None:
        self.inbox = self.outbox = self.wire = 0
        run.net.on_node = self.look
        self.net = run.net
        run.net.on_send = self.sent

    def look(self, node: Node) -> None:
        for s in node.streams.up.values():
            inboxes = [sum(p.items.nbytes for p in inbox.queue) for inbox in s.inboxes.values()]
            self.inbox = max([self.inbox, *inboxes])
            self.outbox = max(self.outbox, sum(len(part) for e in s.outbox.kept for part in e[2]))

    def sent(self, a: int, b: int, frame: memoryview) -> None:
        if frame[1] == frames.DATA:
            self.wire = max(self.wire, self.net.under_way(a, b) + len(frame))


def bounds(what: StreamSpec) -> tuple[int, int]:
    """What docs/protocol.md promises for one child's inbox (and its link), and for an outbox: bytes of units, and of frames."""
    u = Units.of(what, FILTERS[what.filter])
    inbox = max(what.window_bytes, 2 * u.unit_bytes)
    outbox = max(what.window_bytes, 2 * u.per_wave * u.unit_bytes) + u.batch * u.unit_bytes
    return inbox, outbox + 256 * (u.window if u.window < 1 << 20 else 0)


SIZES = {"8 B": ((), 60_000), "8 kB": ((1000,), 2000), "1 MB": ((1 << 17,), 24), "16 MB": ((2 << 20,), 2)}


@pytest.mark.parametrize("recovery", ["replay", "resume"])
@pytest.mark.parametrize("size", SIZES)
def test_memory_is_bounded_whatever_the_item_and_however_slow_somebody_is(size: str, recovery: str) -> None:
    shape, waves = SIZES[size]
    what = spec(item_shape=shape, recovery=recovery, window_bytes=2 << 20, chunk_bytes=1 << 19)
    backs = {r: Back(r, waves) for r in range(4)}
    backs[3].every_s = 0.0005  # one is slow, the others would run away
    run = reduce(what, waves, back=backs.__getitem__)
    peak = Peak(run)
    run.at(0.06, lambda: run.net.stall(1, 0.3))  # a blocked parent
    run.at(0.10, lambda: run.net.hang(0, 0.5))  # a slow front-end
    run.at(0.75, lambda: run.net.hang(2, 0.3))
    run.run()
    assert len(run.front.waves()) == waves
    inbox, outbox = bounds(what)
    assert 0 < peak.inbox <= inbox
    assert peak.outbox <= (outbox if recovery == "replay" else 0)
    assert peak.wire <= inbox + 256 * Units.of(what, FILTERS["sum"]).link_window


def test_memory_is_bounded_while_a_tree_recovers() -> None:
    shape, waves = SIZES["16 MB"]
    what = spec(item_shape=shape, window_bytes=2 << 20, chunk_bytes=1 << 19)
    run = reduce(what, waves, back=lambda r: Back(r, waves, every_s=0.001 if r else 0.0))
    peak = Peak(run)
    run.at(0.06, lambda: run.net.crash(1))
    run.at(0.09, lambda: run.net.cut(5, 2))
    run.run()
    assert len(run.front.waves()) == waves
    assert run.events("replayed")
    inbox, outbox = bounds(what)
    assert peak.inbox <= inbox
    assert peak.outbox <= outbox


def test_do_not_wait_is_bounded_as_well() -> None:
    what = spec(recovery="resume", sync="do-not-wait", item_shape=(1000,), window_bytes=80_000)
    run = reduce(what, 500, stop=False)
    most = [0]

    def look(node: Node) -> None:
        for s in node.streams.up.values():
            most[0] = max(most[0], sum(p.items.nbytes for p in s.relay))

    run.net.on_node = look
    run.at(0.06, lambda: run.net.stall(1, 0.8))
    run.run(3.0)
    assert len(run.front.waves()) == 4 * 500
    assert 80_000 < most[0] <= 3 * 80_000  # a window of its own, and one for each child


# -- what it costs when nothing fails ------------------------------------------------------------------------------------------


def traffic(filter_: str, recovery: str, **fields: Any) -> tuple[Counter[str], int]:
    """Frames by kind, and bytes of DATA, of a run without faults; nothing may be kept for later but under replay."""
    run = reduce(spec(filter_, recovery=recovery, **fields), 300, stall=0.1)
    kinds: Counter[str] = Counter()
    size = [0]

    def see(a: int, b: int, frame: memoryview) -> None:
        kinds[NAMES[frame[1]]] += 1
        size[0] += len(frame) if frame[1] == frames.DATA else 0

    def look(node: Node) -> None:
        for s in node.streams.up.values():
            assert not s.outbox.kept or recovery == "replay"
            assert not s.state or recovery == "compose" or (recovery == "decompose" and not node.id)
            assert s.kept is None or recovery == "decompose"

    run.net.on_send, run.net.on_node = see, look
    run.run()
    assert len(run.front.waves()) == 300
    return kinds, size[0]


@pytest.mark.parametrize("filter_", ["max", "union"])
@pytest.mark.parametrize("shape", [(), (9,)])
def test_compose_sends_no_frame_and_no_byte_more_than_no_recovery_at_all(filter_: str, shape: tuple[int, ...]) -> None:
    composed, bytes_composed = traffic(filter_, "compose", item_shape=shape, chunk_bytes=40, window_waves=20)
    none, bytes_none = traffic(filter_, "resume", item_shape=shape, chunk_bytes=40, window_waves=20)
    assert composed == none
    assert bytes_composed == bytes_none
    assert set(composed) <= {"ATTACH", "WELCOME", "NOTICE", "DOWN", "DATA", "CREDIT", "PING", "BYE"}


@pytest.mark.parametrize("filter_", ["sum", "average", "count"])
@pytest.mark.parametrize(("shape", "window"), [((), 20), ((9,), 20), ((9,), 2), ((), 2)])
def test_decompose_sends_no_frame_and_no_byte_more_either(filter_: str, shape: tuple[int, ...], window: int) -> None:
    how: dict[str, Any] = {"item_shape": shape, "chunk_bytes": 40, "window_waves": window}
    decomposed, bytes_decomposed = traffic(filter_, "decompose", **how)
    none, bytes_none = traffic(filter_, "resume", **how)
    assert {kind: n for kind, n in decomposed.items() if n > none[kind]} == {}
    assert bytes_decomposed == bytes_none


def test_replay_adds_acknowledgements_only() -> None:
    kinds, _ = traffic("sum", "replay", window_waves=20)
    assert set(kinds) <= {"ATTACH", "WELCOME", "NOTICE", "DOWN", "DATA", "CREDIT", "PING", "BYE"}


# -- batches -------------------------------------------------------------------------------------------------------------------


def busy() -> Hand:
    """A communication process with two children and a stream, in the middle of its work."""
    hand = Hand()
    hand.welcome()
    hand.attach(3, [0])
    hand.attach(4, [1])
    hand.open(spec(members=[0, 1]))
    return hand


def test_a_unit_goes_alone_where_the_parent_is_idle() -> None:
    hand = busy()
    for w in range(5):
        assert sent(hand.data(3, w, [1], [0]), "DATA") == []
        done = sent(hand.data(4, w, [1], [1]), "DATA", 0)
        assert [(f.first, f.count) for f in done] == [(w, 1)]


def test_many_units_share_a_frame_where_the_parent_is_busy() -> None:
    hand = busy()
    hand.node.blocked(0)
    for w in range(50):
        assert sent(hand.data(3, w, [1], [0]) + hand.data(4, w, [1], [1]), "DATA") == []
    hand.node.writable(0, 0.0)
    assert [(f.first, f.count) for f in sent(hand.turn(), "DATA", 0)] == [(0, 50)]


def test_what_comes_together_goes_together() -> None:
    hand = busy()
    done = hand.data(3, 0, [1] * 30, [0]) + hand.data(4, 0, [1] * 30, [1])
    assert [(f.first, f.count) for f in sent(done, "DATA", 0)] == [(0, 30)]


def test_nothing_is_sent_beyond_the_credit() -> None:
    hand = busy()
    window = hand.node.streams.up[1].units.link_window
    sent_units, first = 0, 0
    for _ in range(40):
        for child, rank in ((3, 0), (4, 1)):
            done = hand.data(child, first, [1] * 1000, [rank])
            sent_units += sum(f.count for f in sent(done, "DATA", 0))
        first += 1000
    assert sent_units == window
    done = hand.feed(0, frames.credit_frame(1, window + 5, 0))
    assert sum(f.count for f in sent(done, "DATA", 0)) == 5


def test_children_are_granted_a_window_beyond_what_has_gone_on() -> None:
    hand = busy()
    window = hand.node.streams.up[1].units.link_window
    hand.data(3, 0, [1] * 4000, [0])
    done = hand.data(4, 0, [1] * 4000, [1])
    granted = {child: [f.first for f in sent(done, "CREDIT", child)] for child in (3, 4)}
    assert granted == {3: [window + 4000], 4: [window + 4000]}


def test_a_tree_of_one_level_works_as_well() -> None:
    run = reduce(spec(members=[0, 1]), 20, parents=(None, 0, 0)).run()
    assert len(run.front.waves()) == 20
