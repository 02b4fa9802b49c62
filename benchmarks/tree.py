"""Our tree beside three bare trees and the loopback: round trip, small reductions, array sums, 16 back-ends (4x4).

The trials are interleaved, so that a machine whose speed drifts, as shared ones do, favours nobody: the ratios count, the
absolute figures belong to the machine of the day. Our trials are deployed by the testbed `local`, and each must pass its own
check of every wave. What is wanted is wanted of the plain one. Run `python -m benchmarks.tree`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.bare_tree import KINDS
from benchmarks.common import Figures, environment, interleave, medians, number, ratio, table, tree_of
from benchmarks.ours import Bench, as_program, latency_us, opened, steady_waves_per_s
from harness.core.tree import Tree
from harness_workloads.reduce_stream import ReduceStream
from harness_workloads.round_trip import RoundTrip


@dataclass(frozen=True)
class Goal:
    """A figure that is compared: in which mode, its name, its unit, the ratio to the plain bare tree that is wanted, and
    whether a greater one is better."""

    mode: str
    figure: str
    title: str
    wanted: float
    more: bool


GOALS = (
    Goal("round-trip", "p50_us", "round trip p50, us", 1.3, False),
    Goal("round-trip", "p99_us", "round trip p99, us", 1.5, False),
    Goal("reductions", "per_s", "small reductions/s", 60.0, True),
    Goal("array-1mb", "mb_per_s", "1 MB array sum, MB/s", 0.9, True),
    Goal("array-16mb", "mb_per_s", "16 MB array sum, MB/s", 1.5, True),
)
MODES = ("round-trip", "reductions", "array-1mb", "array-16mb")
#: No process may be larger than this, whatever the size of an item.
MOST_RESIDENT_MB = 150.0
#: Bytes that cross the loopback for each byte of a result of a 4x4 tree: one for each of its 20 links.
LINKS = 20


def ours(bench: Bench, tree: Tree, mode: str, quick: bool) -> Figures:
    """One trial of our tree."""
    seconds = 1.5 if quick else 4.0
    item = {"array-1mb": 1 << 20, "array-16mb": 16 << 20}.get(mode, 0)
    if mode == "round-trip":
        trial = bench.run(tree, RoundTrip(requests=500 if quick else 3000, warm_up=200))
        figures = latency_us(trial.record)
    elif mode == "reductions":
        trial = bench.run(tree, ReduceStream(duration_s=seconds))
        figures = {"per_s": steady_waves_per_s(trial.record)}
    else:
        trial = bench.run(tree, ReduceStream(item="f64", item_bytes=item, duration_s=seconds))
        figures = {"mb_per_s": steady_waves_per_s(trial.record) * item / 1e6}
    bench.forget()
    return {**figures, "resident_mb": trial.most_resident_mb()}


def bare(mode: str, quick: bool, kind: str) -> Figures:
    """One trial of a bare tree, in a process of its own."""
    found: dict[str, Figures] = json.loads(_python("benchmarks.bare_tree", mode, *_quick(quick), "--kind", kind))
    return found[mode]


def loopback(quick: bool) -> Figures:
    """One round of what the machine could carry."""
    found: Figures = json.loads(_python("benchmarks.loopback", *_quick(quick)))
    return found


def _quick(quick: bool) -> list[str]:
    return ["--quick"] if quick else []


def _python(module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", module, "--json", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def measure(bench: Bench, tree: Tree, modes: list[str], trials: int, quick: bool) -> dict[str, dict[str, list[Figures]]]:
    """All trials: figures by mode and side."""
    found = {}
    for mode in modes:
        sides: dict[str, Callable[[], Figures]] = {
            "ours": partial(ours, bench, tree, mode, quick),
            **{kind: partial(bare, mode, quick, kind) for kind in KINDS},
            "loopback": partial(loopback, quick),
        }
        found[mode] = interleave(trials, sides)
        print(f"{mode}: {trials} rounds done", file=sys.stderr)
    return found


def report(found: dict[str, dict[str, list[Figures]]]) -> tuple[str, list[str]]:
    """The table, and the goals that were missed."""
    rows, missed = [], []
    for goal in GOALS:
        if goal.mode not in found:
            continue
        sides = found[goal.mode]
        parts = {kind: ratio(sides["ours"], sides[kind], goal.figure) for kind in KINDS}
        part = parts["plain"]
        good = part >= goal.wanted if goal.more else part <= goal.wanted
        sign = ">=" if goal.more else "<="
        figures = {side: number(medians(sides[side])[goal.figure]) for side in ("ours", *KINDS)}
        judged = [figures["plain"], f"{part:.2f}", f"{sign} {goal.wanted:g}", "yes" if good else "no"]
        others = [text for kind in ("lean", "tuned") for text in (figures[kind], f"{parts[kind]:.2f}")]
        rows.append([goal.title, figures["ours"], *judged, *others])
        if not good:
            missed.append(f"{goal.title}: {part:.2f} of the plain bare tree, wanted {sign} {goal.wanted:g}")
    largest = max(t["resident_mb"] for sides in found.values() for t in sides["ours"])
    small = largest <= MOST_RESIDENT_MB
    rows.append(
        ["largest process, MB", number(largest), "", "", f"<= {MOST_RESIDENT_MB:g}", "yes" if small else "no", *[""] * 4]
    )
    if not small:
        missed.append(f"a process had {largest:.0f} MB resident, more than {MOST_RESIDENT_MB:g}")
    limits = [t for sides in found.values() for t in sides["loopback"]]
    best = medians(limits)
    stream = best["stream_gb_per_s"]
    more = [
        f"loopback: one stream {stream:.2f} GB/s, one byte there and back p50 {best['p50_us']:.0f} us, "
        f"numpy add {best['add_gb_per_s']:.0f} GB/s, copy {best['copy_gb_per_s']:.0f} GB/s",
        f"a result's byte crosses {LINKS} links: at that rate an array sum could reach {stream * 1e3 / LINKS:.0f} MB/s",
    ]
    text = table(["4x4 tree, medians", "ours", "plain", "ratio", "wanted", "reached", "lean", "ratio", "tuned", "ratio"], rows)
    return "\n".join([text, "", *more]), missed


def main() -> None:
    """Measure and print. Exit status 0, also where a goal is missed: this is a measurement, not a test."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("modes", nargs="*", help=f"any of {', '.join(MODES)} (default: all)")
    parser.add_argument("--trials", type=int, default=0, help="rounds for each mode (default 7, quick 2)")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter trials")
    args = parser.parse_args()
    unknown = [m for m in args.modes if m not in MODES]
    if unknown:
        parser.error(f"unknown mode {unknown[0]}; there are {', '.join(MODES)}")
    print(environment())
    with opened() as bench:
        trials = args.trials or (2 if args.quick else 7)
        found = measure(bench, tree_of([4, 4]), args.modes or list(MODES), trials, args.quick)
    text, missed = report(found)
    print(f"{trials} interleaved rounds a mode; ratios are medians over the rounds\n\n{text}")
    for line in missed:
        print(f"missed: {line}")


if __name__ == "__main__":
    as_program(main)
