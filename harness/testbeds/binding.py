"""Which processors a node of a tree on one machine may use: a subtree stays together, as MPI launchers bind ranks.

A parent and its children wake each other with every wave. On one processor they find what the other has just written in its
caches, and nobody waits for a processor in another queue.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.tree import Tree


def processors(tree: Tree, node: int, available: Sequence[int]) -> list[int]:
    """The processors of `node` out of those `available`, in their order, at least one.

    Each subtree below the front-end has an equal, contiguous share; where there are fewer processors than subtrees, neighbours
    have one in common, and the front-end stays with the first subtree. Otherwise it has a share of its own.
    """
    top = tree.nodes[0].children
    if len(available) > len(top):
        share, shares = top.index(_above(tree, node)) + 1 if node else 0, len(top) + 1
    else:
        share, shares = top.index(_above(tree, node)) if node else 0, len(top)
    first = share * len(available) // shares
    return list(available[first : max(first + 1, (share + 1) * len(available) // shares)])


def _above(tree: Tree, node: int) -> int:
    """The child of the front-end to whose subtree `node` belongs."""
    while (parent := tree.nodes[node].parent) != 0:
        assert parent is not None
        node = parent
    return node
