"""The built-in policies of adoption."""

from __future__ import annotations

from collections.abc import Mapping

from harness.api.adopter import Adopter
from harness_plugins.adopters.orders import Depth, FanOut, Proximity, SiblingsFirst
from harness_plugins.adopters.weighted import Weighted

__all__ = ["ADOPTERS", "Depth", "FanOut", "Proximity", "SiblingsFirst", "Weighted"]

ADOPTERS: Mapping[str, type[Adopter]] = {
    "siblings-first": SiblingsFirst,
    "fan-out": FanOut,
    "depth": Depth,
    "proximity": Proximity,
    "weighted": Weighted,
}
