"""What faults need, against what a kind of testbed can ever do."""

from __future__ import annotations

from collections.abc import Iterable

from harness.api.testbed import Testbed
from harness.registry import Chosen, Mistakes
from harness.run.cases import AT_EVENT, Case


def try_needs(testbed: Chosen[Testbed], cases: Iterable[Case], mistakes: Mistakes) -> None:
    """Refuse, before anything starts, the faults that the testbed can do on no machine. What this machine lacks, and what a
    testbed does not tell beforehand, is found by trying once it is open."""
    possible = testbed.value.possible()
    if possible is None:
        return
    seen: set[tuple[str, str]] = set()
    for case in cases:
        for entry in case.faults:
            fault = entry.fault.value
            lacking = fault.needs - possible
            if lacking and (entry.path, "") not in seen:
                seen.add((entry.path, ""))
                what = f"testbed '{testbed.kind}' cannot do '{entry.fault.kind}' (it needs {', '.join(sorted(lacking))})"
                mistakes.add(f"{entry.path}.kind", what, f"use another testbed, or a fault that needs {_one_of(possible)}")
            if entry.trigger.at_event is not None and AT_EVENT not in possible and (entry.path, AT_EVENT) not in seen:
                seen.add((entry.path, AT_EVENT))
                what = f"testbed '{testbed.kind}' does not count what happens"
                mistakes.add(f"{entry.path}.at_event", what, "use testbed 'sim', or at_s, at_wave or moment")


def _one_of(names: Iterable[str]) -> str:
    *most, last = sorted(names) or ["nothing"]
    return f"{', '.join(most)} or {last}" if most else last
