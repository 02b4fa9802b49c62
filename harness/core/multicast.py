"""The downward half of all streams of one node (see downstream.py for one of them)."""

from __future__ import annotations

from harness.core import frames
from harness.core.actions import Neighbour
from harness.core.apps import PluginError
from harness.core.downstream import DownStream, Message
from harness.core.port import Port
from harness.core.upstream import UpStream


class DownTable:
    """Messages on their way from the front-end to the back-ends."""

    def __init__(self, node: Port) -> None:
        self.node = node
        self.up: dict[int, UpStream] = {}
        self.down: dict[int, DownStream] = {}
        self.listeners: dict[int, list[Neighbour]] = {}

    def catch_up(self, link: Neighbour, report: dict[int, list[int]]) -> None:
        """Send an adopted child the messages that it lacks."""
        for i, d in self.down.items():
            last = report.get(i, [0, 0, 0, 0, 0])[3]
            if not self.listens(i, link):
                continue
            # No member below it needs what is gone: if it says that it has members who lack that, they are elsewhere since, and
            # it has not noticed yet.
            if self.node.tree.nodes[link.node].rank is None and last < d.trimmed:
                self.node.out.send(link, self.node.now, frames.control_frame(frames.DACK, i, d.trimmed))
                last = d.trimmed
            for m in d.after(last):
                self.node.send_down(link, i, m)

    def listens(self, stream: int, child: Neighbour) -> bool:
        """Whether a child is sent a stream's messages: members, and every communication process, since it may adopt members."""
        return child.conn in self.up[stream].inboxes or self.node.tree.nodes[child.node].rank is None

    def below(self, stream: int) -> int:
        """The newest message that this node and every member below it have."""
        d = self.down[stream]
        return min((d.acked[c] for c in self.up[stream].inboxes if c in d.acked), default=d.last)

    def take_down(self, stream: int, message: Message) -> None:
        """Keep a message and pass it on to every child that has members."""
        node = self.node
        d = self.down.get(stream)
        if d is None:
            return
        name = self.up[stream].spec.down_filter
        if message.payload and name != "null":
            payload = self.filtered(name, message.payload)
            if payload is not message.payload:
                message = node.message(stream, message.seq, payload, message.to)
        if not d.push(message):
            return
        listeners = self.listeners.get(stream)
        if listeners is None:
            listeners = self.listeners[stream] = [c for c in node.children.values() if self.listens(stream, c)]
        for child in listeners:
            node.send_down(child, stream, message)

    def filtered(self, name: str, payload: bytes) -> bytes:
        """What the down filter makes of a message. Raises PluginError with the filter's own error."""
        if name == "null" or not payload:
            return payload
        try:
            return self.node.down_filters[name].apply(payload)
        except Exception as e:
            raise PluginError(f"down filter {name!r} on a message of {len(payload)} bytes") from e

    def on_dack(self, link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
        d = self.down.get(head[3])
        if d is None:
            return
        if link is self.node.parent:
            self.trim_down(head[3], d, head[6])
        elif link.conn in self.node.children:
            d.acked[link.conn] = head[6]
            self.report_down(head[3])

    def trim_down(self, stream: int, d: DownStream, mark: int) -> None:
        d.trim(mark)
        frame = frames.control_frame(frames.DACK, stream, d.trimmed)
        for child in self.node.children.values():
            if self.node.tree.nodes[child.node].rank is None:
                self.node.out.send(child, self.node.now, frame)

    def report_down(self, stream: int) -> None:
        """Tell the parent what this whole subtree has."""
        d = self.down[stream]
        mark = self.below(stream)
        if self.node.parent is not None and mark != d.reported:
            d.reported = mark
            self.node.out.send(self.node.parent, self.node.now, frames.control_frame(frames.DACK, stream, mark))
