"""`do-not-wait`: every packet goes on alone, and the credit of a link counts what is on it (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Callable

from harness.core import frames
from harness.core.actions import Neighbour
from harness.core.pieces import Piece
from harness.core.port import Port
from harness.core.upstream import UpStream


def relay(node: Port, s: UpStream, parent: Neighbour, emit: Callable[[UpStream, Neighbour, Piece], None]) -> None:
    """Send on what the parent takes, with `emit`."""
    while s.relay and s.relayed < s.limit:
        p = s.relay.popleft()
        s.relayed += p.units
        emit(s, parent, p)
    if not s.relay or sum(p.units for p in s.relay) < s.units.link_window:
        grant_relayed(node, s)


def grant_relayed(node: Port, s: UpStream) -> None:
    """Open the window of each child by what has gone on."""
    for conn, inbox in s.inboxes.items():
        child = node.children.get(conn)
        if child is not None and inbox.received - inbox.granted >= s.units.link_window // 4 + 1:
            inbox.granted = inbox.received
            limit = inbox.received + s.units.link_window
            node.out.send(child, node.now, frames.credit_frame(s.stream, limit, 0))
