"""The points of a suite's matrix: each is one case, checked as a whole before anything is deployed."""

from __future__ import annotations

import hashlib
import itertools
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
from harness.run.standbys import with_standby
from harness.run.suite import CaseFile
from harness.run.tables import CASE_KEYS, DEFAULT_EXPECTED, Deadline, Expect, FaultEntry, Quorum, TimeOut

#: A matrix with more points than this is a mistake rather than a wish.
MAX_CASES = 5_000
#: One process a node: a tree larger than this is a mistake rather than a wish.
MAX_NODES = 10_000
#: The same where nodes are simulated, some 100 kB each.
MAX_SIMULATED = 200_000
#: The capability behind the key `at_event`.
AT_EVENT = "at-event"


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


def expand(files: list[CaseFile], registry: Registry, mistakes: Mistakes, simulated: bool = False) -> list[Case]:
    """All cases of a suite, in the order of the file, the last axis turning fastest. simulated: nodes are no processes."""
    points = sum(math.prod(len(column) for column in file.columns.values()) for file in files if file.sound)
    if points > MAX_CASES:
        mistakes.add("case", f"the matrix has {points} cases, more than {MAX_CASES}", "remove values from some of its lists")
        return []
    found: dict[str, Case] = {}
    for file in files:
        builder = CaseBuilder(file, registry, mistakes, MAX_SIMULATED if simulated else MAX_NODES)
        if not file.sound:
            builder.try_trees()
            continue
        for case in builder.cases():
            if case.id in found:
                mistakes.add(f"{file.path}.name", f"two cases are called '{case.name}'", "rename one of the two")
            found[case.id] = case
    return list(found.values())


class CaseBuilder:
    """Multiplies out one [[case]] and checks every point of it."""

    def __init__(self, file: CaseFile, registry: Registry, mistakes: Mistakes, most_nodes: int) -> None:
        self._file = file
        self._most_nodes = most_nodes
        self._registry = registry
        self._mistakes = mistakes
        self._trees: dict[str, Tree | None] = {}

    def cases(self) -> Iterator[Case]:
        """The sound points, in order; what is wrong with the others is noted."""
        names = list(self._file.columns)
        for point in itertools.product(*self._file.columns.values()):
            case = self._case(dict(zip(names, point, strict=True)), merged(point))
            if case is not None:
                yield case

    def try_trees(self) -> None:
        """Note what is wrong with the trees, whatever else is wrong with the case."""
        for choice in self._file.columns.get("topology", []):
            self._tree(choice)

    def _case(self, point: Mapping[str, Choice[Any]], axes: Axes) -> Case | None:
        before = len(self._mistakes)
        tree = self._tree(point["topology"])
        chosen: Choice[Chosen[Filter]] | None = point.get("filter")
        filters = self._filters(point["workload"], chosen)
        sync, accept = point["sync"].value.value, point["accept"].value.value
        if tree is None or filters is None:
            return None
        tree = with_standby(tree, point["standby"], self._mistakes)
        if tree is None:
            return None
        recovery = self._recovery(point["recovery"], sync.sync, filters)
        faults = tuple(choice.value for key, choice in point.items() if key.startswith("fault["))
        self._in_time(faults, point["workload"].value.value)
        expect = self._expect(recovery, bool(faults))
        if isinstance(accept, Quorum) and accept.n > len(tree.back_ends):
            what = f"n = {accept.n}, but the tree has {len(tree.back_ends)} back-ends"
            self._mistakes.add(point["accept"].path, what, "no wave could ever be accepted")
        if len(self._mistakes) > before:
            return None
        down: Chosen[DownFilter] = point["down_filter"].value
        return Case(
            id=case_id(self._file.name, axes),
            name=case_name(self._file.name, axes),
            path=self._file.path,
            axes=axes,
            tree=tree,
            topology=point["topology"].value,
            transport=point["transport"].value,
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
            faults=faults,
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
        """The filters that the case's streams use, by name."""
        name, load = chosen.value.kind if chosen else "", workload.value.value
        wrong = asked(lambda: load.mistakes(name), workload.path, self._mistakes)
        for line in wrong or ():
            self._mistakes.add(*placed(line, self._file.path, workload.path, workload.value))
        if wrong is None or wrong:
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

    def _recovery(self, choice: Choice[str], sync: Sync, filters: Mapping[str, Chosen[Filter]]) -> Recovery:
        """The recovery: as the suite says, or by the filters' algebra."""
        strict = sorted(name for name, f in filters.items() if not f.value.algebra.idempotent)
        if choice.value == "auto":
            if not strict:
                return Recovery.COMPOSE
            return Recovery.REPLAY if sync is Sync.WAIT_FOR_ALL else Recovery.RESUME
        recovery = Recovery(choice.value)
        if recovery is Recovery.COMPOSE and strict:
            what = f"compose cannot recover filter '{strict[0]}', which is not idempotent (merged twice, it counts twice)"
            self._mistakes.add(choice.path, what, "use 'replay', or an idempotent filter such as min, max or union")
        if recovery is Recovery.DECOMPOSE:
            self._decomposable(choice.path, sync, filters)
        if recovery is Recovery.REPLAY and sync is not Sync.WAIT_FOR_ALL:
            what = f"replay needs sync = 'wait-for-all', not '{sync.value}': only whole waves can be sent again"
            self._mistakes.add(choice.path, what, "use 'resume' (or 'compose' with an idempotent filter), or wait for all")
        return recovery

    def _decomposable(self, path: str, sync: Sync, filters: Mapping[str, Chosen[Filter]]) -> None:
        """Refuse `decompose` where it cannot be."""
        unfit = sorted(name for name, f in filters.items() if not f.value.algebra.decomposable)
        if unfit:
            idempotent = filters[unfit[0]].value.algebra.idempotent
            why = "which is idempotent" if idempotent else "which is not decomposable (its fold is not there)"
            hint = "use 'compose'" if idempotent else "use 'replay', or a decomposable filter such as sum, count or average"
            self._mistakes.add(path, f"decompose cannot recover filter '{unfit[0]}', {why}", hint)
        elif sync is not Sync.WAIT_FOR_ALL:
            what = f"decompose needs sync = 'wait-for-all', not '{sync.value}': who is late would be asked for every wave"
            self._mistakes.add(path, what, "use 'resume', or wait for all")

    def _in_time(self, faults: tuple[FaultEntry, ...], load: Workload) -> None:
        """Refuse faults at a time at which the workload is over, where it says how long it lasts: they would find no tree."""
        lasts_s = getattr(load, "duration_s", None)
        if not isinstance(lasts_s, (int, float)) or lasts_s <= 0:
            return
        for entry in faults:
            at_s = entry.trigger.at_s
            if at_s is not None and at_s >= lasts_s:
                what = f"{at_s:g} is too late: the workload is over after duration_s = {lasts_s:g}"
                self._mistakes.add(f"{entry.path}.at_s", what, "strike earlier, or let the workload last longer")

    def _expect(self, recovery: Recovery, faulty: bool) -> Expect:
        expect = self._file.expect
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
