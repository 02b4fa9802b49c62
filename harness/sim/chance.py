"""What is random in a simulation, from one seed. Only integers and fixed tables are drawn from, since the last digit of a
logarithm is not the same on every machine."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Final

_STEPS: Final = 4096
#: Quantiles of the exponential distribution with mean 1 at the middle of 4096 equal steps (longest 9.0), rounded to what
#: every mathematics library agrees on.
EXPONENTIAL: Final = tuple(round(-math.log(1 - (i + 0.5) / _STEPS), 9) for i in range(_STEPS))
#: How the part of a delay that varies is distributed; each has a mean of 1.
JITTERS: Final = ("none", "uniform", "exponential")


def _none(bits: int) -> int:
    return 0


class Chance:
    """The random numbers of one part of the simulation: others draw from generators of their own. Without a seed there is no
    chance: every number is the least that could be drawn."""

    def __init__(self, seed: int | None) -> None:
        self._bits: Callable[[int], int] = _none if seed is None else random.Random(seed).getrandbits

    def jitter(self, kind: str) -> float:
        """A factor with mean 1; `kind` is one of JITTERS."""
        if kind == "exponential":
            return EXPONENTIAL[self._bits(12)]
        if kind == "uniform":
            return self._bits(12) / 2048
        return 1.0

    def happens(self, probability: float) -> bool:
        """True with this probability, in steps of 2^-20."""
        return probability > 0.0 and self._bits(20) < probability * 1048576

    def part(self) -> float:
        """A number in [0, 1)."""
        return self._bits(20) / 1048576
