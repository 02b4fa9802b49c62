"""What can be said about every (rank, wave) from the record of a trial alone, whatever the workload was.

The rules follow what a stream promises. Waves come out once and in order: a gap is lost, a repeat is duplicated. A result
names everybody who is missing. A rank may be missing only after its death (ground truth, see `truth.deaths`), and never
comes back. What was inside a wave is for the workload's own check to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.api.members import MemberSpans
from harness.api.records import TrialRecord, Violation
from harness.core.ranks import EMPTY, RankSet, union
from harness_results.truth import CLOCK_SLACK_S, Members, declared

#: At most so many violations of one sort are told one by one; the counts have them all.
TOLD = 10


@dataclass(frozen=True)
class Rules:
    """What this trial promises. once: every wave comes out once and in order. no_gaps: none is left out. everybody: no live
    rank is ever missing. pieces: a wave may come out in several results, each with other ranks (nobody waits for all). final:
    once a wave lacks a rank that is dead, all later ones do; where single waves are lost, one may lack who is in the next.
    late_s: where no wave is held for anybody, what was under way may still come out so long (s) after the declared death."""

    once: bool = True
    no_gaps: bool = True
    everybody: bool = True
    pieces: bool = False
    final: bool = True
    late_s: float = 0.0


@dataclass(frozen=True)
class Audit:
    """counts: delivered (distinct waves), lost, duplicated, disordered, partial (delivered without every member), degraded
    (delivered without a live member), misnamed, risen (waves with a rank that was dead before). missing: the ranks that any
    wave lacked; dead: those that ground truth killed."""

    counts: Mapping[str, int]
    missing: RankSet
    dead: RankSet
    violations: Sequence[Violation]


def audit(record: TrialRecord, died: Mapping[int, float], rules: Rules, back: RankSet = EMPTY) -> Audit:
    """Audit all streams of a trial. `died` maps a rank to the time (s) from which on it may be missing; those in `back` may be
    there again. Linear in the number of sample rows, whatever the number of waves."""
    members = Members(record)
    # Where a wave may lack a live rank, only the front-end's own word tells why a wave lacks one.
    said = {r: t_s + rules.late_s for r, t_s in declared(record).items()}
    named = {r: t_s - CLOCK_SLACK_S for r, t_s in died.items()} if rules.everybody else said
    changed = MemberSpans(record.events).changed
    counts = dict.fromkeys(("delivered", "lost", "duplicated", "disordered", "partial", "degraded", "misnamed", "risen"), 0)
    violations: list[Violation] = []
    missing = EMPTY
    for stream in np.unique(record.samples["stream"]).tolist():
        rows = record.samples[record.samples["stream"] == stream]
        if rules.pieces:
            _pieces(rows, int(stream), record.contributor_sets, rules, counts, violations)
        else:
            _order(rows, int(stream), rules, counts, violations)
        of_stream = members.of(int(stream))
        about = (died, named, back, changed)
        missing |= _names(rows, int(stream), of_stream, record.contributor_sets, *about, rules, counts, violations)
    return Audit(counts, missing, RankSet.of(died), tuple(violations))


def _order(rows: NDArray[Any], stream: int, rules: Rules, counts: dict[str, int], violations: list[Violation]) -> None:
    """Every wave once and in order. `rows` are one stream's, in order of delivery."""
    found = _Runs(rows)
    first, end = rows["first"].astype(np.int64), rows["first"].astype(np.int64) + rows["count"]
    late = np.maximum(np.minimum(_reached(end), end) - first, 0)
    disordered = max(0, int(late.sum()) - found.repeated)
    counts["delivered"] += found.total - found.repeated
    counts["lost"] += found.left_out
    counts["duplicated"] += found.repeated
    counts["disordered"] += disordered
    if rules.no_gaps:
        violations += [Violation("lost", f"stream {stream}: {_waves(a, n)} never came out", wave=a) for a, n in found.gaps()]
    if rules.once:
        for a, n in found.repeats():
            violations.append(Violation("duplicated", f"stream {stream}: {_waves(a, n)} came out again", wave=a))
        if disordered:
            at = int(first[np.flatnonzero(late)[0]])
            violations.append(Violation("unexpected", f"stream {stream}: wave {at} came out after a later one", wave=at))


def _pieces(
    rows: NDArray[Any],
    stream: int,
    sets: Sequence[RankSet],
    rules: Rules,
    counts: dict[str, int],
    violations: list[Violation],
) -> None:
    """Every (rank, wave) at most once; ranks that are in the same contributor sets share their history."""
    whole = _Runs(rows)
    counts["delivered"] += whole.total - whole.repeated
    counts["lost"] += whole.left_out
    used = np.unique(rows["contributors"]).tolist()
    histories: dict[tuple[int, ...], list[int]] = {}
    for rank in union(sets[i] for i in used):
        histories.setdefault(tuple(i for i in used if rank in sets[i]), []).append(rank)
    for history, ranks in histories.items():
        found = _Runs(rows[np.isin(rows["contributors"], history)])
        counts["duplicated"] += found.repeated * len(ranks)
        if rules.once:
            who = RankSet.of(ranks)
            for a, n in found.repeats():
                message = f"stream {stream}: {_waves(a, n)} came out again with rank {who}"
                violations.append(Violation("duplicated", message, rank=ranks[0], wave=a))


class _Runs:
    """Runs of waves, in any order: how many waves they hold, what is left out between them (from wave 0 on) and repeated."""

    def __init__(self, rows: NDArray[Any]) -> None:
        order = np.argsort(rows["first"], kind="stable")
        self._first = rows["first"][order].astype(np.int64)
        end = self._first + rows["count"][order]
        self._reached = _reached(end)
        self._gap = np.maximum(self._first - self._reached, 0)
        self._overlap = np.maximum(np.minimum(self._reached, end) - self._first, 0)
        self.total = int((end - self._first).sum())
        self.left_out = int(self._gap.sum())
        self.repeated = int(self._overlap.sum())

    def gaps(self) -> list[tuple[int, int]]:
        """The first TOLD gaps: first wave and number of waves."""
        return [(int(self._reached[i]), int(self._gap[i])) for i in np.flatnonzero(self._gap)[:TOLD]]

    def repeats(self) -> list[tuple[int, int]]:
        """The first TOLD repeated runs."""
        return [(int(self._first[i]), int(self._overlap[i])) for i in np.flatnonzero(self._overlap)[:TOLD]]


def _reached(end: NDArray[np.int64]) -> NDArray[np.int64]:
    """One behind the highest wave of all runs before each."""
    return np.concatenate(([0], np.maximum.accumulate(end)))[:-1].astype(np.int64)


def _names(
    rows: NDArray[Any],
    stream: int,
    members: RankSet,
    sets: Sequence[RankSet],
    died: Mapping[int, float],
    named: Mapping[int, float],
    back: RankSet,
    changed: RankSet,
    rules: Rules,
    counts: dict[str, int],
    violations: list[Violation],
) -> RankSet:
    """Who is named as missing, and whether that is true. named: from when on a wave that lacks a rank does so because it is
    dead. Works on the distinct contributor sets, of which there are few. Of ranks that came or went in order (`changed`) the
    workload's check says more."""
    used = {int(i): sets[int(i)] for i in np.unique(rows["contributors"])}
    waves = rows["count"].astype(np.int64)
    lacking = {i: members - changed - s for i, s in used.items()}
    counts["partial"] += int(waves[rows["complete"] == 0].sum())
    degraded = np.zeros(len(rows), dtype=bool)
    told: dict[str, int] = {}

    def tell(what: str, at: NDArray[Any], rank: int | None, message: str) -> None:
        told[what] = told.get(what, 0) + 1
        if told[what] <= TOLD:
            wave = int(rows["first"][at[0]])
            violations.append(Violation(what, f"stream {stream}: wave {wave} {message}", rank=rank, wave=wave))

    for i, contributors in used.items():
        mine = np.flatnonzero(rows["contributors"] == i)
        lying = mine[(rows["complete"][mine] != 0) != (not lacking[i])]
        if len(lying) and (members - contributors).isdisjoint(changed):
            counts["misnamed"] += int(waves[lying].sum())
            claim = f"complete though it lacks rank {lacking[i]}" if lacking[i] else "partial though every member is in it"
            tell("misnamed", lying, None, f"is said to be {claim}")
        if strangers := contributors - members:
            tell("unexpected", mine, next(iter(strangers)), f"names rank {strangers}, which is no member of the stream")
        for rank in lacking[i]:
            early = mine[rows["t_s"][mine] < died.get(rank, np.inf) - CLOCK_SLACK_S]
            degraded[early] = True
            if len(early) and rules.everybody:
                tell("lost", early, rank, f"lacks rank {rank}, which was alive at {rows['t_s'][early[0]]:.3f} s")
    if rules.pieces:
        return members - union(used.values())
    counts["degraded"] += int(waves[degraded].sum())
    for rank, when in died.items():
        if rank in back or rank in changed or rank not in named or not rules.final:
            continue
        risen = np.flatnonzero(_risen(rows, rank, named[rank], used))
        if len(risen):
            counts["risen"] += int(waves[risen].sum())
            tell("unexpected", risen, rank, f"has rank {rank} again, which had died at {when:.3f} s")
    return union(lacking.values())


def _risen(rows: NDArray[Any], rank: int, when: float, used: Mapping[int, RankSet]) -> NDArray[np.bool_]:
    """The rows with a rank whose death an earlier wave had already named, from `when` on. A dead rank's contributions that were
    under way may still come out; once one wave lacks it because it is dead, all later ones must."""
    having = np.isin(rows["contributors"], [i for i, s in used.items() if rank in s])
    gone = rows["first"][~having & (rows["t_s"] >= when)]
    if not len(gone):
        return np.zeros(len(rows), dtype=bool)
    named: int = gone.min().item()
    return np.asarray(having & (rows["first"] > named), dtype=np.bool_)


def _waves(first: int, count: int) -> str:
    return f"wave {first}" if count == 1 else f"waves {first} to {first + count - 1}"
