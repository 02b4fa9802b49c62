"""Every hook. A plugin module implements the ones that it needs and marks them with `hookimpl`.

Hooks are for set-up and reporting only: none of them is called while a trial carries data. A plugin module is found through
an entry point in the group `harness`; the built-in kinds come in the same way. Importing a plugin module must be cheap: keep
ray, pandas and the like inside methods.

Every hook that offers kinds returns a dictionary from the name of the kind in a suite to a frozen dataclass, whose fields
are the TOML keys of that kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

if TYPE_CHECKING:
    from harness.api.adopter import Adopter
    from harness.api.fault import Fault
    from harness.api.filters import DownFilter, Filter
    from harness.api.records import TrialRecord
    from harness.api.testbed import Testbed
    from harness.api.topology import Topology
    from harness.api.transport import Transport
    from harness.api.workload import Workload

#: The entry point group, and the name under which pluggy knows the hooks.
GROUP = "harness"

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Hooks(Protocol):
    """The hooks. A plugin implements them as functions of its module, without `self`."""

    @hookspec
    def harness_transports(self) -> Mapping[str, type[Transport]]:
        """Kinds for `case.transport`: classes that satisfy harness.api.transport.Transport."""
        ...

    @hookspec
    def harness_topologies(self) -> Mapping[str, type[Topology]]:
        """Kinds for `case.topology`: classes that satisfy harness.api.topology.Topology."""
        ...

    @hookspec
    def harness_filters(self) -> Mapping[str, type[Filter]]:
        """Kinds for `case.filter`: classes that satisfy harness.api.filters.Filter."""
        ...

    @hookspec
    def harness_down_filters(self) -> Mapping[str, type[DownFilter]]:
        """Kinds for `case.down_filter`: classes that satisfy harness.api.filters.DownFilter."""
        ...

    @hookspec
    def harness_adopters(self) -> Mapping[str, type[Adopter]]:
        """Kinds for `node.adopters`: classes that satisfy harness.api.adopter.Adopter."""
        ...

    @hookspec
    def harness_workloads(self) -> Mapping[str, type[Workload]]:
        """Kinds for `case.workload`: classes that satisfy harness.api.workload.Workload."""
        ...

    @hookspec
    def harness_faults(self) -> Mapping[str, type[Fault]]:
        """Kinds for `case.fault`: classes that satisfy harness.api.fault.Fault."""
        ...

    @hookspec
    def harness_testbeds(self) -> Mapping[str, type[Testbed]]:
        """Kinds for `testbed`: classes that satisfy harness.api.testbed.Testbed."""
        ...

    @hookspec(firstresult=True)
    def harness_judge(self, record: TrialRecord, trial: Mapping[str, Any]) -> dict[str, Any] | None:
        """The verdict on one trial, from its record and the plan's plain form of the trial. The first plugin that does not
        answer None decides."""
        ...

    @hookspec(firstresult=True)
    def harness_report(self, run_dir: Path, width: int) -> tuple[dict[str, Any], str] | None:
        """The report on the run in directory `run_dir`, made from the directory alone: the document for `--json`, and the
        text for a terminal of `width` columns. The first plugin that does not answer None decides."""
        ...
