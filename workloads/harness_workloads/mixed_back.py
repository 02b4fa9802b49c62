"""The back-end of `mixed`: offers waves in batches of random size, knows which messages are meant for it, and says at the
barrier what it saw."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from harness.api.workload import TrialContext
from harness.core.apps import BackEndHandle
from harness.core.filters import Items
from harness.core.spec import Accept, Recovery, StreamSpec
from harness_workloads.common import BackEndBase
from harness_workloads.mixed_plan import StreamPlan
from harness_workloads.mixed_values import Contributions

if TYPE_CHECKING:
    from harness_workloads.mixed import Mixed

#: A back-end that has nothing to offer has something again after twice as long at most, on the average after so long.
PAUSE_S = 0.005
#: A message that has not come so long after the barrier was opened is lost; the barrier goes on without it.
PATIENCE_S = 30.0
#: So many complaints are told, the rest is counted.
MOST_COMPLAINTS = 5
#: What a back-end tells at the barrier, the first two of each entry being its rank and one of these.
MADE, WRONG = "made", "wrong"


class _Course:
    """What has become of one stream here. made: the next wave; heard: how many of the messages `meant` for this rank came."""

    def __init__(self, plan: StreamPlan, contributions: Contributions, meant: list[int], rng: random.Random) -> None:
        self.plan, self.contributions, self.meant, self.rng = plan, contributions, meant, rng
        self.made = self.heard = 0
        self.open = True


class MixedBackEnd(BackEndBase):
    """One rank's application. What it finds wrong is told at the barrier, where it can be judged, not raised."""

    def __init__(self, workload: Mixed, context: TrialContext, rank: int) -> None:
        self.workload, self.context, self.rank = workload, context, rank
        self.plans = {p.index: p for p in workload.plans(context)}
        self.ranks = len(context.tree.back_ends)
        self.courses: dict[int, _Course] = {}
        self.complaints: list[str] = []
        self.barrier: int | None = None
        self.barrier_s = 0.0
        self.due_s = 0.0

    def on_open(self, be: BackEndHandle, stream: int, spec: StreamSpec) -> None:
        """Prepare what this rank offers, or for the barrier."""
        index = dict(spec.params).get("index")
        if stream in self.courses or stream == self.barrier:
            self.complaints.append(f"stream {stream} was opened twice")
        elif self.rank not in spec.members:
            self.complaints.append(f"stream {stream} was opened here, but is for ranks {spec.members}")
        elif index is None:
            self.barrier, self.barrier_s = stream, be.now
        elif self.plans.get(index) is None or self.plans[index].spec != spec:
            self.complaints.append(f"stream {stream} came as {spec}, which is not what stream {index} of the workload is")
        else:
            plan = self.plans[index]
            rng = random.Random(f"mixed {self.context.seed} {index} at {self.rank}")
            made = Contributions(self.context.seed, plan, self.ranks)
            self.courses[stream] = _Course(plan, made, plan.meant_for(self.rank), rng)

    def on_message(self, be: BackEndHandle, stream: int, payload: bytes) -> None:
        """Compare it with the next one that is due."""
        c = self.courses.get(stream)
        if c is None or not c.open:
            self.complaints.append(f"stream {stream}, which is not open: message {payload[:20]!r}")
            return
        due = c.plan.payload(c.meant[c.heard]) if c.heard < len(c.meant) else b""
        if payload == due:
            c.heard += 1
        else:
            self.complaints.append(self._unlike(c, payload))
            known = [k for k, n in enumerate(c.meant) if c.plan.payload(n) == payload]
            c.heard = max([c.heard, *(k + 1 for k in known)])
        self._look_up(be)

    @staticmethod
    def _unlike(c: _Course, payload: bytes) -> str:
        """What is wrong with a message that was not the next."""
        name = f"stream {c.plan.index}: message {payload[:20]!r}"
        if payload not in [c.plan.payload(n) for n in c.meant]:
            return f"{name} is not for this rank"
        return f"{name} came when {f'message {c.meant[c.heard]} was due' if c.heard < len(c.meant) else 'all had come'}"

    def produce(self, be: BackEndHandle, stream: int, first: int, at_most: int) -> Items | None:
        """The next waves, now and then none until a moment later; at the barrier what this rank has to tell."""
        if stream == self.barrier:
            return self._at_the_barrier(be) if first == 0 else None
        c = self.courses.get(stream)
        if c is None or not c.open:
            self.complaints.append(f"stream {stream}, which is not open: asked for wave {first}")
            return None
        spec, before = c.plan.spec, c.made
        # Waves that the front-end has given up are asked of nobody any more.
        given_up = spec.recovery is Recovery.REPLAY and spec.accept is not Accept.COMPLETE and first > before
        if first != before and not given_up:
            self.complaints.append(f"stream {c.plan.index}: asked for wave {first}, {before} was next")
        left = c.plan.waves - first
        if left > 0 and c.rng.random() < self.workload.lazy:
            c.made = first
            self._ask_at(be, be.now + c.rng.random() * 2 * PAUSE_S)
            return None
        count = min(max(left, 0), c.rng.randint(1, at_most))
        c.made = first + count
        if c.made >= c.plan.waves > before:
            self._look_up(be)
        return c.contributions.offer(self.rank, first, count) if count else None

    def _at_the_barrier(self, be: BackEndHandle) -> Items | None:
        if self._done(be):
            return [self._told()]
        if be.now < self.barrier_s + PATIENCE_S:
            self._ask_at(be, self.barrier_s + PATIENCE_S)
        return None

    def on_close(self, be: BackEndHandle, stream: int) -> None:
        """Nothing is owed on it any more."""
        if stream == self.barrier:
            return
        c = self.courses.get(stream)
        if c is None or not c.open:
            self.complaints.append(f"stream {stream}, which is not open, was closed")
            return
        c.open = False
        self._look_up(be)

    def _done(self, be: BackEndHandle) -> bool:
        """Whether everything on the open streams has been offered, and has come."""
        left = [c for c in self.courses.values() if c.open]
        if any(c.made < c.plan.waves for c in left):
            return False
        return be.now >= self.barrier_s + PATIENCE_S or all(c.heard == len(c.meant) for c in left)

    def _told(self) -> list[list[Any]]:
        """One entry for each stream: rank, MADE, its number, waves offered, messages received. One for each complaint."""
        told: list[list[Any]] = [[self.rank, MADE, c.plan.index, c.made, c.heard] for c in self.courses.values()]
        told += [[self.rank, WRONG, text] for text in self.complaints[:MOST_COMPLAINTS]]
        if len(self.complaints) > MOST_COMPLAINTS:
            told.append([self.rank, WRONG, f"and {len(self.complaints) - MOST_COMPLAINTS} complaints more"])
        return told or [[self.rank]]

    def _look_up(self, be: BackEndHandle) -> None:
        """What the barrier waits for may have happened."""
        if self.barrier is not None:
            self._ask_at(be, be.now)

    def _ask_at(self, be: BackEndHandle, when_s: float) -> None:
        """Ask to be asked again; an earlier time that is still to come stays."""
        if self.due_s > be.now and self.due_s < when_s:
            return
        self.due_s = when_s
        be.call_at(when_s)
