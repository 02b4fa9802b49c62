"""What failures cost a tree: how often its waves are disturbed, and for how long.

Processes fail independently of each other, each at a constant rate. A failure of the front-end ends every run alike and is left
out. One of a communication process orphans its children, which find new parents at the same time but share the machine's
cores; then what was on its way is sent again (recovery `replay`, docs/protocol.md). One of a back-end holds the stream up until
it is declared dead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.core.settings import NodeSettings
from harness.costs.model import Load, Prediction
from harness.costs.shape import Shape

#: From the crash of a communication process until its neighbours know (docs/benchmarks.md, recovery, median).
DETECT_S = 0.004
#: To choose an adopter and to connect to it, for each of the four orphans of those trials (4.8 ms in all, on two cores).
ADOPT_S_PER_ORPHAN = 0.0012
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Reliability:
    """failures_per_hour: of communication processes and back-ends. recovery_s: the mean time for which a failure keeps waves
    waiting. down_fraction: the part of the time in which the stream stands still for that. disturbed_fraction: the
    probability that a wave is on its way while a failure happens or is being recovered from. waiting_s: by how much the mean
    latency of a wave grows."""

    failures_per_hour: float
    recovery_s: float
    down_fraction: float
    disturbed_fraction: float
    waiting_s: float


def reliability(shape: Shape, load: Load, prediction: Prediction, failures_per_node_hour: float) -> Reliability:
    """What `failures_per_node_hour` failures of each process in an hour mean for a tree with that prediction.

    Recoveries do not overlap in this model: where they would (down_fraction near 1) the stream makes no progress. Raises
    ValueError for a negative rate.
    """
    if not (failures_per_node_hour >= 0 and math.isfinite(failures_per_node_hour)):
        raise ValueError(f"failures_per_node_hour = {failures_per_node_hour} must be a finite number, not below 0")
    again_s = load.window_waves / 2 / prediction.throughput_waves_s  # on average half a window is unacknowledged
    times: list[tuple[int, float]] = [(shape.back_ends, DETECT_S + NodeSettings().leaf_grace_s)]
    for i in range(1, len(shape.classes) - 1):
        times.append((shape.counts[i], DETECT_S + shape.fanout(i) * ADOPT_S_PER_ORPHAN + again_s))
    nodes = sum(n for n, _ in times)
    mean_s = sum(n * t for n, t in times) / nodes
    square = sum(n * t * t for n, t in times) / nodes
    per_s = nodes * failures_per_node_hour / _HOUR_S
    down = 1 - math.exp(-per_s * mean_s)
    disturbed = 1 - math.exp(-per_s * (mean_s + prediction.latency_s))
    return Reliability(nodes * failures_per_node_hour, mean_s, down, disturbed, per_s * square / 2)
