"""Random scenarios for the node protocol, and an oracle that knows every contribution: the first generation, frozen, so that
its seeds keep their meaning. What is new goes into storms.py."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from simnet import SimNet

from harness.core.ranks import RankSet
from harness.core.settings import NodeSettings
from harness.core.spec import QuorumLost, Recovery, Result, StreamError, StreamSpec, Sync, WavesLost
from harness.core.tree import Role, Tree
from harness_plugins.filters import Maximum, NullDown, Sum

SETTINGS = NodeSettings(
    lease_s=1.0, heartbeat_s=0.25, connect_timeout_s=0.5, leaf_grace_s=0.3, orphan_grace_s=1.5, start_timeout_s=30.0
)
FILTERS = {"sum": Sum(), "max": Maximum()}
DOWN = {"null": NullDown()}


def value(rank: int, wave: int) -> int:
    """The contribution of a back-end to a wave: sums over different sets or waves differ."""
    return (rank + 1) * 1_000_003 + wave * 7919 * (2 * rank + 1) + ((rank * 31 + wave * 17) % 1009) * 1_000_000_007


class Front:
    """Opens streams, checks each result against the oracle as it comes, ends when all waves of all streams are there."""

    def __init__(self, specs: list[StreamSpec], waves: int, requests: int = 0) -> None:
        self.specs, self.waves, self.requests = specs, waves, requests
        self.results: dict[int, list[Result]] = {}
        self.at: dict[int, dict[int, float]] = {}
        self.errors: list[StreamError] = []
        self.wrong: list[str] = []
        self.ids: list[int] = []
        self.next: dict[int, int] = {}
        self.sent = 0
        self.states: dict[int, Any] = {}
        self.dead = RankSet()
        self.barrier: int | None = None

    def start(self, fe: Any) -> None:
        self.dead = fe.tree.ranks_below(0) - fe.alive
        for spec in self.specs:
            i = fe.open_stream(spec)
            self.ids.append(i)
            self.results[i], self.next[i], self.at[i] = [], 0, {}
            fe.expect(i, self.waves)
        self._talk(fe)

    def _talk(self, fe: Any) -> None:
        while self.sent < self.requests and fe.send(self.ids[0], b"request %d" % self.sent):
            self.sent += 1

    def on_result(self, fe: Any, r: Result) -> None:
        if r.stream == self.barrier:
            self.states = {i: fe.state(i) for i in self.ids}
            fe.finish()
            return
        spec = self.specs[self.ids.index(r.stream)]
        if spec.recovery is Recovery.REPLAY and r.first != self.next[r.stream]:
            self.wrong.append(f"stream {r.stream}: wave {r.first} after {self.next[r.stream] - 1}")
        self.next[r.stream] = r.first + r.count
        if r.missing != spec.members - r.contributors or r.complete != (not r.missing):
            self.wrong.append(f"stream {r.stream} wave {r.first}: missing {r.missing} is not what is missing")
        if spec.recovery is Recovery.REPLAY and not r.missing.issubset(self.dead):
            self.wrong.append(f"stream {r.stream} wave {r.first}: {r.missing} are missing, dead are {self.dead}")
        for k in range(r.count):
            wave = r.first + k
            self.at[r.stream][wave] = fe.now
            parts = [value(x, wave) for x in r.contributors]
            want = sum(parts) if spec.filter == "sum" else max(parts)
            flat = np.asarray(r.values[k]).reshape(-1)
            if any(int(v) != want + e for e, v in enumerate(flat)) and spec.filter == "max":
                self.wrong.append(f"stream {r.stream} wave {wave}: {flat[:3]} instead of {want}")
            if spec.filter == "sum" and any(int(v) != want + e * len(parts) for e, v in enumerate(flat)):
                self.wrong.append(f"stream {r.stream} wave {wave}: {flat[:3]} instead of {want}, contributors {r.contributors}")
        self._done(fe)

    def _done(self, fe: Any) -> None:
        """When all waves are there, ask for one exact wave more: behind it, every state has arrived."""
        if self.barrier is None and all(n >= self.waves for n in self.next.values()):
            everybody = fe.tree.ranks_below(0)
            self.barrier = fe.open_stream(StreamSpec("barrier", everybody, "sum", deadline_s=60.0, params=(("barrier", 1),)))
            fe.expect(self.barrier, 1)

    def on_error(self, fe: Any, error: StreamError) -> None:
        if isinstance(error, WavesLost):
            if self.specs[self.ids.index(error.stream)].recovery is Recovery.REPLAY:
                self.wrong.append(f"replay lost waves: {error}")
            self.next[error.stream] = error.wave + error.count
            self._done(fe)
            return
        self.errors.append(error)
        fe.finish(False, str(error))

    def on_writable(self, fe: Any, stream: int) -> None:
        self._talk(fe)

    def on_membership(self, fe: Any, dead: RankSet) -> None:
        self.dead = dead

    def on_timer(self, fe: Any) -> None:
        raise AssertionError("nobody asked for a timer")


class Back:
    """Offers waves in batches of random size, now and then none until a moment later."""

    def __init__(self, rank: int, seed: int, waves: int, lazy: float) -> None:
        self.rank, self.waves, self.lazy = rank, waves, lazy
        self.rng = random.Random(seed * 1000 + rank)
        self.messages: list[bytes] = []
        self.specs: dict[int, StreamSpec] = {}
        self.made: dict[int, int] = {}

    def on_open(self, be: Any, stream: int, spec: StreamSpec) -> None:
        assert stream not in self.specs
        self.specs[stream] = spec

    def on_message(self, be: Any, stream: int, payload: bytes) -> None:
        self.messages.append(payload)

    def produce(self, be: Any, stream: int, first: int, at_most: int) -> Any:
        assert self.made.get(stream, 0) == first, "the node asked for waves out of order"
        if self.specs[stream].params:
            if any(self.rank in s.members and self.made.get(i, 0) < self.waves for i, s in self.specs.items() if i != stream):
                be.call_at(be.now + 0.01)
                return None
            if first:
                return None
            self.made[stream] = 1
            return np.ones(1, "<i8")
        if self.rng.random() < self.lazy:
            be.call_at(be.now + self.rng.random() * 0.01)
            return None
        n = min(self.waves - first, self.rng.randint(1, at_most))
        if n <= 0:
            return None
        self.made[stream] = first + n
        shape = self.specs[stream].item_shape
        base = np.array([value(self.rank, w) for w in range(first, first + n)], "<i8")
        if not shape:
            return base
        size = int(np.prod(shape))
        return (base[:, None] + np.arange(size)).reshape(n, *shape)

    def on_close(self, be: Any, stream: int) -> None:
        pass


def random_tree(rng: random.Random, depths: int = 4, broad: int = 25) -> Tree:
    """Depth 1 to `depths`, fan-out 1 to 4 up to `broad` nodes and 1 beyond, possibly lopsided; at most some 40 nodes."""
    parents: list[int | None] = [None]
    level = [0]
    for depth in range(rng.randint(1, depths)):
        below = []
        for p in level:
            fan = rng.randint(1, 4 if len(parents) < broad else 1)
            if depth and rng.random() < 0.15:
                continue
            for _ in range(fan):
                below.append(len(parents))
                parents.append(p)
        level = below
        if not below:
            break
    return Tree.from_parents(parents)


def run_seed(seed: int, *, faults: int | None = None, verbose: bool = False) -> tuple[SimNet, Front, dict[int, Back]]:
    """Build and run the scenario of one seed."""
    rng = random.Random(seed)
    tree = random_tree(rng)
    everybody = tree.ranks_below(0)
    waves = rng.choice([5, 50, 300])
    specs = []
    for k in range(rng.randint(1, 3)):
        members = everybody
        if rng.random() < 0.3 and len(everybody) > 1:
            members = RankSet.of(rng.sample(list(everybody), rng.randint(1, len(everybody))))
        compose = rng.random() < 0.35
        shape: tuple[int, ...] = rng.choice([(), (), (3,), (2, 5)])
        specs.append(
            StreamSpec(
                f"s{k}",
                members,
                "max" if compose else rng.choice(["sum", "sum", "max"]),
                recovery=Recovery.COMPOSE if compose else Recovery.REPLAY,
                sync=Sync.WAIT_FOR_ALL,
                deadline_s=60.0,
                item_shape=shape,
                window_waves=rng.choice([2, 3, 16, 200]),
                window_bytes=rng.choice([64, 1024, 1 << 20]),
                chunk_bytes=rng.choice([8, 24, 1 << 18]),
            )
        )
    front = Front(specs, waves, requests=rng.choice([0, 0, 5, 40]))
    backs: dict[int, Back] = {}
    lazy = rng.choice([0.0, 0.1, 0.5])

    def back(rank: int) -> Back:
        backs[rank] = Back(rank, seed, waves, lazy)
        return backs[rank]

    net = SimNet(tree, SETTINGS, FILTERS, DOWN, front, back, seed, latency_s=rng.choice([0.0002, 0.001, 0.01]))
    net.block_rate = rng.choice([0.0, 0.05])
    victims = [n.id for n in tree.nodes if n.id]
    inner = [n.id for n in tree.nodes if n.role is Role.COMMUNICATION]
    back_ends = len(everybody)
    hits = rng.randint(0, 3) if faults is None else faults
    spread = rng.choice([0.02, 0.2, 2.0])
    killed: set[int] = set()
    for _ in range(hits):
        when = rng.random() * spread
        kind = rng.choice(["crash", "crash", "hang", "cut", "chain"])
        node = rng.choice(inner if inner and rng.random() < 0.7 else victims)
        if tree.nodes[node].rank is not None and kind != "cut":
            if back_ends <= 1:
                continue
            back_ends -= 1
        if kind == "crash":
            net.at(when, lambda n=node: net.crash(n))
            killed.add(node)
        elif kind == "chain":
            for n in [node, *[c for c in tree.nodes[node].children if c in inner][:1]]:
                net.at(when, lambda n=n: net.crash(n))
        elif kind == "hang":
            length = rng.choice([0.3, 1.5, 5.0])
            net.at(when, lambda n=node, t=length: net.hang(n, t))
        else:
            net.at(when, lambda n=node, p=tree.nodes[node].parent: net.cut(n, p or 0))
    net.run(200.0)
    return net, front, backs


def verdict(net: SimNet, front: Front, backs: dict[int, Back]) -> list[str]:
    """What was wrong with a run."""
    wrong = list(front.wrong)
    for e in front.errors:
        members = front.specs[front.ids.index(e.stream)].members
        if not (isinstance(e, QuorumLost) and members.issubset(front.dead)):  # nobody left: an error is the right answer
            wrong.append(f"error {e!r}")
    if 0 not in net.exits:
        wrong.append(f"the front-end did not end; delivered {front.next}")
    touched = {e["node"] for e in net.events if e["kind"] == "fault"}
    dead = {e["member"] for e in net.events if e["kind"] == "dead"}
    if dead - touched - _cut_nodes(net):
        wrong.append(f"nodes {dead - touched - _cut_nodes(net)} were declared dead, faults hit {touched}")
    wrong.extend(f"protocol error {e}" for e in net.events if e["kind"] == "protocol-error")
    alive = {r for r in backs if (n := net.tree.back_ends[r].id) not in net.crashed and n not in dead}
    for k, i in enumerate(front.ids):
        spec = front.specs[k]
        if spec.recovery is Recovery.COMPOSE and 0 in net.exits and not front.errors:
            live = [value(r, w) for r in spec.members if r in alive for w in range(front.waves)]
            every = [value(r, w) for r in spec.members for w in range(front.waves)]
            got = front.states.get(i)
            top = None if got is None else int(np.asarray(got).reshape(-1)[0])
            if live and (top is None or not max(live) <= top <= max(every)):
                wrong.append(f"stream {i}: the composed state is {top}, the oracle says {max(live)}..{max(every)}")
    if front.requests and 0 in net.exits and not front.errors:
        for r in alive & set(front.specs[0].members):
            got_messages = backs[r].messages
            want = [b"request %d" % n for n in range(len(got_messages))]
            if got_messages != want:
                wrong.append(f"rank {r} got messages {got_messages[:9]}")
    return wrong


def _cut_nodes(net: SimNet) -> set[int]:
    """Nodes whose link was cut: they may come back too late."""
    return {e["node"] for e in net.events if e["kind"] == "cut"}


def judge(seed: int) -> list[str]:
    """Run the scenario of a seed; what was wrong."""
    return [f"seed {seed}: {w}" for w in verdict(*run_seed(seed))]
