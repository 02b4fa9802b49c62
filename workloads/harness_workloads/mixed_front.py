"""The front-end of `mixed`: opens the streams, compares each wave with what must come, closes them, and ends behind a
barrier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.api.workload import TrialContext
from harness.core.apps import FrontEndHandle
from harness.core.ranks import RankSet
from harness.core.spec import (
    Accept,
    DeadlineExceeded,
    QuorumLost,
    Recovery,
    Result,
    StreamClosed,
    StreamError,
    StreamSpec,
    WavesLost,
)
from harness_workloads.common import FrontEndBase, everybody, note_error
from harness_workloads.extents import extent_told
from harness_workloads.handing_over import packed, unpacked
from harness_workloads.mixed_plan import StreamPlan
from harness_workloads.mixed_values import Contributions, state_told
from harness_workloads.oracle import fingerprint

if TYPE_CHECKING:
    from harness_workloads.mixed import Mixed

#: Back-ends come to the barrier when they have offered all they have, which a slow tree with windows of one or two units does
#: long after the front-end has given those waves up. Beyond this, something is stuck.
BARRIER_S = 240.0
BARRIER_FILTER = "union"
#: A deadline that is noticed later than this was not kept.
LATE_S = 2.0
#: So many wrong things are told one by one, the rest is counted.
MOST_WRONG = 20


class _Course:
    """What has become of one stream. next: the wave that ends next; since: when the one before it ended; sent: messages;
    over: too few are alive for any more waves; told_closed: how many errors said that it was closed."""

    def __init__(self, plan: StreamPlan, stream: int, contributions: Contributions, now: float) -> None:
        self.plan, self.stream, self.contributions, self.since = plan, stream, contributions, now
        self.next = self.sent = 0
        self.closed = self.over = False
        self.told_closed = 0

    @property
    def done(self) -> bool:
        """Whether nothing is left to be done on it before the barrier."""
        said = self.over or self.sent >= len(self.plan.messages)
        ended = not self.plan.waits or self.over or self.next >= self.plan.waves
        return self.closed or (said and ended and self.plan.close_at_s is None)


class MixedFrontEnd(FrontEndBase):
    """Opens what is due, and finishes when all streams are done, the least duration is over, every back-end has been heard at
    the barrier, and states had `settle_s` to arrive. Where nobody is left alive, it finishes at once."""

    def __init__(self, workload: Mixed, context: TrialContext) -> None:
        self.workload, self.context = workload, context
        self.ranks = everybody(context)
        self.unopened = sorted(workload.plans(context), key=lambda p: (p.open_at_s, p.index))
        self.courses: dict[int, _Course] = {}
        self.began_s = 0.0
        self.wrong = 0
        self.barrier: int | None = None
        self.settled_s: float | None = None
        self.finished = False

    # -- the course of the run ---------------------------------------------------------------------------------------------

    def start(self, fe: FrontEndHandle) -> None:
        """The streams that are there from the beginning."""
        self.began_s = fe.now
        self.on_timer(fe)

    def on_timer(self, fe: FrontEndHandle) -> None:
        """Open and close what is due."""
        if self.finished:
            return
        now = fe.now - self.began_s
        while self.unopened and self.unopened[0].open_at_s <= now:
            self._open(fe, self.unopened.pop(0))
        for c in list(self.courses.values()):
            if c.plan.close_at_s is not None and not c.closed and c.plan.close_at_s <= now:
                self._close(fe, c)
        self._go_on(fe)

    def _go_on(self, fe: FrontEndHandle) -> None:
        """What comes next, and when."""
        if self.finished:
            return
        at = [p.open_at_s for p in self.unopened]
        at += [c.plan.close_at_s for c in self.courses.values() if c.plan.close_at_s is not None and not c.closed]
        now = fe.now - self.began_s
        if not fe.alive or (self.settled_s is not None and now >= self.settled_s):
            self._finish(fe)
            return
        if not self.unopened and all(c.done for c in self.courses.values()):
            if now < self.workload.duration_s:
                at.append(self.workload.duration_s)
            elif self.barrier is None:
                self._open_barrier(fe)
            elif self.settled_s is not None:
                at.append(self.settled_s)
        if at:
            fe.call_at(self.began_s + min(at))

    def _open(self, fe: FrontEndHandle, plan: StreamPlan) -> None:
        stream = fe.open_stream(plan.spec)
        made = Contributions(self.context.seed, plan, len(self.ranks))
        c = self.courses[stream] = _Course(plan, stream, made, fe.now)
        fe.note("stream", stream=stream, index=plan.index)
        if plan.waits:
            fe.expect(stream, min(plan.waves, plan.step or plan.waves))
        self._talk(fe, c)

    def _close(self, fe: FrontEndHandle, c: _Course) -> None:
        """Close it, whatever is outstanding: that ends in an error, at once."""
        c.closed = True
        outstanding = c.plan.waits and not c.over and c.next < c.plan.waves
        fe.close_stream(c.stream)
        if c.told_closed != int(outstanding):
            text = f"was closed with wave {c.next} of {c.plan.waves} next, and {c.told_closed} errors told so"
            self._note_wrong(fe, "unexpected", c, c.next, text)

    def _open_barrier(self, fe: FrontEndHandle) -> None:
        self.barrier = fe.open_stream(StreamSpec("barrier", self.ranks, BARRIER_FILTER, deadline_s=BARRIER_S))
        fe.expect(self.barrier, 1)

    def _finish(self, fe: FrontEndHandle) -> None:
        self.finished = True
        for c in self.courses.values():
            if not c.closed and c.plan.spec.recovery in (Recovery.COMPOSE, Recovery.DECOMPOSE):
                extent = extent_told(fe.extent(c.stream))
                fe.note("final-state", stream=c.stream, value=state_told(fe.state(c.stream)), **extent)
            fe.note("stream-end", stream=c.stream, next=c.next, sent=c.sent, closed=c.closed, over=c.over)
        if self.wrong > MOST_WRONG:
            fe.note("wrong", what="unexpected", stream=0, wave=0, text=f"and {self.wrong - MOST_WRONG} things more are wrong")
        fe.finish()

    # -- a standby goes on -------------------------------------------------------------------------------------------------

    def checkpoint(self) -> bytes:
        """See ResumableApp."""
        courses = [
            [c.stream, c.plan.index, c.since, c.next, c.sent, c.closed, c.over, c.told_closed] for c in self.courses.values()
        ]
        whole = {"began_s": self.began_s, "wrong": self.wrong, "barrier": self.barrier, "settled_s": self.settled_s}
        return packed(courses=courses, finished=self.finished, **whole)

    def vet(self, state: bytes) -> None:
        """See ResumableApp."""
        self._unpacked(state)

    def _unpacked(self, state: bytes) -> dict[str, Any]:
        maybe = type(None)
        kinds: dict[str, Any] = {"barrier": (int, maybe), "settled_s": (float, maybe), "finished": bool}
        found = unpacked(state, courses=list, began_s=float, wrong=int, **kinds)
        known = {p.index for p in self.workload.plans(self.context)}
        found["courses"] = [
            (int(stream), int(index), float(since), int(next_), int(sent), bool(closed), bool(over), int(told))
            for stream, index, since, next_, sent, closed, over, told in found["courses"]
        ]
        if not {index for _, index, *_ in found["courses"]} <= known:
            raise ValueError("a state of streams that the workload does not have")
        return found

    def resume(self, fe: FrontEndHandle, state: bytes, shift_s: float) -> None:
        """See ResumableApp."""
        found = self._unpacked(state)
        plans = {p.index: p for p in self.unopened}
        self.began_s = found["began_s"] + shift_s
        self.wrong, self.barrier, self.finished = found["wrong"], found["barrier"], found["finished"]
        if found["settled_s"] is not None:  # states are gathered anew, and have their time anew
            self.settled_s = fe.now - self.began_s + self.workload.settle_s
        for stream, index, since, next_, sent, closed, over, told in found["courses"]:
            plan = plans.pop(index)
            made = Contributions(self.context.seed, plan, len(self.ranks))
            c = self.courses[stream] = _Course(plan, stream, made, since + shift_s)
            c.next, c.sent, c.closed, c.over, c.told_closed = next_, sent, closed, over, told
        self.unopened = [p for p in self.unopened if p.index in plans]
        for c in list(self.courses.values()):
            if not c.closed and not self.finished:
                self._talk(fe, c)

    # -- messages ----------------------------------------------------------------------------------------------------------

    def _talk(self, fe: FrontEndHandle, c: _Course) -> None:
        messages = c.plan.messages
        while c.sent < len(messages) and fe.send(c.stream, c.plan.payload(c.sent), messages[c.sent].to or None):
            c.sent += 1

    def on_writable(self, fe: FrontEndHandle, stream: int) -> None:
        """There is room for messages again."""
        c = self.courses.get(stream)
        if c is not None and not c.closed and not self.finished:
            self._talk(fe, c)
            self._go_on(fe)

    def on_membership(self, fe: FrontEndHandle, dead: RankSet) -> None:
        """Where nobody is left, that was it. A stream all of whose waves have ended, if in errors, is not told of a quorum that
        is lost afterwards."""
        super().on_membership(fe, dead)
        for c in list(self.courses.values()):
            spec = c.plan.spec
            hopeless = spec.accept is Accept.QUORUM and len(spec.members & fe.alive) < spec.quorum
            if hopeless and spec.recovery is Recovery.REPLAY and not c.closed and c.next >= c.plan.waves:
                self._close(fe, c)  # back-ends may be waiting for room that never comes
        self._go_on(fe)

    # -- outcomes ----------------------------------------------------------------------------------------------------------

    def on_result(self, fe: FrontEndHandle, result: Result) -> None:
        """Compare, and record."""
        if self.finished:  # it was on its way
            return
        if result.stream == self.barrier:
            r = result
            fe.record(r.stream, r.first, fingerprint(r.values), r.contributors, r.complete, r.granted_s)
            fe.note("barrier", stream=r.stream, contributors=list(r.contributors), told=r.values[0])
            self.settled_s = fe.now - self.began_s + self.workload.settle_s
            self._go_on(fe)
            return
        c = self.courses[result.stream]
        if c.closed:
            self._note_wrong(fe, "unexpected", c, result.first, "came out of a stream that was closed")
        members = c.plan.spec.members
        if not result.contributors or result.missing != members - result.contributors:
            text = f"has contributors {result.contributors} and says that {result.missing} are missing of {members}"
            self._note_wrong(fe, "misnamed", c, result.first, text)
        if result.granted_s > fe.now:
            self._note_wrong(fe, "unexpected", c, result.first, f"was granted at {result.granted_s:.6f} s, after it came")
        self._compare(fe, c, result)
        if c.plan.waits:
            self._ends(fe, c, result.first, result.count)
        self._go_on(fe)

    def _compare(self, fe: FrontEndHandle, c: _Course, result: Result) -> None:
        ranks = [r for r in result.contributors if r in self.ranks]
        got = c.contributions.plain(result.values)
        want = c.contributions.reduced(ranks, result.first, result.count) if ranks else got
        if len(got) != result.count:
            self._note_wrong(fe, "unexpected", c, result.first, f"{len(got)} values for {result.count} waves")
        elif (k := c.contributions.first_wrong(got, want)) is not None:
            text = f"is {_short(got[k])} instead of {_short(want[k])}, contributors {result.contributors}"
            self._note_wrong(fe, "mixed", c, result.first + k, text)
        observed = c.contributions.number(got)
        fe.record(result.stream, result.first, observed, result.contributors, result.complete, result.granted_s)

    def _ends(self, fe: FrontEndHandle, c: _Course, first: int, count: int) -> None:
        """Waves [first, first + count) have come to their end, which each does once, in order and in time."""
        plan = c.plan
        if first != c.next:
            what = "duplicated" if first < c.next else "lost"
            self._note_wrong(fe, what, c, first, f"ended when wave {c.next} was due")
        took_s = fe.now - c.since
        if took_s > plan.spec.deadline_s + LATE_S:
            fe.note("late", stream=c.stream, wave=first, took_s=took_s, deadline_s=plan.spec.deadline_s)
        c.next, c.since = first + count, fe.now
        if c.closed:
            return
        if plan.tidy and c.next >= plan.waves:
            self._close(fe, c)
        elif plan.step and not c.over:
            fe.expect(c.stream, min(plan.waves, c.next + plan.step))

    def on_error(self, fe: FrontEndHandle, error: StreamError) -> None:
        """Errors that may come are part of the run; whether they may, shows here or in the check."""
        note_error(fe, error)
        if error.stream == self.barrier:
            self._go_without_barrier(fe, error)
            return
        c = self.courses[error.stream]
        spec = c.plan.spec
        if isinstance(error, WavesLost):
            if spec.recovery is Recovery.REPLAY or not c.plan.waits:
                self._note_wrong(fe, "lost", c, error.wave, f"was lost, with {error.count - 1} more; such a stream loses none")
            self._ends(fe, c, error.wave, error.count)
        elif isinstance(error, DeadlineExceeded):
            if fe.now < c.since + spec.deadline_s:
                self._note_wrong(fe, "unexpected", c, error.wave, f"{error}: after {fe.now - c.since:.3f} s")
            self._ends(fe, c, error.wave, 1)
        elif isinstance(error, QuorumLost):
            self._quorum_lost(fe, c, error)
        elif isinstance(error, StreamClosed) and c.closed:
            c.told_closed += 1
            return  # from within close_stream
        else:
            self._note_wrong(fe, "unexpected", c, error.wave, f"ended in {type(error).__name__}: {error}")
        self._go_on(fe)

    def _quorum_lost(self, fe: FrontEndHandle, c: _Course, error: QuorumLost) -> None:
        spec = c.plan.spec
        alive = len(spec.members & fe.alive)
        needed = spec.quorum if spec.accept is Accept.QUORUM else 1
        if alive >= needed:
            self._note_wrong(fe, "unexpected", c, error.wave, f"QuorumLost though {alive} are alive and {needed} are needed")
        c.over = True
        self._ends(fe, c, error.wave, c.plan.waves - error.wave)
        if not c.closed:  # back-ends may be waiting for room that never comes
            self._close(fe, c)

    def _go_without_barrier(self, fe: FrontEndHandle, error: StreamError) -> None:
        if not isinstance(error, QuorumLost) or fe.alive:
            fe.note("wrong", what="missing", stream=error.stream, wave=0, text=f"the barrier ended in {error}")
        self._finish(fe)

    def _note_wrong(self, fe: FrontEndHandle, what: str, c: _Course, wave: int, text: str) -> None:
        self.wrong += 1
        if self.wrong <= MOST_WRONG:
            fe.note("wrong", what=what, stream=c.stream, wave=wave, text=f"{c.plan.label}, wave {wave}: {text}")


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:80]}..."
