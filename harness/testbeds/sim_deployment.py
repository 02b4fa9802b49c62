"""One trial in the simulator, as the runner sees it."""

from __future__ import annotations

import gc
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.api.errors import InfrastructureError
from harness.api.testbed import DeploymentSpec
from harness.core.frontend import FrontEnd
from harness.core.node import Node
from harness.sim import acts
from harness.sim.model import Model
from harness.sim.world import BusyLoop, World
from harness.testbeds.nodes import make_node
from harness.testbeds.recorder import Recorder
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
        self._root, self._told = 0, 0
        #: Whose samples count: another process may sit there since.
        self._front: Node | None = None
        self.world = World(spec.tree, self._build, model, spec.context.seed, self._take)
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
        limit = self._spec.start_timeout_s * (3 if self._spec.tree.standby >= 0 else 1) + 2.0
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
            if self._finished or self._stopped:
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
        told = event.pop("told", None)
        if told is not None:  # of the front-end's log: its standby tells again what may have been told
            if told <= self._told:
                return
            self._told = told
        self._events.append(event)
        kind = event["kind"]
        if kind == "workload-started":
            self._started_s = float(event["t_s"])
            self._front = self.world.seats[event["node"]].node
        elif kind == "finished":
            self._finished = True
        elif kind == "took-over":
            self._root = int(event["node"])
            self._front = self.world.seats[self._root].node
        elif kind == "node-exited" and not self._finished and not self._stopped and self._nobody_goes_on(event["node"]):
            status = event["status"]
            how = f"it ended by signal {-status}" if status < 0 else f"it ended with status {status}"
            reason = f"the front-end's process is gone: {how}"
            self._take({"t_s": event["t_s"], "kind": "finished", "node": 0, "ok": False, "reason": reason})

    def _nobody_goes_on(self, ended: int) -> bool:
        """Whether the process that ended was the front-end's, and no standby goes on, or may."""
        seats, standby = self.world.seats, self._spec.tree.standby
        if standby < 0 or (self._root and ended == self._root):
            return ended == self._root
        return ended in (0, standby) and not seats[0].alive and not seats[standby].alive

    def _progress(self, _: int) -> None:
        seat = self.world.seats[self._root]
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
            seat = self.world.seats[self._root]
            front = seat.node
            if isinstance(front, FrontEnd) and seat.alive and not front.closing:
                front.finish(False, "stopped by the harness")
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
