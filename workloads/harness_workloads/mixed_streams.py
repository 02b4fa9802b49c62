"""One stream of `mixed`, judged from the record: each wave ends once, nobody is missing without a reason, nothing is lost
beyond what its recovery allows, and messages and states are complete."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from harness.api.records import Violation
from harness.core.ranks import RankSet, union
from harness.core.spec import Accept, Recovery, Sync
from harness.core.units import Units
from harness_workloads import common
from harness_workloads.coverage import CLOCK_SLACK_S, Span, coverage, length, runs
from harness_workloads.extents import extent_read, holds
from harness_workloads.mixed_plan import LONG_S, StreamPlan
from harness_workloads.mixed_truth import Truth
from harness_workloads.mixed_values import Contributions

#: So many wrong waves of a stream are told one by one.
_MOST_TOLD = 10


class StreamJudge:
    """made: what each rank said at the barrier, (waves offered, messages received); complete: whether there was a barrier."""

    def __init__(
        self, truth: Truth, plan: StreamPlan, stream: int, made: Mapping[int, tuple[int, int]], complete: bool
    ) -> None:
        self.truth, self.plan, self.spec, self.stream = truth, plan, plan.spec, stream
        self.made, self.complete = made, complete
        record = truth.record
        self.rows = record.samples[record.samples["stream"] == stream]
        told = [e for e in record.of_kind("note") if e["name"] == "request-error" and e["fields"]["stream"] == stream]
        self.errors = [e["fields"] for e in told]
        self.overdue = [(e["fields"], float(e["t_s"])) for e in told if e["fields"]["error"] == "DeadlineExceeded"]
        ends = [n for n in common.notes(record, "stream-end") if n["stream"] == stream]
        self.end: Mapping[str, Any] = ends[-1] if ends else {"next": 0, "sent": 0, "closed": True, "over": True}
        self.contributions = Contributions(truth.context.seed, plan, len(truth.everybody))
        #: Whether it was left open to the end, so that everything had time to come.
        self.whole = complete and bool(ends) and not self.end["closed"] and not self.end["over"]
        self.fit = plan.spec.members & truth.fit

    def judge(self, counts: Counter[str]) -> list[Violation]:
        """All that is wrong with the stream; its share of the counts is added."""
        found = self._contents() + self._ends() + self._overdue() + self._names() + self._messages()
        for part in coverage(self.rows, self.truth.record.contributor_sets, self.spec.members):
            counts["delivered"] += len(part.ranks) * (part.named - length(part.overlaps))
            found += [self._wrong("duplicated", a, f"came again with ranks {part.ranks}") for a, _ in part.overlaps]
        counts["waves"] += int(self.rows["count"].sum())
        counts["partial"] += int(self.rows["count"][self.rows["complete"] == 0].sum())
        if self.whole:
            found += self._losses() + self._state()
        return found

    def _wrong(self, what: str, wave: int, text: str, rank: int | None = None) -> Violation:
        return Violation(what, f"{self.plan.label}, wave {wave}: {text}", rank, wave)

    def _set(self, row: Any) -> RankSet:
        return self.truth.record.contributor_sets[int(row["contributors"])]

    # -- what came out -----------------------------------------------------------------------------------------------------

    def _contents(self) -> list[Violation]:
        """The recorded numbers against those of the contributors that are named."""
        record = self.truth.record
        starts = np.concatenate([[0], np.cumsum(record.samples["count"], dtype=np.int64)])[:-1]
        found = []
        for row, start in zip(self.rows, starts[record.samples["stream"] == self.stream], strict=True):
            ranks, first, count = list(self._set(row) & self.spec.members), int(row["first"]), int(row["count"])
            if not ranks or first + count > self.plan.waves:
                found.append(self._wrong("unexpected", first, f"{count} waves of ranks {self._set(row)} came out"))
                continue
            wanted = self.contributions.number(self.contributions.reduced(ranks, first, count))
            wrong = np.flatnonzero(record.observed[start : start + count] != wanted)
            if len(wrong):
                wave = first + int(wrong[0])
                found.append(self._wrong("mixed", wave, f"is not what ranks {self._set(row)} give ({len(wrong)} waves)"))
        return found[:_MOST_TOLD]

    def _ends(self) -> list[Violation]:
        """Each wave of a stream that waits ends in one result or one error, in order."""
        found = []
        if not self.plan.waits:
            return self._in_order()
        back = np.flatnonzero(np.diff(self.rows["first"].astype(np.int64)) < 0)
        found += [self._wrong("unexpected", int(self.rows["first"][i + 1]), "came after a later one") for i in back]
        spans = [(int(r["first"]), int(r["count"])) for r in self.rows]
        cut = self.plan.waves
        for e in self.errors:
            if e["error"] in ("QuorumLost", "StreamClosed"):
                cut = min(cut, int(e["wave"]))
            else:
                spans.append((int(e["wave"]), int(e.get("waves", 1))))
        gaps, overlaps, end = _tiled(spans)
        found += [self._wrong("lost", a, f"ended in nothing, nor did those up to {b - 1}") for a, b in gaps]
        found += [self._wrong("duplicated", a, f"ended twice, as did those up to {b - 1}") for a, b in overlaps]
        if self.complete and end < cut and not self.end["closed"]:
            found.append(self._wrong("lost", end, f"ended in nothing, nor did those up to {cut - 1}"))
        if end > cut:
            found.append(self._wrong("unexpected", cut, "ended again, after the stream had"))
        return found

    def _overdue(self) -> list[Violation]:
        """A long deadline is not reached where nothing was done to the tree for half of it."""
        if self.spec.deadline_s < LONG_S or not math.isfinite(self.truth.healed_s):
            return []
        quiet = [(e, t_s) for e, t_s in self.overdue if not self.truth.disturbed(t_s - LONG_S / 2, t_s)]
        return [self._wrong("missing", int(e["wave"]), f"{e['message']}, at {t_s:.3f} s") for e, t_s in quiet[:_MOST_TOLD]]

    def _in_order(self) -> list[Violation]:
        """Packets of a rank stay in order as long as its path stays."""
        if self.truth.links_lost:
            return []
        found = []
        for i in np.unique(self.rows["contributors"]):
            mine = self.rows["first"][self.rows["contributors"] == i].astype(np.int64)
            back = np.flatnonzero(np.diff(mine) < 0)
            found += [self._wrong("unexpected", int(mine[k + 1]), "came after a later one of the same rank") for k in back[:1]]
        return found

    # -- who is named ------------------------------------------------------------------------------------------------------

    def _names(self) -> list[Violation]:
        """Who is missing from a result, and whether the stream's policy lets it go without."""
        found = []
        members, spec, truth = self.spec.members, self.spec, self.truth
        for row in self.rows:
            ranks, wave, t_s = self._set(row), int(row["first"]), float(row["t_s"])
            missing = members - ranks
            if not ranks.issubset(members) or bool(row["complete"]) != (not missing):
                found.append(self._wrong("misnamed", wave, f"has {ranks} of {members}, complete: {bool(row['complete'])}"))
            if spec.accept is Accept.QUORUM and len(ranks) < spec.quorum:
                found.append(self._wrong("missing", wave, f"has {len(ranks)} contributors, the quorum is {spec.quorum}"))
            if not missing or spec.recovery is not Recovery.REPLAY or spec.accept is Accept.DEADLINE:
                continue
            excused = truth.dead_at(t_s)
            if spec.accept is Accept.QUORUM and not missing.issubset(excused):
                excused |= truth.suspect_at(t_s)
            if owing := missing - excused:
                found.append(self._wrong("lost", wave, f"lacks ranks {owing}, who were neither dead nor excused"))
        return found[:_MOST_TOLD]

    # -- what is lost ------------------------------------------------------------------------------------------------------

    def _losses(self) -> list[Violation]:
        """Contributions of living ranks that came in no result. Under replay there are none. Otherwise whole waves are lost
        only within the windows of lost links, and nobody is missing before the first loss, or for long after the last."""
        spec, plan = self.spec, self.plan
        if spec.accept is Accept.DEADLINE or spec.sync is Sync.TIME_OUT or spec.deadline_s < LONG_S:
            return []
        if spec.recovery is Recovery.REPLAY:
            return [] if spec.accept is Accept.QUORUM else self._few(0)
        allowed = len(self.truth.moves_s) * (2 * self._units.link_window // self._units.per_wave + 2)
        if not plan.waits:  # a node may hold the packets of all its children
            return self._few(allowed * (max(len(n.children) for n in self.truth.record.tree.nodes) + 2))
        found = []
        lost = sum(int(e.get("waves", 0)) for e in self.errors)
        if lost > allowed and spec.accept is not Accept.QUORUM:
            found.append(self._wrong("lost", 0, f"{lost} waves in all were lost with nodes, at most {allowed} may be"))
        for row in self.rows[self.rows["t_s"] > self.truth.healed_s + CLOCK_SLACK_S]:
            if missing := self.fit - self._set(row):
                text = (
                    f"lacks ranks {missing} at {row['t_s']:.3f} s, though alive; all was healed at {self.truth.healed_s:.3f} s"
                )
                found.append(self._wrong("lost", int(row["first"]), text))
        return found[:_MOST_TOLD]

    @cached_property
    def _units(self) -> Units:
        return Units.of(self.spec, common.filter_of(self.truth.record, self.spec.filter))

    def _few(self, allowed: int) -> list[Violation]:
        """Live ranks of which more than `allowed` waves came in no result."""
        found = []
        for part in coverage(self.rows, self.truth.record.contributor_sets, self.fit):
            came = part.named - length(part.overlaps)
            if came < self.plan.waves - allowed:
                gap = part.gaps[0][0] if part.gaps else part.end
                text = f"of {self.plan.waves} waves only {came} came with ranks {part.ranks}; {allowed} may be lost"
                found.append(self._wrong("lost", gap, text, part.ranks[0]))
        return found

    def _messages(self) -> list[Violation]:
        """Who received how many of the messages meant for it; that these were the right ones, it has seen to itself."""
        found = []
        sent = int(self.end["sent"])
        for rank in self.spec.members:
            meant = sum(n < sent for n in self.plan.meant_for(rank))
            heard = self.made.get(rank)
            if heard is None:
                if self.whole and rank in self.fit:
                    found.append(self._wrong("missing", 0, f"rank {rank} does not know the stream", rank))
            elif heard[1] > meant or (self.whole and rank in self.fit and heard[1] < meant):
                found.append(self._wrong("lost", 0, f"rank {rank} received {heard[1]} of {meant} messages", rank))
        return found

    def _state(self) -> list[Violation]:
        """The composed state, between what the living contributed and what was offered at most."""
        if self.spec.recovery not in (Recovery.COMPOSE, Recovery.DECOMPOSE):
            return []
        noted = [n for n in common.notes(self.truth.record, "final-state") if n["stream"] == self.stream]
        if not noted:
            return [self._wrong("missing", 0, "the final state was not noted")]
        if self.spec.recovery is Recovery.DECOMPOSE:
            return self._parts(noted[-1])
        waves = self.plan.waves
        most = {r: min(waves, self.made[r][0]) if r in self.made else waves for r in self.spec.members}
        least = dict.fromkeys(self.fit, waves)
        for rank in self.truth.killed & self.spec.members:  # the process before it may have offered more
            most[rank] = waves
        fault = self.contributions.state_fault(noted[-1]["value"], least, most)
        return [self._wrong("lost", 0, f"the final state {fault}")] if fault else []

    def _parts(self, told: Mapping[str, Any]) -> list[Violation]:
        """The decomposed state is the fold of what it says it holds: all that the living contributed, and all that came out."""
        extent, units = extent_read(told), self._units
        found = []
        every = self.plan.waves * units.per_wave
        if extent.units > every or (self.fit and extent.units < every):  # the dead owe nothing
            found.append(self._wrong("lost", 0, f"the final state is about {extent.units // units.per_wave} waves"))
        for x in (*extent.pending, *extent.absent):
            if owing := x.ranks & self.fit:
                found.append(
                    self._wrong("lost", x.first, f"the final state lacks ranks {owing} up to {x.stop - 1}, though alive")
                )
            there = self.rows[
                (self.rows["first"].astype(np.int64) < x.stop) & (self.rows["first"] + self.rows["count"] > x.first)
            ]
            if came := union(self._set(row) & x.ranks for row in there):
                found.append(self._wrong("lost", x.first, f"the final state lacks ranks {came} of waves that were delivered"))
        held = [holds(extent, self.spec.members, c, units.per_wave) for c in range(units.per_wave)]
        fault = self.contributions.fold_fault(told["value"], held, units.chunk)
        return found[:_MOST_TOLD] + ([self._wrong("mixed", 0, f"the final state {fault}")] if fault else [])


def _tiled(spans: list[Span]) -> tuple[tuple[Span, ...], tuple[Span, ...], int]:
    """Gaps, overlaps and the end of (first, count); see `runs`."""
    table = np.array(spans, np.int64).reshape(-1, 2)
    return runs(table[:, 0], table[:, 1])
