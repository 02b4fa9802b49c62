"""The back-end: where units are made, from what the application offers."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.core.apps import BackEndApp, PluginError
from harness.core.downstream import WINDOW, Message
from harness.core.filters import DownFilter, Filter, Items
from harness.core.frames import HEADER, FrameError
from harness.core.ledger import Kept
from harness.core.node import Node
from harness.core.pieces import Piece
from harness.core.port import BackPort, Port
from harness.core.ranks import RankSet
from harness.core.settings import NodeSettings
from harness.core.spec import StreamSpec
from harness.core.streams import NEVER, StreamTable
from harness.core.tree import Tree
from harness.core.upstream import UpStream


class BackEndContext:
    """The BackEndHandle that the application sees."""

    def __init__(self, node: BackEnd) -> None:
        self._node = node
        self.due = NEVER

    @property
    def now(self) -> float:
        return self._node.now

    @property
    def rank(self) -> int:
        return self._node.rank

    def call_at(self, when_s: float) -> None:
        self.due = when_s
        self._node.rearm = True

    def note(self, kind: str, **fields: Any) -> None:
        self._node.out.event("note", name=kind, fields=fields)


class BackEnd(Node):
    """A leaf of the tree with its application."""

    def __init__(
        self,
        node: int,
        tree: Tree,
        settings: NodeSettings,
        filters: Mapping[str, Filter],
        down_filters: Mapping[str, DownFilter],
        app: BackEndApp,
        now: float,
    ) -> None:
        rank = tree.nodes[node].rank
        if rank is None:
            raise ValueError(f"node {node} is no back-end")
        super().__init__(node, tree, settings, filters, down_filters, now)
        self.rank = rank
        self.app = app
        self.context = BackEndContext(self)
        self.asks_to_leave = False

    @property
    def handle(self) -> BackEndContext:
        """What the application is given."""
        return self.context

    def make_streams(self) -> StreamTable:
        return SourceTable(self, self)

    def ranks(self) -> RankSet:
        return RankSet.of([self.rank])

    def deadline(self) -> float:
        return min(super().deadline(), self.context.due)

    def tick(self, now: float) -> None:
        super().tick(now)
        if now >= self.context.due:
            self.context.due = NEVER
            self.streams.dirty.update(self.streams.up)
        if self.asks_to_leave:
            self._say_so()

    def leave(self) -> None:
        """Leave in order: ask, produce nothing more once it is one's turn, and end once the front-end has what was produced
        and says so."""
        if not self.asks_to_leave:
            self.asks_to_leave = True
            self._say_so()

    def obey(self, order: dict[str, Any], payload: bytes) -> None:
        super().obey(order, payload)
        if order["op"] == "leave" and order["node"] == self.id and order["life"] == self.life and not self.leaving:
            self.leaving = True
            self.out.event("leaving", rank=self.rank, made={str(i): waves for i, waves in self._made().items()})
            self._say_so()

    def _made(self) -> dict[int, int]:
        """By stream, how many waves it has produced; one that was begun is brought to its end."""
        return {i: -(-s.next // s.units.per_wave) for i, s in self.streams.up.items() if self.rank in s.members}

    def _say_so(self) -> None:
        """Again and again, since it may be lost with a node."""
        if self.parent is not None and not self.closing:
            ends = {i: waves * self.streams.up[i].units.per_wave for i, waves in self._made().items()}
            sent = self.leaving and all(self.streams.up[i].next >= end for i, end in ends.items())
            self.notify({"op": "leaves", "node": self.id, "life": self.life, "ends": ends if sent else None})

    def on_opened(self, stream: UpStream) -> None:
        if self.rank in stream.members:
            try:
                self.app.on_open(self.context, stream.stream, stream.spec)
            except Exception as e:
                raise PluginError(f"on_open of stream {stream.stream}") from e

    def on_closed(self, stream: UpStream) -> None:
        if self.rank in stream.members:
            try:
                self.app.on_close(self.context, stream.stream)
            except Exception as e:
                raise PluginError(f"on_close of stream {stream.stream}") from e


class SourceTable(StreamTable):
    """The streams of a back-end: units come from the application, cut into chunks where items are large."""

    def __init__(self, node: Port, back: BackPort) -> None:
        super().__init__(node)
        self.back = back
        rank = node.me.rank
        assert rank is not None
        self.rank = rank
        self.own = RankSet.of([rank])
        self.chunks: dict[int, deque[Items]] = {}
        self.mine: set[int] = set()

    def open(self, stream: int, spec: StreamSpec) -> None:
        if self.rank in spec.members:
            self.mine.add(stream)
        super().open(stream, spec)
        s = self.up[stream]
        if s.decompose and s.kept is None:  # on a way of so many links, the mark is never further behind while nothing fails
            s.window = (self.node.me.depth + 1) * s.units.link_window + s.units.per_wave
            s.kept = Kept(s.window)

    def pump_stream(self, s: UpStream) -> None:
        node = self.node
        parent = node.parent
        if parent is None or parent.blocked or s.stream not in self.mine:
            return
        if s.parts:
            self.send_parts(s, parent)
        resend = s.outbox.resend
        while resend and resend[0][0] < s.limit:
            node.out.send(parent, node.now, *resend.popleft()[2])
        if resend:
            return
        back, per_wave = self.back, s.units.per_wave
        while True:
            top = min(s.limit, s.acked + s.window)
            if s.replies:  # to what was asked
                top = min(top, self.down[s.stream].last * per_wave)
            room = top - s.next if not s.relaying else s.limit - s.relayed
            if room <= 0:
                return
            if per_wave > 1:
                if not self._send_chunk(s, parent):
                    return
                continue
            if node.leaving:
                return
            items = back.app.produce(back.handle, s.stream, s.next, min(room, s.units.batch))
            if items is None or not len(items):
                return
            if len(items) > min(room, s.units.batch):
                raise ValueError(f"the application offered {len(items)} waves where {min(room, s.units.batch)} were asked for")
            lifted = s.filter.lift(items, self.rank)
            s.vet(s.next, lifted, self.own)
            first, s.next = s.next, s.next + len(items)
            s.relayed += len(items)
            if s.kept is not None:
                s.kept.add(first, lifted)
            self._emit(s, parent, Piece(first, len(items), lifted, self.own))

    def _send_chunk(self, s: UpStream, parent: Any) -> bool:
        """Send the next chunk of the wave under way, or begin a wave where the window has room for all of it."""
        back, u = self.back, s.units
        chunks = self.chunks.setdefault(s.stream, deque())
        if s.next % u.per_wave == 0:  # a wave that was under way may have been given up (`acknowledge`)
            chunks.clear()
        if not chunks:
            if not s.relaying and s.next + u.per_wave > s.acked + s.window:
                return False
            if self.node.leaving:
                return False
            items = back.app.produce(back.handle, s.stream, s.next // u.per_wave, 1)
            if items is None or not len(items):
                return False
            flat = np.ascontiguousarray(items).reshape(1, -1)
            if flat.shape[1] != u.elements:
                raise ValueError(f"the application offered {flat.shape[1]} elements where an item has {u.elements}")
            chunks.extend(flat[:, a : a + u.chunk] for a in range(0, u.elements, u.chunk))
        lifted = s.filter.lift(chunks.popleft(), self.rank)
        s.vet(s.next, lifted, self.own)
        first, s.next = s.next, s.next + 1
        s.relayed += 1
        if s.kept is not None:
            s.kept.add(first, lifted)
        self._emit(s, parent, Piece(first, 1, lifted, self.own))
        return True

    def take_down(self, stream: int, message: Message) -> None:
        """Hand a message to the application, and report it once enough of them have come. Nothing is kept here."""
        back = self.back
        s, d = self.up.get(stream), self.down.get(stream)
        if s is None or d is None or message.seq <= d.last:
            return
        if message.seq != d.last + 1:
            raise FrameError(f"message {message.seq} came after {d.last}")
        d.last = d.trimmed = message.seq
        if stream not in self.mine:
            return
        if not message.to or self.rank in message.to:
            payload = self.filtered(s.spec.down_filter, message.payload)
            try:
                back.app.on_message(back.handle, stream, payload)
            except Exception as e:
                raise PluginError(f"on_message of stream {stream}") from e
            self.dirty[stream] = s
        d.reported_bytes += len(message.payload) or HEADER.unpack_from(message.frame)[4]
        if message.seq - d.reported >= WINDOW // 4 or d.reported_bytes >= d.window_bytes // 4:
            d.reported_bytes = 0
            self.report_down(stream)

    def on_data(self, link: Any, frame: memoryview, head: tuple[int, ...]) -> None:
        raise FrameError("units sent to a back-end")

    def asked(self, s: UpStream, unit: int, waves: int, ranks: RankSet) -> None:
        if self.rank not in ranks or s.kept is None:
            return
        found = s.kept.part(unit, waves, s.units.per_wave)
        if found is not None:
            try:
                folded = s.filter.fold(found[1])
            except Exception as e:  # not the fault of whoever asked
                raise PluginError(f"filter {s.spec.filter!r} on a part of stream {s.stream}") from e
            self.take_part(s, unit, found[0], folded, self.own)

    def settle(self, s: UpStream, unit: int) -> None:
        super().settle(s, unit)
        if s.kept is not None:
            s.kept.trim(s.acked)
            self.dirty[s.stream] = s

    def close(self, stream: int) -> None:
        super().close(stream)
        self.chunks.pop(stream, None)
