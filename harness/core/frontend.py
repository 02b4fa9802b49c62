"""The front-end: the root of the tree, its view of the membership, and the application's handle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgpack

from harness.core.actions import Neighbour
from harness.core.apps import FrontEndApp, PluginError
from harness.core.comers import WISHES
from harness.core.comings import Comings
from harness.core.downstream import Message
from harness.core.filters import Array, DownFilter, Filter, Items
from harness.core.handover import Log
from harness.core.ledger import Extent
from harness.core.membership import Membership
from harness.core.node import CONTROL, Node
from harness.core.ranks import EMPTY, RankSet
from harness.core.results import ResultTable
from harness.core.settings import START_UP_PATIENCE, NodeSettings
from harness.core.spec import StreamError, StreamSpec
from harness.core.stream_check import check_spec
from harness.core.streams import NEVER
from harness.core.tree import Tree

#: How long the tree may take to close in order.
CLOSE_S = 5.0


class Sample:
    """A run of waves that the application recorded together."""

    __slots__ = ("complete", "contributors", "first", "granted_s", "observed", "stream", "t_s")

    def __init__(self, t_s: float, granted_s: float, stream: int, first: int, observed: Array, ranks: RankSet, complete: bool):
        self.t_s = t_s
        self.granted_s = granted_s
        self.stream = stream
        self.first = first
        self.observed = observed
        self.contributors = ranks
        self.complete = complete


class FrontEndContext:
    """The FrontEndHandle that the application sees."""

    def __init__(self, node: FrontEnd) -> None:
        self._node = node
        self.due = NEVER
        self.samples: list[Sample] = []

    @property
    def now(self) -> float:
        return self._node.now

    @property
    def tree(self) -> Tree:
        return self._node.planned

    @property
    def alive(self) -> RankSet:
        return self._node.everybody - self._node.dead_ranks

    def open_stream(self, spec: StreamSpec) -> int:
        check_spec(spec, self._node)
        stream = self._node.next_stream
        self._node.next_stream += 1
        self._node.order({"op": "open", "id": stream, "spec": spec.to_wire()})
        members = [list(pair) for pair in spec.members.ranges]
        recovery = str(spec.recovery)
        self._node.comings.opened(stream)
        self._node.tell("stream-opened", stream=stream, name=spec.name, filter=spec.filter, recovery=recovery, members=members)
        return stream

    def send(self, stream: int, payload: bytes, to: RankSet | None = None) -> bool:
        d = self._node.results.down[stream]
        if d.full:
            return False
        self._node.results.take_down(stream, self._node.message(stream, d.last + 1, payload, to or EMPTY))
        if self._node.log is not None:
            self._node.log.message(stream, d.kept[-1])
        return True

    def expect(self, stream: int, waves: int) -> None:
        self._node.results.expect(stream, waves)

    def state(self, stream: int) -> Items | None:
        return self._node.results.state(stream)

    def extent(self, stream: int) -> Extent | None:
        return self._node.results.extent(stream)

    def close_stream(self, stream: int) -> None:
        self._node.order({"op": "close", "id": stream})

    def call_at(self, when_s: float) -> None:
        self.due = when_s
        self._node.rearm = True

    def record(self, stream: int, first: int, observed: Array, contributors: RankSet, complete: bool, granted_s: float) -> None:
        sample = Sample(self._node.now, granted_s, stream, first, observed, contributors, complete)
        self.samples.append(sample)
        if self._node.log is not None:
            self._node.log.samples.append(sample)

    def note(self, kind: str, **fields: Any) -> None:
        self._node.tell("note", name=kind, fields=fields)

    def finish(self, ok: bool = True, reason: str = "") -> None:
        self._node.finish(ok, reason)


class FrontEnd(Node):
    """The root with its application: node 0, or the standby in its place (harness.core.standby).

    log: what its standby is told (None where there is none, or none any more). in_charge: whether it may deliver and decide.
    """

    def __init__(
        self,
        tree: Tree,
        settings: NodeSettings,
        filters: Mapping[str, Filter],
        down_filters: Mapping[str, DownFilter],
        app: FrontEndApp,
        now: float,
    ) -> None:
        super().__init__(tree.root, tree, settings, filters, down_filters, now)
        self.app = app
        self.log: Log | None = Log(self) if tree.standby >= 0 and tree.root == 0 else None
        self.in_charge = True
        #: The tree as it was planned, which applications know.
        self.planned = tree
        self.ending = False
        self.context = FrontEndContext(self)
        self.membership = Membership(tree, settings, now)
        self.comings = Comings(self)
        self.everybody = tree.ranks_below(tree.root)
        self.next_stream = 1
        self.began = now
        self.started = False
        self.close_due = NEVER
        self.recovering = False
        self.saw_first = False

    @property
    def handle(self) -> FrontEndContext:
        """What the application is given."""
        return self.context

    @property
    def results(self) -> ResultTable:
        """The streams, as what they are here."""
        return cast(ResultTable, self.streams)

    def make_streams(self) -> ResultTable:
        return ResultTable(self, self)

    def start(self, now: float) -> None:
        self.now = self.last_tick = self.began = self.membership.last_join = now
        if self.life:  # the streams of the process before it are no streams of this one
            self.out.exit = (4, "fenced: another process was the front-end")

    # -- membership --------------------------------------------------------------------------------------------------------

    def notify(self, *notices: dict[str, Any]) -> None:
        m = self.membership
        for n in notices:
            node = int(n["node"])
            if n["op"] in WISHES:
                self.comings.take(n)
                continue
            if n["op"] == "lost":
                new = m.lost(node, int(n["inc"]), str(n["cause"]), self.now)
                if new:
                    self._suspect(node, new, int(n["by"]), str(n["cause"]))
                continue
            before = set(m.suspects)
            if n["op"] == "joined":
                back = m.joined(node, int(n["by"]), int(n["inc"]), n["below"], self.now)
            else:
                back = m.below_is(node, n["below"], self.now)
            if self.comings.pending:
                self.comings.moved(m.below(node))
            for b in back:
                self.tell(self.comings.how(b), member=b, parent=m.parents[b])
            new = sorted(set(m.suspects) - before)
            if new:
                self._suspect(new[0], new, node, m.suspects[new[0]].cause)
        self._membership_changed()

    def _suspect(self, node: int, new: list[int], by: int, cause: str) -> None:
        ranks = self.membership.ranks_of(new)
        self.comings.moved(new)
        self.tell("suspect", member=node, ranks=list(ranks), by=by, cause=cause)
        if ranks:
            self.recovering, self.saw_first = True, False

    def _membership_changed(self) -> None:
        self.rearm = True
        if not self.started and self.in_charge and not self.membership.missing() and not self.membership.suspect_ranks:
            self._begin()
        self.streams.dirty.update(self.streams.up)
        for i in list(self.streams.up):
            self.streams.report_down(i)

    def _begin(self) -> None:
        self.started = True
        took = self.now - self.began
        self.tell("tree-ready", nodes=len(self.membership.parents) + 1, took_s=round(took, 6))
        self.tell("workload-started")
        try:
            self.app.start(self.context)
        except Exception as e:  # not the fault of the child whose frame has just completed the tree
            raise PluginError("start of the front-end's application") from e

    def _declare_dead(self, nodes: set[int]) -> None:
        self.members_changed(self.order_dead(nodes))

    def order_dead(self, nodes: set[int]) -> RankSet:
        """Say that these are dead; their ranks."""
        ranks = self.membership.ranks_of(nodes)
        for n in sorted(nodes):
            self.tell("dead", member=n, ranks=list(self.membership.ranks_of([n])), order=self.deaths + 1)
        self.order({"op": "dead", "nodes": sorted(nodes), "ranks": ranks.encoded})
        return ranks

    def members_changed(self, ranks: RankSet) -> None:
        """These back-ends are members no more, or again."""
        if ranks and self.started:
            self.app.on_membership(self.context, self.dead_ranks)
        self._membership_changed()
        self.streams.tick()  # requests that nobody can answer any more end now

    def on_late(self, late: set[int]) -> None:
        self.membership.bury(late)
        if late:
            self.tell("absent", members=sorted(late), ranks=list(self.membership.ranks_of(late)))

    def recovery_progress(self, stream: int, wave: int, complete: bool) -> None:
        """Note the first results after a loss."""
        if not self.recovering:
            return
        if not self.saw_first:
            self.saw_first = True
            self.tell("first-wave", stream=stream, wave=wave)
        if complete and not self.membership.suspect_ranks:
            self.recovering = False
            self.tell("first-complete-wave", stream=stream, wave=wave, tree=self.membership.view())

    # -- orders ------------------------------------------------------------------------------------------------------------

    def tell(self, kind: str, **fields: Any) -> None:
        """Tell the journal what was decided: once the standby knows it, where there is one."""
        if self.log is not None:
            self.log.tell({"kind": kind, **fields})
        else:
            self.out.event(kind, **fields)

    def order(self, order: dict[str, Any]) -> None:
        """Tell every node, this one included, in one sequence that all agree on: the others once the standby knows it."""
        if self.log is not None:
            self.log.order(order)
            return
        self.take_down(CONTROL, self.message(CONTROL, self.control.last + 1, msgpack.packb(order)))

    def fail(self, error: StreamError) -> None:
        """A request ends in a typed error; once the application has ended the run, there are no requests any more."""
        if self.closing or self.ending:
            return
        self.tell("stream-error", stream=error.stream, wave=error.wave, error=type(error).__name__, message=str(error))
        self.app.on_error(self.context, error)

    def finish(self, ok: bool, reason: str) -> None:
        if self.closing or self.ending:
            return
        self.tell("finished", ok=ok, reason=reason)
        self.ending = True
        self.order({"op": "shutdown"})

    def shut_down(self) -> None:
        self.close_due = self.now + CLOSE_S
        self.rearm = True
        super().shut_down()

    # -- the standby -------------------------------------------------------------------------------------------------------

    def obey(self, order: dict[str, Any], payload: bytes) -> None:
        if self.log is None or not self.log.obeyed(order):
            super().obey(order, payload)

    def send_down(self, child: Neighbour, stream: int, m: Message) -> None:
        if self.log is None or stream == CONTROL or not self.log.holds(stream, m.seq):
            super().send_down(child, stream, m)

    def _admit(self, link: Neighbour, body: dict[str, Any]) -> None:
        super()._admit(link, body)
        if self.log is not None and link.node == self.tree.standby and link.ready:
            self.log.joined(link, body["log"])

    def why_not(self, node: int, body: Mapping[str, Any]) -> str:
        reason = super().why_not(node, body)
        if self.log is not None and reason.startswith("fenced") and node in self.log.undecided:
            return "its loss is not settled yet"
        return reason

    def counted(self) -> None:
        if self.log is not None:
            self.log.counted()

    @property
    def may_close(self) -> bool:
        """Whether it may end the run: it closes the tree already, or its orders take effect."""
        return self.closing or (self.in_charge and (self.log is None or not self.log.away))

    def advance(self, now: float) -> None:
        super().advance(now)
        if self.comings.pending:
            self.comings.act()
            super().advance(now)
        if self.log is not None:
            self.log.flush()

    # -- time --------------------------------------------------------------------------------------------------------------

    def deadline(self) -> float:
        if self.closing:  # the application's timer is heeded no more
            return min(super().deadline(), self.close_due)
        if self.log is not None:
            return min(super().deadline(), self.context.due, self.log.due())
        return min(super().deadline(), self.context.due, self.membership.due())

    def tick(self, now: float) -> None:
        if now - self.last_tick > self.settings.lease_s / 2:  # it was not running, and could take nobody in
            self.membership.pause(now - self.last_tick)
        super().tick(now)
        if self.closing:
            if now >= self.close_due:
                left = sorted(c.node for c in self.children.values())
                self.out.exit = (0, f"closed without hearing from child nodes {left}")
            return
        if self.log is not None:
            self.log.tick()
        if self.log is None or not self.log.away:  # else it cannot be known who is with the standby
            expired = self.membership.expired(now)
            if expired:
                self._declare_dead(expired)
        # Longer than a node may wait for a parent that is stopped, before it turns to another one.
        quiet = max(5.0, 2 * self.settings.orphan_grace_s, (START_UP_PATIENCE + 5) * self.settings.connect_timeout_s)
        if not self.started and now > self.membership.last_join + quiet:
            missing = set(self.membership.missing())
            if self.log is not None and self.tree.standby in missing:
                self.log.end()  # it was never there
            if self.membership.parents:
                if missing:  # others may be suspects still
                    self._declare_dead(self.membership.bury(missing))
            elif now > self.began + self.settings.start_timeout_s:
                self.out.event("finished", ok=False, reason="no node of the tree attached in time")
                self.out.exit = (5, "no node attached")
        if now >= self.context.due:
            self.context.due = NEVER
            if self.started:
                self.app.on_timer(self.context)
