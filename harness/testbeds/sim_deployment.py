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
from harness.sim.seats import Seat
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
        limit = self._spec.start_timeout_s + 2.0
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
        self._events.append(event)
        kind = event["kind"]
        if kind == "workload-started":
            self._started_s = float(event["t_s"])
        elif kind == "finished":
            self._finished = True
        elif kind == "node-exited" and event["node"] == 0 and not self._finished and not self._stopped:
            status = event["status"]
            how = f"it ended by signal {-status}" if status < 0 else f"it ended with status {status}"
            reason = f"the front-end's process is gone: {how}"
            self._take({"t_s": event["t_s"], "kind": "finished", "node": 0, "ok": False, "reason": reason})

    def _progress(self, _: int) -> None:
        seat = self.world.seats[0]
        node = seat.node
        if seat.running and isinstance(node, FrontEnd):
            alive = len(node.tree.nodes) - len(node.membership.dead) - len(node.membership.suspects)
            self._take({"t_s": self.world.now, "node": 0, "kind": "progress", "waves": node.results.delivered, "alive": alive})
        if not self._stopped:
            self.world.at(self.world.now + _PROGRESS_S, self._progress)

    def stop(self, timeout_s: float) -> list[dict[str, Any]]:
        """Close the tree in order within `timeout_s` virtual seconds, then kill what is left; the last events."""
        if not self._stopped:
            self._faults.release()
            front = self.world.seats[0].node
            if isinstance(front, FrontEnd) and self.world.seats[0].alive and not front.closing:
                front.finish(False, "stopped by the harness")
                self.world.wake(self.world.seats[0])
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
            recorder.write(samples_of(self.world.seats[0]), 0.0)
            recorder.close()
        except OSError as error:
            raise InfrastructureError(f"the samples cannot be written to {into}: {error}") from error


def samples_of(seat: Seat) -> list[Any]:
    """What the application at the front-end has recorded."""
    node = seat.node
    return node.context.samples if isinstance(node, FrontEnd) else []
