"""The conformance check of policies of adoption: is what one ranks something that every node can follow?"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter

from harness.api.adopter import Adopter, AdopterByName, Tree
from harness.core.adoption import candidates, ranked
from harness.testing.outcome import CheckOutcome

#: So many random trees are tried, beside a few regular ones.
_TREES = 40


def run_checks(policy: Adopter, seed: int = 0) -> list[CheckOutcome]:
    """Let the policy rank for the orphans of many trees, after first and later losses. `seed` decides the random trees."""
    trees = list(_trees(seed))

    def protocol() -> str:
        return "" if isinstance(policy, Adopter) else "no Adopter: it lacks rank()"

    def nearer_to_the_root() -> str:
        """Everybody it names may adopt the orphan: this keeps cycles out."""
        for tree in trees:
            for orphan, lost in _losses(tree):
                ranked(partial(policy.rank, seed=seed), tree, orphan, lost)
        return ""

    def repeatable() -> str:
        for tree in trees:
            for orphan, lost in _losses(tree):
                allowed = candidates(tree, orphan, lost)
                first, second = (list(policy.rank(tree, orphan, lost, allowed, seed)) for _ in range(2))
                if first != second:
                    return f"asked twice for node {orphan} (lost parent: node {lost}), it says {first} and {second}"
        return ""

    def travels() -> str:
        """What the nodes make of its name and keys says the same."""
        named = AdopterByName.of(policy)
        for tree in trees:
            for orphan, lost in _losses(tree):
                allowed = candidates(tree, orphan, lost)
                here, there = (list(p.rank(tree, orphan, lost, allowed, seed)) for p in (policy, named.make()))
                if here != there:
                    return f"made again of its name and keys, it ranks {there} and not {here}"
        return ""

    outcomes = []
    for check in (protocol, nearer_to_the_root, repeatable, travels):
        outcomes.append(_timed(check))
        if not outcomes[-1].passed and check is protocol:
            break
    return outcomes


def _trees(seed: int) -> Iterator[Tree]:
    rng = random.Random(seed)
    yield Tree.from_parents([None, 0])
    yield Tree.from_parents([None, *((i - 1) // 3 for i in range(1, 40))])
    for _ in range(_TREES):
        parents: list[int | None] = [None]
        for _ in range(rng.randint(1, 40)):
            parents.append(rng.randrange(max(0, len(parents) - 6), len(parents)))
        tree = Tree.from_parents(parents)
        hosts = rng.randint(1, 4)
        yield tree.placed([rng.randrange(hosts) for _ in tree.nodes])


def _losses(tree: Tree) -> Iterator[tuple[int, int]]:
    """Orphans with the parent of the plan, and with every other that may have adopted them since."""
    for n in tree.nodes:
        if n.parent is not None:
            yield n.id, n.parent
            yield from ((n.id, lost) for lost in candidates(tree, n.id, n.parent)[:6])


def _timed(check: Callable[[], str]) -> CheckOutcome:
    """Run a check that returns what is wrong, or nothing."""
    start = perf_counter()
    try:
        wrong = check()
    except Exception as e:  # a policy may raise anything; it is reported as the failure that it is
        wrong = str(e) if type(e) is ValueError else f"raised {type(e).__name__}: {e}"
    return CheckOutcome(check.__name__.replace("_", "-"), not wrong, wrong, perf_counter() - start)
