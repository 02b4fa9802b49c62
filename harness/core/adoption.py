"""Who may take in an orphan: the rule of the core, and the check of what a policy makes of it.

A policy only ranks. That every candidate is strictly nearer to the root of the planned tree than the orphan, so that no
sequence of adoptions can form a cycle, is looked at here, and again by the candidate itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.core.apps import PluginError
from harness.core.tree import Role, Tree

#: (tree, orphan, lost parent, candidates) to the candidates, best first.
Policy = Callable[[Tree, int, int, Sequence[int]], Sequence[int]]


def candidates(tree: Tree, orphan: int, lost: int) -> tuple[int, ...]:
    """Everybody who may adopt `orphan` after the loss of its parent `lost`, by id: the root and the communication
    processes that are strictly nearer to it (by static depth) than the orphan, without the lost one."""
    depth = tree.nodes[orphan].depth
    return tuple(n.id for n in (tree.nodes[tree.root], *tree.communication) if n.depth < depth and n.id not in (orphan, lost))


def ranked(policy: Policy, tree: Tree, orphan: int, lost: int) -> tuple[int, ...]:
    """What `policy` makes of the candidates, best first. It may leave some out; but the root, whom everybody may turn to,
    comes last where it is not named. There is nothing to rank for who was right below a front-end that is lost: it asks the
    standby. Raises ValueError where the policy names anybody else, or somebody twice."""
    if lost == tree.root and tree.nodes[orphan].depth == 1:
        return tree.adopters(orphan, lost)
    allowed = candidates(tree, orphan, lost)
    found = tuple(policy(tree, orphan, lost, allowed))
    wrong = _mistake(tree, orphan, lost, found, set(allowed))
    if wrong:
        raise ValueError(f"the policy of adoption ranks for node {orphan} (lost parent: node {lost}) {wrong}")
    return found if lost == tree.root or tree.root in found else (*found, tree.root)


def ranked_for(policy: Policy, tree: Tree, orphan: int, lost: int) -> tuple[int, ...]:
    """`ranked` within a node. Raises PluginError, which ends the node, for whatever the policy does wrong."""
    try:
        return ranked(policy, tree, orphan, lost)
    except Exception as e:  # a plugin may raise anything
        raise PluginError("the policy of adoption") from e


def _mistake(tree: Tree, orphan: int, lost: int, found: tuple[int, ...], allowed: set[int]) -> str:
    for n in found:
        if n in allowed:
            continue
        if type(n) is not int or not 0 <= n < len(tree.nodes):
            return f"{n!r}, which is no node of the tree; rank the candidates that it is given"
        if n == lost:
            return f"node {n}, which is the lost parent itself; the core tries it last"
        if tree.nodes[n].role is Role.BACK_END:
            return f"node {n}, which is a back-end and takes nobody in"
        depths = f"{tree.nodes[n].depth}, the orphan's {tree.nodes[orphan].depth}"
        return f"node {n}, which is not strictly nearer to the root (its depth is {depths}): that could form a cycle"
    if len(set(found)) < len(found):
        return "a node twice; rank each candidate once"
    return ""
