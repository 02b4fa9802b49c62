"""A policy of adoption, tried on a trial's tree before anything is deployed."""

from __future__ import annotations

from harness.api.adopter import Adopter, AdopterByName
from harness.core.adoption import ranked
from harness.core.tree import Tree

#: So many orphans of a tree are tried, spread over it.
MOST_ORPHANS = 64


def try_adopters(policy: Adopter, tree: Tree, seed: int) -> None:
    """Let the policy rank for orphans of `tree`, as the nodes will. Raises ValueError where it cannot be sent to them, or names
    somebody who may adopt nobody; and whatever it raises itself."""
    rank = AdopterByName.of(policy).policy(seed)
    orphans = [n for n in tree.nodes if n.parent is not None and n.depth > 1]
    for n in orphans[:: max(1, len(orphans) // MOST_ORPHANS)]:
        assert n.parent is not None
        ranked(rank, tree, n.id, n.parent)
