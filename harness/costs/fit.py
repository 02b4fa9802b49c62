"""The parameters that explain what was measured: least squares without negative durations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.costs.model import Load, Place, unhindered, work
from harness.costs.parameters import Parameters
from harness.costs.shape import Shape

#: What is found from the CPU time of nodes; the rest is measured or asked for by itself.
FITTED = (
    "send_s",
    "send_s_per_byte",
    "receive_s",
    "receive_s_per_byte",
    "request_receive_s_per_byte",
    "turn_s",
    "offer_s_per_byte",
    "deliver_s",
    "deliver_s_per_byte",
)


@dataclass(frozen=True, slots=True)
class NodeTime:
    """CPU seconds that a node at that place needed for one wave of that load (see harness.costs.model.work)."""

    place: Place
    load: Load
    request: bool
    cpu_s: float


@dataclass(frozen=True, slots=True)
class TripTime:
    """Seconds that one round trip took in a tree of that shape (the median of many)."""

    shape: Shape
    load: Load
    latency_s: float


@dataclass(frozen=True, slots=True)
class Fit:
    """The parameters; the root mean squares of the relative errors with which they repeat what they were fitted to, of the
    nodes' CPU times and of the round trips; and from how many of each."""

    parameters: Parameters
    cpu_residual: float
    latency_residual: float
    node_times: int
    trip_times: int


def fit(nodes: Sequence[NodeTime], trips: Sequence[TripTime], filter_s_per_byte: float, cores: int) -> Fit:
    """Fit the parameters on a machine with so many cores, first those of CPU time, then the latency of a link.

    Errors count relative to what was measured, or the largest items would decide alone. Raises ValueError where the nodes'
    times leave a parameter open: there must be front-ends, communication processes and back-ends, with different numbers of
    children, items and requests of different sizes.
    """
    usable = [n for n in nodes if n.cpu_s > 0]
    if not usable or not trips:
        raise ValueError("there is nothing to fit the parameters to: no node times, or no round trips")
    needs = [work(n.place, n.load, n.request) for n in usable]
    took = np.array([n.cpu_s for n in usable])
    known = filter_s_per_byte * np.array([need.get("filter_s_per_byte", 0.0) for need in needs])
    a = np.array([[need.get(name, 0.0) for name in FITTED] for need in needs]) / took[:, None]
    scale = np.linalg.norm(a, axis=0)
    open_ones = [name for name, s in zip(FITTED, scale, strict=True) if s == 0]
    if open_ones or np.linalg.matrix_rank(a / np.where(scale, scale, 1.0)) < len(FITTED):
        what = f": nothing measured depends on {', '.join(open_ones)}" if open_ones else ""
        raise ValueError(f"the node times do not tell the parameters apart{what}; measure more trees and sizes")
    found = least_squares(a / scale, 1 - known / took) / scale
    values = dict(zip(FITTED, (float(x) for x in found), strict=True))
    still = Parameters(latency_s=0.0, gap_s_per_byte=0.0, filter_s_per_byte=filter_s_per_byte, **values)
    cpu_residual = _rms(a @ found + known / took - 1)

    bounds = [unhindered(t.shape, t.load, still) for t in trips]
    base = np.array([max(path_s, total_s / cores) for total_s, path_s in bounds])
    links = np.array([2.0 * t.shape.depth for t in trips])
    seen = np.array([t.latency_s for t in trips])
    latency = float(least_squares((links / seen)[:, None], (seen - base) / seen)[0])
    residual = _rms((base + links * latency) / seen - 1)
    parameters = Parameters.from_json({**still.to_json(), "latency_s": latency})
    return Fit(parameters, cpu_residual, residual, len(usable), len(trips))


def least_squares(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The x >= 0 that makes |a x - b| least; a: shape (m, n), b: shape (m,), x: shape (n,). The active-set method NNLS of
    Lawson and Hanson, "Solving Least Squares Problems", 1974, chapter 23."""
    n = a.shape[1]
    x, passive = np.zeros(n), np.zeros(n, dtype=bool)
    least = 1e-12 * max(1.0, float(np.abs(a.T @ b).max()))
    for _ in range(3 * n):
        gradient = np.where(passive, -np.inf, a.T @ (b - a @ x))
        if passive.all() or gradient.max() <= least:
            break
        passive[int(gradient.argmax())] = True
        while True:
            trial = np.zeros(n)
            trial[passive] = np.linalg.lstsq(a[:, passive], b, rcond=None)[0]
            low = passive & (trial <= 0)
            if not low.any():
                x = trial
                break
            step = float(np.min(x[low] / (x[low] - trial[low])))
            x = x + step * (trial - x)
            passive &= x > 1e-15
            x[~passive] = 0.0
    return x


def _rms(errors: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(errors**2)))
