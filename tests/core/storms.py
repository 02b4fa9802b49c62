"""Random scenarios for the node protocol, second generation: every filter, synchronization, recovery and policy, streams that
come and go, messages, and faults of every kind at every moment. One seed is one run; what is added here makes other runs of the
old seeds, so what they once found is kept as small scenarios in test_regressions_*.py."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from scenarios import random_tree
from simnet import SimNet
from storm_apps import SETTLE_S, Back, Front, Planned

from harness.core.node import Node
from harness.core.ranks import RankSet
from harness.core.settings import NodeSettings
from harness.core.spec import Accept, Recovery, StreamSpec, Sync
from harness.core.tree import Role, Tree
from harness_plugins.filters import Average, Classes, Concat, Count, Maximum, Null, NullDown, Sum, Union

SETTINGS = NodeSettings(
    lease_s=1.0, heartbeat_s=0.25, connect_timeout_s=0.5, leaf_grace_s=0.3, orphan_grace_s=1.5, start_timeout_s=8.0
)
FILTERS = {"sum": Sum(), "max": Maximum(), "average": Average(), "concat": Concat()}
FILTERS |= {"count": Count(), "union": Union(), "classes": Classes(), "null": Null()}
IDEMPOTENT = ["max", "max", "union", "classes"]
ARRAYS = ["sum", "sum", "max", "average", "concat", "count"]


class Mark:
    """A downward filter that leaves a trace, once."""

    def apply(self, payload: bytes) -> bytes:
        return payload if payload.endswith(b"!") else payload + b"!"


DOWN = {"null": NullDown(), "mark": Mark()}


@dataclass
class Storm:
    """A run and all that is known of it. touched: nodes that a fault struck; cut: nodes that lost a link only."""

    seed: int
    net: SimNet
    front: Front
    backs: dict[int, Back]
    faults: list[tuple[float, str, list[int], float]]


def some(rng: random.Random, ranks: RankSet) -> RankSet:
    return RankSet.of(rng.sample(list(ranks), rng.randint(1, len(ranks))))


def random_stream(rng: random.Random, k: int, everybody: RankSet) -> Planned:
    members = everybody if rng.random() < 0.6 else some(rng, everybody)
    recovery = rng.choice([Recovery.REPLAY, Recovery.REPLAY, Recovery.COMPOSE, Recovery.RESUME])
    sync = Sync.WAIT_FOR_ALL
    accept, quorum, accept_after = Accept.COMPLETE, 0, 0.0
    filter_ = rng.choice([*ARRAYS, *ARRAYS, "union", "classes"])
    if recovery is not Recovery.REPLAY:
        sync = rng.choice([Sync.WAIT_FOR_ALL, Sync.WAIT_FOR_ALL, Sync.TIME_OUT, Sync.DO_NOT_WAIT])
    if recovery is Recovery.COMPOSE:
        filter_ = rng.choice(IDEMPOTENT)
    elif sync is Sync.DO_NOT_WAIT:
        filter_ = rng.choice(["null", "sum", "union", "max"])
    if sync is Sync.WAIT_FOR_ALL and rng.random() < 0.3:
        accept = rng.choice([Accept.QUORUM, Accept.DEADLINE])
        quorum = rng.randint(1, len(members)) if accept is Accept.QUORUM else 0
        accept_after = rng.choice([0.02, 0.3, 2.0]) if accept is Accept.DEADLINE else 0.0
    waves = rng.choice([1, 5, 40, 200])
    shape: tuple[int, ...] = rng.choice([(), (), (3,), (2, 5), (40,)])
    chunk = rng.choice([8, 24, 100, 1 << 18])
    if shape == (40,) or (recovery is Recovery.COMPOSE and filter_ in ("union", "classes")):  # states that grow with each wave
        waves = min(waves, 40)
    spec = StreamSpec(
        f"s{k}",
        members,
        filter_,
        sync=sync,
        sync_timeout_s=rng.choice([0.005, 0.1, 0.7]) if sync is Sync.TIME_OUT else 0.0,
        recovery=recovery,
        accept=accept,
        quorum=quorum,
        accept_after_s=accept_after,
        deadline_s=rng.choice([60.0, 60.0, 60.0, 0.1, 0.4, 2.0]),
        dtype="<f8" if filter_ == "average" else "<i8",
        item_shape=shape,
        window_waves=rng.choice([2, 3, 16, 100]),
        window_bytes=rng.choice([64, 1024, 1 << 20]),
        chunk_bytes=chunk,
        down_filter=rng.choice(["null", "mark"]),
    )
    messages = []
    for _ in range(rng.choice([0, 0, 3, 40])):
        kind = rng.random()
        one = RankSet.of([rng.choice(list(members))])
        messages.append(RankSet() if kind < 0.4 else some(rng, members) if kind < 0.6 else one)
    return Planned(spec, waves, messages=messages, step=rng.choice([0, 0, 1, 7]))


def maybe_decomposed(spec: StreamSpec, rng: random.Random) -> StreamSpec:
    """Some of the streams that can have it get recovery `decompose`. Drawn apart, so that all else of a seed stays as it is."""
    fits = FILTERS[spec.filter].algebra.decomposable and spec.sync is Sync.WAIT_FOR_ALL
    return replace(spec, recovery=Recovery.DECOMPOSE) if fits and rng.random() < 0.4 else spec


def random_streams(rng: random.Random, everybody: RankSet) -> list[Planned]:
    """A few streams from the start, or many that come and go."""
    plans = [random_stream(rng, k, everybody) for k in range(rng.choice([1, 1, 2, 3, 8]))]
    for p in plans[1:]:
        p.open_at = rng.choice([0.0, rng.random() * 2.5])
        if rng.random() < 0.2:
            p.close_at = p.open_at + rng.choice([0.0, rng.random() * 0.1, rng.random() * 2.0])
        p.tidy = p.close_at is None and rng.random() < 0.2
    return plans


def random_faults(rng: random.Random, tree: Tree) -> list[tuple[float, str, list[int], float]]:
    """(when, what, whom, for how long); negative times are seconds before the front-end finishes, turned: -0.1 is 0.1 s
    after it has asked the tree to close."""
    inner = [n.id for n in tree.nodes if n.role is Role.COMMUNICATION]
    everyone = [n.id for n in tree.nodes if n.id]
    spread = rng.choice([0.01, 0.05, 0.3, 3.0])
    faults = []
    for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 5])):
        when = rng.random() * spread if rng.random() < 0.9 else -rng.random() * 0.02
        node = rng.choice(inner if inner and rng.random() < 0.7 else everyone)
        kind = rng.choice(["crash", "crash", "two", "chain", "hang", "hang", "cut", "stall"])
        nodes, length = [node], 0.0
        if kind == "two":
            nodes, kind = rng.sample(everyone, min(2, len(everyone))), "crash"
        elif kind == "chain":
            nodes, kind = [node, *tree.nodes[node].children[:1]], rng.choice(["crash", "crash", "hang"])
        if kind == "hang":
            length = rng.choice([0.3, 0.9, 1.2, 2.0, 2.6, 5.0])
        elif kind == "stall":
            length = rng.choice([0.05, 0.5, 0.9, 2.0])
        faults.append((when, kind, nodes, length))
    return faults


def plan_storm(seed: int) -> Storm:
    """The scenario of one seed, not run yet."""
    rng = random.Random(seed * 7919 + 5)
    tree = random_tree(rng, 5, 20)
    plans = random_streams(rng, tree.ranks_below(0))
    faults = random_faults(rng, tree)
    quiet_at = SETTLE_S + max((when + length for when, _, _, length in faults if when >= 0), default=0.0)
    front = Front(plans, quiet_at, abrupt=rng.random() < 0.15)
    backs: dict[int, Back] = {}
    lazy = rng.choice([0.0, 0.1, 0.5])
    slow = some(rng, tree.ranks_below(0)) if rng.random() < 0.15 else RankSet()
    for p in plans if slow else []:
        p.waves = min(p.waves, 40)
    waves = {p.spec.name: p.waves for p in plans}
    for k, p in enumerate(plans):
        p.spec = maybe_decomposed(p.spec, random.Random(f"decompose {seed} {k}"))

    def back(rank: int) -> Back:
        backs[rank] = Back(rank, seed, waves, max(lazy, 0.5 * (rank in slow)), 0.1 if rank in slow else 0.005)
        return backs[rank]

    net = SimNet(tree, SETTINGS, FILTERS, DOWN, front, back, seed, latency_s=rng.choice([0.0002, 0.001, 0.01]))
    net.lifelike = True
    net.block_rate = rng.choice([0.0, 0.05, 0.3])
    return Storm(seed, net, front, backs, faults)


def strike(net: SimNet, kind: str, nodes: list[int], length: float) -> None:
    """One fault, now."""
    for node in nodes:
        if kind == "crash":
            net.crash(node)
        elif kind == "hang":
            net.hang(node, length)
        elif kind == "stall":
            net.stall(node, length)
        else:
            link: Any = net.nodes[node].parent
            net.cut(node, link.node if link is not None else net.tree.nodes[node].parent or 0)


def excess(node: Node) -> list[str]:
    """What a node holds beyond the bounds of docs/protocol.md, in units."""
    found = []
    for i, s in node.streams.up.items():
        u = s.units
        inboxes = [sum(p.units for p in inbox.queue) for inbox in s.inboxes.values()]
        # A child that began a rewind by itself may, for a round trip, still use what it was granted before.
        if any(n > u.link_window + u.batch + (u.window if s.replay else 0) for n in inboxes):
            found.append(f"node {node.id}, stream {i}: inboxes hold {inboxes} units, the window has {u.link_window}")
        kept = sum(e[1] for e in s.outbox.kept)
        if kept > (u.window + u.batch if s.replay else 0):
            found.append(f"node {node.id}, stream {i}: {kept} units are kept, the window has {u.window}")
        relayed = sum(p.units for p in s.relay)
        if s.kept is not None and s.kept.units > s.kept.window + u.batch:
            found.append(f"node {node.id}, stream {i}: {s.kept.units} units are kept, {s.kept.window} may be")
        if relayed > len(node.tree.nodes) * (u.link_window + u.batch):  # a window for each child that ever came
            found.append(f"node {node.id}, stream {i}: {relayed} units to be relayed, the window has {u.link_window}")
    return found


def run_storm(seed: int) -> Storm:
    """Build and run the scenario of one seed to its very end."""
    storm = plan_storm(seed)
    net = storm.net
    for when, kind, nodes, length in storm.faults:
        if when >= 0:
            net.at(when, lambda k=kind, n=nodes, t=length: strike(net, k, n, t))

    def finishing() -> None:
        for when, kind, nodes, length in storm.faults:
            if when < 0:
                net.at(net.now - when, lambda k=kind, n=nodes, t=length: strike(net, k, n, t))

    storm.front.on_finish = finishing
    if seed % 4 == 0:
        net.on_node = lambda node: storm.front.wrong.extend(excess(node))
    net.run(600.0)
    net.run_out(net.now + 60.0)
    return storm
