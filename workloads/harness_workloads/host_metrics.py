"""The workload `host-metrics`: every back-end samples its own host, and the front-end sees the whole machine live."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.api.errors import UsageError
from harness.api.records import Check, TrialRecord, Violation
from harness.api.workload import BackEndApp, FrontEndApp, TrialContext
from harness.core.apps import BackEndHandle, FrontEndHandle
from harness.core.filters import Items
from harness.core.spec import Result, StreamSpec, Sync
from harness_workloads import common
from harness_workloads.common import BackEndBase, FrontEndBase, everybody, stream_spec
from harness_workloads.coverage import coverage, owed
from harness_workloads.decode import ranks_text
from harness_workloads.proc import METRICS, Reading, read_host, sample

#: One stream each. The histogram is of the share of processor time that was busy.
FILTERS = ("min", "average", "max", "histogram")
#: Samples that a back-end keeps for streams that are behind.
_KEEP = 4096


@dataclass(frozen=True)
class HostMetrics:
    """Live figures of all hosts: least, mean and greatest processor, memory, load and network use, and a histogram.

    samples: how many; interval_s: one every so often. proc: where the kernel shows its figures. The processor's histogram has
    ten bins from 0 to 1; a case with `filter = { kind = "histogram", ... }` chooses its own.
    """

    #: What /proc shows is no part of a simulation.
    real: ClassVar[bool] = True

    samples: int = 10
    interval_s: float = 1.0
    proc: str = "/proc"

    def filters(self, chosen: str) -> tuple[str, ...]:
        """All four, whatever the case says."""
        return FILTERS

    def mistakes(self, chosen: str) -> list[str]:
        """See Workload.mistakes."""
        found = []
        if chosen not in ("", *FILTERS):
            found.append(f"filter: host-metrics uses {', '.join(FILTERS)}; leave '{chosen}' out, or give a histogram's bins")
        if self.samples < 1:
            found.append(f"samples: {self.samples} must be at least 1")
        if not 0.01 <= self.interval_s <= 3600:
            found.append(f"interval_s: {self.interval_s} must be between 0.01 and 3600")
        if not (Path(self.proc) / "stat").is_file():
            found.append(f"proc: there is no {self.proc}/stat here; host-metrics needs the /proc of Linux")
        return found

    def front_end(self, context: TrialContext) -> FrontEndApp:
        """See Workload.front_end. Raises UsageError where samples would come one by one."""
        if context.sync is Sync.DO_NOT_WAIT:
            raise UsageError("sync: host-metrics compares whole samples; use wait-for-all or time-out, not do-not-wait")
        return _FrontEnd(self, context)

    def back_end(self, context: TrialContext, rank: int) -> BackEndApp:
        """See Workload.back_end."""
        return _BackEnd(self)

    def check(self, record: TrialRecord, context: TrialContext, expect: str) -> Check:
        """Every sample has all live ranks, min <= mean <= max for each metric, and as many counts as contributors."""
        if not common.started(record):
            return common.nothing_said("the workload never started, so no sample was taken")
        return _judge(self, record, context, expect)


class _FrontEnd(FrontEndBase):
    def __init__(self, workload: HostMetrics, context: TrialContext) -> None:
        self.workload = workload
        self.context = context
        self.streams: dict[int, str] = {}
        self.open: dict[int, dict[str, Result]] = {}
        self.done: set[int] = set()

    def start(self, fe: FrontEndHandle) -> None:
        """Open a stream for each filter."""
        for name in FILTERS:
            shape = () if name == "histogram" else (len(METRICS),)
            spec = stream_spec(self.context, name, everybody(self.context), name, dtype="<f8", item_shape=shape)
            stream = fe.open_stream(spec)
            self.streams[stream] = name
            fe.note("stream", stream=stream, index=len(self.streams) - 1, filter=name)
            fe.expect(stream, self.workload.samples)

    def on_result(self, fe: FrontEndHandle, result: Result) -> None:
        """Record; tell of each sample as soon as all four streams have it."""
        name, values = self.streams[result.stream], np.asarray(result.values, dtype=np.float64)
        heads = values.sum(axis=1) if name == "histogram" else values[:, 0].copy()
        fe.record(result.stream, result.first, heads, result.contributors, result.complete, result.granted_s)
        for i in range(result.count):
            wave = result.first + i
            parts = self.open.setdefault(wave, {})
            parts[name] = _one(result, values[i : i + 1])
            if len(parts) == len(FILTERS):
                fe.note("metrics", **_summary(wave, self.open.pop(wave)))
        if result.first + result.count >= self.workload.samples:
            self.done.add(result.stream)
            if len(self.done) == len(FILTERS):
                fe.finish()


def _one(result: Result, values: Any) -> Result:
    return Result(
        result.stream, result.first, 1, values, result.contributors, result.missing, result.complete, result.granted_s
    )


def _summary(wave: int, parts: dict[str, Result]) -> dict[str, Any]:
    """One sample as plain values: a row (metric, min, mean, max) each, the processor's histogram, who was in each stream."""
    columns = [np.asarray(parts[name].values)[0].tolist() for name in ("min", "average", "max")]
    return {
        "wave": wave,
        "rows": [[metric, *row] for metric, *row in zip(METRICS, *columns, strict=True)],
        "cpu_histogram": [int(x) for x in np.asarray(parts["histogram"].values)[0]],
        "ranks": {name: list(parts[name].contributors) for name in FILTERS},
    }


class _BackEnd(BackEndBase):
    def __init__(self, workload: HostMetrics) -> None:
        self.workload = workload
        self.proc = Path(workload.proc)
        self.kinds: dict[int, str] = {}
        self.taken: deque[list[float]] = deque(maxlen=_KEEP)
        self.count = 0
        self.last: Reading | None = None
        self.last_s = 0.0
        self.due_s = 0.0

    def on_open(self, be: BackEndHandle, stream: int, spec: StreamSpec) -> None:
        """Take the first reading, from which differences count."""
        self.kinds[stream] = spec.filter
        if self.last is None:
            self.last, self.last_s = read_host(self.proc), be.now
            self.due_s = be.now + self.workload.interval_s
        be.call_at(self.due_s)

    def produce(self, be: BackEndHandle, stream: int, first: int, at_most: int) -> Items | None:
        """Samples from `first` on that have been taken; one is taken when its time has come."""
        if self.count < self.workload.samples:
            if be.now >= self.due_s:
                self._take(be.now)
            be.call_at(self.due_s)
        oldest = self.count - len(self.taken)
        if first < oldest:
            raise RuntimeError(f"sample {first} is gone: stream {stream} is {self.count - first} samples behind")
        chosen = list(self.taken)[first - oldest : first - oldest + at_most]
        if not chosen:
            return None
        rows = np.array(chosen)
        return rows[:, 0].copy() if self.kinds[stream] == "histogram" else rows

    def _take(self, now: float) -> None:
        reading = read_host(self.proc)
        if self.last is not None:
            self.taken.append(sample(self.last, reading, now - self.last_s))
            self.count += 1
        self.last, self.last_s = reading, now
        self.due_s = max(self.due_s, now - self.workload.interval_s / 2) + self.workload.interval_s


def _judge(workload: HostMetrics, record: TrialRecord, context: TrialContext, expect: str) -> Check:
    found = common.last_words(record)
    counts: Counter[str] = Counter(dict.fromkeys(("waves", "delivered", "partial", "lost", "duplicated", "mixed"), 0))
    streams = common.stream_ids(record)
    for stream, noted in streams.items():
        rows = record.samples[record.samples["stream"] == stream]
        counts["waves"] += int(rows["count"].sum())
        found += _named(workload, record, context, expect, rows, str(noted["filter"]), counts)
    found += _histograms(record, streams, counts)
    for note in common.notes(record, "metrics"):
        for metric, least, mean, most in note["rows"]:
            slack = 1e-9 * max(abs(least), abs(most))
            same = note["ranks"]["min"] == note["ranks"]["average"] == note["ranks"]["max"]
            if same and not least - slack <= mean <= most + slack:
                text = f"sample {note['wave']}: {metric} has min {least:g}, mean {mean:g}, max {most:g}"
                found.append(Violation("mixed", text, None, int(note["wave"])))
                counts["mixed"] += 1
    samples = len(common.notes(record, "metrics"))
    return common.verdict(f"{samples} samples of {len(everybody(context))} hosts, each with every live one", counts, found)


def _named(
    workload: HostMetrics,
    record: TrialRecord,
    context: TrialContext,
    expect: str,
    rows: Any,
    name: str,
    counts: Counter[str],
) -> list[Violation]:
    """Whether each rank is in every sample of a stream once; a rank whose process was hit, in those before."""
    struck, found = common.struck(record), list[Violation]()
    partial = [len(s) < len(everybody(context)) for s in record.contributor_sets]
    counts["partial"] += int(sum(row["count"] for row in rows if partial[int(row["contributors"])]))
    for part in coverage(rows, record.contributor_sets, everybody(context)):
        counts["delivered"] += part.named * len(part.ranks)
        for ranks, (a, b) in owed(part, rows, struck, workload.samples):
            counts["lost"] += (b - a) * len(ranks)
            if expect == "exact" and common.strict(context):
                text = f"{name}: {ranks_text(ranks)} not in samples {a} to {b - 1}, though alive"
                found.append(Violation("lost", text, ranks[0], a))
        for a, b in part.overlaps:
            counts["duplicated"] += (b - a) * len(part.ranks)
            found.append(Violation("duplicated", f"{name}: samples {a} to {b - 1} came twice", part.ranks[0], a))
    return found


def _histograms(record: TrialRecord, streams: dict[int, Any], counts: Counter[str]) -> list[Violation]:
    """Whether each histogram counts its contributors: that is what is recorded of it."""
    ids = [stream for stream, noted in streams.items() if noted["filter"] == "histogram"]
    sizes = np.array([len(s) for s in record.contributor_sets], dtype=np.int64)
    of_stream = np.repeat(np.isin(record.samples["stream"], ids), record.samples["count"])
    wanted = np.repeat(sizes[record.samples["contributors"]], record.samples["count"]) if len(sizes) else np.zeros(0)
    wrong = np.flatnonzero(of_stream & (record.observed != wanted))
    if not len(wrong):
        return []
    counts["mixed"] += len(wrong)
    at = int(wrong[0])
    text = f"histogram: {len(wrong)} samples do not count their contributors, e.g. {record.observed[at]:g} of {wanted[at]}"
    return [Violation("lost" if record.observed[at] < wanted[at] else "duplicated", text)]
