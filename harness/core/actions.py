"""What a node asks of the loop around it, and what the loop knows of a node."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

from harness.core import frames
from harness.core.ranks import EMPTY, RankSet

#: Operations: ("send", connection, parts), ("connect", node id, None), ("close", connection, None).
SEND: Final = "send"
CONNECT: Final = "connect"
CLOSE: Final = "close"
Action = tuple[str, Any, Any]


class Neighbour:
    """One link of a node. `ready`: attach is done; `leaves`: the other side has said BYE; `blocked`: the transport holds unsent
    bytes; `ranks`: the members of a child's subtree; `incarnation`: how often that child had attached when it attached here.
    Times are the node's clock, seconds."""

    __slots__ = ("blocked", "conn", "incarnation", "last_heard", "last_sent", "leaves", "node", "ranks", "ready")

    def __init__(self, conn: Hashable, node: int, now: float) -> None:
        self.conn = conn
        self.node = node
        self.ready = False
        self.leaves = False
        self.blocked = False
        self.last_heard = now
        self.last_sent = now
        self.ranks: RankSet = EMPTY
        self.incarnation = 0


class Outputs:
    """The answers that a node has gathered since the loop last took them. successor: the node that takes this one's place in
    the loop, with its links; None nearly always."""

    __slots__ = ("actions", "events", "exit", "successor")

    def __init__(self) -> None:
        self.actions: list[Action] = []
        self.events: list[dict[str, Any]] = []
        self.exit: tuple[int, str] | None = None
        self.successor: Any = None

    def send(self, to: Neighbour, now: float, *parts: frames.Buffer) -> None:
        """Queue one frame."""
        to.last_sent = now
        self.actions.append((SEND, to.conn, parts))

    def event(self, kind: str, **fields: Any) -> None:
        """Tell the journal."""
        self.events.append({"kind": kind, **fields})
