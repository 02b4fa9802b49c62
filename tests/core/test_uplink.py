"""How a node finds a parent, and another one: candidates, retries, rounds, time-outs, refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from byhand import Hand, sent
from small import DOWN, FILTERS, SETTINGS, Back, reduce, rig, spec

from harness.core import actions, frames
from harness.core.node import Node
from harness.core.settings import START_UP_PATIENCE
from harness.core.tree import Tree

#: 0 -> 1, 2, 3; each of these has one child, and that one a back-end: nodes 7, 8, 9.
THREE_DEEP = (None, 0, 0, 0, 1, 2, 3, 4, 5, 6)


def wanted(done: list[Any]) -> list[int]:
    """Whom the node wants to be connected with."""
    return [peer for op, peer in done if op == actions.CONNECT]


def orphan(node: int = 4, parent: int = 1) -> tuple[Hand, list[int]]:
    """A node whose parent has just gone, and its first choice."""
    hand = Hand(node, THREE_DEEP)
    hand.welcome(parent)
    hand.node.link_lost(parent, "reset", 0.0)
    return hand, wanted(hand.turn())


def refuse(hand: Hand, peer: int, reason: str) -> list[Any]:
    hand.node.link_up(peer, peer, True, hand.now)
    return hand.feed(peer, frames.object_frame(frames.REFUSE, {"reason": reason}))


def test_the_parent_of_the_plan_comes_first() -> None:
    hand = Hand(4, THREE_DEEP)
    assert wanted(hand.turn()) == [1]
    hand.node.refused(1, "nobody there", 0.0)
    assert wanted(hand.turn()) != [1]


def test_an_attach_says_what_the_new_parent_needs() -> None:
    hand = Hand()
    hand.welcome()
    hand.attach(3, [0], below=[])
    hand.open(spec(members=[0, 1]))
    hand.data(3, 0, [1, 2], [0])
    hand.node.link_lost(0, "reset", 0.0)
    hand.turn()
    hand.node.link_up(0, 0, True, 0.0)
    (attach,) = sent(hand.turn(), "ATTACH")
    assert attach.body["inc"] == 2
    assert attach.body["lost"] == 0
    assert attach.body["control"] == 1
    assert attach.body["below"] == [[3, 1, 1]]
    assert list(attach.body["streams"]) == [1]


def test_candidates_are_tried_in_turn_without_a_pause_and_then_in_rounds() -> None:
    hand, tried = orphan()
    for _ in range(4):
        hand.node.refused(tried[-1], "nobody there", hand.now)
        tried += wanted(hand.turn())
    assert sorted(tried[:3]) == [0, 2, 3]  # the brothers of the lost parent, then the front-end ...
    assert tried[2:4] == [0, 1]  # ... and last the old parent: only the link may be broken
    assert len(tried) == 4  # the next round begins after a pause
    for _ in range(12):
        done = hand.wait(0.3)
        if not wanted(done):
            done = hand.wait(0.3)
        tried += wanted(done)
        hand.node.refused(tried[-1], "nobody there", hand.now)
    assert tried[4:8] == tried[:4] == tried[8:12]


def test_whose_first_parent_fell_silent_before_it_answered_lets_its_children_go() -> None:
    """It may have been taken in, and its children be suspect with it from then on."""
    hand = Hand()
    hand.node.link_up(0, 0, True, 0.0)
    hand.attach(3, [0])
    hand.node.link_lost(0, "silent for 1.2 s, lease 1.0 s", 0.0)
    hand.wait(SETTINGS.orphan_grace_s * 0.4)
    assert [c.node for c in hand.node.children.values()] == [3]
    hand.wait(SETTINGS.orphan_grace_s * 0.11)
    assert not hand.node.children


def test_whose_first_parent_was_lost_before_it_answered_has_the_patience_of_an_orphan() -> None:
    hand = Hand(4, THREE_DEEP)
    assert wanted(hand.turn()) == [1]
    assert hand.node.uplink.patience() == START_UP_PATIENCE * SETTINGS.connect_timeout_s
    hand.node.link_up(1, 1, True, 0.0)
    hand.node.link_lost(1, "reset", 0.0)
    assert len(wanted(hand.turn())) == 1
    assert hand.node.uplink.patience() == SETTINGS.connect_timeout_s
    assert len(wanted(hand.wait(SETTINGS.connect_timeout_s))) == 1


def test_pauses_are_shorter_than_the_time_of_grace() -> None:
    """Somebody who can take the orphan in again has to be asked before its time is over."""
    short = replace(SETTINGS, orphan_grace_s=0.3)
    hand = Hand(Node(4, Tree.from_parents(THREE_DEEP), short, FILTERS, DOWN, 0.0))
    hand.welcome(1)
    hand.node.link_lost(1, "reset", 0.0)
    done = hand.turn()
    for _ in range(60):
        for peer in wanted(done):
            hand.node.refused(peer, "nobody there", hand.now)
        done = hand.turn()
        if not wanted(done):
            done = hand.wait(0.1)
            assert wanted(done)


def test_who_could_not_even_ask_its_first_parent_keeps_its_children() -> None:
    hand = Hand()
    hand.attach(3, [0])
    hand.node.refused(0, "nobody there", 0.0)
    hand.wait(SETTINGS.orphan_grace_s)
    assert [c.node for c in hand.node.children.values()] == [3]


def test_orphans_of_one_parent_spread_over_the_adopters() -> None:
    parents = (None, 0, 0, 0, 1, 1, 1, 1, 2, 3)
    first = []
    for node in (4, 5, 6, 7):
        hand = Hand(node, parents)
        hand.welcome(1)
        hand.node.link_lost(1, "reset", 0.0)
        first += wanted(hand.turn())
    assert sorted(first) == [2, 2, 3, 3]


def test_a_candidate_that_does_not_answer_is_given_up() -> None:
    hand, tried = orphan()
    assert wanted(hand.wait(SETTINGS.connect_timeout_s - 0.01)) == []
    tried += wanted(hand.wait(0.02))
    assert len(set(tried)) == 2
    hand.node.link_up(tried[1], tried[1], True, hand.now)  # it lets us in, but no welcome comes
    hand.turn()
    done = hand.wait(SETTINGS.connect_timeout_s)
    assert (actions.CLOSE, tried[1]) in done
    assert len(wanted(done)) == 1


def test_a_starting_tree_is_given_more_time() -> None:
    hand = Hand(4, THREE_DEEP)
    hand.turn()
    assert wanted(hand.wait(SETTINGS.connect_timeout_s * START_UP_PATIENCE - 0.1)) == []
    assert wanted(hand.wait(0.2)) != []


def test_a_link_that_comes_too_late_is_closed() -> None:
    hand, (first,) = orphan()
    hand.node.refused(first, "time-out", 0.0)
    (second,) = wanted(hand.turn())
    hand.node.link_up("late", first, True, 0.0)
    assert hand.turn() == [(actions.CLOSE, "late")]
    hand.node.link_up(second, second, True, 0.0)
    assert len(sent(hand.turn(), "ATTACH", second)) == 1


def test_a_refusal_leads_to_the_next_candidate() -> None:
    hand, (first,) = orphan()
    done = refuse(hand, first, "not below this node")
    assert (actions.CLOSE, first) in done
    assert len(wanted(done)) == 1
    assert wanted(done) != [first]


def test_who_is_fenced_ends() -> None:
    hand, (first,) = orphan()
    refuse(hand, first, "fenced: it was declared dead")
    assert hand.node.out.exit is not None
    assert hand.node.out.exit[0] == 4
    assert [e["kind"] for e in hand.node.out.events][-1] == "fenced"


def test_the_dead_are_no_candidates() -> None:
    hand = Hand(4, THREE_DEEP)
    hand.welcome(1)
    hand.order({"op": "dead", "nodes": [2, 3], "ranks": b""}, 1)
    hand.node.link_lost(1, "reset", 0.0)
    assert wanted(hand.turn()) == [0]


def test_who_finds_nobody_gives_up() -> None:
    hand, tried = orphan()
    while hand.node.out.exit is None:
        for peer in wanted(hand.wait(0.1)) or tried[-1:]:
            hand.node.refused(peer, "nobody there", hand.now)
        assert hand.now < SETTINGS.start_timeout_s + 2
    assert hand.node.out.exit[0] == 5
    assert "no parent found" in hand.node.out.exit[1]


def closed(done: list[Any]) -> list[int]:
    """Whom the node hangs up on."""
    return [peer for op, peer in done if op == actions.CLOSE]


def test_an_orphan_that_finds_nobody_lets_its_children_go_and_takes_in_no_orphans() -> None:
    hand = Hand(1, (None, 0, 0, 1, 1, 2))
    hand.welcome(0)
    hand.attach(3, [0])
    hand.attach(4, [1])
    hand.node.link_lost(0, "reset", 0.0)
    assert wanted(hand.turn()) == [0]
    early = hand.wait(SETTINGS.orphan_grace_s / 2 - 0.01)
    assert closed(early) == [] and len(hand.node.children) == 2
    assert sorted(closed(hand.wait(0.02))) == [3, 4] and not hand.node.children
    (answer,) = sent(hand.attach(5, [2], lost=2), "REFUSE", 5)
    assert answer.body == {"reason": "not attached itself yet"}
    assert wanted(hand.wait(0.1)) == [0]
    hand.welcome(0)
    assert sent(hand.attach(5, [2], lost=2), "WELCOME", 5)


def test_another_process_does_not_contribute_in_a_back_end_s_name() -> None:
    hand = Hand()
    hand.welcome()
    (answer,) = sent(hand.attach(3, [0], life=1), "REFUSE", 3)
    assert answer.body["reason"].startswith("fenced: another process")
    inner = Hand(1, THREE_DEEP)
    inner.welcome()
    assert sent(inner.attach(4, [], life=1), "WELCOME", 4), "a communication process contributes nothing of its own"


def test_nobody_is_taken_in_who_is_not_deeper_in_the_plan() -> None:
    hand = Hand(4, THREE_DEEP)  # at depth 2
    hand.welcome(1)
    for node, fine in ((1, False), (5, False), (7, True), (8, True), (99, False)):
        done = hand.attach(node, [])
        assert bool(sent(done, "WELCOME", node)) == fine
        assert bool(sent(done, "REFUSE", node)) != fine


def test_no_adoptions_whatever_they_are_form_a_cycle() -> None:
    tree = Tree.from_parents(THREE_DEEP)
    for orphan_ in tree.nodes[1:]:
        for dead in tree.nodes[:-1]:
            assert all(tree.nodes[c].depth < orphan_.depth for c in tree.adopters(orphan_.id, dead.id))


def test_a_second_attach_of_a_node_replaces_the_first() -> None:
    hand = Hand(4, THREE_DEEP)
    hand.welcome(1)
    hand.attach(7, [0])
    hand.node.link_up("again", 7, False, 0.0)
    body = {"ranks": b"\0\0\0\0\1\0\0\0", "inc": 2, "below": [], "lost": 4, "control": 0, "streams": {}}
    done = hand.feed("again", frames.object_frame(frames.ATTACH, body))
    assert (actions.CLOSE, 7) in done
    assert [c.incarnation for c in hand.node.children.values()] == [2]


def test_who_knows_more_orders_than_the_adopter_waits_for_them() -> None:
    hand = Hand()
    hand.welcome()
    assert sent(hand.attach(3, [0], control=1), "WELCOME") == []
    done = hand.open(spec(members=[0]))
    assert len(sent(done, "WELCOME", 3)) == 1
    assert list(hand.node.streams.up[1].inboxes) == [3]


def test_only_the_chosen_parent_may_welcome_or_order() -> None:
    for raw in (
        frames.object_frame(frames.WELCOME, {"streams": {}}),
        frames.object_frame(frames.REFUSE, {"reason": "fenced: so there"}),
        frames.control_frame(frames.DOWN, 0, 1, b"\x80"),
    ):
        hand = Hand()
        hand.welcome()
        hand.attach(3, [0])
        hand.feed(3, raw)
        assert 3 not in hand.node.links
        assert hand.node.out.exit is None
        assert hand.node.parent is not None


@pytest.mark.parametrize("length", [0.9, 1.4])
def test_suspect_is_not_dead_a_hang_shorter_than_the_grace_leaves_nobody_dead(length: float) -> None:
    tree = (None, 0, 0, 0, 1, 1, 2, 2, 3, 3)
    run = reduce(spec(deadline_s=60.0), 300, parents=tree, back=lambda rank: Back(rank, 300, every_s=0.01, batch=1))
    run.at(0.05, lambda: run.net.hang(1, length))
    run.at(0.05, lambda: run.net.stall(2, 0.5))
    run.run()
    assert run.events("dead") == []
    assert len(run.front.waves()) == 300
    assert bool(run.events("suspect")) == (length > SETTINGS.lease_s)


def test_a_zombie_is_fenced() -> None:
    run = rig(lambda fe: fe.open_stream(spec()))
    run.at(0.1, lambda: run.net.hang(1, 6.0))
    run.run(10.0)
    assert [e["member"] for e in run.events("dead")] == [1]
    assert run.net.exits[1][0] == 4
    assert sorted(c.node for c in run.node(2).children.values()) == [3, 4, 5, 6]
