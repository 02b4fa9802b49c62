"""The check of `mixed`: what the front-end and the back-ends found wrong, and what the record shows of each stream."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api.records import Check, TrialRecord, Violation
from harness.api.workload import TrialContext
from harness.core.ranks import RankSet
from harness_workloads import common
from harness_workloads.mixed_back import MADE, WRONG
from harness_workloads.mixed_streams import StreamJudge
from harness_workloads.mixed_truth import Truth
from harness_workloads.oracle import fingerprint

if TYPE_CHECKING:
    from harness_workloads.mixed import Mixed


def judge(workload: Mixed, record: TrialRecord, context: TrialContext) -> Check:
    """Judge the trial; see Workload.check."""
    if not common.started(record):
        return common.nothing_said("the workload never started, so nothing came out that could be judged")
    truth = Truth(record, context)
    counts: Counter[str] = Counter(dict.fromkeys(("waves", "delivered", "partial", "lost", "duplicated", "mixed"), 0))
    found = common.last_words(record) + _noted(record) + _late(record)
    # A process in the place of one that was killed knows nothing, and may ask for what nobody has any more.
    errors = [e for e in record.of_kind("protocol-error") if e["peer"] not in truth.killed_nodes]
    found += [Violation("unexpected", f"node {e['node']}: {e['message']}") for e in errors]
    if truth.died_s and not record.of_kind("fault"):
        found.append(Violation("unexpected", f"ranks {RankSet.of(truth.died_s)} were declared dead, and no fault was done"))
    told = _Told(truth)
    found += told.violations
    ids = common.stream_ids(record)
    index_of = {stream: int(n["index"]) for stream, n in ids.items()}
    plans = {p.index: p for p in workload.plans(context)}
    if told.complete:
        unopened = sorted(set(plans) - set(index_of.values()))
        found += [Violation("missing", f"stream {i} was never opened") for i in unopened]
    for stream, index in index_of.items():
        one = StreamJudge(truth, plans[index], stream, told.made.get(index, {}), told.complete)
        found += one.judge(counts)
    strange = sorted(set(record.samples["stream"].tolist()) - set(ids) - {told.stream})
    found += [Violation("unexpected", f"results came on stream {s}, which was never opened") for s in strange]
    for v in found:
        if v.what in ("lost", "duplicated", "mixed"):
            counts[v.what] += 1
    text = f"{counts['waves']:,} waves on {len(ids)} streams, {counts['delivered']:,} contributions"
    if counts["partial"]:
        text = f"{text}; {counts['partial']:,} waves are partial and say so"
    return common.verdict(text, counts, found)


def _noted(record: TrialRecord) -> list[Violation]:
    """What the front-end saw at once."""
    return [Violation(n["what"], n["text"], None, int(n["wave"])) for n in common.notes(record, "wrong")]


def _late(record: TrialRecord) -> list[Violation]:
    """Deadlines that were not kept, though nothing held up the front-end itself, nor had a standby to find that out."""
    if record.of_kind("took-over"):
        return []
    if any(0 in (e.get("nodes") or [e["node"]]) for e in record.of_kind("fault")):
        return []
    return [
        Violation(
            "missing",
            f"stream {n['stream']}, wave {n['wave']}: ended after {n['took_s']:.3f} s, its deadline was {n['deadline_s']:g} s",
        )
        for n in common.notes(record, "late")
    ]


class _Told:
    """What the back-ends said at the barrier. made: by number of the stream, (waves offered, messages received) of each rank.
    stream and complete: the barrier's, and whether it was reached."""

    def __init__(self, truth: Truth) -> None:
        self.made: dict[int, dict[int, tuple[int, int]]] = {}
        self.violations: list[Violation] = []
        noted = common.notes(truth.record, "barrier")
        self.complete = bool(noted)
        self.stream = int(noted[0]["stream"]) if noted else 0
        if len(noted) != 1:
            nobody = not truth.everybody - RankSet.of(truth.died_s)
            if noted or not nobody:
                self.violations.append(Violation("missing", f"the barrier was reached {len(noted)} times"))
            return
        heard = RankSet.of(noted[0]["contributors"])
        if lacking := truth.fit - heard:
            self.violations.append(Violation("missing", f"ranks {lacking} were not heard at the barrier"))
        rows = truth.record.samples["stream"] == self.stream
        recorded = np.repeat(rows, truth.record.samples["count"])
        if truth.record.observed[recorded].tolist() != fingerprint([noted[0]["told"]]).tolist():
            self.violations.append(Violation("mixed", "what was said at the barrier is not what was recorded"))
        silent = heard - RankSet.of(entry[0] for entry in noted[0]["told"])
        if silent:
            self.violations.append(Violation("lost", f"what ranks {silent} said at the barrier is not there"))
        for rank, *entry in noted[0]["told"]:
            self._take(truth, int(rank), entry)

    def _take(self, truth: Truth, rank: int, entry: list[Any]) -> None:
        if entry[:1] == [MADE]:
            index, waves, messages = entry[1:]
            self.made.setdefault(int(index), {})[rank] = (int(waves), int(messages))
        elif entry[:1] == [WRONG] and rank not in truth.killed:  # a process that was restarted has missed what was before
            self.violations.append(Violation("unexpected", f"rank {rank}: {entry[1]}", rank))
