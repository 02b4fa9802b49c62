"""The drawing of a tree fits where it must, and says what it leaves out."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.render import describe, render
from harness.core.tree import Tree
from harness_plugins.topologies import Flat, Generic, Kary, Knomial


def random_tree(draw: st.DrawFn) -> Tree:
    size = draw(st.integers(2, 60))
    reach = draw(st.integers(1, 60))
    return Tree.from_parents([None, *(draw(st.integers(max(0, i - reach), i - 1)) for i in range(1, size))])


TREES = st.composite(random_tree)()


def test_a_small_tree_is_drawn_whole() -> None:
    assert render(Generic("2:2,1").build()) == [
        "front-end 0",
        "├── communication 1",
        "│   ├── back-end 3, rank 0",
        "│   └── back-end 4, rank 1",
        "└── communication 2",
        "    └── back-end 5, rank 2",
    ]


def test_plain_ascii_and_hosts() -> None:
    tree = Kary(2, 1).build().placed([0, 0, 1])
    lines = render(tree, ascii_only=True)
    assert lines == ["front-end 0, host 0", "|-- back-end 1, rank 0, host 0", "`-- back-end 2, rank 1, host 1"]
    assert all(line.isascii() for line in render(Kary(9, 3).build(), 20, ascii_only=True))


def test_large_fanouts_are_left_out_with_what_they_hold() -> None:
    assert render(Flat(1000).build(), max_lines=4) == [
        "front-end 0",
        "├── back-end 1, rank 0",
        "├── back-end 2, rank 1",
        "└── … 998 more children (ranks 2-999)",
    ]
    assert render(Kary(16, 2).build(), max_lines=6) == [
        "front-end 0",
        "├── communication 1",
        "│   ├── back-end 17, rank 0",
        "│   └── … 15 more children (ranks 1-15)",
        "└── … 15 more children (255 nodes, ranks 16-255)",
    ]


def test_deep_trees_are_cut_from_the_bottom() -> None:
    assert render(Kary(1, 900).build(), max_lines=4) == [
        "front-end 0",
        "└── communication 1",
        "    └── communication 2",
        "        └── … 1 child (898 nodes, rank 0)",
    ]


def test_one_back_end_is_never_replaced_by_a_line_about_it() -> None:
    assert len(render(Flat(39).build(), max_lines=40)) == 40
    assert not any("more" in line for line in render(Flat(39).build(), max_lines=40))


@settings(max_examples=150, deadline=None)
@given(TREES, st.integers(0, 70))
def test_the_drawing_fits_and_accounts_for_every_node(tree: Tree, max_lines: int) -> None:
    lines = render(tree, max_lines)
    assert len(lines) <= max(3, max_lines)
    shown = [int(m[1]) for line in lines if (m := re.search(r"(?:front-end|communication|back-end) (\d+)", line))]
    assert len(shown) == len(set(shown))
    left_out = 0
    for line in lines:
        if "…" in line:
            text = line[line.index("(") :]
            ranks = re.search(r"ranks? (\d+)(?:-(\d+))?", text)
            assert ranks is not None
            nodes = re.search(r"\((\d+) nodes", text)
            left_out += int(nodes[1]) if nodes else int(ranks[2] or ranks[1]) - int(ranks[1]) + 1
    assert len(shown) + left_out == len(tree.nodes)
    if max_lines >= len(tree.nodes):
        assert left_out == 0


@settings(max_examples=50, deadline=None)
@given(TREES)
def test_the_numbers(tree: Tree) -> None:
    d = describe(tree)
    assert d["nodes"] == len(tree.nodes) == sum(d["levels"])
    assert d["links"] == sum(len(n.children) for n in tree.nodes)
    assert d["back_ends"] == sum(not n.children for n in tree.nodes)
    assert d["nodes"] == 1 + d["communication"] + d["back_ends"]
    assert d["depth"] == len(d["levels"]) - 1


def test_the_numbers_of_the_4x4_tree() -> None:
    assert describe(Kary(4, 2).build().placed([i % 8 for i in range(21)])) == {
        "nodes": 21,
        "links": 20,
        "depth": 2,
        "back_ends": 16,
        "communication": 4,
        "max_fanout": 4,
        "hosts": 8,
        "levels": [1, 4, 16],
    }
    assert describe(Knomial(2, 16).build())["levels"] == [1, 4, 6, 4, 1]
