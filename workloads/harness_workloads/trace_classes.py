"""The workload `trace-classes`: back-ends read log or trace files, the tree groups their lines into equivalence classes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harness.api.errors import UsageError
from harness.api.records import Check, TrialRecord, Violation
from harness.api.workload import BackEndApp, FrontEndApp, TrialContext
from harness.core.apps import BackEndHandle, FrontEndHandle
from harness.core.filters import Items
from harness.core.ranks import RankSet
from harness.core.spec import Recovery, Result, StreamSpec, Sync
from harness_workloads import common
from harness_workloads.common import FOR_EVER, BackEndBase, FrontEndBase, everybody, stream_spec
from harness_workloads.decode import ranks_text
from harness_workloads.lines import Classifier, Owners, Share, Tally, digest, expand, share_lines, shares

FILTER = "classes"
#: The key under which a back-end says that its share is read; no class has a NUL in its name.
_END = "\x00end"
_TOP = 20
_MOST_ENTRIES = 50_000

#: Lines by class and rank: {class: {rank: lines}}.
Classes = dict[str, dict[int, int]]


@dataclass(frozen=True)
class TraceClasses:
    """Equivalence classes of the lines of real files, with the number of lines and the ranks that have them.

    files: paths and globs; a relative path is taken from where the run was started. share: every back-end reads its part of
    the lines of every file, or every so-manieth of the files. pattern: a regular expression whose groups make the class, "" =
    the whole line. replace, by: what to make alike before lines are compared; by default all numbers. batch_lines: lines a
    wave. most_classes: how many classes one back-end may know; the lines of later ones are counted together.
    """

    files: tuple[str, ...]
    share: Literal["lines", "files"] = "lines"
    pattern: str = ""
    replace: str = r"0x[0-9a-fA-F]+|\d+"
    by: str = "N"
    batch_lines: int = 200
    most_classes: int = 2000

    def __post_init__(self) -> None:
        # Node processes run in a directory of their own, so that a relative path must be settled where the suite is read.
        object.__setattr__(self, "files", tuple(str(Path.cwd() / f) for f in self.files))

    def filters(self, chosen: str) -> tuple[str, ...]:
        """The filter `classes`."""
        return (FILTER,)

    def mistakes(self, chosen: str) -> list[str]:
        """See Workload.mistakes."""
        found = []
        if chosen not in ("", FILTER):
            found.append(f"filter: trace-classes uses '{FILTER}', not '{chosen}'; leave it out")
        if not self.files:
            found.append("files: name at least one file")
        for pattern in self.files:
            if not expand([pattern]):
                found.append(f"files: there is no file {pattern}; a relative path starts where the run is started")
        for key in ("pattern", "replace"):
            try:
                re.compile(getattr(self, key))
            except re.error as error:
                found.append(f"{key}: '{getattr(self, key)}' is no regular expression: {error}")
        if not 1 <= self.batch_lines <= 10_000:
            found.append(f"batch_lines: {self.batch_lines} must be between 1 and 10000")
        if not 1 <= self.most_classes <= 100_000:
            found.append(f"most_classes: {self.most_classes} must be between 1 and 100000")
        return found

    def classifier(self) -> Classifier:
        """What names the class of a line."""
        return Classifier(self.pattern, self.replace, self.by)

    def front_end(self, context: TrialContext) -> FrontEndApp:
        """See Workload.front_end. Raises UsageError where results would come one by one."""
        if context.sync is Sync.DO_NOT_WAIT:
            raise UsageError("sync: trace-classes needs wait-for-all or time-out, not do-not-wait")
        return _FrontEnd(context)

    def back_end(self, context: TrialContext, rank: int) -> BackEndApp:
        """See Workload.back_end."""
        return _BackEnd(self, rank, len(everybody(context)))

    def check(self, record: TrialRecord, context: TrialContext, expect: str) -> Check:
        """The classes that came out against one pass over the same files, here and now. Nothing is said where a file is no
        longer what the back-ends read."""
        if not common.started(record):
            return common.nothing_said("the workload never started, so no line was read")
        return _judge(self, record, context, expect)


class _FrontEnd(FrontEndBase):
    def __init__(self, context: TrialContext) -> None:
        self.context = context
        self.members = everybody(context)
        self.stream = -1
        self.classes: Classes = {}
        self.ended: set[int] = set()
        self.finished = False

    def start(self, fe: FrontEndHandle) -> None:
        """Open the stream: a narrow window, since each wave is large."""
        self.stream = fe.open_stream(stream_spec(self.context, "trace-classes", self.members, FILTER, window_waves=2))
        fe.note("stream", stream=self.stream, index=0)
        fe.expect(self.stream, FOR_EVER)

    def on_result(self, fe: FrontEndHandle, result: Result) -> None:
        """Merge; the run is over when every live back-end has read its share."""
        if self.finished:
            return
        sizes = np.array([sum(len(pairs) for _, pairs in wave) for wave in result.values], dtype=np.int64)
        fe.record(result.stream, result.first, sizes, result.contributors, result.complete, result.granted_s)
        for wave in result.values:
            self._merge(wave)
        self._maybe_finish(fe)

    def _merge(self, wave: Any) -> None:
        for key, pairs in wave:
            if key == _END:
                self.ended.update(rank for rank, _ in pairs)
                continue
            known = self.classes.setdefault(key, {})
            for rank, count in pairs:
                known[rank] = max(count, known.get(rank, 0))

    def on_membership(self, fe: FrontEndHandle, dead: RankSet) -> None:
        """Those who are left may have finished already."""
        super().on_membership(fe, dead)
        self._maybe_finish(fe)

    def _maybe_finish(self, fe: FrontEndHandle) -> None:
        alive = self.members & fe.alive
        if self.finished or not alive or any(rank not in self.ended for rank in alive):
            return
        self.finished = True
        state = fe.state(self.stream) if self.context.recovery is Recovery.COMPOSE else None
        for wave in state if state is not None else ():
            self._merge(wave)
        _tell(fe, self.classes)
        fe.finish()


def _tell(fe: FrontEndHandle, classes: Classes) -> None:
    """Put the classes down: the greatest for people, all of them for the check, in pieces."""
    totals = Counter({name: sum(ranks.values()) for name, ranks in classes.items()})
    top = [[name, lines, str(RankSet.of(classes[name]))] for name, lines in totals.most_common(_TOP)]
    fe.note("classes", classes=len(classes), lines=totals.total(), top=top)
    entries = [[name, rank, lines] for name, ranks in sorted(classes.items()) for rank, lines in sorted(ranks.items())]
    for start in range(0, min(len(entries), _MOST_ENTRIES), 1000):
        fe.note("class-entries", entries=entries[start : min(start + 1000, _MOST_ENTRIES)])


class _BackEnd(BackEndBase):
    def __init__(self, workload: TraceClasses, rank: int, ranks: int) -> None:
        self.workload = workload
        self.rank, self.ranks = rank, ranks
        self.classify = workload.classifier()
        self.tally = Tally(workload.most_classes)
        self.lines: Iterator[bytes] = iter(())
        self.hash = digest()
        self.read = 0
        self.ended = False

    def on_open(self, be: BackEndHandle, stream: int, spec: StreamSpec) -> None:
        """Find the share."""
        paths = expand(self.workload.files)
        parts = shares(paths, self.rank, self.ranks, self.workload.share == "files")
        self.lines = self._all_lines(parts)

    @staticmethod
    def _all_lines(parts: list[Share]) -> Iterator[bytes]:
        for part in parts:
            yield from share_lines(part)

    def produce(self, be: BackEndHandle, stream: int, first: int, at_most: int) -> Items | None:
        """The next lines: the classes that they belong to, with all lines of each that were read so far."""
        changed: dict[str, int] = {}
        if not self.ended:
            for line in self.lines:
                self.hash.update(line)
                name = self.tally.add(self.classify(line))
                changed[name] = self.tally.counts[name]
                self.read += 1
                if self.read % self.workload.batch_lines == 0:
                    return [changed]
            self.ended = True
            be.note("share", rank=self.rank, lines=self.read, sha256=self.hash.hexdigest())
        changed[_END] = 1
        return [changed]


def _judge(workload: TraceClasses, record: TrialRecord, context: TrialContext, expect: str) -> Check:
    found = common.last_words(record)
    ranks = len(everybody(context))
    try:
        wanted, digests = one_pass(workload, ranks)
    except OSError as error:
        return common.nothing_said(f"a file cannot be read any more, so the classes cannot be checked: {error}")
    for note in common.notes(record, "share"):
        if digests[int(note["rank"])] != note["sha256"]:
            return common.nothing_said(f"the files have changed since rank {note['rank']} read them; run the suite again")
    noted = common.notes(record, "classes")
    if not noted:
        return common.verdict("", {}, [*found, Violation("missing", "the front-end never had all classes")])
    entries = [e for n in common.notes(record, "class-entries") for e in n["entries"]]
    struck = RankSet.of(common.struck(record))
    counts: Counter[str] = Counter(dict.fromkeys(("waves", "delivered", "partial", "lost", "duplicated", "mixed"), 0))
    counts["waves"] = int(record.samples["count"].sum())
    whole = [len(s) == ranks for s in record.contributor_sets]
    counts["partial"] = sum(int(row["count"]) for row in record.samples if not whole[int(row["contributors"])])
    seen: Classes = {}
    for name, rank, lines in entries:
        seen.setdefault(name, {})[int(rank)] = int(lines)
    cut = sum(len(by_rank) for by_rank in wanted.values()) > _MOST_ENTRIES
    missed = _compare(wanted, seen, struck if not cut else everybody(context), counts)
    found += [v for v in missed if v.what != "lost" or expect != "bounded-loss"]
    total, classes = int(noted[-1]["lines"]), int(noted[-1]["classes"])
    if cut and not struck and total != sum(sum(r.values()) for r in wanted.values()):
        found.append(Violation("lost", f"{total} lines were counted, not {sum(sum(r.values()) for r in wanted.values())}"))
    good = f"{total:,} lines in {classes:,} classes, as one pass over the files finds them"
    if struck:
        good += f", as far as {ranks_text(struck)} had read"
    return common.verdict(good, counts, found)


def one_pass(workload: TraceClasses, ranks: int) -> tuple[Classes, dict[int, str]]:
    """Classes of all lines, and the digest of what each rank reads, from one pass over the files. Raises OSError where one is
    gone."""
    paths = expand(workload.files)
    if not paths:
        raise FileNotFoundError(f"no file matches {', '.join(workload.files)}")
    classify, owners = workload.classifier(), Owners(paths, ranks, workload.share == "files")
    tallies = {rank: Tally(workload.most_classes) for rank in range(ranks)}
    hashes = {rank: digest() for rank in range(ranks)}
    for index in range(len(paths)):
        for owner, line in owners.in_file(index):
            hashes[owner].update(line)
            tallies[owner].add(classify(line))
    classes: Classes = {}
    for rank, tally in tallies.items():
        for name, lines in tally.counts.items():
            classes.setdefault(name, {})[rank] = lines
    return classes, {rank: h.hexdigest() for rank, h in hashes.items()}


def _compare(wanted: Mapping[str, Mapping[int, int]], seen: Classes, excused: RankSet, counts: Counter[str]) -> list[Violation]:
    """What is missing or too much; `excused` ranks may have counted fewer lines, since they were hit on the way."""
    found = []
    for name in sorted(set(wanted) | set(seen)):
        right, got = wanted.get(name, {}), seen.get(name, {})
        for rank in sorted(set(right) | set(got)):
            n, m = right.get(rank, 0), got.get(rank, 0)
            if n == m or (m < n and rank in excused):
                counts["delivered"] += m
            elif not n:
                counts["mixed"] += m
                found.append(Violation("mixed", f"rank {rank} has no line of class '{name}', but {m} were counted", rank))
            elif m < n:
                counts["delivered"] += m
                counts["lost"] += n - m
                found.append(Violation("lost", f"class '{name}': {m} of the {n} lines of rank {rank} were counted", rank))
            else:
                counts["delivered"] += n
                counts["duplicated"] += m - n
                found.append(Violation("duplicated", f"class '{name}': {m} lines of rank {rank} were counted, not {n}", rank))
    return found
