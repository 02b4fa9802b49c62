"""Where links and machines are not all alike: what one of them is, drawn once, from the seed and its own name."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from harness.sim.model import Model

_STEPS: Final = 4096


def spread(most: float, drawn: int) -> float:
    """A factor between 1 / most and most, uniform in its logarithm; drawn: 0 to 4095. Rounded to what every mathematics
    library agrees on."""
    return round(float(most ** (2.0 * (drawn + 0.5) / _STEPS - 1.0)), 9)


class Places:
    """The links and machines of a tree; hosts: that of each node. Whoever asks in whatever order, and however often, gets the
    same: nothing is drawn from the generator of the simulation."""

    def __init__(self, model: Model, seed: int | None, hosts: Sequence[int]) -> None:
        self.model = model
        self.seed = seed
        self.hosts = hosts
        self.alike = model.links_differ == 1.0 and model.between_hosts == 1.0
        self._links: dict[tuple[int, int], tuple[float, float]] = {}

    def link(self, a: int, b: int) -> tuple[float, float]:
        """Of the link between two nodes: what its latency is multiplied with, and its rate in bytes a second (0: no limit)."""
        model = self.model
        if self.alike:
            return 1.0, model.bytes_per_s
        pair = (a, b) if a < b else (b, a)
        found = self._links.get(pair)
        if found is None:
            rng = random.Random(f"link {self.seed} {pair[0]} {pair[1]}")
            latency, rate = (spread(model.links_differ, rng.getrandbits(12)) for _ in range(2))
            if self.hosts[a] != self.hosts[b]:
                latency *= model.between_hosts
            found = self._links[pair] = (latency, model.bytes_per_s * rate)
        return found

    def turn_s(self, node: int) -> float:
        """What each thing that happens costs a node."""
        model = self.model
        if model.machines_differ == 1.0 or model.turn_s == 0.0:
            return model.turn_s
        return model.turn_s * spread(model.machines_differ, random.Random(f"machine {self.seed} {node}").getrandbits(12))
