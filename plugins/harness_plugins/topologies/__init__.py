"""The built-in topologies, and who adopts whom in them."""

from __future__ import annotations

from collections.abc import Mapping

from harness.api.adopter import Adopter
from harness.api.topology import Topology
from harness.hookspecs import hookimpl
from harness_plugins.adopters import ADOPTERS
from harness_plugins.topologies.file import File
from harness_plugins.topologies.generic import Generic
from harness_plugins.topologies.regular import Flat, Kary, Knomial

__all__ = ["TOPOLOGIES", "File", "Flat", "Generic", "Kary", "Knomial", "harness_adopters", "harness_topologies"]

TOPOLOGIES: Mapping[str, type[Topology]] = {
    "flat": Flat,
    "kary": Kary,
    "knomial": Knomial,
    "generic": Generic,
    "file": File,
}


@hookimpl
def harness_topologies() -> Mapping[str, type[Topology]]:
    """Kinds for `case.topology`."""
    return TOPOLOGIES


@hookimpl
def harness_adopters() -> Mapping[str, type[Adopter]]:
    """Kinds for `node.adopters`."""
    return ADOPTERS
