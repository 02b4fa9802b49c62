"""Trees from parents, and adopters: no sequence of adoptions forms a cycle, and the front-end is always the last resort."""

from __future__ import annotations

import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.ranks import RankSet
from harness.core.tree import Role, Tree


@st.composite
def trees(draw: st.DrawFn, largest: int = 40) -> Tree:
    """Trees from broad to deep, with nodes numbered in any order."""
    size = draw(st.integers(2, largest))
    reach = draw(st.integers(1, largest))
    parents = [None, *(draw(st.integers(max(0, i - reach), i - 1)) for i in range(1, size))]
    names = [0, *draw(st.permutations(range(1, size)))]
    renamed: list[int | None] = [None] * size
    for i in range(1, size):
        parent = parents[i]
        assert parent is not None
        renamed[names[i]] = names[parent]
    return Tree.from_parents(renamed)


def reaches_front_end(parent: dict[int, int], node: int) -> bool:
    passed = set()
    while node:
        if node in passed:
            return False
        passed.add(node)
        node = parent[node]
    return True


# -- shape ------------------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(trees())
def test_nodes_fit_together(tree: Tree) -> None:
    for node in tree.nodes:
        assert tree.nodes[node.id] is node
        assert all(tree.nodes[c].parent == node.id and tree.nodes[c].depth == node.depth + 1 for c in node.children)
        if node.parent is not None:
            assert node.id in tree.nodes[node.parent].children
        role = Role.FRONT_END if node.id == 0 else Role.COMMUNICATION if node.children else Role.BACK_END
        assert node.role is role
        assert (node.rank is not None) == (role is Role.BACK_END)
    assert [n.rank for n in tree.back_ends] == list(range(len(tree.back_ends)))
    assert len(tree.back_ends) + len(tree.communication) + 1 == len(tree.nodes)
    assert tree.depth == max(n.depth for n in tree.nodes)
    assert pickle.loads(pickle.dumps(tree)) == tree


@settings(max_examples=100, deadline=None)
@given(trees())
def test_the_ranks_below_a_node_are_one_range(tree: Tree) -> None:
    for node in tree.nodes:
        below = tree.ranks_below(node.id)
        assert len(below.ranges) == 1
        if node.children:
            parts = [tree.ranks_below(c) for c in node.children]
            assert sum(map(len, parts)) == len(below)
            assert RankSet(p for part in parts for p in part.ranges) == below
    assert tree.ranks_below(0) == RankSet([(0, len(tree.back_ends))])


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ([], "needs a front-end"),
        ([None], "needs a front-end"),
        ([0, 0], "node 0 is the front-end"),
        ([None, None], "node 1 has no parent"),
        ([None, 5], "names parent 5"),
        ([None, -1], "names parent -1"),
        ([None, 1], "form a cycle"),
        ([None, 0, 3, 2], "form a cycle"),
    ],
)
def test_parents_that_are_no_tree(parents: list[int | None], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tree.from_parents(parents)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.none() | st.integers(-2, 7), max_size=8))
def test_any_parents_give_a_tree_or_one_clear_error(parents: list[int | None]) -> None:
    try:
        tree = Tree.from_parents(parents)
    except ValueError:
        return
    assert all(reaches_front_end({n.id: n.parent or 0 for n in tree.nodes}, n.id) for n in tree.nodes)


def test_placement() -> None:
    tree = Tree.from_parents([None, 0, 0])
    assert [n.host for n in tree.placed([2, 0, 1]).nodes] == [2, 0, 1]
    with pytest.raises(ValueError, match="2 hosts given for 3 nodes"):
        tree.placed([0, 1])


# -- adopters ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(trees(), st.data())
def test_candidates_are_nearer_to_the_root_and_end_with_the_front_end(tree: Tree, data: st.DataObject) -> None:
    orphan = data.draw(st.integers(1, len(tree.nodes) - 1))
    dead = data.draw(
        st.integers(1, len(tree.nodes) - 1).filter(lambda n: n != orphan) | st.just(tree.nodes[orphan].parent or 0)
    )
    if dead == 0:
        assert 0 not in tree.adopters(orphan, dead)
        return
    candidates = tree.adopters(orphan, dead)
    assert candidates[-1] == 0
    assert len(candidates) == len(set(candidates))
    assert orphan not in candidates
    assert dead not in candidates
    for c in candidates:
        assert tree.nodes[c].depth < tree.nodes[orphan].depth
        assert tree.nodes[c].role is not Role.BACK_END
        assert not tree.ranks_below(orphan).issubset(tree.ranks_below(c)) or c in ancestors(tree, orphan)
    nearer = {n.id for n in tree.nodes if n.role is not Role.BACK_END and n.depth < tree.nodes[orphan].depth}
    assert set(candidates) == nearer - {dead, orphan}  # nobody who could help is left out


def ancestors(tree: Tree, node: int) -> set[int]:
    found = set()
    parent = tree.nodes[node].parent
    while parent is not None:
        found.add(parent)
        parent = tree.nodes[parent].parent
    return found


@settings(max_examples=200, deadline=None)
@given(trees(), st.lists(st.integers(0, 2**31), min_size=1, max_size=60))
def test_no_interleaving_of_deaths_and_adoptions_forms_a_cycle(tree: Tree, choices: list[int]) -> None:
    """Orphans move one at a time, in any order, each to any of its candidates, while more nodes die: a candidate may itself
    be an orphan at that moment, be adopted later, or be dead without anyone knowing."""
    parent = {n.id: n.parent or 0 for n in tree.nodes[1:]}
    dead: set[int] = set()
    for choice in choices:
        rng = random.Random(choice)
        orphans = [n for n, p in parent.items() if n not in dead and p in dead]
        inner = [n.id for n in tree.communication if n.id not in dead]
        if inner and (not orphans or rng.random() < 0.4):
            dead.add(rng.choice(inner))
        elif orphans:
            orphan = rng.choice(orphans)
            parent[orphan] = rng.choice(tree.adopters(orphan, parent[orphan]))
        assert all(reaches_front_end(parent, n) for n in parent)


@settings(max_examples=100, deadline=None)
@given(trees(), st.randoms(use_true_random=False))
def test_trying_candidates_in_order_always_ends_attached(tree: Tree, rng: random.Random) -> None:
    """Every orphan that goes down its list finds a live parent, however many communication processes are dead."""
    inner = [n.id for n in tree.communication]
    dead = set(rng.sample(inner, rng.randint(0, len(inner))))
    parent = {n.id: n.parent or 0 for n in tree.nodes[1:]}
    orphans = [n for n in parent if n not in dead and parent[n] in dead]
    rng.shuffle(orphans)
    for orphan in orphans:
        parent[orphan] = next(c for c in tree.adopters(orphan, parent[orphan]) if c not in dead)
    for node in parent:
        if node not in dead:
            assert parent[node] not in dead
            assert reaches_front_end(parent, node)


def test_orphans_of_one_parent_spread_over_its_siblings() -> None:
    tree = Tree.from_parents([None, 0, 0, 0, 0, *(1 + i // 4 for i in range(16))])
    first = [tree.adopters(orphan, 1)[0] for orphan in tree.nodes[1].children]
    assert set(first) == {2, 3, 4}
    assert max(first.count(a) for a in first) == 2
    assert tree.adopters(5, 1) == (2, 3, 4, 0)
    assert tree.adopters(6, 1) == (3, 4, 2, 0)


def test_siblings_of_the_dead_come_before_other_nodes_of_its_level() -> None:
    # Two branches (1, 2) of two (3, 4 and 5, 6), each with one back-end (7 to 10). 3 dies.
    tree = Tree.from_parents([None, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6])
    candidates = tree.adopters(7, 3)
    assert candidates[0] == 4
    assert set(candidates[1:3]) == {5, 6}
    assert set(candidates[3:5]) == {1, 2}
    assert candidates[5:] == (0,)


def test_a_flat_tree_has_the_front_end_alone() -> None:
    assert Tree.from_parents([None, 0, 0]).adopters(1, 2) == (0,)
    assert Tree.from_parents([None, 0, 0]).adopters(1, 0) == ()
