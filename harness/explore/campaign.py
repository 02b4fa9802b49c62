"""An exploration: many seeds on several processes, written down block by block, so that it can go on where it was stopped."""

from __future__ import annotations

import json
import multiprocessing
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.api.errors import InfrastructureError, UsageError
from harness.core.settings import NodeSettings
from harness.explore import comings
from harness.explore.judge import Outcome, run_scenario
from harness.explore.paths import PATHS
from harness.explore.shrink import shrink
from harness.explore.space import Space, Tables, scenario, toml_text
from harness.registry import Mistakes, load
from harness.registry.construct import construct, plain
from harness.registry.mistakes import nearest
from harness.run.suite import read_node
from harness.run.tables import SuiteTable

LOG_NAME = "explore.jsonl"
SUITE_NAME = "suite.toml"
FAILURES_NAME = "failures"
BLOCK = 20
#: From so many seeds on, a rare path that was never taken is a failure of the exploration.
LONG = 2000
_TABLES = ("suite", "node", "explore")
#: What nodes use where the suite has no [node]: short times, so that little virtual time passes.
QUICK = {
    "lease_s": 1.0,
    "heartbeat_s": 0.25,
    "connect_timeout_s": 0.5,
    "leaf_grace_s": 0.3,
    "orphan_grace_s": 1.5,
    "start_timeout_s": 20.0,
}


@dataclass(frozen=True)
class Quest:
    """What an exploration explores: the suite's name and text, its [explore] and its [node]."""

    name: str
    text: str
    space: Space
    node: Mapping[str, Any]

    def scenario(self, seed: int) -> Tables:
        """The scenario of one seed."""
        return scenario(self.space, self.name, self.node, seed)


def read_quest(path: Path) -> Quest:
    """Read a suite with an [explore] table. Raises UsageError with every mistake."""
    try:
        text = path.read_text()
        document = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: is not valid TOML: {error}") from None
    return quest_of(document, text)


def quest_of(document: Mapping[str, Any], text: str) -> Quest:
    """The quest of a parsed suite. Raises UsageError with every mistake."""
    mistakes = Mistakes()
    for key in document:
        if key not in _TABLES:
            hint = nearest(key, _TABLES, "tables of a suite to explore")
            mistakes.add(key, "an exploration draws its cases itself", hint)
    made: dict[str, Any] = {}
    for key, cls in (("suite", SuiteTable), ("explore", Space)):
        table = document.get(key, {})
        if not isinstance(table, dict):
            mistakes.add(key, "must be a table", f"write [{key}]")
            continue
        made[key] = construct(cls, table, key, mistakes)
    settings, adopters = read_node(document, load(), mistakes, QUICK)
    mistakes.raise_if_any()
    node = {k: v for k, v in plain(settings).items() if v != getattr(NodeSettings(), k)}
    if adopters is not None:
        node["adopters"] = adopters.table
    return Quest(made["suite"].name, text, made["explore"], node)


@dataclass
class Tally:
    """What has been found so far. failures: seed to (name, what was wrong) pairs."""

    seeds: int = 0
    events: int = 0
    virtual_s: float = 0.0
    busy_s: float = 0.0
    paths: Counter[str] = field(default_factory=Counter)
    failures: dict[int, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, block: Mapping[str, Any]) -> None:
        """Take in one block."""
        self.seeds += block["seeds"]
        self.events += block["events"]
        self.virtual_s += block["virtual_s"]
        self.busy_s += block["busy_s"]
        self.paths.update(block["paths"])
        for failure in block["failures"]:
            self.failures[failure["seed"]] = [(str(name), str(what)) for name, what in failure["violations"]]

    def never(self, space: Space) -> list[str]:
        """The paths that were never taken, of those that these bounds should lead to."""
        return [path for path in PATHS if not self.paths[path] and _reachable(path, space)]


#: Paths of back-ends that come and go.
_COMING = ("joined-late", "left", "rejoined-after-leaving", "rejoined-after-death", "contributed-after-joining")


def _reachable(path: str, space: Space) -> bool:
    kinds = set(space.fault_kinds) if space.faults else set()
    if path in ("composed", "decomposed") and path.removesuffix("d") not in space.recoveries:
        return False
    if path.startswith("replay") and not ("replay" in space.recoveries or "round-trip" in space.workloads):
        return False
    if path in ("standby-took-over", "took-over-within-a-wave"):
        return space.standbys > 0 and bool(kinds & {"crash", "restart", "host-loss"})
    if path == "front-end-fenced":
        return space.standbys > 0 and "hang" in kinds
    if path == "went-on-alone":
        return space.standbys > 0 and bool(kinds & {"crash", "host-loss"})
    if path in _COMING:
        return space.members > 0 and bool(set(space.workloads) & set(comings.WORKLOADS))
    if path.startswith("restarted"):
        return "restart" in kinds
    if path == "partition-healed":
        return "partition" in kinds
    if path in ("zombie-fenced", "rejoined-in-grace"):
        return bool(kinds & {"hang", "partition"})
    if path == "old-parent-again":
        return bool(kinds & {"cut"})
    if path == "stream-opened-in-recovery":
        return "mixed" in space.workloads and bool(kinds & {"crash", "restart"})
    if path in ("composed", "decomposed"):
        return bool(set(space.workloads) & {"mixed", "reduce-stream"}) and bool(kinds & {"crash", "restart"})
    if path == "whole-chain-lost":
        return space.depth > 2 and bool(kinds & {"crash", "restart"})
    return bool(kinds & {"crash", "restart"})


class Campaign:
    """One exploration in a directory of its own."""

    def __init__(self, quest: Quest, place: Path, seeds: range, jobs: int) -> None:
        self.quest = quest
        self.place = place
        self.seeds = seeds
        self.jobs = jobs
        self.tally = Tally()
        self._done: set[int] = set()

    def begin(self) -> None:
        """Make the directory. Raises InfrastructureError where that cannot be done."""
        try:
            (self.place / FAILURES_NAME).mkdir(parents=True)
            (self.place / SUITE_NAME).write_text(self.quest.text)
            (self.place / LOG_NAME).touch()
        except OSError as error:
            raise InfrastructureError(f"{self.place} cannot be written: {error.strerror}") from error

    def resume(self) -> None:
        """Take in what an earlier run has written; a torn last line is forgotten."""
        for line in (self.place / LOG_NAME).read_text().splitlines():
            try:
                block = json.loads(line)
            except ValueError:
                continue
            self._done.add(block["first"])
            self.tally.add(block)

    def run(self, heard: Callable[[Tally], bool]) -> None:
        """Run what is left; `heard` is called after each block and says whether to go on."""
        tasks = [
            (self.quest, first, min(first + BLOCK, self.seeds.stop))
            for first in range(self.seeds.start, self.seeds.stop, BLOCK)
            if first not in self._done
        ]
        with (self.place / LOG_NAME).open("a") as log:
            for block in _blocks(tasks, self.jobs):
                log.write(json.dumps(block) + "\n")
                log.flush()
                self.tally.add(block)
                if not heard(self.tally):
                    return

    def keep(self, seed: int) -> tuple[Path, Outcome, int]:
        """Write a failing seed's scenario down, whole and as small as it gets; where the small one is, what it violates, and
        how many were tried."""
        whole = self.quest.scenario(seed)
        names = frozenset(name for name, _ in self.tally.failures[seed])
        registry, heal_s = load(), self.quest.space.heal_s

        def fails(tables: Tables) -> bool:
            try:
                return bool(run_scenario(tables, registry, heal_s).names & names)
            except UsageError:
                return False

        small, tried = shrink(whole, fails)
        outcome = run_scenario(small, registry, heal_s)
        head = f"Found by exploring '{self.quest.name}' with seed {seed}:\n" + "\n".join(
            f"{n}: {w}" for n, w in outcome.violations
        )
        where = self.place / FAILURES_NAME / f"seed-{seed}.toml"
        where.write_text(toml_text(small, head))
        (self.place / FAILURES_NAME / f"seed-{seed}-whole.toml").write_text(toml_text(whole))
        return where, outcome, tried


def _blocks(tasks: Sequence[tuple[Quest, int, int]], jobs: int) -> Iterator[dict[str, Any]]:
    if jobs == 1:
        yield from map(explore_block, tasks)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(explore_block, tasks)


def explore_block(task: tuple[Quest, int, int]) -> dict[str, Any]:
    """Run the seeds [first, stop) of a quest: what goes into the log."""
    quest, first, stop = task
    registry = load()
    begun = time.monotonic()
    paths: Counter[str] = Counter()
    failures = []
    events, virtual_s = 0, 0.0
    for seed in range(first, stop):
        outcome = run_scenario(quest.scenario(seed), registry, quest.space.heal_s)
        paths.update(outcome.paths)
        events += outcome.events
        virtual_s += outcome.virtual_s
        if outcome.violations:
            failures.append({"seed": seed, "violations": [list(v) for v in outcome.violations]})
    return {
        "first": first,
        "seeds": stop - first,
        "events": events,
        "virtual_s": round(virtual_s, 3),
        "busy_s": round(time.monotonic() - begun, 3),
        "paths": dict(paths),
        "failures": failures,
    }
