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
        rows = np.zeros(len(samples), SAMPLE_DTYPE)
        for row, s in zip(rows, samples, strict=True):
            number = self._index.get(s.contributors)
            if number is None:
                number = self._index[s.contributors] = len(self._index)
                self._sets.write(json.dumps(s.contributors.ranges) + "\n")
            row["t_s"], row["granted_s"] = s.t_s - epoch_s, s.granted_s - epoch_s
            row["stream"], row["contributors"], row["first"] = s.stream, number, s.first
            row["count"], row["complete"] = len(s.observed), s.complete
        self._rows.write(rows.tobytes())
        for s in samples:
            kind = "f" if s.observed.dtype.kind == "f" else "i"
            if self._observed is None:
                self._kind = kind
                self._observed = (self._directory / OBSERVED[kind]).open("wb")
            if kind != self._kind:
                raise ValueError("a workload records either integers or floating-point numbers, not both")
            self._observed.write(np.ascontiguousarray(s.observed, "<i8" if kind == "i" else "<f8").data)

    def flush(self) -> None:
        """Hand everything to the kernel."""
        for f in (self._rows, self._sets, self._observed):
            if f is not None:
                f.flush()

    def close(self) -> None:
        for f in (self._rows, self._sets, self._observed):
            if f is not None:
                f.close()
