"""The language of targets."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.tree import Role, Tree
from harness.run.targets import parse_target

#: Three levels below the front-end: 1, 2 | 3, 4, 5, 6 | 7..14, the hosts being the two halves.
DEEP = Tree.from_parents([None, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]).placed([0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1])
FLAT = Tree.from_parents([None, 0, 0, 0])


def select(text, tree=DEEP, seed=0):
    return parse_target(text).select(tree, random.Random(seed))


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("node:3", (3,)),
        ("node:3-5", (3, 4, 5)),
        ("node:13-99", (13, 14)),
        ("rank:0", (7,)),
        ("rank:6-7", (13, 14)),
        ("depth:0", (0,)),
        ("depth:1", (1, 2)),
        ("host:1", (2, 5, 6, 11, 12, 13, 14)),
        ("role:front-end", (0,)),
        ("role:internal", (1, 2, 3, 4, 5, 6)),
        ("role:back-end", (7, 8, 9, 10, 11, 12, 13, 14)),
        ("node:1, rank:0 ,node:1", (1, 7)),
        ("depth:1,role:front-end", (0, 1, 2)),
        ("any 6 of role:internal", (1, 2, 3, 4, 5, 6)),
        ("  node:3 ", (3,)),
    ],
)
def test_selects(text, nodes):
    assert select(text) == nodes


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_any_is_a_seeded_choice(seed, count):
    chosen = select(f"any {count} of node:2,node:4-8", seed=seed)
    assert chosen == select(f"any {count} of node:2,node:4-8", seed=seed)
    assert len(set(chosen)) == count
    assert set(chosen) <= {2, 4, 5, 6, 7, 8}
    assert list(chosen) == sorted(chosen)


def test_any_reaches_everybody():
    assert {node for seed in range(200) for node in select("any 1 of role:internal", seed=seed)} == {1, 2, 3, 4, 5, 6}


def test_a_chain_is_a_parent_and_its_child():
    pairs = {select("chain of 2", seed=seed) for seed in range(200)}
    assert pairs == {(1, 3), (1, 4), (2, 5), (2, 6)}
    assert all(DEEP.nodes[n].role is Role.COMMUNICATION for pair in pairs for n in pair)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "'' is no target; write node:N, host:N, rank:N, depth:N, role:NAME, 'any N of TARGET', 'chain of N', or several",
        ),
        ("everything", "'everything' is no target; write node:N"),
        ("node:1,", "'' is no target"),
        ("nod:1", "unknown target 'nod:'; did you mean 'node'?"),
        ("node:x", "'node:' needs a number or a range such as 2-4, not 'x'"),
        ("node:-1", "'node:' needs a number or a range such as 2-4, not '-1'"),
        ("node:4-2", "the range '4-2' is empty; write node:2-4"),
        ("role:leaf", "unknown role 'leaf'; known roles: back-end, front-end, internal"),
        ("role:backend", "unknown role 'backend'; did you mean 'back-end'?"),
        ("any two of role:internal", "'any' needs a number of at least 1, not 'two'"),
        ("any 0 of role:internal", "'any' needs a number of at least 1, not '0'"),
        ("chain of 1", "'chain of' needs a number of at least 2, not '1'"),
        ("any 1 of chain of 2", "'chain of 2' is no target"),
    ],
)
def test_what_does_not_parse_says_why(text, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        parse_target(text)


@pytest.mark.parametrize(
    ("text", "tree", "message"),
    [
        (
            "role:internal",
            FLAT,
            "'role:internal' selects nothing; the tree has 4 nodes (0 internal, 3 back-ends), depth 1, on 1 host",
        ),
        ("node:1,node:99", DEEP, "'node:99' selects nothing"),
        ("rank:8", DEEP, "'rank:8' selects nothing"),
        ("any 7 of role:internal", DEEP, "'any 7 of role:internal' wants 7 nodes, but only 6 are there to choose from"),
        ("chain of 3", DEEP, "'chain of 3' needs 3 communication processes below each other; the tree has 15 nodes"),
        ("chain of 2", FLAT, "'chain of 2' needs 2 communication processes below each other"),
    ],
)
def test_what_selects_too_little_says_why(text, tree, message):
    with pytest.raises(ValueError) as caught:
        select(text, tree)
    assert str(caught.value).startswith(message)


def test_names_the_highest_host():
    assert parse_target("host:3,host:1-2").highest_host == 3
    assert parse_target("any 2 of host:5").highest_host == 5
    assert parse_target("node:9").highest_host == -1
