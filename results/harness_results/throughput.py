"""Throughput and latency before, during and after each fault, from the sample rows. A row stands for `count` waves that were
delivered at one time; everything is weighted by waves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness_results.phases import Phases
from harness_results.statistics import Floats, weighted_percentiles

#: Width of the sliding bins, unless waves come so rarely that fewer than ROWS_A_BIN rows would be in one.
BIN_S = 0.1
ROWS_A_BIN = 10
#: Throughput counts as back when a bin has it, and the mean over this time from the bin's start on has it too.
HOLD_S = 1.0
#: The head of a window before a fault that is left out as warm-up: this share of it, but no more than so many seconds.
WARM_UP_SHARE = 0.25
WARM_UP_MAX_S = 1.0

LATENCIES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}

#: A rate over less time than this says nothing: all waves of a trial may come in one delivery, which takes no time at all.
SHORTEST_S = 1e-3


@dataclass(frozen=True)
class Window:
    """What was delivered in [start_s, end_s). latency_ms: delivery minus grant of the window, keys of LATENCIES."""

    start_s: float
    end_s: float
    waves: int
    waves_per_s: float
    latency_ms: Mapping[str, float]


@dataclass(frozen=True)
class Effect:
    """What one fault cost. `during` lasts from the fault to the first complete wave (or to the end), `after` from then on to
    the next fault or the end; None where there is nothing to look at. ratio_after: throughput after over before."""

    before: Window | None
    during: Window
    after: Window | None
    ratio_after: float

    def share(self) -> float:
        """Throughput during the recovery over the steady one, 0 where nothing came out; NaN without a steady one."""
        return self.during.waves_per_s / self.before.waves_per_s if self.before and self.before.waves_per_s else np.nan


@dataclass(frozen=True)
class Return:
    """When throughput was back. back_s: seconds from the fault to the start of the first bin that has it, NaN where it did not
    come back while there was data; judged_s: how long after the fault the data could tell; lost_waves: the area between the
    steady throughput and what was delivered until then."""

    back_s: float
    judged_s: float
    lost_waves: float


class Deliveries:
    """The sample rows of a trial, ordered by time of delivery."""

    def __init__(self, samples: NDArray[Any]) -> None:
        order = np.argsort(samples["t_s"], kind="stable")
        rows = samples[order]
        self.t_s: Floats = rows["t_s"].astype(np.float64)
        self.counts: NDArray[np.int64] = rows["count"].astype(np.int64)
        self.latency_ms: Floats = (rows["t_s"] - rows["granted_s"]) * 1e3
        self._up_to = np.concatenate(([0], np.cumsum(self.counts, dtype=np.int64)))

    def waves(self, start_s: Any, end_s: Any) -> NDArray[np.int64]:
        """How many waves were delivered in [start_s, end_s); scalars or arrays of one shape."""
        a, b = np.searchsorted(self.t_s, start_s, side="left"), np.searchsorted(self.t_s, end_s, side="left")
        return np.asarray(self._up_to[np.maximum(a, b)] - self._up_to[a], dtype=np.int64)

    def window(self, start_s: float, end_s: float) -> Window | None:
        """The figures of [start_s, end_s); None where that is too short a time for any."""
        if end_s - start_s < SHORTEST_S:
            return None
        a, b = np.searchsorted(self.t_s, [start_s, end_s], side="left").tolist()
        found = weighted_percentiles(self.latency_ms[a:b], self.counts[a:b], list(LATENCIES.values()))
        waves = int(self._up_to[b] - self._up_to[a])
        return Window(start_s, end_s, waves, waves / (end_s - start_s), dict(zip(LATENCIES, found, strict=True)))

    def steady(self, start_s: float, end_s: float) -> Window | None:
        """The window [start_s, end_s) without its warm-up head; None where it is too short to have a rate."""
        return self.window(start_s + min(WARM_UP_MAX_S, WARM_UP_SHARE * max(0.0, end_s - start_s)), end_s)

    @property
    def span(self) -> tuple[float, float]:
        """When the first wave was delivered, and just after the last; (0, 0) where there was none."""
        if not len(self.t_s):
            return 0.0, 0.0
        return float(self.t_s[0]), float(np.nextafter(self.t_s[-1], np.inf))

    def bin_s(self) -> float:
        """The width of a sliding bin: BIN_S, or wider where rows are rare."""
        if len(self.t_s) < 2:
            return BIN_S
        return max(BIN_S, ROWS_A_BIN * float(np.median(np.diff(self.t_s))))


def effects(deliveries: Deliveries, recoveries: Sequence[Phases]) -> list[Effect]:
    """What each recovery cost, in the order given. Faults that strike while an earlier one is still being recovered from
    share its steady window."""
    first, last = deliveries.span
    by_time = sorted(range(len(recoveries)), key=lambda i: recoveries[i].done_s)
    found: dict[int, Effect] = {}
    quiet_from, busy_to, before = first, first, None
    for place, i in enumerate(by_time):
        fault = recoveries[i]
        if place == 0 or fault.done_s > busy_to:
            before = deliveries.steady(quiet_from, fault.done_s) or before
        end = last if fault.complete_s is None else fault.complete_s
        busy_to = max(busy_to, end)
        quiet_from = busy_to
        next_fault = min((r.done_s for r in recoveries if r.done_s > end), default=last)
        during = deliveries.window(fault.done_s, max(end, fault.done_s + 2 * SHORTEST_S))
        after = deliveries.window(end, next_fault) if fault.complete_s is not None else None
        ratio = after.waves_per_s / before.waves_per_s if after and before and before.waves_per_s else np.nan
        if during is not None:
            found[i] = Effect(before, during, after, float(ratio))
    return [found[i] for i in range(len(recoveries))]


def throughput_back(deliveries: Deliveries, fault: Phases, effect: Effect, min_ratio: float) -> Return:
    """When the throughput was back at `min_ratio` of the steady one: the earliest sliding bin, from the first complete wave
    on, in which it is, and from whose start on the mean over HOLD_S (or what is left of the data) is as well."""
    width = deliveries.bin_s()
    end = effect.after.end_s if effect.after else effect.during.end_s
    start = fault.complete_s if fault.complete_s is not None else fault.done_s
    judged = end - 3 * width
    if effect.before is None or effect.before.waves == 0:
        return Return(np.nan, 0.0, np.nan)
    if judged < start:
        return Return(np.nan, max(0.0, judged - fault.done_s), np.nan)
    wanted = min_ratio * effect.before.waves_per_s
    step = max(width / 10, (judged - start) / 100_000)
    t = start + step * np.arange(int((judged - start) / step) + 1)
    hold = np.minimum(t + HOLD_S, end)
    good = (deliveries.waves(t, t + width) >= wanted * width) & (deliveries.waves(t, hold) >= wanted * (hold - t))
    if not good.any():
        return Return(np.nan, judged - fault.done_s, np.nan)
    back = float(t[int(good.argmax())])
    due = effect.before.waves_per_s * (back - fault.done_s)
    return Return(back - fault.done_s, judged - fault.done_s, due - int(deliveries.waves(fault.done_s, back)))
