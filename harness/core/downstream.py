"""The downward half of a stream at one node: multicast and single-cast messages, each once and in order at every back-end.

Messages are numbered from 1. Every node keeps those that some back-end may still lack, so that any adopter can serve any
orphan. The front-end alone decides what all have (`trim`), and never moves that mark while a back-end's whereabouts are
unknown.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgpack

from harness.core.ranks import RankSet

#: Messages that may be under way; bytes are bounded by the stream's window as well.
WINDOW: Final = 1024

#: The control message that closes the tree.
SHUTDOWN = msgpack.packb({"op": "shutdown"})


class Message:
    """One message. `to` is empty where it is for everybody; `frame` is what goes to the children. Not changed once it is
    made."""

    __slots__ = ("frame", "payload", "seq", "to")

    def __init__(self, seq: int, payload: bytes, to: RankSet, frame: bytes) -> None:
        self.seq = seq
        self.payload = payload
        self.to = to
        self.frame = frame


class DownStream:
    """last: the newest message that this node has. trimmed: every back-end has all up to here. acked: per child, what its
    whole subtree has; reported: what the parent was told."""

    __slots__ = ("acked", "bytes_kept", "kept", "last", "reported", "reported_bytes", "trimmed", "window_bytes")

    def __init__(self, window_bytes: int) -> None:
        self.last = 0
        self.trimmed = 0
        self.kept: deque[Message] = deque()
        self.bytes_kept = 0
        self.window_bytes = window_bytes
        self.acked: dict[object, int] = {}
        self.reported = 0
        self.reported_bytes = 0

    def push(self, message: Message) -> bool:
        """Take the next message; False for one that is here already. Raises ValueError for a gap."""
        if message.seq <= self.last:
            return False
        if message.seq != self.last + 1:
            raise ValueError(f"message {message.seq} came after {self.last}")
        self.last = message.seq
        self.kept.append(message)
        self.bytes_kept += len(message.payload)
        return True

    def after(self, seq: int) -> list[Message]:
        """The messages behind `seq`, oldest first. Raises ValueError where some of them are gone."""
        if seq < self.trimmed:
            raise ValueError(f"messages from {seq + 1} on are asked for, but they are kept from {self.trimmed + 1} on only")
        return [m for m in self.kept if m.seq > seq]

    def trim(self, mark: int) -> None:
        """Everybody has everything up to `mark`. A node that was away, with no back-end below it, may have missed some."""
        while self.kept and self.kept[0].seq <= mark:
            self.bytes_kept -= len(self.kept.popleft().payload)
        self.trimmed = max(self.trimmed, mark)
        self.last = max(self.last, mark)

    @property
    def full(self) -> bool:
        """Whether the front-end must wait before it sends more."""
        return len(self.kept) >= WINDOW or (self.bytes_kept >= self.window_bytes and bool(self.kept))
