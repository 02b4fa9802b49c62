"""The audit of `reduce-stream`: every (rank, wave) of a trial is delivered, lost, duplicated, or mixed, judged from its record.

First who is named: each wave must come out once and name every rank that was alive for it (a rank may be missing only after
its own process was hit, and then for good). Then what is inside: each recorded number must be what the named ranks' numbers
give. Then, for `compose` and `decompose`, the filter state at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api.members import MemberSpans, is_member
from harness.api.records import Check, TrialRecord, Violation
from harness.api.workload import TrialContext
from harness.core.ranks import RankSet
from harness.core.spec import Recovery, Sync
from harness_workloads import common, decode
from harness_workloads.coverage import CLOCK_SLACK_S, Coverage, Span, coverage, length, outside, owed, runs, within
from harness_workloads.decode import Wrong
from harness_workloads.oracle import ARITHMETIC, Arithmetic, ByFilter, fingerprint
from harness_workloads.parts import judge_parts
from harness_workloads.states import judge_state
from harness_workloads.values import Array

if TYPE_CHECKING:
    from harness_workloads.reduce_stream import ReduceStream

_BLOCK = 1 << 18
#: So many wrong numbers of a stream are explained one by one.
_MOST_EXPLAINED = 200


def audit(workload: ReduceStream, record: TrialRecord, context: TrialContext, expect: str) -> Check:
    """Judge the trial; see Workload.check."""
    if not common.started(record):
        return common.nothing_said("the workload never started, so nothing was delivered that could be judged")
    violations = common.last_words(record)
    counts: Counter[str] = Counter(dict.fromkeys(("waves", "delivered", "partial", "lost", "duplicated", "mixed"), 0))
    streams = common.stream_ids(record)
    if len(streams) < workload.streams:
        violations.append(Violation("missing", f"only {len(streams)} of {workload.streams} streams were opened"))
    offsets = np.concatenate([[0], np.cumsum(record.samples["count"], dtype=np.int64)])[:-1]
    for stream, noted in streams.items():
        mine = record.samples["stream"] == stream
        one = _StreamAudit(workload, record, context, expect, stream, int(noted["index"]), counts)
        violations += one.judge(record.samples[mine], offsets[mine])
    strange = sorted(set(np.unique(record.samples["stream"]).tolist()) - set(streams))
    violations += [Violation("unexpected", f"results came on stream {s}, which was never opened") for s in strange]
    good = f"{counts['waves']:,} waves, {counts['delivered']:,} contributions, each in its wave exactly once"
    if counts["lost"] or counts["partial"]:
        lost = f", {counts['lost']:,} contributions lost, no more than expected" if counts["lost"] else ""
        good = f"{good}; {counts['partial']:,} waves are partial and say so{lost}"
    return common.verdict(good, counts, violations)


class _StreamAudit:
    """One stream's share of the audit; adds to `counts`."""

    def __init__(
        self,
        workload: ReduceStream,
        record: TrialRecord,
        context: TrialContext,
        expect: str,
        stream: int,
        index: int,
        counts: Counter[str],
    ) -> None:
        self.workload, self.record, self.context, self.expect = workload, record, context, expect
        self.stream, self.counts = stream, counts
        self.members = workload.communicator(context)
        self.struck_s = common.struck(record)
        self.struck = RankSet.of(self.struck_s) & self.members
        self.spans = MemberSpans(record.events)
        self.values = workload.values(context, index)
        self.filter = self.values.filter
        self.name = f"stream {stream}: " if workload.streams > 1 else ""

    def judge(self, rows: Any, offsets: Array) -> list[Violation]:
        """All violations of the stream. rows: its samples; offsets: where each row's numbers start in `observed`."""
        gaps, _, end = runs(rows["first"], rows["count"])
        last = self.workload.waves or end
        self.counts["waves"] += end - length(gaps)
        composed = self.context.recovery is Recovery.COMPOSE
        # Where all waves were lost, and named, what else the stream promises is still to be judged.
        if not end and not self._told_lost(0) >= last > 0:
            return [Violation("missing", f"{self.name}no wave was delivered")]
        found = self._order(rows) + self._flags(rows)
        if self._told_lost(end) < last:
            found.append(Violation("missing", f"{self.name}waves {end} to {last - 1} were never delivered", None, end))
        for part in coverage(rows, self.record.contributor_sets, self.members - self.spans.changed):
            found += self._coverage(part, rows, last)
        for rank in self.members & self.spans.changed:
            for part in coverage(rows, self.record.contributor_sets, [rank]):
                found += self._coverage(part, rows, last) + self._strangers(part)
        found += self._contents(rows, offsets)
        if composed and (len(rows) or not self.spans.changed):  # else perhaps nobody was there to contribute anything
            sure = self._spans(rows, last)
            lives = {rank: self.spans.lives(self.stream, rank, last) for rank in self.members & self.spans.changed}
            made = {rank: self.spans.made(self.stream, rank) for rank in self.members & self.spans.leaving - self.struck}
            found += judge_state(self.workload, self.record, self.context, self.values, self.stream, sure, last, lives, made)
        if self.context.recovery is Recovery.DECOMPOSE:
            found += judge_parts(self.workload, self.record, self.values, self.stream, self.members, rows, last)
        return found

    def _told_lost(self, end: int) -> int:
        """The first wave from `end` on of which the front-end was not told that it went down with a node."""
        told = [n for n in common.notes(self.record, "request-error") if n["stream"] == self.stream and "waves" in n]
        for first, count in sorted((int(n["wave"]), int(n["waves"])) for n in told):
            if first <= end:
                end = max(end, first + count)
        return end

    # -- who is named ------------------------------------------------------------------------------------------------------

    def _order(self, rows: Any) -> list[Violation]:
        if self.context.sync is not Sync.WAIT_FOR_ALL:
            return []
        back = np.flatnonzero(np.diff(rows["first"].astype(np.int64)) < 0)
        return [
            Violation("unexpected", f"{self.name}wave {rows['first'][i + 1]} was delivered after wave {rows['first'][i]}")
            for i in back
        ]

    def _flags(self, rows: Any) -> list[Violation]:
        sets = self.record.contributor_sets
        found, partial = [], 0
        for i in np.unique(rows["contributors"]):
            mine = rows[rows["contributors"] == i]
            whole = np.full(len(mine), sets[int(i)] == self.members)
            if not (self.members - sets[int(i)]).isdisjoint(self.spans.changed):
                whole = self._nobody_missing(mine, self.members - sets[int(i)])
            partial += int(mine["count"][~whole].sum())
            if not sets[int(i)].issubset(self.members):
                strange = sets[int(i)] - self.members
                found.append(self._violation("misnamed", mine, f"names ranks {strange}, which are no members"))
            wrong = mine[(mine["complete"] != 0) != whole]
            if len(wrong):
                said = "complete" if wrong["complete"][0] else "partial"
                found.append(self._violation("misnamed", wrong, f"is called {said}, but its contributors are {sets[int(i)]}"))
        self.counts["partial"] += partial
        return found

    def _nobody_missing(self, rows: Any, without: RankSet) -> Array:
        """Of which rows everybody in `without` was no member."""
        if without - self.spans.changed:
            return np.zeros(len(rows), bool)
        last = int((rows["first"] + rows["count"]).max())
        spans = [self.spans.members(self.stream, rank, last) for rank in without]
        return np.array([not any(is_member(s, int(wave)) for s in spans) for wave in rows["first"]], bool)

    def _strangers(self, part: Coverage) -> list[Violation]:
        """Waves that name a rank for which it was no member."""
        spans = self.spans.members(self.stream, part.ranks[0], part.end)
        text = f"{self.name}{decode.ranks_text(part.ranks)}: in waves"
        found = outside(part, spans)
        return [Violation("misnamed", f"{text} {a} to {b - 1}, though no member", part.ranks[0], a) for a, b in found]

    def _violation(self, what: str, rows: Any, story: str) -> Violation:
        wave = int(rows["first"][0])
        return Violation(what, f"{self.name}wave {wave} {story} ({int(rows['count'].sum())} waves)", None, wave)

    def _coverage(self, part: Coverage, rows: Any, last: int) -> list[Violation]:
        """Whether the ranks of one history are named, once, in every wave that they were alive for."""
        each, who = len(part.ranks), decode.ranks_text(part.ranks)
        twice = length(part.overlaps)
        self.counts["delivered"] += each * (part.named - twice)
        self.counts["duplicated"] += each * twice
        found = [
            Violation("duplicated", f"{self.name}{who}: waves {a} to {b - 1} were delivered twice", part.ranks[0], a)
            for a, b in part.overlaps
        ]
        open_end = self.context.sync is Sync.DO_NOT_WAIT and not self.workload.waves  # ranks stop at different waves
        if part.ranks[0] in self.spans.changed:
            owing = self._owed_by_one(part, rows, part.end if open_end else last)
        else:
            owing = owed(part, rows, self.struck_s, part.end if open_end else last)
        missed: Counter[int] = Counter()
        for ranks, (a, b) in owing:
            self.counts["lost"] += len(ranks) * (b - a)
            missed.update(dict.fromkeys(ranks, b - a))
        allowed = self.expect != "exact" or not self._all_owed()
        return found + [self._lost(r, *hole) for r, hole in owing if not allowed or self._too_many(missed[r[0]], rows)]

    def _owed_by_one(self, part: Coverage, rows: Any, last: int) -> list[tuple[tuple[int, ...], Span]]:
        """`owed` for a rank that came or went while the stream ran."""

        def before(t_s: float) -> int:
            early = rows[rows["t_s"] < t_s - CLOCK_SLACK_S]
            return int((early["first"] + early["count"]).max()) if len(early) else 0

        (rank,) = part.ranks
        node = next(n.id for n in self.context.tree.back_ends if n.rank == rank)
        spans = self.spans.owed(self.stream, rank, node, last, before)
        return [(part.ranks, hole) for hole in within(part, spans, last)]

    def _all_owed(self) -> bool:
        return common.strict(self.context) or self.context.sync is Sync.DO_NOT_WAIT

    def _too_many(self, waves: int, rows: Any) -> bool:
        """`bounded-loss`: a fault may cost a rank at most what the others finish until it has a parent again, the windows of
        the links on its way, of the link to its new parent, and of that one's own."""
        if self.expect != "bounded-loss":
            return False
        faults = [float(e["t_s"]) for e in self.record.of_kind("fault")]
        bound = max(1, len(faults)) * self.workload.window * (self.context.tree.depth + 2)
        if waves <= bound:
            return False
        away = np.zeros(len(rows), dtype=bool)
        for e in self.record.of_kind("reattached"):
            since_s = max((t_s for t_s in faults if t_s <= e["t_s"]), default=np.inf)
            away |= (rows["t_s"] >= since_s - CLOCK_SLACK_S) & (rows["t_s"] <= e["t_s"] + CLOCK_SLACK_S)
        return waves > bound + int(rows["count"][away].sum())

    def _lost(self, ranks: tuple[int, ...], start: int, stop: int) -> Violation:
        waves = f"wave {start}" if stop == start + 1 else f"waves {start} to {stop - 1}"
        return Violation("lost", f"{self.name}{decode.ranks_text(ranks)}: not in {waves}, though alive", ranks[0], start)

    # -- what is inside ----------------------------------------------------------------------------------------------------

    def _contents(self, rows: Any, offsets: Array) -> list[Violation]:
        known = self.filter in ARITHMETIC
        arithmetic = Arithmetic(self.values)
        by_filter = None
        if not known:
            by_filter = ByFilter(self.values, common.filter_of(self.record, self.filter), self.workload.item_shape)
        found: list[Violation] = []
        self._bad_heads: set[int] = set()
        for i in np.unique(rows["contributors"]):
            ranks = list(self.record.contributor_sets[int(i)] & self.members)
            mine = rows["contributors"] == i
            if not ranks:
                found.append(self._violation("misnamed", rows[mine], "names no contributor"))
                continue
            for waves, places in _expand(rows[mine], offsets[mine]):
                seen = self.record.observed[places]
                wanted = (by_filter or arithmetic).expected(ranks, waves)
                for j in np.flatnonzero(seen != wanted):
                    wrong = Wrong(int(waves[j]), tuple(ranks), seen[j].item(), wanted[j].item())
                    self._bad_heads.add(wrong.wave)
                    found += self._explain(wrong, arithmetic, by_filter, len(found) < _MOST_EXPLAINED)
        return found + self._uneven(arithmetic)

    def _explain(self, wrong: Wrong, arithmetic: Arithmetic, by_filter: ByFilter | None, in_full: bool) -> list[Violation]:
        """Count what a wrong number shows, and say it."""
        if not in_full:
            self.counts["mixed"] += 1
            return []
        tree = self.context.tree
        if by_filter is not None:
            finding = decode.explain_by_filter(by_filter, tree, wrong, fingerprint)
        else:
            finding = decode.explain(arithmetic, tree, wrong)
        self._count(finding)
        seen = finding.violation(wrong.wave)
        return [Violation(seen.what, self.name + seen.message, seen.rank, seen.wave)]

    def _count(self, finding: decode.Finding) -> None:
        n = max(1, len(finding.ranks))
        if finding.what in ("lost", "duplicated", "mixed"):
            self.counts[finding.what] += n
        else:
            self.counts["mixed"] += 1
        if finding.what == "lost":
            self.counts["delivered"] -= n

    def _uneven(self, arithmetic: Arithmetic) -> list[Violation]:
        """Items whose elements did not agree, as the front-end saw them."""
        found = []
        mine = [n for n in common.notes(self.record, "uneven") if n["stream"] == self.stream]
        for note in mine:
            if int(note["wave"]) in self._bad_heads and note["wrong"] > 1:
                continue  # element 0 has told already
            wrong = Wrong(int(note["wave"]), tuple(note["contributors"]), note["value"], note["wanted"], int(note["element"]))
            finding = decode.explain(arithmetic, self.context.tree, wrong)
            self._count(finding)
            text = f"{self.name}wave {wrong.wave}, from element {wrong.element} on ({note['wrong']} elements): {finding.story}"
            found.append(Violation(finding.what, text, finding.ranks[0] if finding.ranks else None, wrong.wave))
        told = sum(int(n["count"]) for n in common.notes(self.record, "uneven-items"))
        if told > len(common.notes(self.record, "uneven")) and mine:
            found.append(Violation("mixed", f"{told} items in all whose elements do not agree"))
        return found

    def _spans(self, rows: Any, last: int) -> Mapping[int, int]:
        """How many waves each rank has surely contributed: all of them, or, where it was hit, an unknown number."""
        unsure = self.struck | self.spans.changed | self.spans.leaving
        return {rank: (0 if rank in unsure else last) for rank in self.members}


def _expand(rows: Any, offsets: Array) -> Iterator[tuple[Array, Array]]:
    """The waves of sample rows and the places of their numbers, in blocks of whole rows."""
    total = np.cumsum(rows["count"], dtype=np.int64)
    cuts = np.searchsorted(total, np.arange(_BLOCK, int(total[-1]), _BLOCK))
    for part in np.split(np.arange(len(rows)), np.unique(cuts)):
        if len(part):
            count = rows["count"][part].astype(np.int64)
            inside = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
            yield np.repeat(rows["first"][part].astype(np.int64), count) + inside, np.repeat(offsets[part], count) + inside
