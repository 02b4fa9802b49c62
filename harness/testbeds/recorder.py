"""Where the front-end's samples go: three files that only grow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO

import numpy as np

from harness.api.records import SAMPLE_DTYPE
from harness.core.frontend import Sample
from harness.core.ranks import RankSet

SAMPLES, CONTRIBUTORS = "samples.bin", "contributors.jsonl"
OBSERVED = {"i": "observed.i8.bin", "f": "observed.f8.bin"}


class Recorder:
    """Writes samples in the order in which they came. The first one decides whether the observed numbers are kept as int64 or
    float64. Raises OSError where the disk is full, ValueError where a workload mixes both."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._rows = (directory / SAMPLES).open("wb")
        self._sets = (directory / CONTRIBUTORS).open("w")
        self._observed: BinaryIO | None = None
        self._kind = ""
        self._index: dict[RankSet, int] = {}

    def write(self, samples: list[Sample], epoch_s: float) -> None:
        """Append samples; times are told as seconds since `epoch_s`."""
        if not samples:
            return
        rows = np.zeros(len(samples), SAMPLE_DTYPE)
        rows["t_s"] = np.array([s.t_s for s in samples]) - epoch_s
        rows["granted_s"] = np.array([s.granted_s for s in samples]) - epoch_s
        rows["stream"] = [s.stream for s in samples]
        rows["contributors"] = [self._number(s.contributors) for s in samples]
        rows["first"] = [s.first for s in samples]
        rows["count"] = [len(s.observed) for s in samples]
        rows["complete"] = [s.complete for s in samples]
        self._rows.write(rows.tobytes())
        kinds = {"f" if s.observed.dtype.kind == "f" else "i" for s in samples}
        if self._observed is None:
            self._kind = min(kinds)
            self._observed = (self._directory / OBSERVED[self._kind]).open("wb")
        if kinds != {self._kind}:
            raise ValueError("a workload records either integers or floating-point numbers, not both")
        self._observed.write(np.concatenate([s.observed for s in samples], dtype=f"<{self._kind}8").data)

    def _number(self, ranks: RankSet) -> int:
        number = self._index.get(ranks)
        if number is None:
            number = self._index[ranks] = len(self._index)
            self._sets.write(json.dumps(ranks.ranges) + "\n")
        return number

    def flush(self) -> None:
        """Hand everything to the kernel."""
        for f in (self._rows, self._sets, self._observed):
            if f is not None:
                f.flush()

    def close(self) -> None:
        for f in (self._rows, self._sets, self._observed):
            if f is not None:
                f.close()
