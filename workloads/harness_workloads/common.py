"""What the workloads share: stream specifications from the case, notes read back from a record, ground truth about ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.api.filters import Filter
from harness.api.members import ORDERLY
from harness.api.reach import out_of_reach
from harness.api.records import Check, TrialRecord, Violation
from harness.api.workload import TrialContext
from harness.core.apps import BackEndHandle, FrontEndHandle
from harness.core.ranks import RankSet
from harness.core.spec import Accept, Result, StreamError, StreamSpec, Sync, WavesLost

#: So many violations are described one by one; the rest is counted.
MOST_VIOLATIONS = 100
#: "All waves that there will ever be", for FrontEndHandle.expect.
FOR_EVER = 1 << 62


class FrontEndBase:
    """A front-end application that lets pass what a workload has no use for."""

    def on_result(self, fe: FrontEndHandle, result: Result) -> None:
        """Nothing."""

    def on_error(self, fe: FrontEndHandle, error: StreamError) -> None:
        """A request that ended in an error ends the run."""
        note_error(fe, error)
        fe.finish(ok=False, reason=f"{type(error).__name__}: {error}")

    def on_writable(self, fe: FrontEndHandle, stream: int) -> None:
        """Nothing."""

    def on_membership(self, fe: FrontEndHandle, dead: RankSet) -> None:
        """Put it down for the check."""
        fe.note("membership", dead=list(dead))

    def on_timer(self, fe: FrontEndHandle) -> None:
        """Nothing."""


class BackEndBase:
    """A back-end application that lets pass what a workload has no use for."""

    def on_open(self, be: BackEndHandle, stream: int, spec: StreamSpec) -> None:
        """Nothing."""

    def on_message(self, be: BackEndHandle, stream: int, payload: bytes) -> None:
        """Nothing."""

    def on_close(self, be: BackEndHandle, stream: int) -> None:
        """Nothing."""


def note_error(fe: FrontEndHandle, error: StreamError) -> None:
    """Put a typed error down for the check."""
    waves = {"waves": error.count} if isinstance(error, WavesLost) else {}
    fe.note("request-error", stream=error.stream, wave=error.wave, **waves, error=type(error).__name__, message=str(error))


def everybody(context: TrialContext) -> RankSet:
    """The ranks of all back-ends."""
    return RankSet([(0, len(context.tree.back_ends))])


def stream_spec(context: TrialContext, name: str, members: RankSet, filter_: str, **more: Any) -> StreamSpec:
    """A stream as the case wants it; overrides of 0 mean the default."""
    spec = StreamSpec(
        name=name,
        members=members,
        filter=filter_,
        sync=context.sync,
        sync_timeout_s=context.sync_timeout_s,
        recovery=context.recovery,
        accept=context.accept,
        quorum=context.quorum,
        accept_after_s=context.accept_after_s,
        deadline_s=context.deadline_s,
        down_filter=context.down_filter,
    )
    return replace(spec, **{key: value for key, value in more.items() if value != 0})


def strict(context: TrialContext) -> bool:
    """Whether every delivered wave must hold every live back-end."""
    return context.accept is Accept.COMPLETE and context.sync is Sync.WAIT_FOR_ALL


def notes(record: TrialRecord, name: str) -> list[Mapping[str, Any]]:
    """The fields of the workload's own events of that name, in order."""
    return [e["fields"] for e in record.of_kind("note") if e["name"] == name]


def stream_ids(record: TrialRecord) -> dict[int, Mapping[str, Any]]:
    """What the front-end noted about each stream as it opened it, by the stream's id."""
    return {int(n["stream"]): n for n in notes(record, "stream")}


def struck(record: TrialRecord) -> dict[int, float]:
    """Ranks that a fault struck itself (killed, stopped, cut off, ...), and when first: they may be missing. That a back-end
    lost its ancestors, or was declared dead, is no excuse, but where it was out of reach (harness.api.reach)."""
    found = out_of_reach(record)
    for event in record.of_kind("fault"):
        if event["action"] in ORDERLY:
            continue
        for node in event.get("nodes") or [event["node"]]:
            rank = record.tree.nodes[int(node)].rank
            if rank is not None:
                found[rank] = min(float(event["t_s"]), found.get(rank, float("inf")))
    return found


def last_words(record: TrialRecord) -> list[Violation]:
    """What the end of the run says against it: nothing where the workload finished well."""
    finished = record.of_kind("finished")
    if not finished:
        return [Violation("missing", "the workload never finished")]
    last = finished[-1]
    return [] if last["ok"] else [Violation("missing", f"the workload ended early: {last.get('reason', '')}")]


def started(record: TrialRecord) -> bool:
    """Whether the workload got to work at all."""
    return bool(record.of_kind("workload-started")) or len(record.samples) > 0


def filter_of(record: TrialRecord, name: str) -> Filter:
    """The filter that the case used, with the parameters that the plan names, else with its defaults.

    Raises UsageError where no installed plugin offers it.
    """
    from harness.registry import Category, load  # here, since loading every plugin is no business of a running workload

    made: Filter = load().make(Category.FILTER, record.plan.get("filters", {}).get(name, name))
    return made


def verdict(good: str, counts: Mapping[str, int], violations: Sequence[Violation]) -> Check:
    """The outcome: `good` says what was found right where there is nothing wrong."""
    if not violations:
        return Check(True, good, dict(counts))
    head = "; ".join(v.message for v in violations[:3])
    more = f"; and {len(violations) - 3} more" if len(violations) > 3 else ""
    return Check(False, f"{head}{more}", dict(counts), tuple(violations[:MOST_VIOLATIONS]))


def nothing_said(reason: str) -> Check:
    """The outcome where nothing can be said."""
    return Check(None, reason)
