"""Which of several trees is best for what somebody wants, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.costs.candidates import Candidate
from harness.costs.model import Load, Prediction, predict
from harness.costs.parameters import Parameters
from harness.costs.reliability import Reliability, reliability

#: Trees that differ by less are ranked by their communication processes: the model is not better than that.
ALIKE = 0.02
#: Waves a second of a tree that does nothing but recover; not 0, so that such trees can be compared.
_LEAST_RATE = 1e-9


@dataclass(frozen=True, slots=True)
class Wish:
    """objective: the shortest round trip, or the most waves a second. rate_waves_s: what the tree must carry (0: nothing
    special). failures_per_node_hour: of each process. undisturbed: the part of the waves, in [0, 1), that no failure may
    touch."""

    objective: Literal["latency", "throughput"] = "latency"
    rate_waves_s: float = 0.0
    failures_per_node_hour: float = 0.0
    undisturbed: float = 0.0

    def __post_init__(self) -> None:
        if self.objective not in ("latency", "throughput"):
            raise ValueError(f"objective = {self.objective!r}: there are latency and throughput")
        for name in ("rate_waves_s", "failures_per_node_hour"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} = {getattr(self, name)} must be a finite number, not below 0")
        if not 0 <= self.undisturbed < 1:
            raise ValueError(f"undisturbed = {self.undisturbed} must be at least 0 and below 1; write 0.999 for 99.9 %")


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with what is predicted for it. latency_s and throughput_waves_s are means with failures and their recovery in
    them. unmet: which wishes it does not fulfil, in words."""

    candidate: Candidate
    prediction: Prediction
    reliability: Reliability
    latency_s: float
    throughput_waves_s: float
    unmet: tuple[str, ...]


def rank(candidates: Sequence[Candidate], load: Load, parameters: Parameters, cores: int, wish: Wish) -> list[Ranked]:
    """The candidates, best first: those that fulfil all wishes, then by the objective in steps of ALIKE, then by the number of
    communication processes. Raises ValueError as `predict` and `reliability` do."""
    found = [_judged(c, load, parameters, cores, wish) for c in candidates]

    def key(r: Ranked) -> tuple[bool, int, int, float]:
        score = r.latency_s if wish.objective == "latency" else 1 / r.throughput_waves_s
        return bool(r.unmet), round(math.log(score) / math.log(1 + ALIKE)), r.candidate.shape.communication, score

    return sorted(found, key=key)


def _judged(candidate: Candidate, load: Load, parameters: Parameters, cores: int, wish: Wish) -> Ranked:
    prediction = predict(candidate.shape, load, parameters, cores)
    failing = reliability(candidate.shape, load, prediction, wish.failures_per_node_hour)
    rate = max(prediction.throughput_waves_s * (1 - failing.down_fraction), _LEAST_RATE)
    unmet = []
    if rate < wish.rate_waves_s:
        unmet.append(f"it carries {rate:,.4g} of {wish.rate_waves_s:,.4g} waves/s")
    if 1 - failing.disturbed_fraction < wish.undisturbed:
        unmet.append(f"{1 - failing.disturbed_fraction:.6f} of its waves are undisturbed, not {wish.undisturbed:g}")
    return Ranked(candidate, prediction, failing, prediction.latency_s + failing.waiting_s, rate, tuple(unmet))


def reasons(ranked: Sequence[Ranked], cores: int, wish: Wish) -> list[str]:
    """Why the first tree wins over the second and over the flat one: a sentence each."""
    first = ranked[0]
    flat = next((r for r in ranked if r.candidate.spec["kind"] == "flat"), None)
    others = [r for r in (ranked[1] if len(ranked) > 1 else None, flat) if r is not None and r is not first]
    unique = [r for i, r in enumerate(others) if r not in others[:i]]
    if not unique:
        return [f"{first.candidate.name} is the only tree within the budget."]
    return [_why(first, other, cores, wish) for other in unique]


def _why(first: Ranked, other: Ranked, cores: int, wish: Wish) -> str:
    head = f"{first.candidate.name} wins over {other.candidate.name}: "
    if other.unmet and not first.unmet:
        return f"{head}of that tree, {other.unmet[0]}."
    if wish.objective == "latency":
        ours, theirs = first.latency_s, other.latency_s
        figures = f"a round trip of {ours * 1e6:,.0f} us against {theirs * 1e6:,.0f} us"
    else:
        ours, theirs = 1 / first.throughput_waves_s, 1 / other.throughput_waves_s
        figures = f"{first.throughput_waves_s:,.4g} waves/s against {other.throughput_waves_s:,.4g}"
    if abs(theirs / ours - 1) <= 2 * ALIKE and first.candidate.shape.communication < other.candidate.shape.communication:
        saved = other.candidate.shape.communication - first.candidate.shape.communication
        return f"{head}{figures}, which the model calls equal, with {saved} fewer communication process{'es' * (saved > 1)}."
    return f"{head}{figures}; {_bound(other, cores, wish)}."


def _bound(loser: Ranked, cores: int, wish: Wish) -> str:
    """What holds a tree back, in words."""
    p, shape = loser.prediction, loser.candidate.shape
    bound = p.latency_bound if wish.objective == "latency" else p.throughput_bound
    inner = max((shape.fanout(i) for i in range(1, len(shape.classes) - 1)), default=0)
    return {
        "cores": f"the work of the other's {shape.nodes} processes fills {cores} core{'s' * (cores > 1)}",
        "path": f"the other's longest chain is {shape.depth} deep, below a front-end with {shape.fanout(-1)} children",
        "front-end": f"the other's front-end is busy with {shape.fanout(-1)} children",
        "communication process": f"the other's communication processes are busy with up to {inner} children each",
        "back-end": "the other's back-ends cannot offer more",
        "link": "the other's links cannot carry more",
        "window": f"in the other a wave takes so long through {shape.depth} levels that its window of waves runs out",
    }[bound]
