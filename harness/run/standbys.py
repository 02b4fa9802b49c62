"""The standby of a case: which node it is, and what it needs."""

from __future__ import annotations

import random
from collections.abc import Iterable

from harness.core.apps import FrontEndApp
from harness.core.tree import Tree
from harness.registry import Mistakes
from harness.run.axes import Choice
from harness.run.targets import parse_target

_HOOKS = ("checkpoint", "vet", "resume")


def no_standbys(testbed: str, choices: Iterable[Choice[str]], mistakes: Mistakes) -> None:
    """Refuse standbys where the testbed has none."""
    for choice in choices:
        if choice.value:
            what = f"testbed '{testbed}' has no standby front-ends"
            mistakes.add(choice.path, what, "use testbed 'local', 'cluster' or 'sim', or leave it out")


def with_standby(tree: Tree, choice: Choice[str], mistakes: Mistakes) -> Tree | None:
    """The tree with the standby that the case names, if it names one; None where that cannot be, which is noted."""
    if not choice.value:
        return tree
    try:
        target = parse_target(choice.value)
        if target.any_of or target.chain or target.highest_host >= 0:
            raise ValueError(f"'{choice.value}' says not which node it is; write node:N, with a child of the front-end")
        found = target.select(tree, random.Random(0))
        if len(found) != 1:
            raise ValueError(f"'{choice.value}' selects {len(found)} nodes; name exactly one")
        return tree.with_standby(found[0])
    except ValueError as error:
        mistakes.add(choice.path, str(error))
        return None


def lacks_hooks(app: FrontEndApp | None) -> bool:
    """Whether a standby cannot go on with this application."""
    return app is not None and not all(callable(getattr(app, hook, None)) for hook in _HOOKS)
