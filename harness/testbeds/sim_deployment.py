"""One trial in the simulator, as the runner sees it."""

from __future__ import annotations

import gc
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.api.errors import InfrastructureError
from harness.api.fault import late
from harness.api.testbed import STOPPED, DeploymentSpec
from harness.core.frontend import FrontEnd
from harness.core.node import Node
from harness.sim import acts
from harness.sim.model import Model
from harness.sim.world import BusyLoop, World
from harness.testbeds.nodes import make_node
from harness.testbeds.recorder import Recorder
from harness.testbeds.roots import Roots, how_ended, patience
from harness.testbeds.sim_faults import SimFaults

#: So much may happen in one poll before the runner may look at other things.
_POLL_STEPS = 5000
_PROGRESS_S = 0.25
#: Nearly everything is freed at once: a large tree is not to be searched for garbage again and again.
_COLLECT = (1_000_000, 50, 1000)


class SimDeployment:
    """A context manager like every deployment. `world` is what is simulated; `clock` shows its time."""

    def __init__(self, spec: DeploymentSpec, model: Model) -> None:
        self._spec = spec
        self._events: list[dict[str, Any]] = []
        self._started_s: float | None = None
        self._finished = self._stopped = False
        self._collecting = gc.get_threshold()
        gc.set_threshold(*_COLLECT)
        self._roots = Roots(spec.tree, self._alive, self._why_ended)
        #: Whose samples count: another process may sit there since.
        self._front: Node | None = None
        self.world = World(spec.tree, self._build, model, spec.context.seed, self._take, late(spec.injections))
        self._faults = SimFaults(self.world, spec.injections, self._take)
        self.world.at(_PROGRESS_S, self._progress)

    def _build(self, node: int, now: float, life: int) -> Node:
        return make_node(self._spec, node, now, life)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopped = True
        gc.set_threshold(*self._collecting)

    def clock(self) -> float:
        """Virtual seconds since the trial's start."""
        return self.world.now

    def start(self) -> None:
        """Let the tree come up and the workload start. Raises InfrastructureError where that does not happen in time."""
        limit = self._spec.start_timeout_s * patience(self._spec.tree) + 2.0
        while self._started_s is None and not self._finished:
            if self.world.next_at() > limit:
                raise InfrastructureError(f"the tree was not ready within {limit:g} virtual seconds")
            self._step()
        if self._started_s is not None:
            self._faults.arm(self._started_s)
        elif not self._faults.done:
            raise InfrastructureError("the tree was not ready when the front-end gave up")

    def poll(self, timeout_s: float) -> list[dict[str, Any]]:
        """Let a number of things happen, which does not depend on any clock; the events of it in order."""
        for _ in range(_POLL_STEPS):
            if self._over:
                break
            self._step()
        events, self._events = self._events, []
        return events

    def _step(self) -> None:
        """One thing happens. A node that is busy with nothing fails the trial, not the testbed."""
        try:
            self.world.step()
        except BusyLoop as error:
            self._take({"t_s": self.world.now, "kind": "finished", "node": 0, "ok": False, "reason": str(error)})

    def _take(self, event: dict[str, Any]) -> None:
        if not self._roots.take(event):
            return
        self._events.append(event)
        kind = event["kind"]
        if kind == "workload-started":
            self._started_s = float(event["t_s"])
            self._front = self.world.seats[event["node"]].node
        elif kind == "finished":
            self._finished = True
        elif kind == "took-over":
            self._front = self.world.seats[self._roots.root].node
        elif kind == "node-exited" and not self._over and (reason := self._roots.end_of(event["node"])):
            self._take({"t_s": event["t_s"], "kind": "finished", "node": 0, "ok": False, "reason": reason})

    @property
    def _over(self) -> bool:
        return self._finished or self._stopped

    def _alive(self, node: int) -> bool:
        return self.world.seats[node].alive

    def _why_ended(self, node: int) -> str:
        how = self.world.seats[node].exit
        return how_ended(how[0]) if how is not None else ""

    def _progress(self, _: int) -> None:
        seat = self.world.seats[self._roots.root]
        node = seat.node
        if seat.running and isinstance(node, FrontEnd):
            alive = len(node.tree.nodes) - len(node.membership.dead) - len(node.membership.suspects)
            done = {"kind": "progress", "waves": node.results.delivered, "alive": alive}
            self._take({"t_s": self.world.now, "node": seat.id, **done})
        if not self._stopped:
            self.world.at(self.world.now + _PROGRESS_S, self._progress)

    def stop(self, timeout_s: float) -> list[dict[str, Any]]:
        """Close the tree in order within `timeout_s` virtual seconds, then kill what is left; the last events."""
        if not self._stopped:
            self._faults.release()
            seat = self.world.seats[self._roots.root]
            front = seat.node
            if isinstance(front, FrontEnd) and seat.alive and not front.closing:
                front.finish(False, STOPPED)
                self.world.wake(seat)
            self._stopped = True
            limit = self.world.now + timeout_s
            while self.world.next_at() <= limit and any(seat.alive for seat in self.world.seats):
                self._step()
            for seat in self.world.seats:
                if seat.alive:
                    acts.kill(self.world, seat.id)
                    self._events[-1]["forced"] = True
        events, self._events = self._events, []
        return events

    def collect(self, into: Path) -> None:
        """Write the front-end's samples into directory `into`. Raises InfrastructureError where they cannot be written."""
        into.mkdir(parents=True, exist_ok=True)
        try:
            recorder = Recorder(into)
            recorder.write(samples_of(self._front), 0.0)
            recorder.close()
        except OSError as error:
            raise InfrastructureError(f"the samples cannot be written to {into}: {error}") from error


def samples_of(node: Node | None) -> list[Any]:
    """What the application at the front-end has recorded."""
    return node.context.samples if isinstance(node, FrontEnd) else []
