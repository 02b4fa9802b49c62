"""What the benchmarks share: interleaved trials, medians, ratios a pair, Markdown tables, a line about the machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.tree import Tree

Array = NDArray[Any]
#: The figures of one trial, by name.
Figures = dict[str, float]


def tree_of(fanouts: Sequence[int]) -> Tree:
    """A balanced tree: `fanouts[d]` children for every node at depth d, numbered breadth first."""
    parents: list[int | None] = [None]
    level = [0]
    for fanout in fanouts:
        born = []
        for parent in level:
            for _ in range(fanout):
                born.append(len(parents))
                parents.append(parent)
        level = born
    return Tree.from_parents(parents)


def percentiles(values: Sequence[float] | Array, *which: float) -> list[float]:
    """The given percentiles, in the unit of `values` (nearest rank, so that each is a value that was seen)."""
    return [float(v) for v in np.percentile(np.asarray(values, dtype=np.float64), which, method="inverted_cdf")]


def interleave(trials: int, sides: Mapping[str, Callable[[], Figures]]) -> dict[str, list[Figures]]:
    """Run each side once a round, for `trials` rounds; odd rounds go backwards, so that a drifting machine favours nobody."""
    seen: dict[str, list[Figures]] = {name: [] for name in sides}
    for turn in range(trials):
        names = list(sides) if turn % 2 == 0 else list(reversed(list(sides)))
        for name in names:
            seen[name].append(sides[name]())
    return seen


def medians(trials: Sequence[Figures]) -> Figures:
    """The median over trials of each figure that every trial has."""
    names = [n for n in trials[0] if all(n in t for t in trials)]
    return {n: median(t[n] for t in trials) for n in names}


def ratio(ours: Sequence[Figures], theirs: Sequence[Figures], figure: str) -> float:
    """The median over rounds of ours divided by theirs: each pair ran side by side, so the machine's mood cancels."""
    return median(a[figure] / b[figure] for a, b in zip(ours, theirs, strict=True))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, columns padded; numbers (every column but the first) to the right."""
    widths = [max(len(str(line[i])) for line in [head, *rows]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, rest = f"{cells[0]:<{widths[0]}}", [f"{c:>{w}}" for c, w in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join([first, *rest]) + " |"

    rule = "| " + " | ".join(["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]) + " |"
    return "\n".join([line(head), rule, *(line(r) for r in rows)])


def number(value: float) -> str:
    """Three or four significant digits, thousands grouped."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"


def environment() -> str:
    """One line: processor, cores, memory, kernel, Python and numpy, and how busy the machine is as the run starts."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x.split(":", 1)[1].strip() for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, numpy {np.__version__}, load {os.getloadavg()[0]:.1f}"
    )
