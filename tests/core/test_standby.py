"""A standby, its logbook and the votes, piece by piece."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from byhand import Hand, sent
from net import Net
from small import DOWN, FILTERS, SETTINGS, TWO_BY_TWO, Back, spec
from standbys import Lasting, with_standby
from transcript import TWINS

from harness.core import frames
from harness.core.frontend import FrontEnd
from harness.core.logbook import Logbook
from harness.core.node import Node
from harness.core.ranks import RankSet
from harness.core.standby import Heir
from harness.core.tree import Role, Tree

TREE = Tree.from_parents(TWO_BY_TWO).with_standby(1)
ENTRY: dict[str, Any] = {
    "orders": [msgpack.packb({"op": "dead", "nodes": [4], "ranks": RankSet.of([1]).encoded})],
    "messages": [[1, 1, b"hello", b""]],
    "marks": {1: [5, 9, 0, 2.0]},
    "samples": [[2.0, 1.0, 1, 0, "<i8", (7).to_bytes(8, "little"), RankSet.of([0]).encoded, True]],
    "tells": [{"kind": "note", "t_s": 2.0, "told": 1}],
    "safe": 0,
    "app": msgpack.packb(5),
    "due": 3.0,
    "now": 2.0,
    "started": True,
    "next": 2,
    "delivered": 5,
}


def logbook() -> Logbook:
    return Logbook(Lasting(spec(), 1))


def test_only_a_communication_process_below_the_front_end_is_a_standby() -> None:
    for node in (0, 3, 7, -1):
        with pytest.raises(ValueError, match=f"node {node} is no communication process right below the front-end; .* 1, 2"):
            TREE.with_standby(node)
    deep = Tree.from_parents((None, 0, 1, 2))
    with pytest.raises(ValueError, match="node 2 is no"):
        deep.with_standby(2)


def test_the_tree_with_the_standby_as_its_root() -> None:
    tree = TREE.rooted()
    assert (tree.root, tree.nodes[1].role, tree.nodes[1].parent, tree.nodes[1].depth) == (1, Role.FRONT_END, None, 0)
    assert tree.ranks_below(1) == TREE.ranks_below(0)
    assert [n.depth for n in tree.nodes[2:]] == [n.depth for n in TREE.nodes[2:]]
    assert all(tree.nodes[0].depth > n.depth for n in tree.nodes[1:])
    assert tree is TREE.rooted()


def test_who_asks_whom() -> None:
    assert TREE.adopters(2, 0) == (1,)
    assert TREE.adopters(1, 0) == ()
    assert TREE.rooted().adopters(2, 1) == ()
    assert TREE.rooted().adopters(5, 2) == (1,)
    assert Tree.from_parents(TWO_BY_TWO).adopters(2, 0) == ()


def test_an_entry_is_taken_in_once_and_in_order() -> None:
    found, blob = logbook(), msgpack.packb(ENTRY)
    assert found.take(1, 1, blob[:10], 4.0) == 0
    assert found.take(1, 0, blob[10:], 4.0) == 1
    assert (found.dead, found.marks, found.shift_s, found.due) == ({4}, {1: [5, 9, 0, 2.0]}, 2.0, 3.0)
    assert (found.samples[0].t_s, found.samples[0].observed.tolist()) == (4.0, [7])
    assert found.tells() == [{"kind": "note", "t_s": 4.0, "told": 1}]
    assert found.take(1, 0, blob, 5.0) == 1
    assert len(found.samples) == 1
    with pytest.raises(ValueError, match="entry 3 of the log came after entry 1"):
        found.take(3, 0, blob, 5.0)
    found.take(2, 0, msgpack.packb({**ENTRY, "tells": [], "safe": 1}), 5.0)
    assert found.tells() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"orders": [b"\xc1"]},
        {"orders": 3},
        {"messages": [[1, 1, b"x"]]},
        {"messages": [[1, 1, b"x", b"abc"]]},
        {"marks": {1: [5, 9, 0]}},
        {"marks": {1: [-5, 9, 0, 2.0]}},
        {"samples": [[2.0, 1.0, 1, 0, "O", b"", b"", True]]},
        {"samples": [[2.0, 1.0, 1, 0, "<i8", b"abc", b"", True]]},
        {"tells": [{"kind": "note"}]},
        {"app": msgpack.packb("five")},
        {"now": "noon"},
        {"next": None},
    ],
)
def test_an_entry_that_cannot_be_is_not_taken_in_by_half(wrong: dict[str, Any]) -> None:
    found = logbook()
    with pytest.raises((ValueError, TypeError, KeyError)):
        found.take(1, 0, msgpack.packb({**ENTRY, **wrong}), 4.0)
    assert (found.number, found.orders, found.marks, found.samples, found.messages, found.dead) == (0, [], {}, [], [], set())


def hand(node: int = 2) -> Hand:
    return Hand(Node(node, TREE, SETTINGS, FILTERS, DOWN, 0.0))


def test_a_node_votes_once_and_says_so() -> None:
    h = hand()
    h.welcome(0)
    assert [f.body for f in sent(h.order({"op": "root", "node": 0}), "VOTE", 0)] == [{"root": 0, "nodes": [2]}]
    h.order({"op": "root", "node": 1})
    assert [e["kind"] for e in h.node.out.events if e["kind"] == "protocol-error"] == ["protocol-error"]
    assert (h.node.ballot.generation, h.node.ballot.root) == (1, 0)


def test_nobody_can_be_voted_for_but_the_two() -> None:
    h = hand()
    h.welcome(0)
    h.order({"op": "root", "node": 2})
    assert h.node.ballot.generation == 0


@pytest.mark.parametrize("body", [{"root": 1, "nodes": [5]}, {"root": 0, "nodes": [99]}, {"root": 0}])
def test_votes_that_cannot_be_end_the_link(body: dict[str, Any]) -> None:
    h = hand()
    h.welcome(0)
    h.attach(5, [2])
    h.order({"op": "root", "node": 0})
    done = h.feed(5, frames.object_frame(frames.VOTE, body))
    assert ("close", 5) in done
    assert h.node.ballot.votes == {2}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"generation": 1, "root": 1}, "of a later generation"),
        ({"generation": 0, "root": 0, "trail": 7}, "it has heard other orders"),
    ],
)
def test_who_belongs_elsewhere_is_not_taken_in(body: dict[str, int], reason: str) -> None:
    h = hand()
    h.welcome(0)
    assert [f.body["reason"] for f in sent(h.attach(5, [2], **body), "REFUSE", 5)] == [reason]


def test_of_one_generation_only_the_own_root_s() -> None:
    h = hand()
    h.welcome(0)
    h.order({"op": "root", "node": 0})
    refused = sent(h.attach(5, [2], generation=1, root=1), "REFUSE", 5)
    assert [f.body["reason"] for f in refused] == ["node 0 is the root here"]


def test_a_second_front_end_process_ends_at_once() -> None:
    front = FrontEnd(TREE, SETTINGS, FILTERS, DOWN, Lasting(spec(), 1), 0.0)
    front.life = 1
    front.start(0.0)
    assert front.out.exit == (4, "fenced: another process was the front-end")


def in_charge(net: Net) -> list[int]:
    return [n for n, node in net.nodes.items() if isinstance(node, Heir) and node.in_charge]


@pytest.mark.parametrize("moment_ms", range(5, 60, 3))
def test_each_wave_ends_once_whenever_the_front_end_is_killed(moment_ms: int) -> None:
    back = {"every_s": 0.004, "batch": 1, "begin_s": 0.01}
    run = with_standby(spec(members=[0, 1]), 10, TWINS, 1, lambda rank: Back(rank, 10, **back))
    run.at(moment_ms / 1000, lambda: run.net.crash(0))
    run.run(30.0)
    if run.events("took-over"):
        assert in_charge(run.net) == [1]
        assert run.net.exits[1][0] == 0
    # What the first root delivered, and nobody was told, comes again: the same.
    assert {(w, who) for w, who, _ in run.front.waves()} == {(w, "0-1") for w in range(10)}
    heir = run.node(1)
    if isinstance(heir, Heir):
        assert [e["kind"] for e in run.net.events if e["kind"] == "finished"] == ["finished"]


def test_without_a_majority_nobody_is_in_charge() -> None:
    run = with_standby(spec(members=[0, 1]), 500, TWINS, 1, lambda rank: Back(rank, 500, every_s=0.01, batch=1))
    for node in (0, 2, 4):
        run.at(0.05, lambda node=node: run.net.crash(node))
    run.run(200.0)
    assert in_charge(run.net) == []
    assert run.net.exits[1][0] == 5
    assert run.events("took-over", "finished") == []
