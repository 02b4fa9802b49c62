"""The shape of every built-in topology, and one clear error for every set of parameters that describes no tree."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pluggy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api.topology import Role, Topology, Tree
from harness.hookspecs import GROUP, Hooks
from harness.testing.topologies import run_checks
from harness_plugins import topologies as plugin
from harness_plugins.topologies import TOPOLOGIES, File, Flat, Generic, Kary, Knomial

SMALL = st.one_of(
    st.builds(Flat, st.integers(1, 30)),
    st.builds(Kary, st.integers(1, 4), st.integers(1, 4)),
    st.builds(Knomial, st.integers(2, 5), st.integers(2, 60)),
    st.builds(Generic, st.sampled_from(["1", "3", "2:8,4", "4:4", "2:2x3:1,0,2", "3:0,2", "1:1:1:5"])),
)


def parents(tree: Tree) -> list[int | None]:
    return [n.parent for n in tree.nodes]


def fanouts(tree: Tree) -> list[int]:
    return [len(n.children) for n in tree.nodes if n.children]


@settings(max_examples=80, deadline=None)
@given(SMALL)
def test_nodes_are_numbered_breadth_first_and_ranks_depth_first(topology: Topology) -> None:
    tree = topology.build()
    assert [n.depth for n in tree.nodes] == sorted(n.depth for n in tree.nodes)
    assert [c for n in tree.nodes for c in n.children] == list(range(1, len(tree.nodes)))
    order, stack = [], [0]
    while stack:
        node = tree.nodes[stack.pop()]
        if not node.children:
            order.append(node.rank)
        stack.extend(reversed(node.children))
    assert order == list(range(len(tree.back_ends)))
    assert tree.nodes[0].role is Role.FRONT_END
    assert all((n.role is Role.BACK_END) == (not n.children) for n in tree.nodes[1:])


@settings(max_examples=30, deadline=None)
@given(SMALL)
def test_built_in_topologies_conform(topology: Topology) -> None:
    assert [(o.name, o.message) for o in run_checks(topology) if not o.passed] == []


def test_flat() -> None:
    assert parents(Flat(3).build()) == [None, 0, 0, 0]


def test_the_4x4_tree() -> None:
    tree = Kary(fanout=4, depth=2).build()
    assert len(tree.nodes) == 1 + 4 + 16
    assert len(tree.communication) == 4
    assert fanouts(tree) == [4] * 5
    assert parents(tree)[5:9] == [1] * 4
    assert tree == Generic("4:4").build()


def test_a_chain_is_a_tree_too() -> None:
    tree = Kary(fanout=1, depth=3).build()
    assert parents(tree) == [None, 0, 1, 2]
    assert tree.depth == 3


@pytest.mark.parametrize(("fanout", "depth"), [(2, 10), (3, 5), (16, 2)])
def test_kary_sizes(fanout: int, depth: int) -> None:
    tree = Kary(fanout, depth).build()
    assert len(tree.nodes) == (fanout ** (depth + 1) - 1) // (fanout - 1)
    assert len(tree.back_ends) == fanout**depth
    assert {n.depth for n in tree.back_ends} == {depth}


def test_knomial_grows_in_rounds() -> None:
    # Round 1: 0 gets a, b. Round 2: 0 gets c, d; a gets e, f; b gets g, h. Breadth first: a b c d are 1 to 4.
    assert parents(Knomial(k=3, nodes=9).build()) == [None, 0, 0, 0, 0, 1, 1, 2, 2]
    # The last round stops where the nodes are all there.
    assert parents(Knomial(k=3, nodes=6).build()) == [None, 0, 0, 0, 0, 1]
    assert parents(Knomial(k=5, nodes=3).build()) == [None, 0, 0]


@pytest.mark.parametrize("rounds", [1, 2, 3, 4, 7])
def test_the_binomial_tree(rounds: int) -> None:
    tree = Knomial(k=2, nodes=2**rounds).build()
    assert tree.depth == rounds
    assert len(tree.back_ends) == 2 ** (rounds - 1)
    assert len(tree.nodes[0].children) == rounds
    levels = [sum(n.depth == d for n in tree.nodes) for d in range(rounds + 1)]
    row = [1]
    for _ in range(rounds):
        row = [a + b for a, b in zip([0, *row], [*row, 0], strict=True)]
    assert levels == row  # the binomial coefficients, hence the name


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("2:8,4", [2, 8, 4]),
        ("2:8", [2, 8, 8]),
        ("3:8,4", [3, 8, 4, 8]),
        ("3:2x1,5", [3, 1, 1, 5]),
        (" 2 : 8 , 4 ", [2, 8, 4]),
        ("2:2,0", [2, 2]),
        ("2:2:1,3", [2, 2, 2, 1, 3, 1, 3]),
    ],
)
def test_generic_specifications(spec: str, expected: list[int]) -> None:
    assert fanouts(Generic(spec).build()) == expected


def test_the_example_of_the_docstring() -> None:
    tree = Generic("2:8,4").build()
    assert len(tree.nodes) == 15
    assert [len(tree.ranks_below(n)) for n in (1, 2)] == [8, 4]


def test_a_node_without_children_is_a_back_end_at_its_level() -> None:
    tree = Generic("3:2,0,1").build()
    assert [n.depth for n in tree.back_ends] == [2, 2, 1, 2]


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        (Flat(0), "flat: back_ends = 0 must be at least 1"),
        (Flat(-3), "at least 1"),
        (Kary(0, 2), "kary: fanout = 0"),
        (Kary(4, 0), "kary: depth = 0"),
        (Knomial(1, 8), "knomial: k = 1 must be at least 2"),
        (Knomial(2, 1), "knomial: nodes = 1 must be at least 2"),
        (Generic(""), '"" is no number of children'),
        (Generic("0"), 'level 1 ("0") gives no node a child'),
        (Generic("2:0"), 'level 2 ("0") gives no node a child'),
        (Generic("2:8,4,1"), "lists more nodes than the 2"),
        (Generic("2,2:4"), "lists more nodes than the 1"),
        (Generic("2:8,"), '"" is no number of children; write e.g. "2:8,4"'),
        (Generic("2:-1"), '"-1" is no number'),
        (Generic("2::3"), '"" is no number'),
        (Generic("2:0x4,1"), '"0x4" is no number'),
        (Generic("4x4"), "lists more nodes than the 1"),
        (Generic("\u0664"), "is no number of children"),
    ],
)
def test_impossible_parameters(topology: Topology, message: str) -> None:
    with pytest.raises(ValueError, match=r"^[a-z]+: ") as raised:
        topology.build()
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "topology",
    [
        Flat(10**12),
        Flat(1_000_000),
        Kary(10, 6),
        Kary(2, 10**9),
        Kary(1, 10**15),
        Kary(10**30, 1),
        Knomial(2, 10**9),
        Generic("999999999999"),
        Generic("1000:1000:1000"),
        Generic("2:999999999x1"),
    ],
)
def test_absurd_sizes_are_refused_before_anything_is_allocated(topology: Topology) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"1,000,000 nodes|lists more nodes"):
            topology.build()
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_the_hook_offers_the_kinds() -> None:
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    manager.register(plugin)
    manager.check_pending()
    assert manager.hook.harness_topologies() == [TOPOLOGIES]
    assert set(TOPOLOGIES) == {"flat", "kary", "knomial", "generic", "file"}


# -- the conformance check finds what is wrong ------------------------------------------------------------------------------


def test_conformance_finds_saboteurs() -> None:
    good = Kary(2, 2).build()

    class NoTree:
        def build(self) -> Any:
            return [None, 0]

    class Inconsistent:
        def build(self) -> Tree:
            return Tree(good.nodes[:3])

    class Restless:
        built = 0

        def build(self) -> Tree:
            self.built += 1
            return Flat(self.built).build()

    def failed(topology: Any) -> list[str]:
        return [o.name for o in run_checks(topology) if not o.passed]

    assert failed(object()) == ["protocol"]
    assert failed(NoTree()) == ["builds"]
    assert failed(Kary(0, 1)) == ["builds"]
    assert "consistent" in failed(Inconsistent())
    assert failed(Restless()) == ["repeatable"]
    assert failed(File("nowhere")) == ["builds"]
