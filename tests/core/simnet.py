"""A small network in virtual time around the real node: links are FIFO with random latency, nodes crash, hang and come back,
links break, senders block. One seed is one run; the same seed is the same run.

`lifelike` adds what a real network does beyond that: what a dead node sent last may still arrive in part, a stopped process
finds half-made connections when it goes on, timers are asked for only where a node says so. (It is a switch, since it draws
other random numbers: the older seeds must stay what they were.)"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from harness.core import actions
from harness.core.apps import BackEndApp, FrontEndApp, ResumableApp
from harness.core.backend import BackEnd
from harness.core.filters import DownFilter, Filter
from harness.core.frontend import FrontEnd
from harness.core.node import Node
from harness.core.settings import NodeSettings
from harness.core.standby import Standby
from harness.core.tree import Tree

#: A node that its own timers wake so often in a row, without anything else happening to it, is in a busy loop.
BUSY = 5000


class Pipe:
    """One direction-less link between two nodes; each end is known to its node by the pipe and the node's id."""

    def __init__(self, a: int, b: int, number: int) -> None:
        self.ends = (a, b)
        self.number = number
        self.open = True
        self.last_arrival = {a: 0.0, b: 0.0}
        #: After the link broke: what arrives at an end until then was under way and is not lost.
        self.tail = {a: -1.0, b: -1.0}

    def __hash__(self) -> int:
        return self.number  # an address would make the order in a set another one in every process

    def other(self, node: int) -> int:
        return self.ends[1] if self.ends[0] == node else self.ends[0]


class SimNet:
    """All nodes of one tree. `run` returns when the front-end ends, or at `until` (virtual seconds)."""

    def __init__(
        self,
        tree: Tree,
        settings: NodeSettings,
        filters: Mapping[str, Filter],
        down_filters: Mapping[str, DownFilter],
        front: FrontEndApp,
        back: Callable[[int], BackEndApp],
        seed: int,
        latency_s: float = 0.001,
        rng: random.Random | None = None,
        heir: ResumableApp | None = None,
    ) -> None:
        self.rng = rng or random.Random(seed)
        self.now = 0.0
        self.heap: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.latency_s = latency_s
        self.tree = tree
        self.nodes: dict[int, Node] = {}
        self.crashed: set[int] = set()
        self.hung: dict[int, deque[Callable[[], None]]] = {}
        self.events: list[dict[str, Any]] = []
        self.exits: dict[int, tuple[int, str]] = {}
        self.pipes: dict[int, set[Pipe]] = {n.id: set() for n in tree.nodes}
        self.block_rate = 0.0
        self.lifelike = False
        self.on_send: Callable[[int, int, memoryview], None] | None = None
        self.on_receive: Callable[[int, int, memoryview], None] | None = None
        self.mangle: Callable[[memoryview], memoryview] | None = None
        self.on_node: Callable[[Node], None] | None = None
        self.frames = 0
        for n in tree.nodes:
            if n.id == 0:
                node: Node = FrontEnd(tree, settings, filters, down_filters, front, 0.0)
            elif n.rank is not None:
                node = BackEnd(n.id, tree, settings, filters, down_filters, back(n.rank), 0.0)
            elif n.id == tree.standby and heir is not None:
                node = Standby(tree, settings, filters, down_filters, heir, 0.0)
            else:
                node = Node(n.id, tree, settings, filters, down_filters, 0.0)
            self.nodes[n.id] = node
            self.at(self.rng.random() * 0.01, lambda n=node: self._start(n))
        self.alarms: dict[int, float] = {}
        self.dues: dict[int, float] = {}
        self.idle: dict[int, int] = {}

    def at(self, when: float, what: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.heap, (when, self.count, what))

    def run(self, until: float) -> None:
        while self.heap and not self.over:
            when, _, what = heapq.heappop(self.heap)
            if when > until:
                break
            self.now = when
            what()

    @property
    def over(self) -> bool:
        """Whether the front-end has ended, and no standby goes on."""
        gone = self.crashed | self.exits.keys()
        return 0 in gone and (self.tree.standby < 0 or self.tree.standby in gone)

    def run_out(self, until: float) -> None:
        """Go on after the front-end's end, until every node that lives has ended, or `until`."""
        while self.heap and self.heap[0][0] <= until and self.living():
            self.now, _, what = heapq.heappop(self.heap)
            what()

    def living(self) -> list[int]:
        """The nodes that have neither been killed nor ended."""
        return [n for n in self.nodes if n not in self.crashed and n not in self.exits]

    # -- faults -----------------------------------------------------------------------------------------------------------

    def crash(self, node: int) -> None:
        """SIGKILL: peers hear of it soon; what was in flight may be cut short."""
        if node in self.crashed:
            return
        self.crashed.add(node)
        self.hung.pop(node, None)
        self.events.append({"kind": "fault", "node": node, "action": "kill", "t": self.now})
        for pipe in list(self.pipes[node]):
            self._break(pipe, node, "reset")

    def hang(self, node: int, for_s: float) -> None:
        if node in self.crashed or node in self.hung:
            return
        self.hung[node] = deque()
        self.events.append({"kind": "fault", "node": node, "action": "stop", "t": self.now})
        self.at(self.now + for_s, lambda: self._resume(node))

    def _resume(self, node: int) -> None:
        for what in self.hung.pop(node, ()):
            what()
        self._wake(node)

    def cut(self, node: int, peer: int) -> None:
        """The link between two nodes breaks; both live on."""
        self.events.append({"kind": "cut", "node": node, "peer": peer, "t": self.now})
        for pipe in list(self.pipes[node]):
            if pipe.other(node) == peer:
                self._break(pipe, None, "reset")

    def stall(self, node: int, for_s: float) -> None:
        """Nothing that a node sends to its parent gets through for a while; it comes late, but it comes."""
        parent = self.nodes[node].parent
        if parent is None or node in self.crashed or node in self.exits:
            return
        pipe: Any = parent.conn
        self.events.append({"kind": "stall", "node": node, "t": self.now})
        self.hold(node, parent.node, for_s)
        self.nodes[node].blocked(pipe)
        self.at(self.now + for_s, lambda: self._at_node(node, lambda: self.nodes[node].writable(pipe, self.now)))

    def hold(self, node: int, peer: int, for_s: float) -> None:
        """Nothing that a node sends to a peer gets through for a while; it comes late, but it comes, and the node may go on
        sending."""
        self.events.append({"kind": "hold", "node": node, "peer": peer, "for_s": for_s, "t": self.now})
        for pipe in self.pipes[node]:
            if pipe.other(node) == peer:
                pipe.last_arrival[peer] = max(pipe.last_arrival[peer], self.now + for_s)

    def _break(self, pipe: Pipe, dead: int | None, why: str) -> None:
        pipe.open = False
        for end in pipe.ends:
            self.pipes[end].discard(pipe)
            if self.lifelike and pipe.last_arrival[end] > self.now:
                pipe.tail[end] = self.now + (pipe.last_arrival[end] - self.now) * self.rng.choice([0.0, self.rng.random(), 1.0])
            if end != dead:
                self._deliver(pipe, end, lambda e=end: self.nodes[e].link_lost(pipe, why, self.now), force=True)

    # -- the network --------------------------------------------------------------------------------------------------------

    def _start(self, node: Node) -> None:
        if node.id not in self.crashed:
            node.start(self.now)
            self._drain(node)

    def _delay(self) -> float:
        return self.latency_s * (0.2 + self.rng.expovariate(1.0))

    def _deliver(self, pipe: Pipe, to: int, what: Callable[[], None], force: bool = False) -> None:
        when = max(self.now + self._delay(), pipe.last_arrival[to] + 1e-9)
        pipe.last_arrival[to] = when

        def arrive() -> None:
            if force or pipe.open or when <= pipe.tail[to]:
                self._at_node(to, what)

        self.at(when, arrive)

    def _at_node(self, node: int, what: Callable[[], None]) -> None:
        if node in self.crashed or node in self.exits:
            return
        if node in self.hung:
            self.hung[node].append(what)
            return
        self.idle[node] = 0
        what()
        if self.rng.random() < 0.8:  # otherwise several frames are taken in before the node moves on
            self._wake(node)
        else:
            self.at(self.now + self.latency_s * 0.1, lambda: self._wake(node))

    def _wake(self, n: int) -> None:
        if n in self.crashed or n in self.exits or n in self.hung:
            return
        node = self.nodes[n]
        if self.lifelike:  # as the real loop: it asks for the deadline where the node says that it may be another one
            if self.now >= self.dues.get(n, 0.0):
                if self.now >= node.deadline():
                    node.tick(self.now)
                node.rearm = True
        elif self.now >= node.deadline():
            node.tick(self.now)
        node.advance(self.now)
        self._drain(node)

    def _drain(self, node: Node) -> None:
        if node.out.successor is not None:
            node = self.nodes[node.id] = node.out.successor
            node.out.successor = None
        if self.on_node is not None:
            self.on_node(node)
        todo, node.out.actions = node.out.actions, []
        for op, a, b in todo:
            if op == actions.SEND:
                self._send(node, a, b)
            elif op == actions.CLOSE:
                if a.open:
                    self.pipes[node.id].discard(a)
                    other = a.other(node.id)
                    self.pipes[other].discard(a)
                    self._deliver(a, other, lambda p=a, o=other: self._closed(p, o))
            else:
                self._connect(node.id, a)
        for e in node.out.events:
            self.events.append({"node": node.id, "t": self.now, **e})
        node.out.events.clear()
        if node.out.exit is not None and node.id not in self.exits:
            self.exits[node.id] = node.out.exit
            for pipe in list(self.pipes[node.id]):
                self.pipes[node.id].discard(pipe)
                other = pipe.other(node.id)
                self.pipes[other].discard(pipe)
                self._deliver(pipe, other, lambda p=pipe, o=other: self._closed(p, o))
            return
        if node.rearm or not self.lifelike:
            node.rearm = False
            self.dues[node.id] = node.deadline()
        due = max(self.dues[node.id], self.now + 1e-6)
        if due < self.alarms.get(node.id, float("inf")) or self.alarms.get(node.id, 0.0) <= self.now:
            self.alarms[node.id] = due
            self.at(due, lambda n=node.id: self._wake_alarm(n))

    def _wake_alarm(self, n: int) -> None:
        if n in self.hung:
            return
        self.idle[n] = self.idle.get(n, 0) + 1
        if self.idle[n] > BUSY:
            raise AssertionError(f"node {n} is busy with nothing: at {self.now} its deadline is {self.nodes[n].deadline()}")
        self._wake(n)

    def _closed(self, pipe: Pipe, at: int) -> None:
        if pipe.open:
            pipe.open = False
            self.nodes[at].link_lost(pipe, "closed by peer", self.now)

    def _send(self, node: Node, pipe: Pipe, parts: tuple[Any, ...]) -> None:
        if not pipe.open or pipe not in self.pipes[node.id]:
            return
        self.frames += 1
        other = pipe.other(node.id)
        frame = memoryview(b"".join(bytes(p) for p in parts))
        if self.on_send is not None:
            self.on_send(node.id, other, frame)
        if self.mangle is not None:
            frame = self.mangle(frame)
        self._deliver(pipe, other, lambda: self._receive(node.id, other, pipe, frame))
        if self.block_rate and self.rng.random() < self.block_rate:
            node.blocked(pipe)
            self.at(self.now + 5 * self._delay(), lambda: self._at_node(node.id, lambda: node.writable(pipe, self.now)))

    def _receive(self, sender: int, to: int, pipe: Pipe, frame: memoryview) -> None:
        if self.on_receive is not None:
            self.on_receive(sender, to, frame)
        self.nodes[to].receive(pipe, frame, self.now)

    def _connect(self, a: int, b: int) -> None:
        def meet() -> None:
            if a in self.crashed or a in self.exits:
                return
            if b in self.crashed or b in self.exits:
                self._at_node(a, lambda: self.nodes[a].refused(b, "refused", self.now))
            elif b in self.hung:
                if self.lifelike:  # the two meet when it goes on, if it is still wanted then
                    self.hung[b].append(meet)
            else:
                self.count += 1
                pipe = Pipe(a, b, self.count)
                self.pipes[a].add(pipe)
                self.pipes[b].add(pipe)
                self._deliver(pipe, b, lambda: self.nodes[b].link_up(pipe, a, False, self.now))
                self._deliver(pipe, a, lambda: self.nodes[a].link_up(pipe, b, True, self.now))

        self.at(self.now + self._delay(), meet)
