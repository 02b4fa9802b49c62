"""Policies of adoption: what each ranks first, that the core refuses what could form a cycle, and that a trial heeds them."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.adopters import losing, played
from harness.api.adopter import Adopter, AdopterByName
from harness.api.errors import UsageError
from harness.core.adoption import candidates, ranked, ranked_for
from harness.core.apps import PluginError
from harness.core.tree import Tree
from harness.registry import Category, load
from harness.run.plan import Plan
from harness.testing.adopters import run_checks
from harness_plugins.adopters import ADOPTERS, Depth, FanOut, Proximity, SiblingsFirst, Weighted

#: Nodes 1 and 2 below the front-end; 3, 4, 5 below 1; 6 below 2; back-ends below those: 7 and 8 below 3, 9 below 4, 10 below 5,
#: and 11 to 13 below 6.
TREE = Tree.from_parents([None, 0, 0, 1, 1, 1, 2, 3, 3, 4, 5, 6, 6, 6])


def order(policy: Adopter, orphan: int, lost: int, tree: Tree = TREE, seed: int = 0) -> list[int]:
    return list(ranked(lambda *a: policy.rank(*a, seed), tree, orphan, lost))


def test_siblings_first_is_the_order_of_the_core() -> None:
    for node in TREE.nodes[1:]:
        assert node.parent is not None
        assert tuple(order(SiblingsFirst(), node.id, node.parent)) == TREE.adopters(node.id, node.parent)


@pytest.mark.parametrize("policy", [kind() for kind in ADOPTERS.values()], ids=list(ADOPTERS))
def test_a_standby_is_found_whatever_the_policy(policy: Adopter) -> None:
    """Before it is the root, by those right below the front-end alone; from then on it is whom everybody may turn to."""
    tree = TREE.with_standby(2)
    assert order(policy, 1, 0, tree) == [2]
    assert order(policy, 2, 0, tree) == []
    rooted = tree.rooted()
    assert sorted(order(policy, 3, 1, rooted)) == [2]
    assert sorted(order(policy, 7, 3, rooted)) == [1, 2, 4, 5, 6]
    assert sorted(order(policy, 11, 6, rooted)) == [1, 2, 3, 4, 5]
    assert 0 not in candidates(rooted, 7, 3) and 2 in candidates(rooted, 7, 0)


def test_fewest_children_first() -> None:
    # Of those who may adopt node 7, nodes 4 and 5 have one child each and are deepest, then node 2; the front-end has two.
    assert order(FanOut(), 7, 3) == [4, 5, 2, 0, 6, 1]
    assert order(FanOut(), 8, 3) == [5, 4, 2, 0, 6, 1]  # the second orphan begins elsewhere


def test_shallow_first() -> None:
    assert order(Depth(), 7, 3) == [0, 1, 2, 4, 5, 6]


def test_near_first() -> None:
    tree = TREE.placed([0, 1, 2, 0, 1, 2, 3, 3, 0, 1, 2, 3, 3, 3])
    assert order(Proximity(), 7, 3, tree) == [6, 4, 5, 1, 2, 0]  # node 6 is on the same host
    assert order(Proximity(racks=((0, 1), (2, 3))), 7, 3, tree) == [6, 5, 2, 4, 1, 0]  # 5 and 2 are in the same rack


def test_chances_follow_the_weights_and_the_seed() -> None:
    first = Counter(order(Weighted(depth=0.0, proximity=0.0), 7, 3, seed=seed)[0] for seed in range(900))
    # By fan-out alone: nodes 2, 4 and 5 have one child (score 1), the front-end two (1/2), nodes 1 and 6 three (0).
    assert set(first) <= {0, 2, 4, 5, 1, 6} and first[1] + first[6] < 9
    assert all(200 < first[n] < 320 for n in (2, 4, 5)) and 80 < first[0] < 180
    assert order(Weighted(), 7, 3, seed=5) == order(Weighted(), 7, 3, seed=5)
    assert len({tuple(order(Weighted(seed=n), 7, 3)) for n in range(20)}) > 1


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    steps = draw(st.lists(st.integers(0, 5), min_size=1, max_size=30))
    return Tree.from_parents([None, *(max(0, i - step) for i, step in enumerate(steps))])


@settings(max_examples=80, deadline=None)
@given(trees(), st.sampled_from(sorted(ADOPTERS)), st.integers(0, 99), st.data())
def test_every_policy_ranks_everybody_who_may_adopt(tree: Tree, name: str, seed: int, data: st.DataObject) -> None:
    orphan = data.draw(st.integers(1, len(tree.nodes) - 1))
    lost = tree.nodes[orphan].parent
    assert lost is not None
    found = order(ADOPTERS[name](), orphan, lost, tree, seed)
    assert sorted(found) == list(candidates(tree, orphan, lost))
    assert all(tree.nodes[n].depth < tree.nodes[orphan].depth for n in found)


@dataclass(frozen=True)
class Fixed:
    """Says what it is told to say."""

    says: tuple[Any, ...]

    def rank(self, tree: Tree, orphan: int, lost: int, candidates: Sequence[int], seed: int) -> Sequence[int]:
        return self.says


@pytest.mark.parametrize(
    ("says", "what"),
    [
        ((2, 3), "node 3, which is not strictly nearer to the root (its depth is 2, the orphan's 2): that could form a cycle"),
        ((4,), "node 4, which is not strictly nearer"),
        ((9,), "node 9, which is a back-end"),
        ((1,), "node 1, which is the lost parent itself"),
        ((2, 2), "a node twice"),
        ((99,), "99, which is no node of the tree"),
        ((True,), "True, which is no node of the tree"),
    ],
)
def test_the_core_refuses_what_could_form_a_cycle(says: tuple[Any, ...], what: str) -> None:
    """Of node 4, below node 1, whose level has nodes 3 to 6."""
    with pytest.raises(ValueError, match=r"ranks for node 4 \(lost parent: node 1\)") as found:
        ranked(lambda *_: says, TREE, 4, 1)
    assert what in str(found.value)
    with pytest.raises(PluginError):
        ranked_for(lambda *_: says, TREE, 4, 1)
    (outcome,) = [o for o in run_checks(Fixed(says)) if o.name == "nearer-to-the-root"]
    assert outcome.passed is False and "ranks" in outcome.message


def test_the_front_end_is_the_last_resort_of_every_policy() -> None:
    assert ranked(lambda *_: [], TREE, 7, 3) == (0,)
    assert ranked(lambda *_: [5], TREE, 7, 3) == (5, 0)
    assert ranked(lambda *_: [], TREE, 1, 0) == ()  # it is itself the lost parent


@dataclass(frozen=True)
class Fickle:
    """Another order each time."""

    calls: list[int] = field(default_factory=list, init=False, compare=False)

    def rank(self, tree: Tree, orphan: int, lost: int, candidates: Sequence[int], seed: int) -> Sequence[int]:
        self.calls.append(1)
        return candidates if len(self.calls) % 2 else candidates[::-1]


@dataclass(frozen=True)
class Laden:
    """A key that is no plain value."""

    made: object = field(default_factory=object)

    def rank(self, tree: Tree, orphan: int, lost: int, candidates: Sequence[int], seed: int) -> Sequence[int]:
        return candidates


def test_conformance_finds_saboteurs() -> None:
    failed = {o.name for policy in (Fickle(), Laden()) for o in run_checks(policy) if o.passed is False}
    assert {"repeatable", "travels"} <= failed
    (no_rank,) = run_checks(object())  # type: ignore[arg-type]
    assert not no_rank.passed


@pytest.mark.parametrize("name", sorted(ADOPTERS))
def test_built_in_policies_conform_and_travel_by_name(name: str) -> None:
    policy = load().make(Category.ADOPTER, name)
    assert [o.name for o in run_checks(policy) if not o.passed] == []
    named = pickle.loads(pickle.dumps(AdopterByName.of(policy)))
    assert named.make() == policy and named.module.startswith("harness_plugins")
    assert type(policy).__name__.encode() in pickle.dumps(named) and isinstance(named.name, str)


def plan(policy: str = "") -> Plan:
    return losing("node:4", policy, fanout=3)


@pytest.mark.parametrize(
    ("policy", "what"),
    [
        ('"dept"', "node.adopters: unknown adopter 'dept'; did you mean 'depth'?"),
        ('{ kind = "weighted", fan_out = -1.0 }', "node.adopters: fan_out, depth and proximity are weights"),
        ('{ kind = "proximity", racks = [[0], [0]] }', "a host is in two racks"),
        ("[1]", "node.adopters: must be the name of a adopter or a table"),
    ],
)
def test_mistakes_are_told_before_anything_starts(policy: str, what: str) -> None:
    with pytest.raises(UsageError) as found:
        plan(policy)
    assert what in str(found.value)


def adopted_by(policy: str = "") -> set[int]:
    """Who takes in the orphans of node 4 in the simulator: back-ends 13, 14 and 15."""
    made = plan(policy)
    events, _ = played(made, made.trials[0])
    return {e["parent"] for e in events if e["kind"] == "reattached"}


def test_a_trial_heeds_the_policy() -> None:
    assert adopted_by() == {5, 6}
    assert adopted_by('"siblings-first"') == {5, 6}
    assert adopted_by('"depth"') == {0}
    assert adopted_by('{ kind = "weighted", fan_out = 1.0, seed = 3 }') not in ({5, 6}, {0})


def test_the_plan_records_the_policy() -> None:
    assert plan().trials[0].to_json()["adopters"] == {"kind": "siblings-first"}
    table = plan('{ kind = "proximity", racks = [[0, 1], [2]] }').trials[0].to_json()["adopters"]
    assert table == {"kind": "proximity", "racks": [[0, 1], [2]]}
