"""Which code goes to a cluster: the project's own packages, and those of every plugin that is registered here."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

from harness.hookspecs import GROUP

_OWN = ("harness", "harness_plugins", "harness_workloads", "harness_faults", "harness_results")


def packages_to_ship() -> list[Path]:
    """The directories (or single files) of all top-level packages that plugins come from, by where they are imported from."""
    plugins = {entry.module.partition(".")[0] for entry in entry_points(group=GROUP)}
    return locate((*_OWN, *sorted(plugins - set(_OWN))))


def locate(names: Iterable[str]) -> list[Path]:
    """Where the top-level modules `names` are; those that cannot be found are left out: nothing can use them."""
    found = []
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None:
            continue
        if spec.submodule_search_locations:
            found.append(Path(next(iter(spec.submodule_search_locations))))
        elif spec.origin and Path(spec.origin).is_file():
            found.append(Path(spec.origin))
    return found
