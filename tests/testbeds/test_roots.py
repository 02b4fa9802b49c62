"""Who is the front-end, by what the nodes report in whatever order."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.tree import Tree
from harness.testbeds.roots import Roots, how_ended

TREE = Tree.from_parents([None, 0, 0, 1, 1, 2, 2])


class Story:
    """Processes that end, and what is made of it."""

    def __init__(self, standby: bool = True) -> None:
        self.exits: dict[int, int] = {}
        self.roots = Roots(
            TREE.with_standby(1) if standby else TREE, lambda n: n not in self.exits, lambda n: how_ended(self.exits[n])
        )

    def tell(self, kind: str, node: int, **fields: Any) -> bool:
        return self.roots.take({"t_s": 1.0, "kind": kind, "node": node, **fields})

    def exit(self, node: int, status: int) -> str:
        self.exits[node] = status
        return self.roots.end_of(node)


def test_what_both_tell_counts_once_in_any_order() -> None:
    story = Story()
    assert story.tell("dead", 1, told=7)
    assert story.tell("workload-started", 0, told=2)  # on another host, and therefore later
    assert not story.tell("dead", 0, told=7)
    assert not story.tell("workload-started", 1, told=2)
    assert story.tell("dead", 1) and story.tell("dead", 1)  # not of the log
    event = {"t_s": 1.0, "kind": "dead", "node": 0, "told": 8}
    assert story.roots.take(event) and "told" not in event


def test_without_a_standby_the_front_end_s_end_is_the_end() -> None:
    story = Story(standby=False)
    assert story.roots.in_charge
    assert story.exit(1, -9) == ""
    assert story.exit(0, 1) == "the front-end's process is gone: it ended with status 1"
    assert not story.roots.in_charge


def test_the_standby_goes_on_until_it_ends_itself() -> None:
    story = Story()
    assert story.exit(0, -9) == ""
    assert not story.roots.in_charge
    story.tell("front-end-lost", 1, by=1)
    story.tell("took-over", 1)
    assert story.roots.root == 1 and story.roots.in_charge
    assert story.exit(2, -9) == ""
    assert story.exit(1, -9) == "the process of node 1, which had taken the front-end's place, is gone: it ended by signal 9"


def test_a_standby_without_a_majority_says_so() -> None:
    story = Story()
    story.exit(0, -9)
    story.tell("gave-up", 1, status=5, reason="2 of 7 nodes are not enough")
    gone = "the front-end's process is gone: it ended by signal 9; so is that of its standby, node 1"
    assert story.exit(1, 5) == f"{gone}: it gave up: 2 of 7 nodes are not enough"


def test_a_front_end_that_goes_on_alone_is_the_last() -> None:
    story = Story()
    assert story.exit(1, -9) == ""
    assert not story.roots.in_charge
    story.tell("alone", 0)
    assert story.roots.in_charge
    assert story.exit(0, -9) == "the front-end's process is gone: it ended by signal 9"


def test_nobody_is_in_charge_while_there_is_a_vote() -> None:
    story = Story()
    assert story.roots.in_charge
    story.tell("front-end-lost", 3, by=3)  # an orphan that found nobody: no candidate
    assert story.roots.in_charge
    story.tell("front-end-lost", 1, by=1)
    assert not story.roots.in_charge


@pytest.mark.parametrize("node", [0, 1])
def test_once_it_has_finished_either_can_close_the_tree(node: int) -> None:
    story = Story()
    story.tell("finished", 0, ok=True)
    story.exit(node, 0)
    assert story.roots.in_charge
    story.exit(1 - node, 0)
    assert not story.roots.in_charge
