"""Small simulated trees of real nodes, between which the test sends numbered frames of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from harness.core import actions, frames
from harness.core.actions import Neighbour
from harness.core.backend import BackEnd
from harness.core.frontend import FrontEnd
from harness.core.node import Node
from harness.core.settings import NodeSettings
from harness.core.tree import Tree
from harness.sim.model import Model
from harness.sim.seats import Pipe, Seat
from harness.sim.world import World

#: Every frame takes a millisecond, and nothing is random but the moment at which a process starts.
PLAIN = {"latency_s": 0.001, "jitter": "none", "varies": 0.0, "apart": 0.0}
#: Nodes that never speak by themselves, so that only the network counts; such with all the time to come back; and nodes that
#: notice silence soon.
QUIET = NodeSettings(lease_s=1000.0, heartbeat_s=300.0)
PATIENT = NodeSettings(lease_s=1000.0, heartbeat_s=300.0, leaf_grace_s=100.0, orphan_grace_s=100.0)
LIVELY = NodeSettings(lease_s=0.5, heartbeat_s=0.1)
#: 0 is the front-end; 1 and 2 have one back-end each: nodes 3 and 4.
TWO_ARMS = (None, 0, 0, 1, 2)


class Idle:
    """Both kinds of applications, doing nothing; at the front-end `on_timer` calls what the test gave."""

    def __init__(self, timer: Callable[[Any], None] | None = None) -> None:
        self.timer = timer

    def start(self, fe: Any) -> None:
        if self.timer is not None:
            self.timer(fe)

    def on_timer(self, fe: Any) -> None:
        if self.timer is not None:
            self.timer(fe)

    def on_result(self, fe: Any, result: Any) -> None: ...

    def on_error(self, fe: Any, error: Any) -> None: ...

    def on_writable(self, fe: Any, stream: int) -> None: ...

    def on_membership(self, fe: Any, dead: Any) -> None: ...

    def on_open(self, be: Any, stream: int, spec: Any) -> None: ...

    def on_message(self, be: Any, stream: int, payload: bytes) -> None: ...

    def on_close(self, be: Any, stream: int) -> None: ...

    def produce(self, be: Any, stream: int, first: int, at_most: int) -> Any: ...


class Tiny:
    """A world in which every node is attached after `run(0.1)`. heard: (time, receiver, sender, number) of each frame that was
    said; events: the journal."""

    def __init__(
        self,
        parents: Sequence[int | None] = TWO_ARMS,
        settings: NodeSettings = QUIET,
        seed: int = 1,
        timer: Callable[[Any], None] | None = None,
        **model: Any,
    ) -> None:
        self.tree = Tree.from_parents(parents)
        self.settings = settings
        self.timer = timer
        self.heard: list[tuple[float, int, int, int]] = []
        self.events: list[dict[str, Any]] = []
        self.world = World(self.tree, self._build, Model(**{**PLAIN, **model}), seed, self.events.append)

    def _build(self, n: int, now: float, life: int) -> Node:
        me = self.tree.nodes[n]
        node: Node
        if n == 0:
            node = FrontEnd(self.tree, self.settings, {}, {}, Idle(self.timer), now)
        elif me.rank is not None:
            node = BackEnd(n, self.tree, self.settings, {}, {}, Idle(), now)
        else:
            node = Node(n, self.tree, self.settings, {}, {}, now)

        def listen(link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
            if head[6]:  # the node's own pings have no number
                self.heard.append((self.world.now, n, link.node, head[6]))

        node.handlers[frames.PING] = listen
        node.life = life
        return node

    def run(self, until: float) -> Tiny:
        while self.world.next_at() <= until:
            assert self.world.step()
        return self

    def up(self) -> Tiny:
        """Let everybody attach, and forget what was told about it."""
        self.run(0.1)
        assert len(self.told("attached")) == len(self.tree.nodes) - 1
        self.events.clear()
        return self

    def at(self, when: float, what: Callable[[], object]) -> None:
        self.world.at(when, lambda _: what() and None)

    def seat(self, n: int) -> Seat:
        return self.world.seats[n]

    def pipe(self, a: int, b: int) -> Pipe:
        """The connection between two nodes, as `a` knows it."""
        return next(p for p in self.seat(a).pipes if p.other(self.seat(a)) is self.seat(b))

    def blocked(self, a: int, b: int) -> bool:
        return self.seat(a).node.links[self.pipe(a, b)].blocked

    def say(self, a: int, b: int, number: int, size: int = 64) -> None:
        """Node `a` sends a frame of `size` bytes to `b`, now."""
        frame = frames.control_frame(frames.PING, 0, number, bytes(size - frames.HEADER_SIZE))
        seat = self.seat(a)
        seat.node.out.actions.append((actions.SEND, self.pipe(a, b), (frame,)))
        self.world.wake(seat)

    def numbers(self, a: int, b: int) -> list[int]:
        """What `b` has heard from `a`, in order."""
        return [number for _, to, sender, number in self.heard if (sender, to) == (a, b)]

    def times(self, a: int, b: int) -> list[float]:
        return [t for t, to, sender, _ in self.heard if (sender, to) == (a, b)]

    def told(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """The events of a kind with these fields."""
        return [e for e in self.events if {"kind": kind, **fields}.items() <= e.items()]
