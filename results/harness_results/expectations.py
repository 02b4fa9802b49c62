"""What a suite expects of a case beside correctness, judged over its trials: one trial is one value, however many waves or
faults it had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness_results.statistics import median, nearest_rank
from harness_results.verdict import FAILED, INVALID, PASSED

QUANTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True)
class Expectation:
    """One thing expected: what, whether it holds (passed, failed, invalid: it cannot be told), and a sentence with numbers."""

    what: str
    verdict: str
    reason: str

    def plain(self) -> dict[str, str]:
        """For the document."""
        return asdict(self)


def recoveries(figures: Mapping[str, Any]) -> list[float | None]:
    """The recoveries of one trial in ms, None for one that was not seen to its end. A fault after which nobody was lost led to
    none."""
    return [f.get("recovery_ms") for f in figures["faults"] if f.get("recovery_needed", True)]


def slowest_recoveries(trials: Sequence[Mapping[str, Any]]) -> list[float]:
    """For each trial whose recoveries were all seen to their end, the slowest of them in ms. `trials` are figures."""
    return [max(t for t in times if t is not None) for f in trials if (times := recoveries(f)) and None not in times]


def judge_expectations(expect: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> list[Expectation]:
    """Judge `expect` (the plain form of the case's table) over the figures of the trials that were judged."""
    found = _recovery(expect.get("recovery_ms") or {}, trials)
    if throughput := expect.get("throughput"):
        found.append(_throughput(throughput["min_ratio_to_steady"], throughput["within_s"], trials))
    return found


def _recovery(limits: Mapping[str, float], trials: Sequence[Mapping[str, Any]]) -> list[Expectation]:
    """A recovery without an end took at least as long as the others of its trial, and nobody knows how long: the verdict is the
    one that holds whatever it was, or none."""
    timed = [times for figures in trials if (times := recoveries(figures))]
    seen = slowest_recoveries(trials)
    least = [max((t for t in times if t is not None), default=0.0) for times in timed]
    most = seen + [float("inf")] * (len(timed) - len(seen))
    unseen = len(timed) - len(seen)
    found = []
    for name, limit in limits.items():
        what = f"recovery_ms.{name}"
        if not timed:
            why = "no fault lost anybody" if any(f["faults"] for f in trials) else "no fault was done"
            reason = f"there was no recovery to time in any of {_trials(len(trials))}: {why}"
            found.append(Expectation(what, INVALID, reason))
            continue
        low, high = nearest_rank(least, QUANTILES[name]), nearest_rank(most, QUANTILES[name])
        which = "the slowest recovery" if name == "max" else f"recovery {name}"
        if high <= limit:
            others = f"; in {unseen} more no recovery was seen to its end" if unseen else ""
            value = nearest_rank(seen, QUANTILES[name])
            reason = f"{which} over {_trials(len(seen))} is {value:.1f} ms and is within {limit:g} ms{others}"
            found.append(Expectation(what, PASSED, reason))
        elif low > limit:
            at_least = "at least " if high > low else ""
            reason = f"{which} over {_trials(len(timed))} is {at_least}{low:.1f} ms and exceeds {limit:g} ms"
            found.append(Expectation(what, FAILED, reason))
        elif not seen:
            which = "not all recoveries were seen to their end" if any(least) else "no recovery was seen to its end"
            found.append(Expectation(what, INVALID, f"{which} in any of {_trials(len(timed))}"))
        else:
            where = f"in {unseen} of {_trials(len(timed))}"
            found.append(Expectation(what, INVALID, f"{which} cannot be told: {where} a recovery was not seen to its end"))
    return found


def _throughput(ratio: float, within_s: float, trials: Sequence[Mapping[str, Any]]) -> Expectation:
    what = "throughput"
    level = f"{ratio:.0%} of the steady throughput"
    times: list[float] = []
    for figures in trials:
        faults = [f for f in figures["faults"] if "back_judged_s" in f]
        back = [f["back_s"] for f in faults]
        if faults and None not in back:
            times.append(max(back))
        elif faults and all(f["back_s"] is not None or f["back_judged_s"] >= within_s for f in faults):
            times.append(float("inf"))
    if not times:
        reason = f"no trial ran long enough before and after its fault to tell whether {level} was back within {within_s:g} s"
        return Expectation(what, INVALID, reason)
    value = median(times)
    never = sum(t == float("inf") for t in times)
    missed = f", and not at all in {never} of them" if never else ""
    over = f"over {_trials(len(times))}"
    if value <= within_s:
        return Expectation(what, PASSED, f"{level} was back after {value:.2f} s (median {over}), within {within_s:g} s{missed}")
    after = f"after {value:.2f} s" if value < float("inf") else "never"
    return Expectation(what, FAILED, f"{level} was back {after} (median {over}), not within {within_s:g} s{missed}")


def _trials(count: int) -> str:
    return f"{count} trial{'s' * (count != 1)}"
