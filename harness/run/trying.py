"""A case's workload and filters, tried on its tree before anything is deployed."""

from __future__ import annotations

from functools import partial

from harness.api.errors import UsageError
from harness.api.workload import TrialContext
from harness.core.filters import Filter, Items
from harness.core.spec import DECOMPOSED_WITH_STANDBY, Recovery
from harness.registry import Mistakes
from harness.registry.mistakes import asked
from harness.run.cases import Case, placed
from harness.run.standbys import lacks_hooks


def try_plugins(case: Case, context: TrialContext, mistakes: Mistakes) -> None:
    """Let workload and filters see a trial, and note what they say against it."""
    if _try_front_end(case, context, mistakes):
        _try_filters(case, context, mistakes)


def _try_front_end(case: Case, context: TrialContext, mistakes: Mistakes) -> bool:
    """Let the workload see the tree: some of its mistakes show only there. Whether it found none."""
    path, before = f"{case.path}.workload", mistakes.told
    try:
        app = asked(partial(case.workload.value.front_end, context), path, mistakes)
        if case.tree.standby >= 0 and lacks_hooks(app):
            what = f"'{case.workload.kind}' cannot go on at a standby: its front-end hands no state over"
            mistakes.add(f"{case.path}.standby", what, "use reduce-stream, round-trip or mixed, or leave it out")
        if case.tree.standby >= 0 and context.recovery is Recovery.DECOMPOSE:
            mistakes.add(f"{case.path}.standby", DECOMPOSED_WITH_STANDBY)
    except UsageError as error:
        for line in error.mistakes:
            mistakes.add(*placed(line, case.path, path, case.workload))
    return mistakes.told == before


def _try_filters(case: Case, context: TrialContext, mistakes: Mistakes) -> None:
    """Let the filters see what the workload offers, where it can show that. Elementwise ones take items of any shape."""
    for name, items in (asked(partial(_offered, case, context), f"{case.path}.workload", mistakes) or {}).items():
        # A filter that the suite does not name is the workload's choice.
        path = f"{case.path}.filter" if name == case.filter else f"{case.path}.workload"
        filter_ = case.filters[name].value
        asked(partial(_lift, filter_, items, case.workload.kind), path, mistakes)


def _offered(case: Case, context: TrialContext) -> dict[str, Items]:
    """What the workload offers to the filters that treat an item as a whole, by their names."""
    offers = getattr(case.workload.value, "offers", None)
    offered = {} if offers is None else offers(context)
    return {name: items for name, items in offered.items() if not case.filters[name].value.elementwise}


def _lift(filter_: Filter, items: Items, workload: str) -> None:
    """Raises ValueError, with what to do, where the filter says that it cannot take `items`."""
    try:
        filter_.lift(items, 0)
    except (TypeError, ValueError) as error:
        what = f"cannot take what '{workload}' offers: {error}"
        raise ValueError(f"{what}; change the workload's items, or the filter or its keys") from error
