"""How any node passes a message down to a child, and how it ends after the last one."""

from __future__ import annotations

from harness.core import actions, frames
from harness.core.actions import Neighbour
from harness.core.downstream import Message
from harness.core.port import Port
from harness.core.ranks import EMPTY, RankSet


class Courier(Port):
    """Messages down, and the end."""

    def send_down(self, child: Neighbour, stream: int, m: Message) -> None:
        """Pass a message on. A back-end that is not addressed gets a place-holder: its number, and (as epoch) its size."""
        frame = m.frame
        if m.to and self.tree.nodes[child.node].rank is not None and m.to.isdisjoint(child.ranks):
            frame = frames.control_frame(frames.DOWN, stream, m.seq, epoch=len(m.payload), meta=m.to.encoded)
        child.last_sent = self.now
        self.out.actions.append((actions.SEND, child.conn, (frame,)))

    def message(self, stream: int, seq: int, payload: bytes, to: RankSet = EMPTY) -> Message:
        """A new message, with the frame that carries it."""
        return Message(seq, payload, to, frames.control_frame(frames.DOWN, stream, seq, payload, meta=to.encoded))

    def child_left(self) -> None:
        """While closing: once the last child has gone, say goodbye and end."""
        if not self.children:
            if self.parent is not None:
                self.out.send(self.parent, self.now, frames.control_frame(frames.BYE))
            self.out.exit = (0, "closed")

    def shut_down(self) -> None:
        """Close in order: children first."""
        self.closing = True
        self.child_left()
