"""Who owed an answer to which requests where back-ends come and go."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.api.members import MemberSpans, is_member
from harness.api.records import TrialRecord, Violation
from harness.core.ranks import RankSet
from harness_workloads.coverage import CLOCK_SLACK_S, Span, coverage, length, outside, within
from harness_workloads.values import Array


class Repliers:
    """Judges the answers of the ranks that came or went while the stream of `rows` (its samples) ran.

    changed: these ranks; all others are members for every request.
    """

    def __init__(self, record: TrialRecord, stream: int, rows: Array) -> None:
        self.record = record
        self.stream = stream
        self.rows = rows
        self.spans = MemberSpans(record.events)
        self.changed = self.spans.changed
        self.end = int((rows["first"] + rows["count"]).max()) if len(rows) else 0

    def complete(self, missing: RankSet, rows: Array) -> Array:
        """Which of `rows`, whose requests the ranks `missing` did not answer, were answered by all who were members. Shape
        (len(rows),), bool."""
        if not missing.issubset(self.changed):
            return np.zeros(len(rows), bool)
        spans = [self.spans.members(self.stream, rank, self.end) for rank in missing]
        return np.array([not any(is_member(s, int(wave)) for s in spans) for wave in rows["first"]], bool)

    def judge(self, owing: bool) -> tuple[list[Violation], int]:
        """Answers of ranks that were no members, and (where the tree is `owing` them all) answers that members did not give
        though they were alive; and how many of these there are."""
        found: list[Violation] = []
        lost = 0
        for rank in self.changed:
            (part,) = coverage(self.rows, self.record.contributor_sets, [rank])
            for a, b in outside(part, self.spans.members(self.stream, rank, part.end)):
                text = f"rank {rank} is in the answers to requests {a} to {b - 1}, though no member"
                found.append(Violation("misnamed", text, rank, a))
            missed = within(part, self._owed(rank), self.end)
            lost += length(missed)
            for a, b in missed if owing else ():
                text = f"rank {rank} is not in the answers to requests {a} to {b - 1}, though a member and alive"
                found.append(Violation("lost", text, rank, a))
        return found, lost

    def _owed(self, rank: int) -> list[Span]:
        node = next(n.id for n in self.record.tree.back_ends if n.rank == rank)
        return self.spans.owed(self.stream, rank, node, self.end, self._before)

    def _before(self, t_s: float) -> int:
        """How many requests had been answered then."""
        early: Any = self.rows[self.rows["t_s"] < t_s - CLOCK_SLACK_S]
        return int((early["first"] + early["count"]).max()) if len(early) else 0
