"""The workload `round-trip`: a request is multicast to all back-ends, and their answers come back as one reduction."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import numpy as np

from harness.api.errors import UsageError
from harness.api.records import Check, TrialRecord, Violation
from harness.api.workload import BackEndApp, FrontEndApp, TrialContext
from harness.core.ranks import RankSet
from harness.core.spec import Sync
from harness_workloads import common, decode
from harness_workloads.common import everybody
from harness_workloads.coverage import CLOCK_SLACK_S
from harness_workloads.decode import Wrong
from harness_workloads.oracle import ARITHMETIC, Arithmetic
from harness_workloads.repliers import Repliers
from harness_workloads.round_trip_apps import REQUEST, RoundTripBackEnd, RoundTripFrontEnd, tokens
from harness_workloads.values import Array, Values

#: Down filters that change a request on its way, and with it what the answers to it should be.
_CHANGING = ("clamp", "quantize")
_MOST_EXPLAINED = 200
_NEAR = 64


@dataclass(frozen=True)
class RoundTrip:
    """Request and reply: a multicast down, a reduction up, each answer checked.

    requests: how many are measured; 0: until duration_s is over. warm_up: how many more go before them, checked but not
    recorded. outstanding: how many may be on the way at once (1: closed loop). payload_bytes: the size of a request.
    on_error: what a request that ends in a typed error (its deadline passed) does to the run: stop or continue.
    """

    #: For the runner: its check knows back-ends that come and go.
    members_change: ClassVar[bool] = True

    requests: int = 0
    duration_s: float = 0.0
    warm_up: int = 100
    outstanding: int = 1
    payload_bytes: int = REQUEST.size
    on_error: Literal["stop", "continue"] = "stop"

    def filters(self, chosen: str) -> tuple[str, ...]:
        """The case's filter, sum where it names none."""
        return (chosen or "sum",)

    def mistakes(self, chosen: str) -> list[str]:
        """See Workload.mistakes."""
        found = []
        if chosen and chosen not in ARITHMETIC:
            found.append(f"filter: round-trip cannot check '{chosen}'; use one of {', '.join(ARITHMETIC)}")
        if min(self.requests, self.duration_s) >= 0 and (self.requests > 0) == (self.duration_s > 0):
            found.append("requests: give a number of requests or duration_s, one of the two")
        if min(self.requests, self.duration_s, self.warm_up) < 0:
            found.append("requests, duration_s and warm_up cannot be negative")
        if not 1 <= self.outstanding <= 4096:
            found.append(f"outstanding: {self.outstanding} must be between 1 and 4096")
        if not REQUEST.size <= self.payload_bytes <= 1 << 20:
            found.append(f"payload_bytes: {self.payload_bytes} must be between {REQUEST.size} and {1 << 20}")
        return found

    def values(self, context: TrialContext, index: int = 0) -> Values:
        """What the ranks answer on stream number `index` (0: measured, 1: warm-up); the wave of a request is its token here."""
        return Values(context.seed, index, len(everybody(context)), "i64", self.filters(context.filter)[0])

    def front_end(self, context: TrialContext) -> FrontEndApp:
        """See Workload.front_end. Raises UsageError where answers would come one by one, or would answer other requests."""
        if context.sync is Sync.DO_NOT_WAIT:
            raise UsageError("sync: round-trip needs one answer a request; use wait-for-all or time-out, not do-not-wait")
        if context.down_filter in _CHANGING:
            what = f"round-trip cannot judge answers to requests that '{context.down_filter}' changes on their way"
            raise UsageError(f"down_filter: {what}; use 'null', or one that leaves messages as they are")
        return RoundTripFrontEnd(self, context, self.filters(context.filter)[0], partial(self.values, context))

    def back_end(self, context: TrialContext, rank: int) -> BackEndApp:
        """See Workload.back_end."""
        return RoundTripBackEnd(context, rank, partial(self.values, context))

    def check(self, record: TrialRecord, context: TrialContext, expect: str) -> Check:
        """Every measured request has one answer, with what every live back-end that was a member had to say to it, and names
        whoever is missing. A typed error counts as no answer where `expect` is exact."""
        if not common.started(record):
            return common.nothing_said("the workload never started, so there is no answer that could be judged")
        return _Audit(self, record, context, expect).judge()


class _Audit:
    def __init__(self, workload: RoundTrip, record: TrialRecord, context: TrialContext, expect: str) -> None:
        self.workload, self.record, self.context, self.expect = workload, record, context, expect
        self.members = everybody(context)
        self.struck_s = common.struck(record)
        self.measured = [s for s, noted in common.stream_ids(record).items() if noted["index"] == 0]
        self.repliers = Repliers(record, self.measured[0] if self.measured else -1, record.samples)
        self.counts: Counter[str] = Counter(
            dict.fromkeys(("waves", "delivered", "partial", "lost", "duplicated", "mixed", "errors"), 0)
        )

    def judge(self) -> Check:
        rows, record = self.record.samples, self.record
        found = common.last_words(record)
        for note in common.notes(record, "request-changed"):
            by = f"down filter '{self.context.down_filter}' must leave messages as they are for their answers to be judged"
            found.append(Violation("mixed", f"request {note['number']} reached rank {note['rank']} changed: {by}"))
        waves = np.repeat(rows["first"].astype(np.int64), rows["count"])
        self.counts["waves"] = len(waves)
        found += self._each_once(waves)
        for i in np.unique(rows["contributors"]):
            mine = np.repeat(rows["contributors"] == i, rows["count"])
            found += self._named(record.contributor_sets[int(i)], rows[rows["contributors"] == i])
            found += self._contents(sorted(record.contributor_sets[int(i)]), waves[mine], record.observed[mine])
        wrong, lost = self.repliers.judge(self._all_owed())
        self.counts["lost"] += lost
        found += wrong
        for note in common.notes(record, "warm-up-wrong"):
            text = f"warm-up request {note['wave']}: the answer is {note['value']}, not {note['wanted']}"
            found.append(Violation("mixed", text, None, int(note["wave"])))
        for note in common.notes(record, "request-out-of-order"):
            text = f"rank {note['rank']} got request {note['number']} where {note['wave']} was next"
            found.append(Violation("mixed", text, int(note["rank"]), int(note["wave"])))
        good = f"{self.counts['waves']:,} requests, each answered once by {self.counts['delivered']:,} contributions in all"
        if self.counts["errors"]:
            good += f"; {self.counts['errors']:,} ended in a typed error"
        return common.verdict(good, self.counts, found)

    def _each_once(self, waves: Array) -> list[Violation]:
        told = [n for n in common.notes(self.record, "request-error") if n["stream"] in self.measured]
        errors = {int(n["wave"]) + k for n in told for k in range(int(n.get("waves", 1)))}
        self.counts["errors"] = len(errors)
        seen, times = np.unique(waves, return_counts=True)
        found = [
            Violation("duplicated", f"request {w} was answered {n} times", None, int(w))
            for w, n in zip(seen[times > 1], times[times > 1], strict=True)
        ]
        self.counts["duplicated"] += int((times - 1).sum()) * len(self.members)
        sent = [int(n["sent"]) for n in common.notes(self.record, "requests")]
        last = sent[-1] if sent else int(seen[-1]) + 1 if len(seen) else 0
        silent = np.setdiff1d(np.arange(self.workload.requests or last), seen)
        excused = errors if self.expect != "exact" else set()
        for wave in silent.tolist():
            if wave not in excused:
                how = "ended in a typed error" if wave in errors else "was never answered"
                found.append(Violation("missing", f"request {wave} {how}", None, wave))
        return found

    def _named(self, contributors: RankSet, rows: Array) -> list[Violation]:
        """Whether whoever is missing had been hit before."""
        self.counts["delivered"] += len(contributors) * int(rows["count"].sum())
        missing = self.members - contributors
        whole = self.repliers.complete(missing, rows)
        self.counts["partial"] += int(rows["count"][~whole].sum())
        found = []
        if len(lying := rows[(rows["complete"] != 0) != whole]):
            text = f"request {lying['first'][0]}: completeness and contributors {contributors} disagree"
            found.append(Violation("misnamed", text, None, int(lying["first"][0])))
        for rank in missing - self.repliers.changed:
            hit_s = self.struck_s.get(rank, float("inf")) - CLOCK_SLACK_S
            early = rows[rows["t_s"] < hit_s]
            self.counts["lost"] += len(early)
            if len(early) and self._all_owed():
                wave = int(early["first"][0])
                text = f"rank {rank} is not in {len(early)} answers from request {wave} on, though alive"
                found.append(Violation("lost", text, rank, wave))
        return found

    def _all_owed(self) -> bool:
        """Whether every live member must be in every answer."""
        return self.expect == "exact" and common.strict(self.context)

    def _contents(self, ranks: list[int], waves: Array, seen: Array) -> list[Violation]:
        values = self.workload.values(self.context)
        oracle = Arithmetic(values)
        keys = tokens(values, waves)
        wanted = oracle.expected(ranks, keys) if ranks else np.zeros(len(waves))
        found: list[Violation] = []
        for j in np.flatnonzero(seen != wanted):
            if len(found) >= _MOST_EXPLAINED:
                self.counts["mixed"] += 1
                continue
            wrong = Wrong(int(keys[j]), tuple(ranks), seen[j].item(), wanted[j].item())
            finding = self._explain(oracle, wrong, int(waves[j]))
            self.counts[finding.what if finding.what in ("lost", "duplicated") else "mixed"] += max(1, len(finding.ranks))
            found.append(replace(finding.violation(int(waves[j])), message=f"request {waves[j]}: {finding.story}"))
        return found

    def _explain(self, oracle: Arithmetic, wrong: Wrong, wave: int) -> decode.Finding:
        """As for a stream; the waves near by are those of the requests before and after."""
        finding = decode.explain(oracle, self.context.tree, wrong)
        if finding.what != "unexpected" or oracle.filter != "sum":
            return finding
        near = np.arange(max(0, wave - _NEAR), wave + _NEAR)
        keys = tokens(oracle.values, near)
        for rank in wrong.ranks:
            own = oracle.values.column(rank, np.array([wrong.wave]))
            changed = np.int64(wrong.wanted) + (oracle.values.column(rank, keys) - own)
            hits = near[(changed == wrong.value) & (near != wave)]
            if len(hits):
                return decode.Finding("mixed", (rank,), f"holds what rank {rank} answered to request {hits[0]}")
        return finding
