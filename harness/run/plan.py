"""The plan of a run: every trial with its tree, seed and faults, fixed before anything starts.

Two runs of the same suite with the same seed have the same plan, whatever the machine.
"""

from __future__ import annotations

import fnmatch
import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.api.adopter import Adopter, AdopterByName
from harness.api.errors import UsageError
from harness.api.fault import Injection
from harness.api.testbed import DeploymentSpec, Testbed
from harness.api.transport import Transport
from harness.api.workload import TrialContext, Workload
from harness.core.filters import DownFilter, Filter
from harness.core.settings import NodeSettings
from harness.core.spec import Accept, Recovery, Sync
from harness.core.tree import Tree
from harness.registry import Chosen, Mistakes, Registry, plain
from harness.registry.mistakes import asked
from harness.run.adopters import try_adopters
from harness.run.cases import Case, case_name, expand
from harness.run.comings import try_comings
from harness.run.drafts import Draft
from harness.run.needs import try_needs
from harness.run.suite import read_suite
from harness.run.tables import Expect, FaultEntry, FaultPart, SuiteTable
from harness.run.targets import Target
from harness.run.trying import try_plugins

#: The policy of adoption where the suite names none: the core's own.
USUAL_ADOPTERS = {"kind": "siblings-first"}
#: The version of the plan's plain form.
FORMAT = 1
MAX_TRIALS = 100_000


@dataclass(frozen=True)
class TrialPlan:
    """One fresh deployment of a case. `id` is fit for a file name."""

    id: str
    case: Case
    index: int
    seed: int
    tree: Tree
    context: TrialContext
    settings: NodeSettings
    injections: tuple[Injection, ...]
    adopters: Chosen[Adopter] | None = None

    @property
    def transport(self) -> Transport:
        """The transport's instance."""
        return self.case.transport.value

    @property
    def workload(self) -> Workload:
        """The workload's instance."""
        return self.case.workload.value

    @property
    def filters(self) -> dict[str, Filter]:
        """The filters of its streams by name."""
        return {name: chosen.value for name, chosen in self.case.filters.items()}

    @property
    def down_filters(self) -> dict[str, DownFilter]:
        """The downstream filters of its streams by name."""
        return {name: chosen.value for name, chosen in self.case.down_filters.items()}

    @property
    def expect(self) -> Expect:
        """What the suite expects of it; `recovery` is set."""
        return self.case.expect

    def deployment(self, secret: bytes) -> DeploymentSpec:
        """What a testbed needs to run it."""
        return DeploymentSpec(
            trial=self.id,
            secret=secret,
            tree=self.tree,
            transport=self.transport,
            workload=self.workload,
            context=self.context,
            filters=self.filters,
            down_filters=self.down_filters,
            settings=self.settings,
            injections=self.injections,
            start_timeout_s=self.settings.start_timeout_s,
            adopters=None if self.adopters is None else AdopterByName.of(self.adopters.value),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which the trial can be judged again: see `tree_of` and `context_of`."""
        case = self.case
        return {
            "trial": self.id,
            "case": case.id,
            "name": case.name,
            "axes": dict(case.axes),
            "index": self.index,
            "seed": self.seed,
            "tree": _tree_json(self.tree),
            "topology": case.topology.table,
            "transport": case.transport.table,
            "workload": case.workload.table,
            "filter": case.filter,
            "filters": {name: chosen.table for name, chosen in case.filters.items()},
            "down_filter": case.down_filter,
            "down_filters": {name: chosen.table for name, chosen in case.down_filters.items()},
            "recovery": case.recovery.value,
            "sync": case.sync.value,
            "sync_timeout_s": case.sync_timeout_s,
            "accept": case.accept.value,
            "quorum": case.quorum,
            "accept_after_s": case.accept_after_s,
            "deadline_s": case.deadline_s,
            "settings": plain(self.settings),
            "adopters": USUAL_ADOPTERS if self.adopters is None else self.adopters.table,
            "faults": [_fault_json(entry.fault, entry.target.text, entry.trigger) for entry in case.faults],
            "injections": [plain(i) for i in self.injections],
            "needs": sorted(case.needs),
            "expect": _without_none(plain(case.expect)),
        }


@dataclass(frozen=True)
class Plan:
    """A whole run. `hosts_known` is False where only the open testbed knows how many hosts there are (see `on_hosts`)."""

    suite: SuiteTable
    source: Path
    text: str
    testbed: Chosen[Testbed]
    settings: NodeSettings
    hosts: int
    hosts_known: bool
    cases: tuple[Case, ...]
    trials: tuple[TrialPlan, ...]
    adopters: Chosen[Adopter] | None = None

    def on_hosts(self, hosts: int) -> Plan:
        """The same plan placed on so many hosts. Raises UsageError where a fault's target does not exist there."""
        if self.hosts_known and hosts == self.hosts:
            return self
        mistakes = Mistakes()
        for case in self.cases:
            mistakes.call(case.path, case.name.removesuffix(case_name("", case.axes)))
        trials = _trials(self.cases, self.suite, self.settings, hosts, mistakes, self.adopters)
        mistakes.raise_if_any()
        return replace(self, hosts=hosts, hosts_known=True, trials=trials)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the suite's text is in there, so that a run's directory needs nothing else."""
        return {
            "format": FORMAT,
            "suite": plain(self.suite),
            "source": self.source.name,
            "text": self.text,
            "testbed": self.testbed.table,
            "settings": plain(self.settings),
            "hosts": self.hosts if self.hosts_known else None,
            "cases": [{"case": c.id, "name": c.name, "axes": dict(c.axes), "needs": sorted(c.needs)} for c in self.cases],
            "trials": [t.to_json() for t in self.trials],
        }


def load_plan(
    path: Path,
    registry: Registry,
    hosts: int | None = None,
    *,
    seed: int | None = None,
    trials: int | None = None,
    only: str | None = None,
    text: str | None = None,
) -> Plan:
    """Read, check and expand the suite at `path`; deploy nothing. `text`: the suite itself, where `path` is only its name.

    hosts: how many there are, None for what the suite says. seed, trials: instead of the suite's. only: keep the cases whose
    id or name matches this glob. Raises UsageError with every mistake that was found, one line each.
    """
    mistakes = Mistakes()
    file = read_suite(path, registry, mistakes, text)
    simulated = file.like is not None and getattr(file.like.value, "virtual", False)
    found, drafts = expand(file.cases, registry, mistakes, simulated)
    head = _overridden(file.head or SuiteTable("unknown"), seed, trials)
    settings = file.settings or NodeSettings()
    cases = tuple(found) if only is None else _matching(found, only)
    if len(cases) * head.trials > MAX_TRIALS:
        what = f"{len(cases)} cases of {head.trials} trials each are more than {MAX_TRIALS} trials"
        mistakes.add("suite.trials", what, "lower it, or shorten some lists of the matrix")
        head = replace(head, trials=1)
    if file.like is not None:
        try_needs(file.like, [*cases, *drafts], registry, mistakes)
    given = hosts if hosts is not None else 0 if file.testbed is None else file.testbed.value.hosts
    count, known = _host_count(given, [*cases, *drafts])
    for draft in drafts:
        _try_draft(draft, head, settings, count, mistakes, file.adopters)
    planned = _trials(cases, head, settings, count, mistakes, file.adopters)
    mistakes.raise_if_any()
    if file.testbed is None:
        raise UsageError(f"{path}: is no suite")
    if only is not None and not cases:
        raise UsageError(_no_match(found, only))
    return Plan(head, path, file.text, file.testbed, settings, count, known, cases, planned, file.adopters)


def _overridden(head: SuiteTable, seed: int | None, trials: int | None) -> SuiteTable:
    try:
        return replace(head, seed=head.seed if seed is None else seed, trials=head.trials if trials is None else trials)
    except ValueError as error:
        raise UsageError(f"--seed or --trials: {error}") from None


def _matching(cases: Sequence[Case], only: str) -> tuple[Case, ...]:
    return tuple(c for c in cases if any(fnmatch.fnmatchcase(text.lower(), only.lower()) for text in (c.id, c.name)))


def _no_match(cases: Sequence[Case], only: str) -> str:
    names = ", ".join(f"'{c.id}'" for c in cases[:5]) + (", ..." if len(cases) > 5 else "")
    return f"--only: no case matches '{only}'; the cases are {names}"


def _host_count(given: int, cases: Sequence[Case | Draft]) -> tuple[int, bool]:
    """How many hosts to place on, and whether that is certain: a testbed that takes what it finds says 0."""
    if given > 0:
        return given, True
    named = [entry.target.highest_host for case in cases for entry in case.faults]
    return 1 + max([0, *named]), False


def _trials(
    cases: tuple[Case, ...],
    head: SuiteTable,
    settings: NodeSettings,
    hosts: int,
    mistakes: Mistakes,
    adopters: Chosen[Adopter] | None,
) -> tuple[TrialPlan, ...]:
    found = []
    for case in cases:
        tree, refused = place(case.tree, hosts), False
        for index in range(head.trials):
            seed = derived_seed(head.seed, case.id, index)
            injections = _injections(case, tree, seed, mistakes)
            refused = refused or not try_comings(case, injections, tree, settings.rejoin, mistakes)
            context = _context(case, tree, seed)
            if index == 0:
                try_plugins(case, context, mistakes)
            if index == 0 and adopters is not None:
                asked(partial(try_adopters, adopters.value, tree, seed), "node.adopters", mistakes)
            found.append(TrialPlan(f"{case.id}-t{index}", case, index, seed, tree, context, settings, injections, adopters))
    return tuple(found)


def _try_draft(
    draft: Draft, head: SuiteTable, settings: NodeSettings, hosts: int, mistakes: Mistakes, adopters: Chosen[Adopter] | None
) -> None:
    """Note what is wrong with a trial of what is sound of a case."""
    if draft.tree is None:
        return
    tree, seed = place(draft.tree, hosts), derived_seed(head.seed, draft.id, 0)
    try_comings(draft, _injections(draft, tree, seed, mistakes), tree, settings.rejoin, mistakes)
    for part in draft.parts:
        if part.target is not None:
            _targets(part, part.target, tree, random.Random(seed), mistakes)
    if draft.whole is not None:
        try_plugins(draft.whole, _context(draft.whole, tree, seed), mistakes)
    if adopters is not None:
        asked(partial(try_adopters, adopters.value, tree, seed), "node.adopters", mistakes)


def _injections(case: Case | Draft, tree: Tree, seed: int, mistakes: Mistakes) -> tuple[Injection, ...]:
    """The acts of all faults of a trial. Each fault has a random generator of its own, so that one more changes no other."""
    found: list[Injection] = []
    for number, entry in enumerate(case.faults):
        rng = random.Random(derived_seed(seed, "fault", number))
        targets = _targets(entry, entry.target, tree, rng, mistakes)
        if targets is None:
            continue
        planned = asked(partial(entry.fault.value.plan, number, targets, entry.trigger, tree, rng), entry.path, mistakes)
        found.extend(planned or ())
    return tuple(found)


def _targets(
    entry: FaultEntry | FaultPart, target: Target, tree: Tree, rng: random.Random, mistakes: Mistakes
) -> tuple[int, ...] | None:
    try:
        return target.select(tree, rng)
    except ValueError as error:
        mistakes.add(f"{entry.path}.target", str(error))
        return None


def _context(case: Case, tree: Tree, seed: int) -> TrialContext:
    return TrialContext(
        seed=seed,
        tree=tree,
        filter=case.filter,
        recovery=case.recovery,
        sync=case.sync,
        sync_timeout_s=case.sync_timeout_s,
        accept=case.accept,
        quorum=case.quorum,
        accept_after_s=case.accept_after_s,
        deadline_s=case.deadline_s,
        down_filter=case.down_filter,
    )


def tree_of(trial: Mapping[str, Any]) -> Tree:
    """The placed tree of a trial's plain form."""
    tree = Tree.from_parents(trial["tree"]["parents"]).placed(trial["tree"]["hosts"])
    return tree.with_standby(trial["tree"]["standby"]) if "standby" in trial["tree"] else tree


def context_of(trial: Mapping[str, Any]) -> TrialContext:
    """The context of a trial's plain form."""
    return TrialContext(
        seed=trial["seed"],
        tree=tree_of(trial),
        filter=trial["filter"],
        recovery=Recovery(trial["recovery"]),
        sync=Sync(trial["sync"]),
        sync_timeout_s=trial["sync_timeout_s"],
        accept=Accept(trial["accept"]),
        quorum=trial["quorum"],
        accept_after_s=trial["accept_after_s"],
        deadline_s=trial["deadline_s"],
        down_filter=trial["down_filter"],
    )


def derived_seed(*parts: int | str) -> int:
    """A seed that follows from `parts` alone, the same on every machine: 48 bits of SHA-256."""
    return int.from_bytes(hashlib.sha256("\0".join(str(p) for p in parts).encode()).digest()[:6], "big")


def place(tree: Tree, hosts: int) -> Tree:
    """Put the nodes on hosts 0..hosts-1 in equal shares, depth first: the front-end is on host 0, and a subtree stays
    together as far as the shares allow (in a balanced tree whose first level divides by `hosts`, entirely)."""
    order, stack = [], [0]
    while stack:
        node = tree.nodes[stack.pop()]
        order.append(node.id)
        stack.extend(reversed(node.children))
    where = [0] * len(order)
    for position, node_id in enumerate(order):
        where[node_id] = position * hosts // len(order)
    return tree.placed(where)


def _tree_json(tree: Tree) -> dict[str, Any]:
    standby = {"standby": tree.standby} if tree.standby >= 0 else {}
    return {"parents": [n.parent for n in tree.nodes], "hosts": [n.host for n in tree.nodes], **standby}


def _fault_json(fault: Chosen[Any], target: str, trigger: Any) -> dict[str, Any]:
    return {**fault.table, "target": target, **_without_none(plain(trigger))}


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return value
