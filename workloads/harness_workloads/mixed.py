"""The workload `mixed`: random streams of every kind at once, that come and go, with messages down."""

from __future__ import annotations

from dataclasses import dataclass

from harness.api.errors import UsageError
from harness.api.records import Check, TrialRecord
from harness.api.workload import BackEndApp, FrontEndApp, TrialContext
from harness.core.spec import DECOMPOSED_WITH_STANDBY, Accept, Recovery, Sync
from harness_workloads.common import everybody
from harness_workloads.mixed_back import MixedBackEnd
from harness_workloads.mixed_front import BARRIER_FILTER, MixedFrontEnd
from harness_workloads.mixed_plan import FILTERS, Choice, StreamPlan, choices, draw

_MOST_STREAMS, _MOST_WAVES, _MOST_MESSAGES = 1000, 1_000_000, 10_000
_MOST_LAZY = 0.9


@dataclass(frozen=True)
class Mixed:
    """Random streams of every kind at once, that come and go, with messages down; all that comes of them is checked.

    Each draws its filter, recovery, synchronization, policy, deadline, windows, chunks, items, members and messages from the
    trial's seed and its own number, so that leaving one out changes no other.

    streams: how many are drawn. only: the numbers of those that are opened, [] = all. waves, messages: at most so many a
    stream. lazy: how often a back-end has nothing to offer until a moment later (a probability). comes_and_goes: streams open
    late, and some are closed in mid-stream. filter_kinds, recovery_kinds, sync_kinds, accept_kinds: what is drawn from, [] =
    all. duration_s: the least that the streams are left open. settle_s: how long states may be under way at the end.
    """

    streams: int = 4
    waves: int = 200
    messages: int = 40
    comes_and_goes: bool = True
    only: tuple[int, ...] = ()
    lazy: float = 0.1
    filter_kinds: tuple[str, ...] = ()
    recovery_kinds: tuple[Recovery, ...] = ()
    sync_kinds: tuple[Sync, ...] = ()
    accept_kinds: tuple[Accept, ...] = ()
    duration_s: float = 5.0
    settle_s: float = 3.0

    def filters(self, chosen: str) -> tuple[str, ...]:
        """All that a stream may draw, and that of the barrier."""
        drawn = dict.fromkeys(choice.filter for choice in self._choices())
        return tuple({**drawn, BARRIER_FILTER: None})

    def mistakes(self, chosen: str) -> list[str]:
        """See Workload.mistakes."""
        found = []
        if chosen:
            found.append("filter: mixed draws a filter for each stream; leave it out, or say filter_kinds in the workload")
        found += [
            f"{key}: {value} must be between {least} and {most}"
            for key, value, least, most in (
                ("streams", self.streams, 1, _MOST_STREAMS),
                ("waves", self.waves, 1, _MOST_WAVES),
                ("messages", self.messages, 0, _MOST_MESSAGES),
                ("lazy", self.lazy, 0, _MOST_LAZY),
            )
            if not least <= value <= most
        ]
        for key in ("duration_s", "settle_s"):
            if getattr(self, key) < 0:
                found.append(f"{key}: {getattr(self, key)} is negative; leave it out for the default")
        if len(set(self.only)) != len(self.only) or any(not 0 <= i < self.streams for i in self.only):
            found.append(f"only: {list(self.only)} must be different numbers of streams, 0 to {self.streams - 1}")
        strange = [name for name in self.filter_kinds if name not in FILTERS]
        if strange:
            found.append(f"filter_kinds: mixed has no oracle for '{strange[0]}'; use some of {', '.join(FILTERS)}")
        elif not self._choices():
            hint = "replay needs wait-for-all, compose an idempotent filter, null do-not-wait, quorum and deadline wait-for-all"
            found.append(f"no recovery, sync, filter and accept of those allowed go together: {hint}")
        return found

    def _choices(self) -> list[Choice]:
        return choices(self.recovery_kinds, self.sync_kinds, self.filter_kinds, self.accept_kinds)

    def plans(self, context: TrialContext) -> list[StreamPlan]:
        """The streams of the trial, in the order of their numbers."""
        ranks, allowed = everybody(context), self._choices()
        if context.tree.standby >= 0:  # what the state of such a stream holds is not handed over
            allowed = [c for c in allowed if c.recovery is not Recovery.DECOMPOSE]
        numbers = sorted(self.only) or range(self.streams)
        return [draw(context.seed, i, ranks, allowed, self.waves, self.messages, self.comes_and_goes) for i in numbers]

    def front_end(self, context: TrialContext) -> FrontEndApp:
        """See Workload.front_end. Raises UsageError where the case asks of all streams what each draws."""
        if context.sync is not Sync.DO_NOT_WAIT:
            what = f"sync: '{context.sync}' promises whole waves, which not all streams of mixed draw"
            raise UsageError(f"{what}; write sync = 'do-not-wait', the promise that all of them keep")
        if context.tree.standby >= 0 and all(c.recovery is Recovery.DECOMPOSE for c in self._choices()):
            raise UsageError(f"recovery_kinds: {DECOMPOSED_WITH_STANDBY}")
        if context.down_filter != "null":
            raise UsageError(f"down_filter: mixed compares messages byte by byte, so '{context.down_filter}' cannot be used")
        return MixedFrontEnd(self, context)

    def back_end(self, context: TrialContext, rank: int) -> BackEndApp:
        """See Workload.back_end."""
        return MixedBackEnd(self, context, rank)

    def check(self, record: TrialRecord, context: TrialContext, expect: str) -> Check:
        """See Workload.check, and harness_workloads.mixed_check for what is looked at. `expect` is the case's, which says less
        than what each stream promises."""
        from harness_workloads.mixed_check import judge  # here, so that back-ends do not load it

        return judge(self, record, context)
