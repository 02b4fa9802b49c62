"""A suite file, read and checked key by key: every mistake is found, nothing is deployed.

What a list spreads into several values stays spread here (`CaseFile.columns`); harness.run.cases multiplies it out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from harness.api.errors import UsageError
from harness.api.fault import Moment, Trigger
from harness.core.settings import NodeSettings
from harness.registry import Category, Chosen, Mistakes, Registry
from harness.registry.construct import INVALID, choose_class, construct, convert, fields_of, kind_name, lists_of, meaning
from harness.registry.mistakes import closest, described, nearest
from harness.run.axes import Choice, spread, spread_table
from harness.run.standbys import no_standbys
from harness.run.tables import (
    ACCEPTS,
    CASE_DEFAULTS,
    CASE_KEYS,
    FAULT_KEYS,
    SYNCS,
    TOP_KEYS,
    Expect,
    FaultEntry,
    FaultPart,
    RecoveryChoice,
    SuiteTable,
)
from harness.run.targets import parse_target

T = TypeVar("T")

#: A larger file is a mistake rather than a suite.
MAX_BYTES = 16 << 20
Pick = Callable[[Any, str, Mapping[str, str]], Chosen[Any] | None]


@dataclass(frozen=True)
class CaseFile:
    """One [[case]] as it was written: the alternatives of each of its keys, in the order of the file. `sound` is False where a
    mistake was found in it: what is left of it is still looked at, so that all mistakes are told at once. holes: the keys of
    which nothing is left. parts: what is left of its faults.

    Values by key: a Chosen for workload, topology, transport, filter, down_filter, sync and accept; a string for recovery; a
    float for deadline_s; a FaultEntry for each `fault[i]`.
    """

    path: str
    name: str
    columns: Mapping[str, list[Choice[Any]]]
    expect: Expect
    sound: bool = True
    holes: frozenset[str] = frozenset()
    parts: tuple[FaultPart, ...] = ()


@dataclass(frozen=True)
class SuiteFile:
    """A suite as it was written. `text` is the file itself. Its tables are None where a mistake was found in them. like: an
    instance of the testbed's kind, where only the kind is sound one with other keys. adopters: the policy of adoption, None
    where the suite names none."""

    path: Path
    text: str
    head: SuiteTable | None
    testbed: Chosen[Any] | None
    settings: NodeSettings | None
    cases: list[CaseFile] = field(default_factory=list)
    adopters: Chosen[Any] | None = None
    like: Chosen[Any] | None = None


def read_suite(path: Path, registry: Registry, mistakes: Mistakes, text: str | None = None) -> SuiteFile:
    """Read a suite file, or `text` as if it were one. Raises UsageError where it is no TOML at all; other mistakes are
    noted."""
    text, document = _parsed(path) if text is None else (text, tomllib.loads(text))
    for key in document:
        if key not in TOP_KEYS:
            mistakes.add(key, "unknown table", nearest(key, TOP_KEYS, "tables"))
    head = _table(SuiteTable, document, "suite", mistakes)
    settings, adopters = read_node(document, registry, mistakes)
    testbed = _testbed(document, registry, mistakes)
    like = testbed or _like(document, registry)
    entries = document.get("case", [])
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        mistakes.add("case", "must be a list of tables", "write [[case]] above each case, with two brackets")
        entries = []
    elif not entries:
        mistakes.add("case", "is missing", "add at least one [[case]]")
    reader = CaseReader(registry, mistakes)
    cases = [reader.read(entry, f"case[{i}]") for i, entry in enumerate(entries)]
    if like is not None and not getattr(like.value, "one_process", False):
        _no_private_memory(like, cases, mistakes)
    if like is not None and getattr(like.value, "virtual", False):
        _nothing_real(like, cases, mistakes)
    if like is not None and not getattr(like.value, "standbys", False):
        no_standbys(like.kind, [c for case in cases for c in case.columns.get("standby", [])], mistakes)
    return SuiteFile(path, text, head, testbed, settings, cases, adopters, like)


def _parsed(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise UsageError(f"{path}: is no suite: it has more than {MAX_BYTES >> 20} MiB")
        text = raw.decode()
        return text, tomllib.loads(text)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such suite file; give the path of a TOML file such as suites/quickstart.toml") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: is not valid TOML: {error}") from None


def _mapping(document: Mapping[str, Any], key: str, mistakes: Mistakes) -> Mapping[str, Any] | None:
    table = document.get(key, {})
    if isinstance(table, dict):
        return table
    mistakes.add(key, f"must be a table, not {described(table)}", f"write [{key}]")
    return None


def _table(cls: type[T], document: Mapping[str, Any], key: str, mistakes: Mistakes) -> T | None:
    table = _mapping(document, key, mistakes)
    return None if table is None else construct(cls, table, key, mistakes)


def read_node(
    document: Mapping[str, Any], registry: Registry, mistakes: Mistakes, usual: Mapping[str, Any] | None = None
) -> tuple[NodeSettings | None, Chosen[Any] | None]:
    """[node]: the settings and, where it is named there, the policy of adoption. usual: the settings where it gives none."""
    table = _mapping(document, "node", mistakes)
    if table is None:
        return None, None
    named = table.get("adopters")
    adopters = None if named is None else registry.choose(Category.ADOPTER, named, "node.adopters", mistakes)
    given = {key: value for key, value in table.items() if key != "adopters"}
    return construct(NodeSettings, given or usual or {}, "node", mistakes), adopters


def _testbed(document: Mapping[str, Any], registry: Registry, mistakes: Mistakes) -> Chosen[Any] | None:
    table = _mapping(document, "testbed", mistakes)
    return None if table is None else registry.choose(Category.TESTBED, table, "testbed", mistakes)


def _like(document: Mapping[str, Any], registry: Registry) -> Chosen[Any] | None:
    """An instance of the kind that [testbed] names, whatever is wrong with its other keys; None where there is none."""
    table = document.get("testbed")
    name = table.get("kind") if isinstance(table, dict) else None
    kind = registry.kinds(Category.TESTBED).get(name) if isinstance(name, str) else None
    made = None if kind is None else kind.example()
    return None if kind is None or made is None else Chosen(kind.name, made)


def _no_private_memory(testbed: Chosen[Any], cases: list[CaseFile], mistakes: Mistakes) -> None:
    """Refuse transports within one process (`one_process`) where every node has a process of its own."""
    for case in cases:
        for choice in case.columns.get("transport", []):
            if getattr(choice.value.value, "one_process", False):
                what = f"'{choice.value.kind}' links nodes of one process, and testbed '{testbed.kind}' gives each its own"
                mistakes.add(choice.path, what, "use tcp")


def _nothing_real(testbed: Chosen[Any], cases: list[CaseFile], mistakes: Mistakes) -> None:
    """Refuse workloads that read the machine itself (`real`) where time and machines are simulated."""
    for case in cases:
        for choice in case.columns.get("workload", []):
            if getattr(choice.value.value, "real", False):
                what = f"'{choice.value.kind}' reads the machine itself, and testbed '{testbed.kind}' simulates its machines"
                mistakes.add(choice.path, what, "use local or cluster, or another workload")


class CaseReader:
    """Reads one [[case]] after the other."""

    def __init__(self, registry: Registry, mistakes: Mistakes) -> None:
        self._registry = registry
        self._mistakes = mistakes

    def read(self, entry: Mapping[str, Any], path: str) -> CaseFile:
        """The case at `path`."""
        before = len(self._mistakes)
        self._parts: list[FaultPart] = []
        name = self._name(entry, path)
        self._mistakes.call(path, name)
        for key in entry:
            if key not in CASE_KEYS:
                self._mistakes.add(f"{path}.{key}", "unknown key", nearest(key, CASE_KEYS, "keys"))
        columns: dict[str, list[Choice[Any]]] = {}
        meant = {closest(key, CASE_KEYS) for key in entry if key not in CASE_KEYS} - {"", *entry}
        for key, raw in self._completed(entry, path).items():
            if key in meant:  # and not its default
                continue
            if key == "fault":
                columns.update(self._faults(raw, f"{path}.fault"))
            else:
                columns[key] = self._column(key, raw, f"{path}.{key}")
        expect = convert(entry.get("expect", {}), Expect, f"{path}.expect", self._mistakes)
        holes = {key for key, choices in columns.items() if not choices} | meant | ({"expect"} if expect is INVALID else set())
        left = {key: choices for key, choices in columns.items() if choices}
        sound = len(self._mistakes) == before
        return CaseFile(path, name, left, expect, sound, frozenset(holes), tuple(self._parts))

    def _name(self, entry: Mapping[str, Any], path: str) -> str:
        name = entry.get("name")
        if not isinstance(name, str) or not name.strip():
            what = "is missing" if name is None else "must be a string that is not empty"
            self._mistakes.add(f"{path}.name", what, "name the case: reports are told apart by it")
            return ""
        return name.strip()

    def _completed(self, entry: Mapping[str, Any], path: str) -> dict[str, Any]:
        """The case's own keys in the order of the file, then the defaults of the others."""
        for key, category in (("workload", Category.WORKLOAD), ("topology", Category.TOPOLOGY)):
            if key not in entry:
                kinds = ", ".join(sorted(self._registry.kinds(category)))
                self._mistakes.add(f"{path}.{key}", "is missing", f"known {key} kinds: {kinds}")
        written = {k: v for k, v in entry.items() if k in CASE_KEYS and k not in ("name", "expect")}
        return written | {k: v for k, v in CASE_DEFAULTS.items() if k not in written}

    def _column(self, key: str, raw: Any, path: str) -> list[Choice[Any]]:
        if key == "recovery":
            return self._scalars(raw, RecoveryChoice, path, key)
        if key == "standby":
            return self._scalars(raw, str, path, key)
        if key == "deadline_s":
            found = self._scalars(raw, float, path, key)
            for choice in found:
                if choice.value <= 0:
                    self._mistakes.add(choice.path, f"{choice.value:g} must be positive")
            return [choice for choice in found if choice.value > 0]
        if key in ("sync", "accept"):
            return self._own(raw, path, key, SYNCS if key == "sync" else ACCEPTS)
        category = Category(key)
        classes = {name: kind.cls for name, kind in self._registry.kinds(category).items()}

        def pick(spec: Any, at: str, where: Mapping[str, str]) -> Chosen[Any] | None:
            return self._registry.choose(category, spec, at, self._mistakes, where)

        return self._components(raw, path, key, classes, pick)

    def _scalars(self, raw: Any, hint: Any, path: str, axis: str) -> list[Choice[Any]]:
        found = []
        for choice in spread(raw, path, axis, self._mistakes):
            value = convert(choice.value, hint, choice.path, self._mistakes)
            if value is not INVALID:
                found.append(choice.with_value(value))
        return found

    def _own(self, raw: Any, path: str, key: str, classes: Mapping[str, type]) -> list[Choice[Any]]:
        def pick(spec: Any, at: str, where: Mapping[str, str]) -> Chosen[Any] | None:
            name = kind_name(spec, at, key, classes, self._mistakes)
            if name is None:
                return None
            if name not in classes:
                self._mistakes.add(at, f"unknown {key} '{name}'", nearest(name, classes, f"{key} kinds"))
                return None
            return choose_class(name, classes[name], spec, at, self._mistakes, where)

        return self._components(raw, path, key, classes, pick)

    def _components(self, raw: Any, path: str, axis: str, classes: Mapping[str, type], pick: Pick) -> list[Choice[Any]]:
        """All alternatives of a key that takes a kind's name, a table, or a list of these."""
        found = []
        for outer in spread(raw, path, axis, self._mistakes, meant=lambda value: meaning(value, classes)):
            if not isinstance(outer.value, dict):
                made = pick(outer.value, outer.path, {})
                found += [] if made is None else [outer.with_value(made)]
                continue
            for values, where, axes in self._points(outer.value, outer.path, axis, classes):
                made = pick(values, outer.path, where)
                found += [] if made is None else [Choice(made, outer.path, outer.axes + axes)]
        return found

    def _points(self, table: dict[str, Any], path: str, axis: str, classes: Mapping[str, type]) -> Any:
        """All points of a kind's table. Its `kind` comes first, since it says which of the other keys are lists by nature."""
        rest = {k: v for k, v in table.items() if k != "kind"}
        for kind in spread(table.get("kind"), f"{path}.kind", f"{axis}.kind", self._mistakes):
            cls = classes.get(kind.value) if isinstance(kind.value, str) else None
            listed = lists_of(cls) if cls else frozenset()
            for values, where, axes in spread_table(rest, path, axis, listed.__contains__, self._mistakes):
                named = {"kind": kind.value, **values} if "kind" in table else values
                yield named, where, kind.axes + axes

    def _faults(self, raw: Any, path: str) -> dict[str, list[Choice[Any]]]:
        if not isinstance(raw, list) or not all(isinstance(f, dict) for f in raw):
            self._mistakes.add(path, "must be a list of tables", "write [[case.fault]] above each fault, with two brackets")
            return {}
        return {f"fault[{i}]": self._fault(table, f"{path}[{i}]", f"fault[{i}]") for i, table in enumerate(raw)}

    def _fault(self, table: dict[str, Any], path: str, axis: str) -> list[Choice[Any]]:
        classes = {name: kind.cls for name, kind in self._registry.kinds(Category.FAULT).items()}
        found = []
        for values, where, axes in self._points(table, path, axis, classes):
            fault = self._registry.choose(Category.FAULT, self._own_keys(values, path, classes), path, self._mistakes, where)
            target = self._target(values, path, where)
            trigger = self._trigger(values, path, where)
            if fault is not None and target is not None and trigger is not None:
                found.append(Choice(FaultEntry(fault, target, trigger, path), path, axes))
            else:
                self._parts.append(FaultPart(fault, target, trigger, path))
        return found

    def _own_keys(self, values: Mapping[str, Any], path: str, classes: Mapping[str, type]) -> dict[str, Any]:
        """The keys of a fault's own kind; a key that is neither its own nor every fault's is noted here."""
        kind = values.get("kind")
        cls = classes.get(kind) if isinstance(kind, str) else None
        known = [*FAULT_KEYS, *(fields_of(cls) if cls else ())]
        for key in values:
            if cls and key not in known:
                self._mistakes.add(f"{path}.{key}", "unknown key", nearest(key, known, "keys"))
        return {k: v for k, v in values.items() if k == "kind" or (k in known and k not in FAULT_KEYS)}

    def _target(self, values: Mapping[str, Any], path: str, where: Mapping[str, str]) -> Any:
        text, at = values.get("target"), where.get("target", f"{path}.target")
        if not isinstance(text, str):
            what = "is missing" if text is None else f"must be a string, not {described(text)}"
            self._mistakes.add(at, what, 'for example "role:internal" or "any 1 of role:internal"')
            return None
        try:
            return parse_target(text)
        except ValueError as error:
            self._mistakes.add(at, str(error))
            return None

    def _trigger(self, values: Mapping[str, Any], path: str, where: Mapping[str, str]) -> Trigger | None:
        given = [k for k in ("at_s", "at_wave", "moment", "at_event") if k in values]
        hints: dict[str, Any] = {"at_s": float, "at_wave": int, "moment": Moment, "at_event": int}
        made = {k: convert(values[k], hints[k], where.get(k, f"{path}.{k}"), self._mistakes) for k in given}
        if given not in (["at_s"], ["at_wave"], ["moment"], ["at_wave", "moment"], ["at_event"]):
            what = f"says {' and '.join(given)}" if given else "does not say when"
            hint = "give exactly one of at_s, at_wave, moment and at_event (a moment may have an at_wave as well)"
            self._mistakes.add(path, what, hint)
            return None
        if INVALID in made.values():
            return None
        for key in ("at_s", "at_wave", "at_event"):
            if made.get(key, 0) < 0:
                self._mistakes.add(where.get(key, f"{path}.{key}"), f"{made[key]:g} must not be negative")
                return None
        return Trigger(**made)
