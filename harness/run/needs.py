"""What faults need, against what a kind of testbed can ever do."""

from __future__ import annotations

from collections.abc import Iterable

from harness.api.testbed import Testbed
from harness.registry import Category, Chosen, Mistakes, Registry
from harness.registry.mistakes import asked
from harness.run.cases import AT_EVENT, Case
from harness.run.drafts import Draft
from harness.run.tables import FaultEntry, FaultPart


def try_needs(testbed: Chosen[Testbed], cases: Iterable[Case | Draft], registry: Registry, mistakes: Mistakes) -> None:
    """Refuse, before anything starts, the faults that the testbed can do on no machine. What this machine lacks, and what a
    testbed does not tell beforehand, is found by trying once it is open."""
    possible = testbed.value.possible()
    if possible is None:
        return
    seen: set[tuple[str, str]] = set()
    for case in cases:
        entries: list[FaultEntry | FaultPart] = [*case.faults, *(case.parts if isinstance(case, Draft) else ())]
        for entry in entries:
            lacking = frozenset[str]() if entry.fault is None else entry.fault.value.needs - possible
            if entry.fault is not None and lacking and (entry.path, "") not in seen:
                seen.add((entry.path, ""))
                what = f"testbed '{testbed.kind}' cannot do '{entry.fault.kind}' (it needs {', '.join(sorted(lacking))})"
                able = [f"'{name}'" for name in _able(entry.fault.value.needs, registry)]
                others = f"testbed {_one_of(able)}" if able else "another testbed"
                mistakes.add(f"{entry.path}.kind", what, f"use {others}, or a fault that needs {_one_of(possible)}")
            at_event = entry.trigger is not None and entry.trigger.at_event is not None
            if at_event and AT_EVENT not in possible and (entry.path, AT_EVENT) not in seen:
                seen.add((entry.path, AT_EVENT))
                what = f"testbed '{testbed.kind}' does not count what happens"
                mistakes.add(f"{entry.path}.at_event", what, "use testbed 'sim', or at_s, at_wave or moment")


def _able(needs: frozenset[str], registry: Registry) -> list[str]:
    """The kinds of testbeds that may have all of these capabilities on some machine."""
    made = {name: kind.example() for name, kind in registry.kinds(Category.TESTBED).items()}
    found = {n: asked(testbed.possible, "testbed", Mistakes()) for n, testbed in made.items() if testbed is not None}
    return [name for name, possible in found.items() if possible is not None and needs <= possible]


def _one_of(names: Iterable[str]) -> str:
    *most, last = sorted(names) or ["nothing"]
    return f"{', '.join(most)} or {last}" if most else last
