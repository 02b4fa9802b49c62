"""What an application may ask for, what it is told when it may not, and what becomes of its own mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from byhand import Hand, data, sent
from small import DOWN, FILTERS, SETTINGS, Back, reduce, rig, spec

from harness.core import frames
from harness.core.apps import PluginError
from harness.core.backend import BackEnd
from harness.core.ranks import RankSet
from harness.core.settings import NodeSettings
from harness.core.spec import StreamSpec
from harness.core.tree import Tree


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (StreamSpec("s", RankSet.of([0]), "total"), "wants filter 'total'; there are average, classes"),
        (spec(down_filter="shout"), "wants down filter 'shout'"),
        (spec(members=[]), "is for ranks none"),
        (spec(members=[3, 4]), "is for ranks 3-4; the tree has 0-3"),
        (spec(recovery="compose"), "not idempotent"),
        (spec(sync="time-out"), "replay recovery needs wait-for-all"),
        (spec("null", recovery="resume"), "merges nothing"),
        (spec(replies=True, sync="do-not-wait", recovery="resume"), "wants one reply to each message"),
        (spec("average", item_shape=(1 << 21,), sync="do-not-wait", recovery="resume"), "raise max_frame_bytes"),
        (spec(accept="quorum", quorum=5), "a quorum of 5 among 4 members"),
        (spec(accept="quorum"), "a quorum of 0 among 4 members"),
    ],
)
def test_an_impossible_stream_is_refused_at_once(wrong: StreamSpec, message: str) -> None:
    said: list[str] = []

    def begin(fe: Any) -> None:
        try:
            fe.open_stream(wrong)
        except ValueError as e:
            said.append(str(e))

    run = rig(begin).run(1.0)
    assert len(said) == 1
    assert message in said[0]
    assert run.node(0).streams.up == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"heartbeat_s": 1.0}, "at most a third of lease_s"),
        ({"connect_timeout_s": 0.0}, "connect_timeout_s = 0.0 must be positive"),
        ({"orphan_grace_s": -1.0}, "must not be negative"),
        ({"max_frame_bytes": 10}, "must be between"),
    ],
)
def test_impossible_settings_are_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NodeSettings(**fields)


def test_a_spec_survives_the_wire() -> None:
    how: dict[str, Any] = {"recovery": "compose", "sync": "time-out", "sync_timeout_s": 0.5, "params": (("k", 1),)}
    what = spec("max", [0, 2, 3], item_shape=(2, 3), **how)
    assert StreamSpec.from_wire(frames.msgpack.unpackb(frames.msgpack.packb(what.to_wire()))) == what


class Broken(Back):
    """Raises ValueError, which is what garbage from a neighbour raises, too."""

    where = ""

    def on_open(self, be: Any, stream: int, spec: StreamSpec) -> None:
        self.fail("on_open")
        super().on_open(be, stream, spec)

    def on_message(self, be: Any, stream: int, payload: bytes) -> None:
        self.fail("on_message")

    def on_close(self, be: Any, stream: int) -> None:
        self.fail("on_close")

    def fail(self, where: str) -> None:
        if where == self.where:
            raise ValueError("a mistake of the application")


@pytest.mark.parametrize("where", ["on_open", "on_message", "on_close"])
def test_a_back_end_s_mistake_is_its_own(where: str) -> None:
    def begin(fe: Any) -> None:
        fe.open_stream(spec())
        fe.send(1, b"message")
        fe.close_stream(1)

    back = type("Back", (Broken,), {"where": where})
    with pytest.raises(PluginError, match=f"{where} of stream 1"):
        rig(begin, back=lambda rank: back(rank)).run(1.0)


class Lavish(Back):
    """Offers more waves than it was asked for, or items of the wrong size."""

    size = 0

    def produce(self, be: Any, stream: int, first: int, at_most: int) -> Any:
        return np.zeros((1, self.size), "<i8") if self.size else np.zeros(at_most + 1, "<i8")


@pytest.mark.parametrize(("shape", "size", "message"), [((), 0, "waves where"), ((8,), 7, "7 elements where an item has 8")])
def test_what_a_back_end_offers_must_be_what_it_was_asked_for(shape: tuple[int, ...], size: int, message: str) -> None:
    back = type("Back", (Lavish,), {"size": size})
    with pytest.raises(ValueError, match=message):
        reduce(spec(item_shape=shape, chunk_bytes=16), 5, back=lambda rank: back(rank)).run(1.0)


def test_a_down_filter_s_mistake_is_its_own() -> None:
    class Fails:
        def apply(self, payload: bytes) -> bytes:
            raise ValueError("a mistake of the filter")

    hand = Hand(BackEnd(3, Tree.from_parents((None, 0, 0, 1)), SETTINGS, FILTERS, {**DOWN, "mark": Fails()}, Back(0), 0.0))
    hand.welcome(1)
    hand.order({"op": "open", "id": 1, "spec": spec(members=[0], down_filter="mark").to_wire()}, 1)
    with pytest.raises(PluginError, match="down filter 'mark'"):
        hand.feed(1, frames.control_frame(frames.DOWN, 1, 1, b"message"))


def test_a_back_end_takes_no_units() -> None:
    hand = Hand(BackEnd(3, Tree.from_parents((None, 0, 0, 1)), SETTINGS, FILTERS, DOWN, Back(0), 0.0))
    hand.welcome(1)
    hand.feed(1, data(0, [1], [0]))
    assert hand.node.links == {}


def test_a_tree_closes_without_those_who_do_not_answer() -> None:
    run = rig(lambda fe: fe.call_at(0.5), lambda fe, kind, what: fe.finish(), settings=NodeSettings(lease_s=30.0))
    run.at(0.4, lambda: run.net.hang(2, 60.0))
    run.run(20.0)
    assert run.net.exits[0] == (0, "closed without hearing from child nodes [2]")


def test_while_the_parent_takes_nothing_one_state_stands_for_all_that_is_late() -> None:
    # A large item that came late used to be queued once for each of its waves.
    hand = Hand()
    hand.welcome()
    hand.attach(3, [0])
    hand.attach(4, [1])
    hand.open(spec("max", [0, 1], recovery="compose"))
    hand.data(3, 0, list(range(100)), [0])
    hand.feed(4, frames.control_frame(frames.SKIP, 1, 100))
    hand.node.blocked(0)
    for wave in range(100):
        assert sent(hand.feed(4, state(wave * 10)), "STATE") == []
    hand.node.writable(0, 0.0)
    (frame,) = sent(hand.turn(), "STATE", 0)
    assert int.from_bytes(frame.body, "little") == 990
    assert len(sent(hand.feed(4, state(5)), "STATE", 0)) == 1


def state(value: int) -> bytes:
    raw = bytearray(data(0, [value], [1]))
    raw[1] = frames.STATE
    return bytes(raw)
