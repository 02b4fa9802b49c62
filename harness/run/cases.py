"""The points of a suite's matrix: each is one case, checked as a whole before anything is deployed."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.api.topology import Topology
from harness.api.transport import Transport
from harness.api.workload import Workload
from harness.core.filters import DownFilter, Filter
from harness.core.spec import Accept, Recovery, Sync
from harness.core.tree import Tree
from harness.registry import Category, Chosen, Mistakes, Registry
from harness.registry.mistakes import asked
from harness.run.axes import Axes, Choice, merged
from harness.run.drafts import Draft, Point, points
from harness.run.standbys import with_standby
from harness.run.suite import CaseFile
from harness.run.tables import CASE_KEYS, DEFAULT_EXPECTED, Deadline, Expect, FaultEntry, FaultPart, Quorum, TimeOut

#: A matrix with more points than this is a mistake rather than a wish.
MAX_CASES = 5_000
#: One process a node: a tree larger than this is a mistake rather than a wish.
MAX_NODES = 10_000
#: The same where nodes are simulated, some 100 kB each.
MAX_SIMULATED = 200_000
#: The capability behind the key `at_event`.
AT_EVENT = "at-event"
#: What is told to a front-end of its case, beside the filter.
_TOLD = ("topology", "workload", "down_filter", "recovery", "sync", "accept", "deadline_s", "standby")
#: In a case that is tried, but never run.
_NO_TRANSPORT: Chosen[Any] = Chosen("unknown", None)


@dataclass(frozen=True)
class Case:
    """One point of the matrix.

    id: stable and fit for a file name. axes: the point's place on each axis. tree: not yet placed on hosts. filters and
    down_filters: by the name that streams use, the case's own `filter` among them. needs: what its faults need the testbed
    to be able to do.
    """

    id: str
    name: str
    path: str
    axes: Axes
    tree: Tree
    topology: Chosen[Topology]
    transport: Chosen[Transport]
    workload: Chosen[Workload]
    filter: str
    filters: Mapping[str, Chosen[Filter]]
    down_filter: str
    down_filters: Mapping[str, Chosen[DownFilter]]
    recovery: Recovery
    sync: Sync
    sync_timeout_s: float
    accept: Accept
    quorum: int
    accept_after_s: float
    deadline_s: float
    faults: tuple[FaultEntry, ...]
    expect: Expect

    @property
    def needs(self) -> frozenset[str]:
        """The capabilities that the case's faults use."""
        of_kinds = (need for entry in self.faults for need in entry.fault.value.needs)
        return frozenset(of_kinds) | ({AT_EVENT} if any(e.trigger.at_event is not None for e in self.faults) else frozenset())


def expand(
    files: list[CaseFile], registry: Registry, mistakes: Mistakes, simulated: bool = False
) -> tuple[list[Case], list[Draft]]:
    """All cases of a suite, in the order of the file, the last axis turning fastest, and what is left of those in which
    something is wrong. simulated: nodes are no processes."""
    sizes = [math.prod(len(column) for column in file.columns.values()) for file in files]
    total = sum(size for size, file in zip(sizes, files, strict=True) if file.sound)
    if total > MAX_CASES:
        mistakes.add("case", f"the matrix has {total} cases, more than {MAX_CASES}", "remove values from some of its lists")
    found: list[Case] = []
    drafts: list[Draft] = []
    ids: dict[str, CaseFile] = {}
    for size, file in zip(sizes, files, strict=True):
        builder = CaseBuilder(file, registry, mistakes, MAX_SIMULATED if simulated else MAX_NODES)
        for case in builder.cases(max(size, total) <= MAX_CASES):
            if file.name and not file.holes:  # else nobody knows on which axes it lies
                if case.id in ids and (file.sound or ids[case.id] is not file):
                    mistakes.add(f"{file.path}.name", f"two cases are called '{case.name}'", "rename one of the two")
                ids[case.id] = file
            if isinstance(case, Case):
                found.append(case)
            else:
                drafts.append(case)
    return found, drafts


class CaseBuilder:
    """Multiplies out one [[case]] and checks every point of it."""

    def __init__(self, file: CaseFile, registry: Registry, mistakes: Mistakes, most_nodes: int) -> None:
        self._file = file
        self._most_nodes = most_nodes
        self._registry = registry
        self._mistakes = mistakes
        self._trees: dict[str, Tree | None] = {}

    def cases(self, all_of_them: bool) -> Iterator[Case | Draft]:
        """The points in order; what is wrong with some of them is noted. all_of_them: they are not too many."""
        for point in points(self._file.columns, all_of_them):
            yield self._point(point, merged(list(point.values())))

    def _point(self, point: Point, axes: Axes) -> Case | Draft:
        before = self._mistakes.told
        tree = self._tree(point["topology"]) if "topology" in point else None
        load: Choice[Chosen[Workload]] | None = point.get("workload")
        filters = None if load is None else self._filters(load, point.get("filter"))
        sync: Sync | None = point["sync"].value.value.sync if "sync" in point else None
        accept = point["accept"].value.value if "accept" in point else None
        if tree is not None and "standby" in point:
            tree = with_standby(tree, point["standby"], self._mistakes) or tree
        recovery = self._recovery(point["recovery"], sync, filters) if "recovery" in point else None
        if isinstance(accept, Quorum) and tree is not None and accept.n > len(tree.back_ends):
            what = f"n = {accept.n}, but the tree has {len(tree.back_ends)} back-ends"
            self._mistakes.add(point["accept"].path, what, "no wave could ever be accepted")
        told = self._mistakes.told == before
        faults = tuple(choice.value for key, choice in point.items() if key.startswith("fault["))
        if load is not None:
            self._in_time((*faults, *self._file.parts), load.value.value)
        expect = self._expect(recovery, bool(faults or self._file.parts))
        whole = None
        if told and tree is not None and filters is not None and recovery and all(key in point for key in _TOLD):
            whole = self._case(point, axes, tree, filters, recovery, expect)
        if whole is not None and self._file.sound and self._mistakes.told == before:
            return whole
        return Draft(
            id=case_id(self._file.name, axes),
            name=case_name(self._file.name, axes),
            path=self._file.path,
            tree=tree,
            workload=None if load is None else load.value,
            recovery=recovery,
            sync=sync,
            accept=None if accept is None else accept.accept,
            faults=faults,
            parts=self._file.parts,
            whole=whole,
        )

    def _case(
        self,
        point: Point,
        axes: Axes,
        tree: Tree,
        filters: dict[str, Chosen[Filter]],
        recovery: Recovery,
        expect: Expect,
    ) -> Case:
        chosen: Choice[Chosen[Filter]] | None = point.get("filter")
        down: Chosen[DownFilter] = point["down_filter"].value
        sync, accept = point["sync"].value.value, point["accept"].value.value
        return Case(
            id=case_id(self._file.name, axes),
            name=case_name(self._file.name, axes),
            path=self._file.path,
            axes=axes,
            tree=tree,
            topology=point["topology"].value,
            transport=point["transport"].value if "transport" in point else _NO_TRANSPORT,
            workload=point["workload"].value,
            filter=chosen.value.kind if chosen else "",
            filters=filters,
            down_filter=down.kind,
            down_filters={down.kind: down},
            recovery=recovery,
            sync=sync.sync,
            sync_timeout_s=sync.after_s if isinstance(sync, TimeOut) else 0.0,
            accept=accept.accept,
            quorum=accept.n if isinstance(accept, Quorum) else 0,
            accept_after_s=accept.after_s if isinstance(accept, Deadline) else 0.0,
            deadline_s=point["deadline_s"].value,
            faults=tuple(choice.value for key, choice in point.items() if key.startswith("fault[")),
            expect=expect,
        )

    def _tree(self, choice: Choice[Chosen[Topology]]) -> Tree | None:
        key = str(choice.value.table)
        if key not in self._trees:
            tree = asked(choice.value.value.build, choice.path, self._mistakes)
            if tree is not None and len(tree.nodes) > self._most_nodes:
                each = ", each a process of its own" if self._most_nodes == MAX_NODES else ""
                what = f"the tree has {len(tree.nodes)} nodes{each}, more than {self._most_nodes}"
                self._mistakes.add(choice.path, what, "make it smaller")
                tree = None
            self._trees[key] = tree
        return self._trees[key]

    def _filters(
        self, workload: Choice[Chosen[Workload]], chosen: Choice[Chosen[Filter]] | None
    ) -> dict[str, Chosen[Filter]] | None:
        """The filters that the case's streams use, by name; None where they cannot be known. Where the case's own is no filter,
        only what the workload says of its own keys is told."""
        name, load = chosen.value.kind if chosen else "", workload.value.value
        known = "filter" not in self._file.holes
        wrong = asked(lambda: load.mistakes(name), workload.path, self._mistakes)
        for line in wrong or ():
            path, text = placed(line, self._file.path, workload.path, workload.value)
            if known or path.startswith(f"{workload.path}."):
                self._mistakes.add(path, text)
        if wrong is None or wrong or not known:
            return None
        names = asked(lambda: load.filters(name), workload.path, self._mistakes)
        if names is None:
            return None
        filters = {name: chosen.value} if chosen else {}
        for used in names:
            if used not in filters:
                made = self._registry.choose(Category.FILTER, used, workload.path, self._mistakes)
                if made is None:
                    return None
                filters[used] = made
        return filters

    def _recovery(
        self, choice: Choice[str], sync: Sync | None, filters: Mapping[str, Chosen[Filter]] | None
    ) -> Recovery | None:
        """The recovery: as the suite says, or by the filters' algebra. None where that cannot be known; sync and filters are
        None where they are not."""
        strict = sorted(name for name, f in (filters or {}).items() if not f.value.algebra.idempotent)
        if choice.value == "auto":
            if filters is None or (strict and sync is None):
                return None
            if not strict:
                return Recovery.COMPOSE
            return Recovery.REPLAY if sync is Sync.WAIT_FOR_ALL else Recovery.RESUME
        recovery = Recovery(choice.value)
        if recovery is Recovery.COMPOSE and strict:
            what = f"compose cannot recover filter '{strict[0]}', which is not idempotent (merged twice, it counts twice)"
            self._mistakes.add(choice.path, what, "use 'replay', or an idempotent filter such as min, max or union")
        if recovery is Recovery.DECOMPOSE:
            self._decomposable(choice.path, sync, filters or {})
        if recovery is Recovery.REPLAY and sync not in (Sync.WAIT_FOR_ALL, None):
            what = f"replay needs sync = 'wait-for-all', not '{sync}': only whole waves can be sent again"
            self._mistakes.add(choice.path, what, "use 'resume' (or 'compose' with an idempotent filter), or wait for all")
        return recovery

    def _decomposable(self, path: str, sync: Sync | None, filters: Mapping[str, Chosen[Filter]]) -> None:
        """Refuse `decompose` where it cannot be."""
        unfit = sorted(name for name, f in filters.items() if not f.value.algebra.decomposable)
        if unfit:
            idempotent = filters[unfit[0]].value.algebra.idempotent
            why = "which is idempotent" if idempotent else "which is not decomposable (its fold is not there)"
            hint = "use 'compose'" if idempotent else "use 'replay', or a decomposable filter such as sum, count or average"
            self._mistakes.add(path, f"decompose cannot recover filter '{unfit[0]}', {why}", hint)
        elif sync not in (Sync.WAIT_FOR_ALL, None):
            what = f"decompose needs sync = 'wait-for-all', not '{sync}': who is late would be asked for every wave"
            self._mistakes.add(path, what, "use 'resume', or wait for all")

    def _in_time(self, faults: tuple[FaultEntry | FaultPart, ...], load: Workload) -> None:
        """Refuse faults at a time at which the workload is over, where it says how long it lasts: they would find no tree."""
        lasts_s = getattr(load, "duration_s", None)
        if not isinstance(lasts_s, (int, float)) or lasts_s <= 0:
            return
        for entry in faults:
            at_s = None if entry.trigger is None else entry.trigger.at_s
            if at_s is not None and at_s >= lasts_s:
                what = f"{at_s:g} is too late: the workload is over after duration_s = {lasts_s:g}"
                self._mistakes.add(f"{entry.path}.at_s", what, "strike earlier, or let the workload last longer")

    def _expect(self, recovery: Recovery | None, faulty: bool) -> Expect:
        expect = self._file.expect
        if "expect" in self._file.holes or recovery is None:
            return Expect()
        if expect.recovery is None:
            return replace(expect, recovery=DEFAULT_EXPECTED[recovery])
        if recovery is Recovery.RESUME and faulty and expect.recovery != "bounded-loss":
            what = f"'{expect.recovery}' cannot be expected of recovery 'resume', which gives up what was in flight"
            self._mistakes.add(f"{self._file.path}.expect.recovery", what, "expect 'bounded-loss', or use 'replay'")
        return expect


def placed(line: str, case: str, path: str, workload: Chosen[Workload]) -> tuple[str, str]:
    """The path and the text of a mistake that a workload found: `key: what` belongs to its own key or to the case's."""
    key, colon, text = line.partition(": ")
    if colon and key in workload.table:
        return f"{path}.{key}", text
    if colon and key in CASE_KEYS:
        return f"{case}.{key}", text
    return path, line


def case_name(name: str, axes: Axes) -> str:
    """What people read: the suite's name of the case and its place on each axis."""
    return f"{name} [{', '.join(f'{axis}={label}' for axis, label in axes)}]" if axes else name


def case_id(name: str, axes: Axes) -> str:
    """What directories and seeds are named by: lower case, no blanks, at most 100 characters."""
    text = ",".join([_slug(name), *(f"{_slug(axis)}={_slug(label)}" for axis, label in axes)])
    if len(text) <= 100:
        return text
    return f"{text[:83]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-") or "case"
