"""All streams of one node, and what frames about them do.

The node's part of the protocol that has to do with links and membership is in node.py and uplink.py; this is the part that
moves units up and messages down.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Final, cast

from harness.core import frames
from harness.core.actions import Neighbour
from harness.core.decompose import PartTable
from harness.core.downstream import DownStream
from harness.core.filters import Array
from harness.core.frames import FrameError
from harness.core.pieces import Piece
from harness.core.port import Port
from harness.core.ranks import RankSet
from harness.core.relaying import relay
from harness.core.spec import StreamSpec, Sync
from harness.core.upstream import UpStream

NEVER: Final = float("inf")


class StreamTable(PartTable):
    """The streams of a communication process (see `SourceTable` and `ResultTable` for the two ends)."""

    def __init__(self, node: Port) -> None:
        super().__init__(node)
        self.dirty: dict[int, UpStream] = {}
        self.timed: dict[int, UpStream] = {}

    # -- opening and closing ----------------------------------------------------------------------------------------------

    def open(self, stream: int, spec: StreamSpec) -> None:
        """A stream was announced: expect units from every child that has members."""
        node = self.node
        if stream in self.up:
            return
        filter_ = node.filters.get(spec.filter)
        if filter_ is None or spec.down_filter not in node.down_filters:
            raise FrameError(f"stream {stream} wants filters {spec.filter!r} and {spec.down_filter!r}; this node lacks one")
        s = UpStream(stream, spec, filter_)
        self.up[stream] = s
        self.down[stream] = DownStream(spec.window_bytes)
        for conn, child in node.children.items():
            self.down[stream].acked[conn] = 0
            if not child.ranks.isdisjoint(s.members):
                s.add_child(conn, 0, 0)
        if spec.sync is Sync.TIME_OUT:
            self.timed[stream] = s
        s.limit = s.units.link_window
        self.dirty[stream] = s
        node.on_opened(s)

    def close(self, stream: int) -> None:
        s = self.up.pop(stream, None)
        if s is not None:
            for table in (self.down, self.dirty, self.timed, self.listeners):
                table.pop(stream, None)
            self.node.on_closed(s)

    # -- children come, change and go --------------------------------------------------------------------------------------

    def report(self) -> dict[int, list[int]]:
        """For an ATTACH: per stream next unit, acknowledged unit, epoch, last message here, last message everywhere below."""
        for i, d in self.down.items():
            d.reported = self.below(i)
        return {i: [s.next, s.acked, s.epoch, self.down[i].last, self.below(i)] for i, s in self.up.items()}

    def child_joined(self, link: Neighbour, report: dict[int, list[int]]) -> None:
        """Take an attaching child into every stream that it has members of."""
        self.listeners.clear()
        for i, s in self.up.items():
            nxt, acked, epoch, _, everywhere = report.get(i, [0, 0, 0, 0, 0])
            self._acknowledge(s, acked)
            self.down[i].acked[link.conn] = everywhere
            if link.ranks.isdisjoint(s.members):
                continue
            self._first_child(s)
            s.add_child(link.conn, epoch, s.acked if s.replay else nxt)
            s.refloor(link.conn, link.ranks)
            self.report_down(i)
            self._changed(s)

    def settled(self, s: UpStream) -> int:
        """The acknowledged unit that others may be told: what is below it can be lost nowhere any more."""
        return s.floor()

    def terms(self, link: Neighbour) -> dict[int, list[int]]:
        """For a WELCOME: per stream acknowledged unit and the mark below which the child may send."""
        return {i: [self.settled(s), s.granted if not s.relaying else s.units.link_window] for i, s in self.up.items()}

    def child_gone(self, link: Neighbour) -> None:
        self.listeners.clear()
        for i, s in self.up.items():
            self.down[i].acked.pop(link.conn, None)
            if s.drop_child(link.conn):
                self._changed(s)
                self.report_down(i)

    def positions(self) -> dict[int, int]:
        """Per stream, for the parent: the acknowledged unit, below which nothing can be sent again. Without replay the next
        unit: a parent that counts on this node from now on waits from there."""
        return {i: s.acked if s.replay else s.next for i, s in self.up.items()}

    def learn(self, positions: Mapping[int, int]) -> None:
        """What a child knows to be acknowledged is so: a rewind need not, and must not, go further back."""
        for i, unit in positions.items():
            s = self.up.get(i)
            if s is not None and s.replay:
                self._acknowledge(s, unit)

    def child_gains(self, link: Neighbour, positions: Mapping[int, int]) -> None:
        """The members below a child have changed: it takes part in streams in which it did not before."""
        self.listeners.clear()
        for i, s in self.up.items():
            if link.conn not in s.inboxes and not link.ranks.isdisjoint(s.members):
                self._first_child(s)
                s.add_child(link.conn, 0, s.acked if s.replay else positions.get(i, 0))
                self.node.out.send(link, self.node.now, frames.credit_frame(i, s.granted, self.settled(s)))
                if s.replay and s.next == s.acked:  # what it has sent before it was known to take part was dropped
                    self.node.out.send(link, self.node.now, frames.control_frame(frames.REWIND, i, s.acked))
                self._changed(s)
                self.report_down(i)
            if s.comers is not None:
                s.refloor(link.conn, link.ranks)
                self.dirty[i] = s

    def _first_child(self, s: UpStream) -> None:
        """A child takes part. Where none did, the parent begins to count anew (do-not-wait)."""
        if not s.inboxes:
            s.relayed = 0

    def child_loses(self, link: Neighbour) -> None:
        """The members below a child have changed: it has none left for some streams."""
        self.listeners.clear()
        for i, s in self.up.items():
            if link.ranks.isdisjoint(s.members) and s.drop_child(link.conn):
                self._changed(s)
                self.report_down(i)

    def _changed(self, s: UpStream) -> None:
        """The set of children of a stream has changed: rewind it (replay), or go on (compose, resume)."""
        self.dirty[s.stream] = s
        if s.replay:
            self.rewind(s, None)

    def rewind(self, s: UpStream, but: Hashable | None) -> None:
        """Start the stream again from its acknowledged unit, and have all children (but one that did so) send again. Where
        nothing was merged beyond that unit, nothing need be taken back: so many changes at one moment are one rewind."""
        node = self.node
        self.dirty[s.stream] = s
        if s.next == s.acked:
            inbox = s.inboxes.get(but)
            if inbox is not None:
                inbox.clear(max(s.acked, inbox.floor))
            return
        node.out.event("rewound", stream=s.stream, wave=s.acked // s.units.per_wave)
        s.rewind()
        if node.parent is not None:
            s.limit = min(s.limit, s.granted)  # the parent takes its grants back, too, when it hears of the new epoch
        frame = frames.control_frame(frames.REWIND, s.stream, s.acked)
        for conn in s.inboxes:
            if conn != but and conn in node.children:
                node.out.send(node.children[conn], node.now, frame)

    # -- upward ------------------------------------------------------------------------------------------------------------

    def on_data(self, link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
        s = self.up.get(head[3])
        if s is None:
            return
        inbox = s.inboxes.get(link.conn)
        if inbox is None:
            return
        if head[4] != inbox.epoch:
            if head[4] < inbox.epoch:
                return
            inbox.epoch = head[4]
            if s.replay:
                self.rewind(s, link.conn)
        known = inbox.reader.read(frame, head[5], head[7], head[8])
        if known is not None:
            late = s.take(inbox, Piece(head[6], head[5], known[0], known[1]))
        else:
            items, ranks = frames.decode_items(frame, head[5], head[7], head[8], s.filter.codec)
            late = s.accept(inbox, Piece(head[6], head[5], items, ranks))
            if s.array and s.units.per_wave == 1:
                inbox.reader.learn(frame, head[7])
        if late is not None and s.compose:
            self._absorb_and_pass(s, late.first, late.items, late.ranks)
        self.dirty[head[3]] = s

    def on_skip(self, link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
        """The child has nothing below this unit: what it had is lost."""
        s = self.up.get(head[3])
        inbox = s.inboxes.get(link.conn) if s is not None else None
        if s is not None and inbox is not None and not s.replay:
            inbox.expect = max(inbox.expect, head[6])
            self.dirty[head[3]] = s

    def on_state(self, link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
        s = self.up.get(head[3])
        if s is not None and s.decompose:
            self.on_part(s, link, frame, head)
        if s is None or not s.compose:
            return
        items, ranks = frames.decode_items(frame, head[5], head[7], head[8], s.filter.codec)
        s.vet(head[6], items, ranks)
        self.node.out.event("composed", stream=s.stream, child=link.node)
        self._absorb_and_pass(s, head[6], items, ranks)

    def _absorb_and_pass(self, s: UpStream, first: int, items: Any, ranks: RankSet) -> None:
        """State that the ancestors do not have yet: merge it here and send it on. Without a parent it waits in our own state,
        which is sent as a whole when we attach."""
        s.absorb(first, items, ranks)
        parent, chunk = self.node.parent, first % s.units.per_wave
        if parent is not None and parent.blocked:
            s.owed.add(chunk)  # one state will do for all that comes until then
        elif parent is not None:
            self._send_state(s, parent, chunk, s.filter.fold(items), ranks)

    def _send_state(self, s: UpStream, parent: Neighbour, chunk: int, items: Any, ranks: RankSet) -> None:
        parts = frames.data_frame(frames.STATE, s.stream, s.epoch, chunk, items, ranks, s.filter.codec)
        self.node.out.send(parent, self.node.now, *parts)

    def on_credit(self, link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
        s = self.up.get(head[3])
        if s is None or link is not self.node.parent:
            return
        self._acknowledge(s, frames.decode_acked(frame))
        s.credit(head[6], head[4])
        self.dirty[head[3]] = s

    def _acknowledge(self, s: UpStream, acked: int) -> None:
        """Learn what the front-end has delivered (replay), or settled (decompose; others keep nothing to be acknowledged)."""
        if s.decompose:
            self.settle(s, acked)
            return
        behind = [conn for conn, inbox in s.inboxes.items() if inbox.expect < acked] if s.next < acked else []
        if not s.replay or not s.acknowledge(acked):
            return
        node = self.node
        for conn in behind:  # what they sent beyond a gap was dropped: have them send it again
            if conn in node.children:
                node.out.send(node.children[conn], node.now, frames.control_frame(frames.REWIND, s.stream, acked))
        self._grant(s)

    def _grant(self, s: UpStream) -> None:
        s.granted = max(s.granted, s.next + s.units.link_window)
        mark = self.settled(s)
        for conn, inbox in s.inboxes.items():
            child = self.node.children.get(conn)
            if child is not None:
                self.node.out.send(child, self.node.now, frames.credit_frame(s.stream, s.granted, mark, inbox.epoch))

    def on_rewind(self, link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
        s = self.up.get(head[3])
        if s is None or link is not self.node.parent:
            return
        s.limit = head[6] + s.units.link_window
        units = s.outbox.rewind(head[6])
        if units:
            self.node.out.event("replayed", stream=s.stream, wave=head[6] // s.units.per_wave, count=units)
        self.dirty[head[3]] = s

    def welcomed(self, link: Neighbour, terms: dict[int, list[int]], again: bool) -> None:
        """This node has a parent (again)."""
        self.node.rearm = True
        for i, s in self.up.items():
            acked, limit = terms.get(i, [s.acked, s.units.link_window])
            known = s.acked
            self._acknowledge(s, acked)
            if s.decompose and s.acked > known:  # told while this node was away
                self.tell_mark(s)
            s.limit = limit
            s.relayed = 0
            if s.replay:
                s.outbox.rewind(s.acked)
            if again and s.compose:
                s.owed.clear()
                for chunk, (items, ranks) in s.state.items():
                    self._send_state(s, link, chunk, items, ranks)
            self.dirty[i] = s
            self.report_down(i)  # children may have said more since the ATTACH was sent

    def wake(self, link: Neighbour) -> None:
        """A link takes frames again."""
        if link is self.node.parent:
            self.dirty.update(self.up)
            self.node.rearm = True

    def pump(self) -> None:
        """Send what can be sent on every stream that something happened to."""
        if self.dirty:
            todo, self.dirty = self.dirty, {}
            for s in todo.values():
                self.pump_stream(s)

    def pump_stream(self, s: UpStream) -> None:
        parent = self.node.parent
        if parent is None or parent.blocked:
            return
        now = self.node.now
        while s.owed:
            chunk = s.owed.pop()
            self._send_state(s, parent, chunk, *s.state[chunk])
        if s.parts:
            self.send_parts(s, parent)
        resend = s.outbox.resend
        while resend and resend[0][0] < s.limit:
            self.node.out.send(parent, now, *resend.popleft()[2])
        if resend:
            return
        if s.relaying:
            relay(self.node, s, parent, self._emit)
            return
        if s.comers is not None and s.replay:
            s.jump()
        while True:
            quick = s.merge_heads(s.limit)
            if quick is not None:
                s.waiting_since = None  # the next wave has an age of its own
                self._emit(s, parent, quick)
                continue
            if s.waits and s.replay:
                break
            if not s.replay and s.skip_hole():
                self.node.out.send(parent, now, frames.control_frame(frames.SKIP, s.stream, s.next))
            merged = s.merge(s.limit)
            if merged is None:
                merged = self._timed_out(s)
                if merged is None:
                    break
            s.waiting_since = None
            self._emit(s, parent, merged)
        if s.next + s.units.link_window - s.granted >= (s.units.link_window >> 2) + 1:
            self._grant(s)

    def _emit(self, s: UpStream, parent: Neighbour, m: Piece) -> None:
        if s.compose:
            s.absorb(m.first, m.items, m.ranks)
        if s.array:
            parts = frames.unit_frame(s.meta, s.stream, s.epoch, m.first, cast(Array, m.items), m.ranks)
            if s.replay:
                s.outbox.keep(m.first, m.units, parts)
            self.node.out.send(parent, self.node.now, *parts)
            return
        most = (s.spec.chunk_bytes, self.node.settings.max_frame_bytes)
        for first, units, parts in frames.opaque_frames(s.stream, s.epoch, m.first, m.items, m.ranks, s.filter.codec, *most):
            if s.replay:
                s.outbox.keep(first, units, parts)
            self.node.out.send(parent, self.node.now, *parts)

    # -- time-outs of the synchronization ------------------------------------------------------------------------------------

    def _timed_out(self, s: UpStream) -> Piece | None:
        """Time-out synchronization: a partial wave once the first packet has waited long enough."""
        if s.spec.sync is not Sync.TIME_OUT:
            return None
        if s.all_here() or not s.has_input():
            s.waiting_since = None
            return None
        if s.waiting_since is None:
            s.waiting_since = self.node.now
            self.node.rearm = True
        if self.node.now < s.waiting_since + s.spec.sync_timeout_s:
            return None
        s.waiting_since = None
        return s.merge(min(s.limit, s.next + 1), some=True)

    def deadline(self) -> float:
        parent = self.node.parent
        if parent is None or parent.blocked:  # nothing can be done about a time-out then: `wake` and `welcomed` see to it
            return NEVER
        return min(
            (s.waiting_since + s.spec.sync_timeout_s for s in self.timed.values() if s.waiting_since is not None),
            default=NEVER,
        )

    def tick(self) -> None:
        self.dirty.update(self.timed)
