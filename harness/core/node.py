"""The tree node, pure: events in, actions and events out, time passed in.

This class is a communication process; `FrontEnd` and `BackEnd` build on it. The loop around it calls `link_up`, `receive`,
`link_lost`, `refused`, `writable` as things happen, then `advance` once for everything that came together, and `tick` when
`deadline` is due; it then carries out `out.actions` in order. docs/protocol.md tells the protocol as a story.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from harness.core import actions, frames, lives, orders, vetting
from harness.core.actions import Neighbour, Outputs
from harness.core.agreement import chained
from harness.core.ballot import Ballot, why_not
from harness.core.below import Below
from harness.core.comers import Lives
from harness.core.courier import Courier
from harness.core.downstream import SHUTDOWN, DownStream, Message
from harness.core.filters import DownFilter, Filter
from harness.core.frames import FrameError
from harness.core.ranks import EMPTY, RankSet, union
from harness.core.settings import NodeSettings
from harness.core.streams import StreamTable
from harness.core.tree import Tree
from harness.core.uplink import Uplink

CONTROL: Final = 0

_unpack: Final = frames.HEADER.unpack_from


class Node(Courier):
    """One communication process of `tree`. `filters` and `down_filters` are the plugins by name."""

    def __init__(
        self,
        node: int,
        tree: Tree,
        settings: NodeSettings,
        filters: Mapping[str, Filter],
        down_filters: Mapping[str, DownFilter],
        now: float,
    ) -> None:
        self.id = node
        self.tree = tree
        self.me = tree.nodes[node]
        self.settings = settings
        self.filters = filters
        self.down_filters = down_filters
        self.now = now
        self.out = Outputs()
        self.links: dict[Hashable, Neighbour] = {}
        self.children: dict[Hashable, Neighbour] = {}
        self.strangers: dict[Hashable, Neighbour] = {}
        self.control = DownStream(1 << 30)
        self.streams = self.make_streams()
        self.uplink = Uplink(self)
        self.dead: set[int] = set()
        self.dead_ranks = EMPTY
        self.deaths, self.deaths_digest = 0, ""  # orders of deaths that it was told, to be compared at the end (agreement)
        self.closing = False
        self.life = 0  # how many processes had this place before
        self.lives = Lives()
        self.rearm = True
        self.last_tick = now
        self.waiting_children: list[tuple[Neighbour, dict[str, Any]]] = []
        self.below = Below()
        self.ballot = Ballot(self)
        self.handlers: dict[int, Callable[[Neighbour, memoryview, tuple[int, ...]], None]] = {
            frames.DATA: self.streams.on_data,
            frames.SKIP: self.streams.on_skip,
            frames.STATE: self.streams.on_state,
            frames.DOWN: self._on_down,
            frames.CREDIT: self.streams.on_credit,
            frames.REWIND: self.streams.on_rewind,
            frames.DACK: self.streams.on_dack,
            frames.ATTACH: self._on_attach,
            frames.WELCOME: self.uplink.on_welcome,
            frames.REFUSE: self.uplink.on_refuse,
            frames.NOTICE: self._on_notice,
            frames.PING: self.uplink.on_ping,
            frames.BYE: self._on_bye,
            frames.VOTE: self.ballot.on_vote,
        }

    def make_streams(self) -> StreamTable:
        """The table that fits this kind of node."""
        return StreamTable(self)

    # -- what the loop calls ---------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin: look for the parent."""
        self.now = self.last_tick = now
        self.uplink.begin()

    def link_up(self, conn: Hashable, peer: int, initiated: bool, now: float) -> None:
        """The transport has an authenticated link to node `peer`."""
        self.now = now
        link = Neighbour(conn, peer, now)
        if initiated and not self.uplink.wants(peer):
            self.out.actions.append((actions.CLOSE, conn, None))
            return
        self.links[conn] = link
        if initiated:
            self.uplink.connected(link)
        else:
            self.strangers[conn] = link

    def refused(self, peer: int, reason: str, now: float) -> None:
        """A connection to `peer` could not be made."""
        self.now = now
        self.uplink.refused(peer, reason)

    def receive(self, conn: Hashable, frame: memoryview, now: float) -> None:
        """A whole frame came in. Garbage ends the link, not the node."""
        link = self.links.get(conn)
        if link is None:
            return
        self.now = link.last_heard = now
        try:
            head = _unpack(frame)
            if head[0] != frames.VERSION or frames.HEADER_SIZE + head[7] + head[8] != len(frame):
                frames.parse_header(frame)
            self.handlers[head[1]](link, frame, head)
        except (FrameError, struct.error, KeyError, TypeError, ValueError, OverflowError) as e:
            self.out.event("protocol-error", peer=link.node, message=f"{type(e).__name__}: {e}")
            self.drop(link, f"{frames.PROTOCOL_ERROR}: {e}")

    def link_lost(self, conn: Hashable, reason: str, now: float) -> None:
        """The transport lost a link."""
        self.now = now
        link = self.links.get(conn)
        if link is not None:
            if reason.startswith(frames.PROTOCOL_ERROR):  # garbage below the frames, which the transport noticed
                self.out.event("protocol-error", peer=link.node, message=reason.removeprefix(f"{frames.PROTOCOL_ERROR}: "))
            self._lost(link, reason)

    def blocked(self, conn: Hashable) -> None:
        """The transport could not send everything at once: hold back until `writable`."""
        link = self.links.get(conn)
        if link is not None:
            link.blocked = True

    def writable(self, conn: Hashable, now: float) -> None:
        """The transport has sent everything on this link."""
        self.now = now
        link = self.links.get(conn)
        if link is not None:
            link.blocked = False
            self.streams.wake(link)

    def advance(self, now: float) -> None:
        """Move the streams on, after everything that came together has been taken in."""
        self.now = now
        if self.streams.dirty:
            self.streams.pump()

    def deadline(self) -> float:
        """When `tick` is due."""
        due = self.last_tick + self.settings.heartbeat_s
        return min(due, self.uplink.deadline(), self.streams.deadline())

    def tick(self, now: float) -> None:
        """Heartbeats, leases and time-outs."""
        s = self.settings
        self.now = now
        if now - self.last_tick > s.lease_s / 2:  # we were not running: give the others time to be heard first
            for link in self.links.values():
                link.last_heard = max(link.last_heard, now - s.lease_s / 2)
        self.last_tick = now
        for link in list(self.links.values()):
            if now - link.last_heard > s.lease_s:
                self.drop(link, f"{frames.SILENT} for {now - link.last_heard:.3f} s, lease {s.lease_s} s")
            elif now - link.last_sent >= s.heartbeat_s * 0.9:
                self.out.send(link, now, frames.control_frame(frames.PING))
        self.uplink.tick()
        self.streams.tick()
        lives.ask_again(self)

    # -- links -----------------------------------------------------------------------------------------------------------

    @property
    def parent(self) -> Neighbour | None:
        return self.uplink.parent

    def ranks(self) -> RankSet:
        """The live back-ends below this node."""
        return union(c.ranks for c in self.children.values()) - self.dead_ranks

    def drop(self, link: Neighbour, cause: str) -> None:
        """End a link from our side."""
        if link is self.uplink.parent:  # so that it is not taken for dead
            self.out.send(link, self.now, frames.control_frame(frames.BYE))
        self.out.actions.append((actions.CLOSE, link.conn, None))
        self._lost(link, cause)

    def _lost(self, link: Neighbour, cause: str) -> None:
        self.links.pop(link.conn, None)
        self.strangers.pop(link.conn, None)
        self.waiting_children = [w for w in self.waiting_children if w[0] is not link]
        if link.conn in self.children:
            self._child_lost(link, cause)
        else:
            self.uplink.lost(link, cause)

    def _child_lost(self, link: Neighbour, cause: str) -> None:
        del self.children[link.conn]
        if self.closing:
            self.child_left()
            return
        cause = f"{frames.SILENT}: it left" if link.leaves else cause
        self.out.event("link-lost", peer=link.node, cause=cause)
        # The news goes first: until the front-end knows that somebody may be missing, nobody may seem to have everything.
        self.notify({"op": "lost", "node": link.node, "by": self.id, "inc": link.incarnation, "cause": cause})
        self.streams.child_gone(link)

    # -- membership ------------------------------------------------------------------------------------------------------

    def notify(self, *notices: dict[str, Any]) -> None:
        """Pass news about membership to the front-end. While there is no parent it goes into `below` only, all of which is
        told when this node attaches."""
        for n in notices:
            self.below.learn(n)
        if self.parent is not None:
            self._tell(self.parent, lives.passed_on(self, notices))

    def _tell(self, parent: Neighbour, notices: Sequence[dict[str, Any]]) -> None:
        body = {"notices": notices, "ranks": self.ranks().encoded, "next": self.streams.positions()}
        self.out.send(parent, self.now, frames.object_frame(frames.NOTICE, body))

    def retell(self, parent: Neighbour) -> None:
        """After a welcome: what has changed below while the attach was under way."""
        self._tell(parent, [{"op": "below", "node": self.id, "below": self.below.edges()}])

    def _on_notice(self, link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
        body = frames.decode_object(frame)
        notices = [vetting.notice(n, self.tree) for n in body["notices"]]
        self.streams.learn(positions := vetting.positions(body["next"]))
        self.set_ranks(link, RankSet.decode(body["ranks"]), notices, positions)

    def set_ranks(
        self,
        child: Neighbour,
        ranks: RankSet,
        notices: Sequence[dict[str, Any]] = (),
        positions: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        """The back-ends below a child are now these; pass the news on. What a new member lacks is told before the news that it
        is there, and the news that one is gone before what the others have."""
        ranks = ranks - self.dead_ranks
        changed, child.ranks = ranks != child.ranks, ranks
        if changed:
            self.streams.child_gains(child, positions)
        if notices:
            self.notify(*notices)
        if changed:
            self.streams.child_loses(child)

    def _on_bye(self, link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
        link.leaves = True
        if self.closing and link.conn in self.children:
            self.links.pop(link.conn)
            del self.children[link.conn]
            self.child_left()

    def report(self) -> dict[int, list[int]]:
        return self.streams.report()

    def welcomed(self, parent: Neighbour, terms: dict[int, list[int]], again: bool) -> None:
        self.streams.welcomed(parent, terms, again)
        self.ballot.tell(self.ballot.votes)

    # -- children attach --------------------------------------------------------------------------------------------------

    def _on_attach(self, link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
        if link.conn not in self.strangers:
            raise FrameError(f"node {link.node} attaches twice")
        body = vetting.attach(frames.decode_object(frame), self.tree)
        if body["control"] > self.control.last and body["generation"] <= self.ballot.generation:
            self.waiting_children.append((link, body))  # it knows streams that we have not heard of yet
            return
        self._admit(link, body)

    def _admit(self, link: Neighbour, body: dict[str, Any]) -> None:
        if not lives.may_come_in(self, link, body):
            return
        reason = self.why_not(link.node, body)
        if reason:
            self.out.send(link, self.now, frames.object_frame(frames.REFUSE, {"reason": reason}))
            self.out.actions.append((actions.CLOSE, link.conn, None))
            self.links.pop(link.conn, None)
            self.strangers.pop(link.conn, None)
            return
        for old in [c for c in self.children.values() if c.node == link.node]:
            self.drop(old, "attached anew")
        self.strangers.pop(link.conn)
        link.ranks = body["ranks"] - self.dead_ranks
        link.incarnation = body["inc"]
        link.ready = True
        self.children[link.conn] = link
        self.streams.child_joined(link, body["streams"])
        for m in self.control.after(body["control"]):  # first, so that the terms are about streams that the child knows
            self.send_down(link, CONTROL, m)
        welcome = {"streams": self.streams.terms(link)}
        self.out.send(link, self.now, frames.object_frame(frames.WELCOME, welcome))
        self.streams.catch_up(link, body["streams"])
        if body["lost"] >= 0:
            self.out.event("reattached", child=link.node, parent=self.id, lost=body["lost"])
        joined = {"op": "joined", "node": link.node, "by": self.id, "inc": link.incarnation, "below": body["below"]}
        self.notify(joined)

    def why_not(self, node: int, body: Mapping[str, Any]) -> str:
        return why_not(self, node, body, self.uplink.helpless) or self.ballot.against(body)

    def credentials(self) -> dict[str, int]:
        return self.ballot.credentials(self.control.last)

    # -- downward messages -------------------------------------------------------------------------------------------------

    def _on_down(self, link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
        if link is not self.parent and link is not self.uplink.link:
            raise FrameError("a downward message from a node that is not the parent")
        whole = bytes(frame)
        self.take_down(head[3], orders.order_message(whole) if head[3] == CONTROL else orders.message_of(whole, head))

    def take_down(self, stream: int, message: Message) -> None:
        """A message for this subtree: keep it, pass it on, act on it."""
        if stream == CONTROL:
            order = orders.decode_order(message.payload)  # garbage is not passed on
            if self.control.push(message):
                self.ballot.heard(message.payload)
                for child in list(self.children.values()):
                    self.send_down(child, CONTROL, message)
                self._on_control(order, message.payload)
            return
        self.streams.take_down(stream, message)

    def _on_control(self, order: dict[str, Any], payload: bytes) -> None:
        self.obey(order, payload)
        for waiting in [w for w in self.waiting_children if w[1]["control"] <= self.control.last]:
            if waiting in self.waiting_children:  # what was done for one may have let in another
                self.waiting_children.remove(waiting)
                self._admit(*waiting)

    def obey(self, order: dict[str, Any], payload: bytes) -> None:
        """Do what an order says. Raises FrameError for one that nobody gives."""
        op = order["op"]
        if op == "open":
            self.streams.open(int(order["id"]), orders.decode_spec(payload))
        elif op == "close":
            self.streams.close(int(order["id"]))
        elif op == "dead":
            self.bury({int(n) for n in order["nodes"]}, RankSet.decode(order["ranks"]))
        elif op == "admit":
            lives.admit(self, order)
        elif op == "left":
            lives.see_off(self, order)
        elif op == "leave":
            pass  # a matter of that back-end alone
        elif op == "shutdown":
            self.shut_down()
        elif op == "root":
            self.ballot.cast(int(order["node"]))
        else:
            raise FrameError(f"unknown control message {op!r}")

    def bury(self, nodes: set[int], ranks: RankSet, sign: str = "") -> None:
        """The front-end has declared these dead, or (sign "-") seen them off: they are fenced from now on."""
        self.deaths += 1
        self.deaths_digest = chained(self.deaths_digest, nodes, sign)
        self.dead |= nodes
        self.dead_ranks = orders.join(self.dead_ranks, ranks)
        lives.forget(self, ranks)
        if self.id in nodes and lives.is_this_life(self):
            if not sign:
                self.out.event("fenced")
                self.out.exit = (4, "fenced: this node had been declared dead")
            return
        for child in list(self.children.values()):
            if child.node in self.dead:
                self.drop(child, "left" if sign else "fenced")
            elif not child.ranks.isdisjoint(ranks):
                self.set_ranks(child, child.ranks)

    def close_below(self) -> None:
        """The tree is closing, and the order can reach this subtree through this node only."""
        self.take_down(CONTROL, self.message(CONTROL, self.control.last + 1, SHUTDOWN))
