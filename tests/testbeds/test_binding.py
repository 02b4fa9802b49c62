"""Subtrees keep to processors of their own."""

from hypothesis import given
from hypothesis import strategies as st

from harness.core.tree import Tree
from harness.testbeds.binding import processors

_4x4 = Tree.from_parents([None, *[0] * 4, *(1 + i // 4 for i in range(16))])


def test_two_processors_share_four_subtrees() -> None:
    found = {node: processors(_4x4, node, [0, 1]) for node in range(21)}
    assert [found[n] for n in range(5)] == [[0], [0], [0], [1], [1]]
    assert all(found[5 + i] == found[1 + i // 4] for i in range(16))


def test_the_front_end_has_its_own_where_there_are_enough() -> None:
    found = [processors(_4x4, node, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]) for node in range(5)]
    assert found == [[2, 3], [5, 7], [11, 13], [17, 19], [23, 29]]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.integers(1, 70))
def test_every_node_has_one_and_subtrees_stay_together(draws: list[int], count: int) -> None:
    tree = Tree.from_parents([None, *(d % (i + 1) for i, d in enumerate(draws))])
    available = list(range(100, 100 + count))
    found = {n.id: processors(tree, n.id, available) for n in tree.nodes}
    for node in tree.nodes[1:]:
        assert found[node.id]
        assert set(found[node.id]) <= set(available)
        if node.parent:
            assert found[node.id] == found[node.parent]
    assert len(tree.nodes[0].children) < count or set().union(*map(set, found.values())) == set(available)
