"""Who is where, who is suspect, who is dead; and how old news is told from new."""

from __future__ import annotations

import random
from typing import Any

import pytest
from byhand import Hand
from small import DOWN, FILTERS, SETTINGS, TWO_BY_TWO, Front

from harness.core import frames, vetting
from harness.core.below import Below
from harness.core.frontend import FrontEnd
from harness.core.membership import Membership
from harness.core.ranks import RankSet
from harness.core.tree import Tree
from harness.explore.space import Space, random_tree

TREE = Tree.from_parents(TWO_BY_TWO)


def whole() -> Membership:
    """All of the tree attached as planned, at time 0."""
    m = Membership(TREE, SETTINGS, 0.0)
    for n in TREE.nodes[1:]:
        m.joined(n.id, n.parent or 0, 1, [], 0.0) if n.rank is None else None
    for n in TREE.back_ends:
        m.below_is(n.parent or 0, [(b.id, b.parent, 1) for b in TREE.back_ends if b.parent == n.parent], 0.0)
    return m


def test_everybody_is_missing_until_attached_or_dead() -> None:
    m = Membership(TREE, SETTINGS, 0.0)
    assert m.missing() == [1, 2, 3, 4, 5, 6]
    m.joined(1, 0, 1, [(3, 1, 1)], 0.5)
    assert m.missing() == [2, 4, 5, 6]
    assert m.last_join == 0.5
    m.bury({2, 4, 5, 6})
    assert m.missing() == []
    assert whole().missing() == []


def test_a_lost_node_makes_all_below_it_suspect_each_for_its_own_time() -> None:
    m = whole()
    assert sorted(m.lost(1, 1, "reset", 1.0)) == [1, 3, 4]
    assert {n: s.due - 1.0 for n, s in m.suspects.items()} == dict.fromkeys((1, 3, 4), SETTINGS.orphan_grace_s)
    assert str(m.suspect_ranks) == "0-1"
    assert m.lost(5, 1, "reset", 1.0) == [5]
    assert m.suspects[5].due == 1.0 + SETTINGS.leaf_grace_s
    assert m.due() == 1.0 + SETTINGS.leaf_grace_s
    assert m.lost(1, 1, "again", 1.1) == []


def test_a_back_end_that_fell_silent_has_the_time_of_an_orphan() -> None:
    """It may only be out of reach, and try one parent after the other; one that was reset has most likely ended."""
    m = whole()
    assert m.lost(5, 1, "silent for 1.2 s, lease 1.0 s", 1.0) == [5]
    assert m.suspects[5].due == 1.0 + SETTINGS.orphan_grace_s


def test_suspect_is_not_dead() -> None:
    m = whole()
    m.lost(1, 1, "reset", 1.0)
    assert m.expired(1.0 + SETTINGS.orphan_grace_s - 0.001) == set()
    assert m.joined(3, 2, 2, [], 1.2) == [3]
    assert m.joined(4, 0, 2, [], 1.2) == [4]
    assert m.suspect_ranks == RankSet()
    assert m.expired(1.0 + SETTINGS.orphan_grace_s) == {1}
    assert m.dead == {1}
    assert m.parents[3] == 2


def test_old_news_is_known_as_such() -> None:
    m = whole()
    m.joined(3, 2, 2, [], 1.0)
    assert m.lost(3, 1, "node 1 has only now noticed", 1.1) == []
    m.below_is(1, [(3, 1, 1), (4, 1, 1)], 1.2)
    assert m.parents[3] == 2
    assert m.lost(3, 2, "and now node 2 has lost it", 1.3) == [3]


def test_the_dead_stay_dead() -> None:
    m = whole()
    m.bury({3})
    assert m.joined(3, 2, 2, [], 1.0) == []
    assert m.lost(3, 2, "reset", 1.0) == []
    assert m.suspects == {}


def test_who_is_no_longer_listed_below_a_node_is_lost() -> None:
    m = whole()
    assert m.below_is(1, [(3, 1, 1)], 2.0) == []
    assert sorted(m.suspects) == [4]
    # Whether it ended or fell silent is not known, so that it has the longer time.
    assert m.suspects[4].due == 2.0 + SETTINGS.orphan_grace_s
    assert m.below_is(1, [(3, 1, 1), (4, 1, 2)], 2.1) == [4]


def test_a_node_that_falls_silent_may_have_taken_in_a_suspect() -> None:
    """It could not tell, and the suspect does not know yet: from then on it has its time to find another parent."""
    grace = SETTINGS.orphan_grace_s
    m = whole()
    m.lost(1, 1, "reset", 1.0)
    assert m.suspects[3].due == 1.0 + grace
    assert sorted(m.lost(2, 1, "silent for 1.2 s, lease 1.0 s", 2.0)) == [2, 5, 6]
    assert {n: s.due for n, s in m.suspects.items()} == {1: 1.0 + grace, **dict.fromkeys((2, 3, 4, 5, 6), 2.0 + grace)}
    m.lost(2, 1, "silent again", 2.2)  # the same loss, told twice, gives nobody more time
    assert max(s.due for s in m.suspects.values()) == 2.0 + grace
    other = whole()
    other.lost(1, 1, "reset", 1.0)
    other.lost(2, 1, "reset", 2.0)  # whoever was below it knows at once
    assert other.suspects[3].due == 1.0 + grace


def test_a_stop_of_the_front_end_is_no_one_s_time_of_grace() -> None:
    """While it was stopped it could take nobody in: whoever is waiting at its door then has what was left of the time."""
    front = Hand(FrontEnd(TREE, SETTINGS, FILTERS, DOWN, Front(lambda fe: None), 0.0))
    for child, below in ((1, [(3, 1, 1), (4, 1, 1)]), (2, [(5, 2, 1), (6, 2, 1)])):
        front.attach(child, [below[0][0] - 3, below[1][0] - 3], below=below)
    front.node.link_lost(1, "reset", 0.0)
    stopped_s = 3 * SETTINGS.orphan_grace_s
    front.wait(stopped_s)
    assert front.node.dead == set()
    front.node.link_up(3, 3, False, front.now)
    front.attach(3, [0], inc=2, lost=1)
    until_s = front.now + SETTINGS.orphan_grace_s
    while front.now < until_s:
        front.wait(SETTINGS.heartbeat_s)
        for child in (2, 3):
            front.feed(child, frames.control_frame(frames.PING))
    assert front.node.dead == {1, 4}


def test_a_node_that_sends_garbage_is_forgiven_twice() -> None:
    m = whole()
    for n in range(1, 4):
        m.joined(3, 1, n, [], 0.0)
        m.lost(3, n, "protocol error: nonsense", 0.0)
        assert m.suspects[3].due == (SETTINGS.leaf_grace_s if n < 3 else 0.0)
    assert m.expired(0.0) == {3}


def test_the_view_is_plain() -> None:
    m = whole()
    m.lost(3, 1, "reset", 0.0)
    m.bury({6})
    assert m.view() == {"parents": {str(n): p for n, p in enumerate(TWO_BY_TWO) if p is not None}, "suspect": [3], "dead": [6]}


# -- what each node knows of those below it ----------------------------------------------------------------------------------


def joined(node: int, by: int, inc: int = 1, below: Any = ()) -> dict[str, Any]:
    return {"op": "joined", "node": node, "by": by, "inc": inc, "below": list(below)}


def test_a_node_knows_its_subtree_and_forgets_what_is_lost() -> None:
    b = Below()
    b.learn(joined(3, 1))
    b.learn(joined(1, 0, 1, [(3, 1, 1), (4, 1, 1)]))
    assert sorted(b.edges()) == [(1, 0, 1), (3, 1, 1), (4, 1, 1)]
    b.learn({"op": "lost", "node": 1, "by": 0, "inc": 1, "cause": "reset"})
    assert b.edges() == []


def test_a_node_tells_old_news_from_new() -> None:
    b = Below()
    b.learn(joined(3, 2, 2))
    version = b.version
    b.learn({"op": "lost", "node": 3, "by": 1, "inc": 1, "cause": "late"})
    b.learn(joined(3, 1, 1))
    assert b.edges() == [(3, 2, 2)]
    assert b.version > version
    b.learn({"op": "below", "node": 2, "below": []})
    assert b.edges() == []


def test_what_is_told_on_the_way_agrees_with_what_the_front_end_knows() -> None:
    """Random adoptions: a node that hears of everything knows the same edges as the front-end."""
    for seed in range(30):
        rng = random.Random(seed)
        tree = random_tree(rng, Space(depth=4, fanout=4, nodes=25))[1]
        m, b = Membership(tree, SETTINGS, 0.0), Below()
        inc = dict.fromkeys(range(len(tree.nodes)), 0)
        for _ in range(60):
            node = rng.choice(tree.nodes[1:])
            by = rng.choice([n for n in tree.nodes if n.rank is None and n.depth < node.depth])
            inc[node.id] += 1
            below = [(n, m.parents[n], m.incarnations[n]) for n in m.below(node.id)[1:]]
            m.joined(node.id, by.id, inc[node.id], below, 0.0)
            b.learn(joined(node.id, by.id, inc[node.id], below))
            assert m.suspects == {}
        assert {n: (by, i) for n, by, i in b.edges()} == {n: (m.parents[n], m.incarnations[n]) for n in m.parents}


@pytest.mark.parametrize(
    "raw",
    [
        {"op": "joined", "node": 0, "by": 0, "inc": 1, "below": []},
        {"op": "joined", "node": 3, "by": 9, "inc": 1, "below": []},
        {"op": "joined", "node": 1, "by": 2, "inc": 1, "below": []},
        {"op": "joined", "node": 1, "by": 0, "inc": 1, "below": [[2, 3, 1]]},
        {"op": "joined", "node": 1, "by": 0, "inc": 1, "below": [[3, 1]]},
        {"op": "joined", "node": 1, "by": 0, "inc": -1, "below": []},
        {"op": "lost", "node": 3, "by": 4, "inc": 1, "cause": ""},
        {"op": "below", "node": 7, "below": []},
        {"op": "below", "node": 1},
        {"op": "moved", "node": 1},
        {"node": 1},
        "joined",
        None,
    ],
)
def test_news_that_cannot_be_is_refused(raw: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        vetting.notice(raw, TREE)


def test_news_that_can_be_is_passed_on_as_it_is() -> None:
    news = joined(1, 0, 2, [[3, 1, 1]])
    assert vetting.notice(news, TREE) == news
    assert vetting.marks({1: [2, 3]}, 2) == {1: [2, 3]}
    assert vetting.positions({1: 5}) == {1: 5}
    for wrong in ({1: [2]}, {1: [2, -1]}, {1: 2}, {"x": [1, 2]}, [1], None):
        with pytest.raises((TypeError, ValueError)):
            vetting.marks(wrong, 2)
