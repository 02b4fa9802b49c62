"""What loads the system under test and knows whether the answers are right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from harness.api.records import Check, TrialRecord
from harness.core.apps import BackEndApp, BackEndHandle, FrontEndApp, FrontEndHandle, ResumableApp
from harness.core.spec import Accept, Recovery, Result, StreamError, StreamSpec, Sync
from harness.core.tree import Tree

__all__ = [
    "BackEndApp", "BackEndHandle", "FrontEndApp", "FrontEndHandle", "Result", "ResumableApp", "StreamError", "StreamSpec",
    "TrialContext", "Workload",
]  # fmt: skip


@dataclass(frozen=True)
class TrialContext:
    """What both ends of a workload know of their case. Plain and picklable."""

    seed: int
    tree: Tree
    filter: str
    recovery: Recovery
    sync: Sync = Sync.WAIT_FOR_ALL
    sync_timeout_s: float = 0.0
    accept: Accept = Accept.COMPLETE
    quorum: int = 0
    accept_after_s: float = 0.0
    deadline_s: float = 30.0
    down_filter: str = "null"


@runtime_checkable
class Workload(Protocol):
    """The plugin: a frozen dataclass whose fields are its TOML keys.

    It may have a method `offers(context: TrialContext) -> Mapping[str, Items]`: by the name of a filter in `filters`, a few
    waves of what a back-end offers to it, shape (waves, *item). A filter that refuses them is then a mistake of the suite,
    found before anything is deployed.

    Its applications get the time from their handle, and may ask nothing else of the machine: then the same trial runs under
    virtual time as well. A workload whose purpose is to read the machine says so by a class attribute `real = True`; a testbed
    that simulates its machines has an attribute `virtual = True`, and suites that combine the two are refused.
    """

    def filters(self, chosen: str) -> tuple[str, ...]:
        """The names of the filters that its streams use, given the case's `filter` key ("" where the suite has none)."""
        ...

    def mistakes(self, chosen: str) -> list[str]:
        """What is wrong with this combination of parameters and filter, one line each with a hint; [] where nothing is."""
        ...

    def front_end(self, context: TrialContext) -> FrontEndApp: ...

    def back_end(self, context: TrialContext, rank: int) -> BackEndApp: ...

    def check(self, record: TrialRecord, context: TrialContext, expect: str) -> Check:
        """Judge the trial from its record alone. `expect` is exact, equivalent or bounded-loss."""
        ...
