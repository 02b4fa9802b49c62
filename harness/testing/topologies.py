"""The conformance check of topologies: is what one builds a tree that every other part of the harness can rely on?"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from time import perf_counter

from harness.api.topology import Topology, Tree
from harness.testing.outcome import CheckOutcome


def run_checks(topology: Topology) -> list[CheckOutcome]:
    """Build the tree and look at it. A topology whose parameters describe no tree fails `builds`, with its own message."""
    built: list[Tree] = []

    def protocol() -> str:
        return "" if isinstance(topology, Topology) else "no Topology: it lacks build()"

    def builds() -> str:
        tree = topology.build()
        if not isinstance(tree, Tree):
            return f"build gives {type(tree).__name__}, not a Tree"
        built.append(tree)
        return ""

    def consistent() -> str:
        (tree,) = built
        again = Tree.from_parents([n.parent for n in tree.nodes]).placed([n.host for n in tree.nodes])
        wrong = next((mine for mine, other in zip(tree.nodes, again.nodes, strict=True) if mine != other), None)
        return "" if wrong is None else f"{wrong} does not fit the parents; make the tree with Tree.from_parents"

    def repeatable() -> str:
        return "" if topology.build() == built[0] else "built twice, it gives two different trees"

    def travels() -> str:
        return "" if pickle.loads(pickle.dumps(built[0])) == built[0] else "pickled and unpickled, the tree is another"

    outcomes = []
    for check in (protocol, builds, consistent, repeatable, travels):
        outcomes.append(_timed(check))
        if not outcomes[-1].passed and check in (protocol, builds):
            break
    return outcomes


def _timed(check: Callable[[], str]) -> CheckOutcome:
    """Run a check that returns what is wrong, or nothing."""
    start = perf_counter()
    try:
        wrong = check()
    except Exception as e:  # a topology may raise anything; it is reported as the failure that it is
        wrong = f"raised {type(e).__name__}: {e}"
    return CheckOutcome(check.__name__, not wrong, wrong, perf_counter() - start)
