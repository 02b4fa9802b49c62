"""What all topologies share: the size limit, and breadth-first numbering."""

from __future__ import annotations

from collections.abc import Sequence

from harness.api.topology import Tree

#: No topology builds a larger tree: one process a node would not get there, and a typing error would take all memory.
MAX_NODES = 1_000_000


def too_large(kind: str, hint: str) -> ValueError:
    """The error for a tree of more than MAX_NODES nodes."""
    return ValueError(f"{kind}: the tree would have more than {MAX_NODES:,} nodes; {hint}")


def at_least(kind: str, name: str, value: int, least: int) -> None:
    """Raises ValueError where the parameter `name` is smaller than `least`."""
    if value < least:
        raise ValueError(f"{kind}: {name} = {value} must be at least {least}")


def breadth_first(children: Sequence[Sequence[int]]) -> Tree:
    """The tree in which node i of any numbering (root 0) has `children[i]`, numbered anew level by level, left to right.

    Every node but 0 is the child of exactly one node and is reached from node 0; the caller sees to that.
    """
    parents: list[int | None] = [None]
    queue = [0]
    for number, old in enumerate(queue):  # grows while it is read
        queue.extend(children[old])
        parents.extend([number] * len(children[old]))
    return Tree.from_parents(parents)
