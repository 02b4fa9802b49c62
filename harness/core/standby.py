"""The standby of the front-end: it keeps the front-end's log, and becomes the root where the front-end is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from harness.core import actions, frames
from harness.core.actions import Neighbour
from harness.core.apps import PluginError, ResumableApp
from harness.core.downstream import WINDOW
from harness.core.filters import DownFilter, Filter
from harness.core.frames import FrameError
from harness.core.frontend import FrontEnd
from harness.core.logbook import Logbook
from harness.core.node import CONTROL, Node
from harness.core.ranks import RankSet
from harness.core.settings import NodeSettings
from harness.core.tree import Tree


class Standby(Node):
    """A communication process right below the front-end. `app` is what goes on here if the front-end is lost."""

    def __init__(
        self,
        tree: Tree,
        settings: NodeSettings,
        filters: Mapping[str, Filter],
        down_filters: Mapping[str, DownFilter],
        app: ResumableApp,
        now: float,
    ) -> None:
        super().__init__(tree.standby, tree, settings, filters, down_filters, now)
        self.app = app
        self.logbook = Logbook(app)
        #: Who asked to be taken in while the front-end was lost, when, and everybody below it.
        self.asked: dict[int, tuple[float, set[int]]] = {}
        self.handlers[frames.LOG] = self._on_log

    def _on_log(self, link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
        if link is not self.parent:
            raise FrameError("a log from a node that is not the parent")
        if len(self.logbook.messages) > WINDOW:
            self.logbook.forget({i: d.last for i, d in self.streams.down.items()})
        number = self.logbook.take(head[6], head[4], bytes(frame[frames.HEADER_SIZE + head[7] :]), self.now)
        if number:
            if not self.ballot.log:
                self.out.event("standing-by")
            self.ballot.log = number
            self.out.send(link, self.now, frames.control_frame(frames.KEPT, 0, number))

    def welcomed(self, parent: Neighbour, terms: dict[int, list[int]], again: bool) -> None:
        super().welcomed(parent, terms, again)
        self.asked.clear()
        self.logbook.begin_again()

    def _admit(self, link: Neighbour, body: dict[str, Any]) -> None:
        """Who turns to this node while the front-end is lost waits for an answer, if it cannot have one yet."""
        inside = 0 < link.node < len(self.tree.nodes)
        if self._front_end_lost and inside and (self.tree.nodes[link.node].depth == 1 or self.uplink.helpless):
            self.waiting_children.append((link, body))
            return
        super()._admit(link, body)

    def _on_attach(self, link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
        super()._on_attach(link, frame, head)
        for waiting, body in self.waiting_children:
            self.asked[waiting.node] = (self.now, {waiting.node, *(int(n) for n, _, _ in body["below"])})

    def _lost(self, link: Neighbour, cause: str) -> None:
        from_root = link is self.parent
        super()._lost(link, cause)
        if from_root and self.logbook.number:  # those below are votes: it lets them go when it has tried, not meanwhile
            self.uplink.release_at += self.uplink.patience()

    @property
    def _front_end_lost(self) -> bool:
        """Whether the link to the front-end is lost, and it could not be reached again at once. A process without a log takes
        no front-end's place: the one before it may have had one."""
        u = self.uplink
        if not self.logbook.number:
            return False
        tried = u.attempt > 1 or (u.attempt == 1 and u.target is None)
        return not self.closing and u.parent is None and u.lost_parent == 0 and tried and not self.ballot.generation

    def advance(self, now: float) -> None:
        super().advance(now)
        lost = self._front_end_lost and self.out.exit is None
        if lost and 2 * self._in_reach() > len(self.tree.nodes) - len(self.dead_too()):
            self.out.successor = Heir(self)

    def dead_too(self) -> set[int]:
        """Who is dead, by the orders in the log as well."""
        return self.dead | self.logbook.dead

    def _in_reach(self) -> int:
        """How many nodes would vote for this one, as far as can be seen."""
        since = self.now - self.settings.lease_s - self.settings.connect_timeout_s
        found = {self.id, *(n for n, _, _ in self.below.edges())}
        for when, nodes in self.asked.values():
            if when >= since:
                found |= nodes
        return len(found - self.dead_too())


class Heir(FrontEnd):
    """The standby as the root: first it asks for votes, and may decide nothing; with more than half of them it is in charge."""

    def __init__(self, old: Standby) -> None:
        super().__init__(old.tree.rooted(), old.settings, old.filters, old.down_filters, old.app, old.now)
        self.resumable = old.app
        self.planned = old.tree
        self.logbook = old.logbook
        self.in_charge = False
        self.results.held_up = True
        self.asked_s = old.now
        #: Nodes that do not count as voters: dead before this one asked.
        self.gone = set(old.dead_too())
        self.out = old.out
        self.life = old.life
        self.links, self.children, self.strangers = old.links, old.children, old.strangers
        self.control, self.below = old.control, old.below
        self.dead, self.dead_ranks = old.dead, old.dead_ranks
        self.deaths, self.deaths_digest = old.deaths, old.deaths_digest
        self.ballot = old.ballot
        self.ballot.node = self
        self.handlers[frames.VOTE] = self.ballot.on_vote
        self.started = self.logbook.started
        self.next_stream = self.logbook.next_stream
        if old.uplink.link is not None:
            self.links.pop(old.uplink.link.conn, None)
            self.out.actions.append((actions.CLOSE, old.uplink.link.conn, None))
        self._inherit(old)
        self.membership.bury({0} | self.dead)
        self.membership.below_is(self.id, self.below.edges(), self.now)
        for order in self.logbook.orders[self.control.last :]:
            if msgpack.unpackb(order)["op"] != "shutdown":
                self.take_down(CONTROL, self.message(CONTROL, self.control.last + 1, order))
        self.membership.bury(self.dead)  # also whom only the log's orders declare dead
        for stream, marks in self.logbook.marks.items():
            self._set_marks(stream, marks)
        for stream, number, payload, to in self.logbook.messages:
            d = self.streams.down.get(stream)
            if d is not None and number > d.last:
                self.streams.take_down(stream, self.message(stream, number, payload, RankSet.decode(to)))
        self.out.event("front-end-lost", by=self.id)
        self.waiting_children = old.waiting_children  # whom the next order lets in, and not one before it
        order = msgpack.packb({"op": "root", "node": self.id})
        self.take_down(CONTROL, self.message(CONTROL, self.control.last + 1, order))
        self.rearm = True

    def _inherit(self, old: Standby) -> None:
        """The streams, as they are at a root."""
        new, streams = self.results, old.streams
        new.up, new.down, new.timed = streams.up, streams.down, streams.timed
        for stream, s in new.up.items():
            s.outbox.clear()
            s.owed.clear()
            new.prepare(s)
            new.dirty[stream] = s

    def _set_marks(self, stream: int, marks: list[Any]) -> None:
        """Where a stream stood at the front-end: replay streams begin again from there."""
        s = self.results.up.get(stream)
        if s is None:
            return
        acked, _, failed, _ = marks
        self.results.delivery[stream].failed = failed
        if s.replay:
            self.results.learn({stream: acked})
            self.results.rewind(s, None)
        else:
            s.acknowledge(acked)

    # -- before it is in charge --------------------------------------------------------------------------------------------

    def why_not(self, node: int, body: Mapping[str, Any]) -> str:
        if node == 0 and not self.in_charge:
            return "the vote is not over"
        return super().why_not(node, body)

    def counted(self) -> None:
        if not self.in_charge and 2 * len(self.ballot.votes - self.gone) > len(self.tree.nodes) - len(self.gone):
            self._take_charge()

    def deadline(self) -> float:
        if self.in_charge:
            return super().deadline()
        return min(Node.deadline(self), self.asked_s + self.settings.start_timeout_s)

    def tick(self, now: float) -> None:
        if self.in_charge:
            super().tick(now)
            return
        Node.tick(self, now)
        if now >= self.asked_s + self.settings.start_timeout_s:
            votes, voters = len(self.ballot.votes), len(self.tree.nodes) - len(self.gone)
            self.out.exit = (5, f"the front-end is lost, and {votes} of {voters} nodes are not enough to go on without it")

    # -- in charge -----------------------------------------------------------------------------------------------------------

    def _take_charge(self) -> None:
        logbook, now = self.logbook, self.now
        self.in_charge = True
        self.results.held_up = False
        self.membership.last_join = self.began = now
        self.out.event("took-over", generation=1, lost=0, votes=len(self.ballot.votes))
        self.out.events += logbook.tells()
        self.context.samples = logbook.samples
        if not self.started:
            self.rearm = True
            self._membership_changed()
            return
        cause = f"{frames.SILENT}: not heard of since the front-end was lost"
        new = [n for n in self.membership.missing() for n in self.membership.lost(n, 0, cause, now)]
        if new:
            self._suspect(new[0], new, self.id, cause)
        for stream, (_, expected, _, since) in logbook.marks.items():
            s = self.results.up.get(stream)
            if s is not None:
                d = self.results.delivery[stream]
                d.expected, d.since = expected, min(now, since + logbook.shift_s)
                self.results.dirty[stream] = s
        self.results.delivered = logbook.delivered
        try:
            self.resumable.resume(self.context, logbook.app, logbook.shift_s)
        except Exception as e:
            raise PluginError("resume of the front-end's application") from e
        self.context.due = min(self.context.due, logbook.due + logbook.shift_s)
        for s in list(self.results.up.values()):
            self.results.name_lost(s)
        self.rearm = True
        self._membership_changed()
        if logbook.ending:
            self.ending = True
            self.order({"op": "shutdown"})
