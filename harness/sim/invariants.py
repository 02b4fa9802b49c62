"""What must hold at every moment of a simulation, and at its end. docs/invariants.md has a paragraph on each.

What is looked at after a node's turn is that node alone, so that the cost of an event does not grow with the tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from harness.core.agreement import compare
from harness.core.frontend import FrontEnd
from harness.core.node import Node
from harness.core.settings import NodeSettings
from harness.core.upstream import UpStream
from harness.sim.seats import Seat
from harness.sim.world import World

#: Name to the sentence that must be true.
INVARIANTS: Final[Mapping[str, str]] = {
    "one-parent": "a node has at most one parent, and no node has two connections with the same child",
    "no-cycles": "a parent is strictly nearer to the root than its child",
    "epochs-monotonic": "the epoch of a stream at a node never goes back",
    "waves-monotonic": "the next wave of a stream at a node goes back by a rewind only",
    "lives-apart": "a back-end that is let in begins behind all that a process before it has produced",
    "memory-within-credit": "a node holds no more of a stream than the windows allow",
    "fenced": "the front-end has nobody below it whom it has declared dead",
    "no-busy-loop": "a node that wakes itself has something to do",
    "one-root": "the standby takes over, or the front-end goes on alone, never both",
    "deadlines-kept": "after a turn of the front-end no request is overdue",
    "every-request-ends": "the workload ends, and every request of it",
    "everything-ends": "once the tree has closed, no process is left",
    "ends-in-order": "who was not struck ends in order where the last fault is long past, and is fenced only if declared dead",
    "heals": "once faults have stopped, the front-end suspects nobody for longer than the bound",
    "agreement": "at the end all that are attached name the same nodes as dead",
    "same-sequence": "whoever ends by itself was told the front-end's sequence of deaths, or, if it was away, its beginning",
}
_MOST: Final = 20
#: Long queues are counted now and then: what is too much stays so for longer.
_LONG: Final = 16
_SELDOM: Final = 64
_SLACK_S: Final = 0.001


class Invariants:
    """Watches a world; `violations` are (name, what was wrong), each kind at each node once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._next = world.watch
        self._seen: set[tuple[str, int]] = set()
        self._stood: dict[tuple[int, int, int], tuple[int, int]] = {}
        #: Lives of back-ends that were looked at, by stream.
        self._begun: set[tuple[int, int, int]] = set()
        self.violations: list[tuple[str, str]] = []
        world.watch = self._look

    def _look(self, seat: Seat) -> None:
        if self._next is not None:
            self._next(seat)
            if not seat.alive:  # it was struck just now
                return
        node = seat.node
        self._family(node)
        for stream, s in node.streams.up.items():
            self._stream(seat, stream, s)
        if isinstance(node, FrontEnd):
            for child in node.children.values():
                if child.node in node.membership.dead:
                    self._wrong("fenced", node.id, f"node {child.node} is below the front-end, and declared dead")
            if node.id == 0 and node.started and not node.closing and not node.ending:
                self._deadlines(node)

    def _deadlines(self, node: FrontEnd) -> None:
        for stream, d in node.results.delivery.items():
            s = node.results.up[stream]
            wave = max(s.acked // s.units.per_wave, d.failed)
            if d.expected > wave and node.now > d.since + s.spec.deadline_s + _SLACK_S:
                what = f"wave {wave} of stream {stream} was due at {d.since + s.spec.deadline_s:.6f} s"
                self._wrong("deadlines-kept", node.id, what)

    def _wrong(self, name: str, node: int, what: str) -> None:
        if (name, node) not in self._seen and len(self.violations) < _MOST:
            self._seen.add((name, node))
            self.violations.append((name, f"at {self._world.now:.6f} s: {what}"))

    def _family(self, node: Node) -> None:
        parent = node.parent
        if parent is not None and node.tree.nodes[parent.node].depth >= node.me.depth:
            self._wrong("no-cycles", node.id, f"node {node.id} has node {parent.node} as its parent, which is not above it")
        if len(node.children) > 1:
            ids = [child.node for child in node.children.values()]
            if len(set(ids)) < len(ids):
                self._wrong("one-parent", node.id, f"node {node.id} has a child twice: {sorted(ids)}")

    def _stream(self, seat: Seat, stream: int, s: UpStream) -> None:
        key = (seat.id, seat.life, stream)
        epoch, next_ = self._stood.get(key, (0, 0))
        if s.epoch < epoch:
            self._wrong("epochs-monotonic", seat.id, f"node {seat.id}, stream {stream}: epoch {s.epoch} after {epoch}")
        elif s.epoch == epoch and s.next < next_:
            what = f"node {seat.id}, stream {stream}: unit {s.next} after {next_} in epoch {epoch}"
            self._wrong("waves-monotonic", seat.id, what)
        self._stood[key] = (s.epoch, s.next)
        node, rank = seat.node, seat.node.me.rank
        let_in = node.lives.life(node.id) == node.life  # else what it has heard is about one before it
        if s.comers is not None and rank in s.comers.floors and let_in and key not in self._begun:
            self._begun.add(key)
            done = [n for (i, life, st), (_, n) in self._stood.items() if (i, st) == (seat.id, stream) and life < seat.life]
            made, first = max(done, default=0), s.comers.floors[rank]
            if made > first:
                what = f"node {seat.id}, stream {stream}: from unit {first} on, though {made} were made before"
                self._wrong("lives-apart", seat.id, what)
        for what in _excess(seat.node, stream, s, thorough=self._world.happened % _SELDOM == 0):
            self._wrong("memory-within-credit", seat.id, what)

    def at_the_end(self, events: Sequence[Mapping[str, Any]], heal_s: float) -> list[tuple[str, str]]:
        """What is wrong with the whole, once everything has ended or been stopped."""
        world, found = self._world, []
        left = [seat.id for seat in world.seats if seat.alive]
        forced = [e["node"] for e in events if e["kind"] == "node-exited" and e.get("forced")]
        unfinished = [e for e in events if e["kind"] == "finished" and "is busy with nothing" in str(e.get("reason", ""))]
        if unfinished:
            found.append(("no-busy-loop", str(unfinished[0]["reason"])))
        frozen = {seat.id for seat in world.seats if seat.stopped or seat.vanished}
        stuck = [n for n in (*left, *forced) if n not in frozen]
        if stuck and not _front_end_struck(events):
            found.append(("everything-ends", f"nodes {sorted(set(stuck))} had not ended by themselves"))
        if {"took-over", "alone"} <= {e["kind"] for e in events}:
            found.append(("one-root", "the standby took over, and the front-end went on alone"))
        found += _heals(events, heal_s)
        found += _in_order(events, world.seats[0].node.settings)
        found += self._agreement()
        told = compare(events)
        for node, what in (told.disagreeing if told is not None else {}).items():
            found.append(("same-sequence", f"node {node}: {what}"))
        return found

    def _agreement(self) -> list[tuple[str, str]]:
        """Whoever has heard all orders of the front-end names the same nodes as dead."""
        roots = [s.node for s in self._world.seats if isinstance(s.node, FrontEnd) and s.node.in_charge]
        front = next((node for node in roots if node.id), roots[0])
        for seat in self._world.seats[1:]:
            node = seat.node
            if node.closing and node.control.last == front.control.last and node.dead != front.dead:
                return [("agreement", f"node {seat.id} names {sorted(node.dead)} as dead, the front-end {sorted(front.dead)}")]
        return []


def _front_end_struck(events: Sequence[Mapping[str, Any]]) -> bool:
    over = any(e["kind"] == "took-over" for e in events)
    return not over and any(e["kind"] == "fault" and e["node"] == 0 for e in events)


def _in_order(events: Sequence[Mapping[str, Any]], settings: NodeSettings) -> list[tuple[str, str]]:
    """How the nodes ended that no fault struck. Who was away while the tree closed finds nobody, and gives up (status 5): so
    the last fault must have been so long before that every orphan had a parent again, or was declared dead."""
    calm_s = settings.lease_s + 2 * (settings.orphan_grace_s + settings.connect_timeout_s)
    faults = [e for e in events if e["kind"] in ("fault", "fault-undone")]
    struck = {int(n) for e in faults for n in (e["node"], *(e.get("nodes") or ()))}
    finished = [float(e["t_s"]) for e in events if e["kind"] == "finished"]
    if not finished or 0 in struck or any(e["kind"] in ("took-over", "alone") for e in events):
        return []
    if any(e["kind"] == "gave-up" and e["node"] == 0 for e in events):  # nobody is left to end the others in order
        return []
    allowed = {0} if finished[0] - max((float(e["t_s"]) for e in faults), default=-calm_s) > calm_s else {0, 5}
    dead = {int(e["member"]) for e in events if e["kind"] == "dead"}
    ended = [(int(e["node"]), int(e["status"])) for e in events if e["kind"] == "node-exited" and not e.get("forced")]
    return [
        ("ends-in-order", f"node {node}, which no fault struck, ended with status {status}")
        for node, status in ended
        if node not in struck and status not in (allowed | {4} if node in dead else allowed)
    ]


def _heals(events: Sequence[Mapping[str, Any]], heal_s: float) -> list[tuple[str, str]]:
    """A suspect comes back, or is declared dead, within the bound after the last fault began, ended or was seen."""
    since: dict[int, float] = {}
    last = 0.0
    for e in events:
        if e["kind"] in ("fault", "fault-undone"):
            last = float(e["t_s"])
        elif e["kind"] == "suspect":
            since.setdefault(int(e["member"]), float(e["t_s"]))
        elif e["kind"] == "took-over":  # whom it suspects itself, it says
            since.clear()
            last = float(e["t_s"])
        elif e["kind"] in ("dead", "rejoined"):
            begun = since.pop(int(e["member"]), None)
            if begun is not None and float(e["t_s"]) - max(begun, last) > heal_s:
                return [("heals", f"node {e['member']} was suspect from {begun:.3f} to {e['t_s']:.3f} s")]
        elif e["kind"] == "finished":
            for member, begun in since.items():
                if float(e["t_s"]) - max(begun, last) > heal_s:
                    return [("heals", f"node {member} was suspect from {begun:.3f} s to the end")]
    return []


def _excess(node: Node, stream: int, s: UpStream, thorough: bool) -> list[str]:
    """What a node holds of a stream beyond the bounds of docs/protocol.md, in units."""
    found = []
    u = s.units
    for inbox in s.inboxes.values():
        if thorough or len(inbox.queue) <= _LONG:
            held = sum(p.units for p in inbox.queue) if len(inbox.queue) else 0
            # A child that began a rewind by itself may, for a round trip, still use what it was granted before.
            if held > u.link_window + u.batch + (u.window if s.replay else 0):
                found.append(f"node {node.id}, stream {stream}: an inbox holds {held} units, the window has {u.link_window}")
    if thorough or len(s.outbox.kept) <= _LONG:
        kept = sum(e[1] for e in s.outbox.kept)
        if kept > (u.window + u.batch if s.replay else 0):
            found.append(f"node {node.id}, stream {stream}: {kept} units are kept, the window has {u.window}")
    if s.kept is not None and s.kept.units > s.kept.window + u.batch:
        most = s.kept.window
        found.append(f"node {node.id}, stream {stream}: {s.kept.units} units may be asked for again, at most {most} may be")
    if s.relay and (thorough or len(s.relay) <= _LONG):
        relayed = sum(p.units for p in s.relay)
        if relayed > len(node.tree.nodes) * (u.link_window + u.batch):  # a window for each child that ever came
            found.append(f"node {node.id}, stream {stream}: {relayed} units to be relayed, the window has {u.link_window}")
    return found
