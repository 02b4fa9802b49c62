"""The injections of one simulated trial: struck, seen, and taken back when that is due."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from harness.api.fault import Action, Injection
from harness.core.frontend import FrontEnd
from harness.sim import acts
from harness.sim.seats import Seat
from harness.sim.world import World
from harness.testbeds.traps import Traps, fault_event

#: What the simulator can do, and how.
ABLE: Mapping[str, str] = {
    "kill": "the simulated process ends, its connections are reset",
    "restart": "another simulated process takes its place",
    "hang": "the simulated process does not run, its connections stay",
    "vanish": "the simulated process ends, nothing is reset",
    "cut": "simulated connections are reset",
    "partition": "frames between two sides are held back",
    "late": "frames on one connection arrive later",
    "slow": "each thing takes a node so long",
    "skew": "a node's clock runs at another rate",
    "refuse": "no connection is taken in",
    "come-and-go": "a simulated process starts late, or ends in order",
    "at-event": "before the n-th thing that happens",
}


class SimFaults:
    """Arms what waits for a moment at once, and what has a time when the workload has started. `done`: how many struck."""

    def __init__(self, world: World, injections: Sequence[Injection], tell: Callable[[dict[str, Any]], None]) -> None:
        self._world = world
        self._tell = tell
        self._injections = injections
        self._undo: dict[int, tuple[Injection, Callable[[], bool]]] = {}
        self.done = 0
        self._traps = {seat.id: traps for seat in world.seats if (traps := Traps(seat.node, injections, self._strike)).armed}
        for injection in injections:
            if injection.trigger.at_event is not None:
                world.before.setdefault(injection.trigger.at_event, []).append(partial(self._strike, injection))
        if self._traps:
            world.watch = self._watch
            world.sending = self._sending

    def arm(self, started_s: float) -> None:
        """The workload has started: the times of the injections count from here."""
        for injection in self._injections:
            if injection.trigger.at_s is not None:
                self._world.at(started_s + injection.trigger.at_s, partial(self._on_time, injection))

    def release(self) -> None:
        """Take everything back that waits for it, so that the tree can close in order; only the dead stay dead, and who left
        stays away."""
        for number, (injection, _) in list(self._undo.items()):
            if injection.action not in (Action.KILL, Action.LEAVE):
                self._take_back(number)

    def _watch(self, seat: Seat) -> None:
        traps = self._traps.get(seat.id)
        if traps is not None and traps.armed and seat.alive:
            if isinstance(seat.node, FrontEnd):  # the standby may have become one
                traps.node = seat.node
            traps.check()

    def _sending(self, seat: Seat, parts: tuple[Any, ...]) -> None:
        traps = self._traps.get(seat.id)
        if traps is not None and traps.armed:
            for injection in traps.mid_flush(parts):
                traps.spring(injection)

    def _on_time(self, injection: Injection, _: int) -> None:
        self._strike(injection)

    def _strike(self, injection: Injection) -> None:
        where = {"t_s": self._world.now, "node": injection.node}
        if not self._possible(injection):
            missed = {"fault": injection.fault, "node": injection.node, "reason": "there was nothing to strike"}
            self._tell({**where, "kind": "note", "name": "fault-missed", "fields": missed})
            return
        self.done += 1
        self._tell(where | fault_event(injection, self._root()))
        effect, undo = self._act(injection)
        self._tell({**where, "kind": "fault-confirmed", "fault": injection.fault, "effect": effect})
        if undo is not None:
            number = self.done
            self._undo[number] = injection, undo
            if injection.undo_after_s is not None:
                self._world.at(self._world.now + injection.undo_after_s, self._take_back, number)

    def _root(self) -> int:
        """The front-end, or the standby that takes its place."""
        standby = self._world.tree.standby
        node = self._world.seats[standby].node if standby >= 0 else None
        return standby if isinstance(node, FrontEnd) else 0

    def _possible(self, i: Injection) -> bool:
        """Whether there is something to strike."""
        seat = self._world.seats[i.node]
        if i.action is Action.STOP:
            return seat.running
        if i.action is Action.CONT:
            return seat.stopped
        if i.action is Action.CUT and i.direction == "both":
            return any(pipe.open for pipe in seat.pipes)
        if i.action in (Action.CUT, Action.LATE):
            return acts.uplink(self._world, i.node) is not None
        if i.action is Action.JOIN:
            return not seat.alive and not seat.begun
        if i.action is Action.LEAVE:
            return seat.running and seat.begun
        return seat.alive or i.action is Action.PART

    def _act(self, i: Injection) -> tuple[str, Callable[[], bool] | None]:
        """Do it: what is seen of it, and what takes it back."""
        world, node = self._world, i.node
        if i.action is Action.KILL:
            acts.kill(world, node)
            return "exited by signal 9", partial(acts.restart, world, node) if i.undo_after_s is not None else None
        if i.action is Action.JOIN:
            acts.restart(world, node)
            if node in self._traps:  # they wait for this process, not for the one that was never there
                self._traps[node] = Traps(world.seats[node].node, self._injections, self._strike)
            return "started", None
        if i.action is Action.LEAVE:
            acts.leave(world, node)
            return "told to leave", partial(acts.come_back, world, node) if i.undo_after_s is not None else None
        if i.action is Action.VANISH:
            acts.vanish(world, node)
            return "its machine is gone", None
        if i.action is Action.STOP:
            acts.stop(world, node)
            return "stopped (state T)", partial(acts.cont, world, node)
        if i.action is Action.CONT:
            acts.cont(world, node)
            return "continued", None
        if i.action is Action.CUT:
            cut = acts.cut_all(world, node) if i.direction == "both" else acts.cut(world, node)
            return f"{cut} connection{'s' * (cut > 1)} reset", None
        if i.action is Action.LATE:
            acts.late(world, node, i.amount)
            return f"{i.amount:g} s late", None
        if i.action is Action.PART:
            return "apart", partial(acts.join, world, acts.part(world, (node, *i.others), i.peers, i.direction))
        if i.action is Action.SLOW:
            return f"{i.amount:g} s a turn", partial(acts.fast, world, node, acts.slow(world, node, i.amount))
        if i.action is Action.SKEW:
            acts.skew(world, node, i.amount)
            return f"{i.amount:g} s a second", partial(acts.skew, world, node, 1.0)
        if i.action is Action.REFUSE:
            world.refusing.add(node)
            return "refuses connections", partial(acts.accept, world, node)
        raise ValueError(f"the simulator does not know the action {i.action}")

    def _take_back(self, number: int) -> None:
        injection, undo = self._undo.pop(number, (None, None))
        if injection is not None and undo is not None and undo():
            self._tell({"t_s": self._world.now, "kind": "fault-undone", "fault": injection.fault, "node": injection.node})
