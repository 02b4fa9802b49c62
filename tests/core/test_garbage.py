"""A node that is sent garbage never raises: at worst it drops the link, and says why."""

from __future__ import annotations

import random
from typing import Any

import pytest
from byhand import Hand, data
from hypothesis import given, settings
from hypothesis import strategies as st
from small import DOWN, FILTERS, SETTINGS, TWO_BY_TWO, Back, Front, rig, spec

from harness.core import frames
from harness.core.backend import BackEnd
from harness.core.frontend import FrontEnd
from harness.core.tree import Tree


def spoiler(seed: int, rate: float) -> Any:
    """Changes some frames on their way: bytes in them, their end, or all of them."""
    rng = random.Random(seed)

    def mangle(frame: memoryview) -> memoryview:
        # What the front-end orders is taken at its word, if only it can be read: a stream of 2^60 elements is one, too.
        if rng.random() >= rate or (frame[1] == frames.DOWN and frame[4] == 0):
            return frame
        spoilt = bytearray(frame)
        kind = rng.random()
        if kind < 0.7:
            for _ in range(rng.randint(1, 3)):
                spoilt[rng.randrange(len(spoilt))] = rng.choice([0, 1, 255, rng.randrange(256)])
        elif kind < 0.85:
            del spoilt[rng.randrange(len(spoilt)) :]
        else:
            spoilt = bytearray(rng.randbytes(rng.randrange(80)))
        return memoryview(bytes(spoilt))

    return mangle


def streams() -> list[Any]:
    return [
        spec("sum", window_waves=8),
        spec("max", recovery="compose", item_shape=(6,), chunk_bytes=16),
        spec("sum", recovery="decompose", item_shape=(6,), chunk_bytes=16),
        spec("concat", recovery="resume", sync="time-out", sync_timeout_s=0.05),
        spec("sum", recovery="resume", sync="do-not-wait", window_waves=8),
    ]


@pytest.mark.parametrize("seed", range(40))
def test_frames_spoilt_on_their_way_never_end_a_node(seed: int) -> None:
    def begin(fe: Any) -> None:
        for what in streams():
            i = fe.open_stream(what)
            fe.expect(i, 50)
            fe.send(i, b"a message")

    run = rig(begin, back=lambda rank: Back(rank, 50, every_s=0.01), seed=seed)
    run.net.world.garbled = spoiler(seed, [0.003, 0.03][seed % 2])
    run.at(0.2, lambda: run.net.crash(1 + seed % 2))
    run.run(3.0)
    # Nodes may have ended in their own ways, by then: fenced, or alone.
    assert {status for status, _ in run.net.exits.values()} <= {0, 4, 5}
    assert all(e["message"] for e in run.events("protocol-error"))


def test_spoilt_frames_are_noticed() -> None:
    run = rig(lambda fe: fe.open_stream(spec()), back=lambda rank: Back(rank, 50, every_s=0.01))
    run.net.world.garbled = spoiler(1, 0.05)
    run.run(3.0)
    assert run.events("protocol-error")


def every_kind(draw: st.DataObject) -> bytes:
    """A frame of any kind, whose fields and body may be anything that the kind could carry, or nearly."""
    kind = draw.draw(st.sampled_from(list(frames.KINDS)))
    if kind in (frames.DATA, frames.STATE):
        n = draw.draw(st.integers(0, 3))
        ranks = draw.draw(st.lists(st.integers(0, 6), max_size=3))
        raw = bytearray(data(draw.draw(st.integers(0, 2**40)), [1] * n, ranks, draw.draw(st.integers(0, 3)), draw.draw(NUMBER)))
        raw[1] = kind
        return bytes(raw)
    if kind == frames.CREDIT:
        return frames.credit_frame(draw.draw(NUMBER), draw.draw(MARK), draw.draw(MARK))
    body = draw.draw(st.sampled_from([OBJECTS, st.binary(max_size=12)]))
    packed = draw.draw(body)
    raw = packed if isinstance(packed, bytes) else frames.msgpack.packb(packed)
    meta = draw.draw(st.sampled_from([b"", b"\0" * 8, b"\1\0\0\0\2\0\0\0"]))
    first = draw.draw(st.integers(0, 2**40) | st.integers(0, 9))
    return frames.control_frame(kind, draw.draw(NUMBER), first, raw, epoch=draw.draw(NUMBER), meta=meta)


NUMBER = st.integers(0, 5)
MARK = st.integers(0, 2**64 - 1) | st.integers(0, 99)
SOME = [2**40, b"", b"\0\0\0\0\1\0\0\0", "x", [], [1], [[1, 2, 3]], {}, {1: [1, 2]}]
ANY = st.none() | st.integers(-2, 9) | st.sampled_from(SOME)
KEYS = ["inc", "below", "lost", "control", "streams", "notices", "next", "reason", "op", "node", "by", "cause", "nodes", "id"]
NOTICE = st.dictionaries(st.sampled_from(KEYS), ANY, max_size=15) | st.fixed_dictionaries(
    {"op": st.sampled_from(["lost", "joined", "below", "?"]), "node": ANY, "by": ANY, "inc": ANY, "below": ANY, "cause": ANY}
)
OBJECTS = NOTICE | st.fixed_dictionaries(
    {
        "ranks": st.sampled_from([b"", b"\0\0\0\0\2\0\0\0", b"\1\0\0\0\1\0\0\0"]),
        "notices": st.lists(NOTICE, max_size=2),
        "next": ANY,
        "streams": ANY,
        "inc": ANY,
        "below": ANY,
        "lost": st.integers(-1, 9) | ANY,
        "control": st.integers(-1, 9) | ANY,
    }
) | ANY  # fmt: skip


def nodes() -> list[Hand]:
    """A front-end, a communication process and a back-end in the middle of their work."""
    tree = Tree.from_parents(TWO_BY_TWO)
    front = Hand(FrontEnd(tree, SETTINGS, FILTERS, DOWN, Front(lambda fe: [fe.open_stream(s) for s in streams()]), 0.0))
    middle = Hand(1)
    middle.welcome()
    back = Hand(BackEnd(3, tree, SETTINGS, FILTERS, DOWN, Back(0, 9), 0.0))
    back.welcome(1)
    for hand, children in ((front, (1, 2)), (middle, (3, 4))):
        for c in children:
            hand.attach(c, list(tree.ranks_below(c)), below=[[n, c, 1] for n in tree.nodes[c].children])
    for parent, hand in ((0, middle), (1, back)):
        for i, what in enumerate(streams(), start=1):
            hand.order({"op": "open", "id": i, "spec": what.to_wire()}, parent)
    return [front, middle, back]


@settings(max_examples=150)
@given(st.data())
def test_whatever_the_neighbours_say_a_node_goes_on(draw: st.DataObject) -> None:
    hand = draw.draw(st.sampled_from(nodes()))
    peers = list(hand.node.links)
    for _ in range(draw.draw(st.integers(1, 6))):
        peer = draw.draw(st.sampled_from(peers))
        if peer not in hand.node.links:
            hand.node.link_up(peer, peer, False, hand.now)
        hand.feed(peer, every_kind(draw))
        hand.wait(draw.draw(st.sampled_from([0.0, 0.1, 0.3])))
