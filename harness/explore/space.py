"""What is explored: the bounds that a suite's [explore] gives, and the scenario that each seed draws within them.

A scenario is a suite: the same tables that `harness run` reads, so that what was explored can be run again by itself.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.core.tree import Tree
from harness.explore.comings import comings

Tables = dict[str, Any]

FAULTS = ("crash", "restart", "host-loss", "hang", "cut", "partition", "late", "slow", "skew", "refuse")
WORKLOADS = ("reduce-stream", "round-trip", "mixed")
#: The default comes first.
ADOPTERS = ("siblings-first", "fan-out", "depth", "proximity", "weighted")
RECOVERIES = ("replay", "compose", "resume", "decompose")
_STRICT = ("sum", "sum", "count", "average", "concat")
_DECOMPOSABLE = ("sum", "count", "average")
_IDEMPOTENT = ("min", "max")
#: By mean latency in seconds: how many times as slow links may be.
_SLOWER = {0.0002: 30.0, 0.001: 10.0, 0.01: 3.0}
#: A node with more children is no slow machine: with every window full it would be busy for longer than a lease, and rightly
#: taken for dead.
_BROAD = 8
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Space:
    """[explore]: what the seeds may draw.

    depth, fanout: of the trees, at most (6 and 32 at most). nodes: how many a tree has, roughly. workloads: kinds to choose
    from. recoveries: those that the streams of `reduce-stream` and `mixed` may have. faults: how many strike a scenario, at
    most. fault_kinds: what they are; `restart` is a crash after which another process takes the place. waves: of a stream, at
    most. streams: at most so many in a `mixed` load. spread_s: faults strike within so many seconds, of which most scenarios
    use a part. at_events: some strike between two given events. heal_s: how long after the last fault the front-end may still
    suspect somebody. adopters: policies of adoption to choose from. standbys: how often there is a standby, where
    the tree has room for one (a probability); then faults strike the front-end, too. uneven: how often links and machines
    are not all alike (a probability). members: how often back-ends come late, leave, or come back (a probability), with a
    load whose check knows of that.
    """

    depth: int = 6
    fanout: int = 32
    nodes: int = 40
    workloads: tuple[str, ...] = WORKLOADS
    recoveries: tuple[str, ...] = RECOVERIES
    faults: int = 5
    fault_kinds: tuple[str, ...] = FAULTS
    waves: int = 200
    streams: int = 8
    spread_s: float = 3.0
    at_events: bool = True
    heal_s: float = 30.0
    adopters: tuple[str, ...] = ADOPTERS
    standbys: float = 0.2
    uneven: float = 0.0
    members: float = 0.2

    def __post_init__(self) -> None:
        for name, most in (("depth", 6), ("fanout", 32), ("nodes", 100_000), ("waves", 1_000_000), ("streams", 64)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} = {getattr(self, name)} must be between 1 and {most}")
        if not 0 <= self.faults <= 100:
            raise ValueError(f"faults = {self.faults} must be between 0 and 100")
        kinds = (("workloads", WORKLOADS), ("recoveries", RECOVERIES), ("adopters", ADOPTERS))
        for name, known in (("fault_kinds", FAULTS), *kinds):
            unknown = [k for k in getattr(self, name) if k not in known]
            if unknown:
                raise ValueError(f"{name}: '{unknown[0]}' cannot be explored; there are {', '.join(known)}")
        for name, known in kinds:
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; there are {', '.join(known)}")
        if self.faults and not self.fault_kinds:
            raise ValueError(f"fault_kinds is empty; there are {', '.join(FAULTS)}, or say faults = 0")
        for name in ("standbys", "uneven", "members"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be between 0 and 1")
        if self.spread_s <= 0 or self.heal_s <= 0:
            raise ValueError("spread_s and heal_s must be positive")


def scenario(space: Space, name: str, node: Mapping[str, Any], seed: int) -> Tables:
    """The suite of one seed: the tables suite, testbed, node and one case."""
    rng = random.Random(seed * 7919 + 11)
    spec, tree = random_tree(rng, space)
    case: Tables = {"name": f"seed {seed}", "topology": {"kind": "generic", "spec": spec}}
    case |= _load(rng, space, random.Random(f"recovery {seed}"))
    faults = _faults(rng, space, tree)
    faults = [*_front_end_lost(seed, space, tree, case), *faults][: space.faults]
    acts = comings(seed, space.members, space.spread_s, tree, case)
    if faults or acts:
        case["fault"] = [*faults, *acts]
    testbed = _testbed(rng)
    if "turn_s" in testbed and max(len(n.children) for n in tree.nodes) > _BROAD:
        testbed["turn_s"] = min(testbed["turn_s"], 1e-5)
    return {
        "suite": {"name": name, "seed": seed},
        "testbed": testbed | _hosts(node, policy := _policy(space, seed)) | _uneven(space, seed, testbed),
        "node": policy | dict(node) | ({"rejoin": True} if acts else {}),
        "case": [case],
    }


def _policy(space: Space, seed: int) -> Tables:
    """The policy of adoption, half of the time the default. Drawn apart, so that the rest of a seed does not hang on it."""
    rng = random.Random(seed * 7919 + 43)  # not the number of `_front_end_lost`: the two are to meet
    chosen = space.adopters[0] if rng.random() < 0.5 else rng.choice(space.adopters)
    return {} if chosen == ADOPTERS[0] else {"adopters": chosen}


def _uneven(space: Space, seed: int, testbed: Tables) -> Tables:
    """Links and machines that are not all alike, no slower than leases bear. Drawn apart, as the policies are."""
    rng = random.Random(f"uneven {seed}")
    if rng.random() >= space.uneven:
        return {}
    most = _SLOWER[testbed["latency_s"]]
    found: Tables = {"links_differ": most} if rng.random() < 0.7 else {"hosts": 3, "between_hosts": most}
    if rng.random() < 0.5:
        found |= {"turn_s": 1e-5, "machines_differ": 30.0}
    if rng.random() < 0.5:
        found |= {"bytes_per_s": rng.choice([1e5, 1e6]), "rate_varies": rng.choice([0.5, 1.0])}
    rate = found.get("bytes_per_s", testbed.get("bytes_per_s", 0.0))
    if rate:  # the slowest link still carries what a load makes
        found["bytes_per_s"] = max(rate, 1e5 * found.get("links_differ", 1.0))
    return found


def _hosts(node: Mapping[str, Any], policy: Tables) -> Tables:
    """Several hosts where it matters who is near."""
    return {"hosts": 3} if {**policy, **node}.get("adopters") == "proximity" else {}


def random_tree(rng: random.Random, space: Space) -> tuple[str, Tree]:
    """A tree of depth 1 to `space.depth`, now and then broad, now and then lopsided: its generic specification and itself."""
    broad = rng.random() < 0.15
    most = space.fanout if broad else min(space.fanout, 4)
    levels: list[list[int]] = []
    parents: list[int | None] = [None]
    level = [0]
    for depth in range(rng.randint(1, space.depth)):
        fans: list[int] = []
        for _ in level:
            room = len(parents) + sum(fans) < space.nodes
            fan = rng.randint(1, most if room else 1)
            fans.append(0 if depth and rng.random() < 0.15 else fan)
        if not any(fans):
            break
        levels.append(fans)
        first = len(parents)
        for parent, fan in zip(level, fans, strict=True):
            parents.extend([parent] * fan)
        level = list(range(first, len(parents)))
    return ":".join(",".join(map(str, fans)) for fans in levels), Tree.from_parents(parents)


def _testbed(rng: random.Random) -> Tables:
    found: Tables = {"kind": "sim", "hosts": 1, "latency_s": rng.choice([0.0002, 0.001, 0.01])}
    found["jitter"] = rng.choice(["exponential", "exponential", "uniform", "none"])
    found["apart"] = rng.choice([0.0, 0.2, 0.5])
    if rng.random() < 0.4:
        found["stall"] = rng.choice([0.01, 0.05, 0.3])
    if rng.random() < 0.3:
        found["buffer_bytes"] = rng.choice([200, 2000, 20_000])
    if rng.random() < 0.2:
        found["bytes_per_s"] = rng.choice([1e5, 1e6, 1e7])
    if rng.random() < 0.2:
        found["turn_s"] = rng.choice([1e-5, 1e-4])
    return found


def _load(rng: random.Random, space: Space, apart: random.Random) -> Tables:
    """The workload, with filter and recovery. apart: what is drawn from it changes nothing else of a seed."""
    kind = rng.choice(space.workloads)
    lasts_s = rng.choice([0.05, 0.5, space.spread_s])
    if kind == "mixed":
        load: Tables = {"kind": kind, "streams": rng.randint(1, space.streams), "waves": space.waves}
        load["messages"] = rng.choice([0, 3, 40])
        load["lazy"] = rng.choice([0.0, 0.1, 0.5])
        if set(space.recoveries) != set(RECOVERIES):
            load["recovery_kinds"] = list(space.recoveries)
        return {"workload": load, "sync": "do-not-wait"}
    if kind == "round-trip":
        load = {"kind": kind, "requests": rng.randint(1, max(1, space.waves // 4)), "warm_up": 0}
        return {"workload": load | {"outstanding": rng.choice([1, 1, 4])}}
    waves = rng.randint(1, space.waves)
    load = {"kind": kind, "waves": waves, "rate": max(10.0, round(waves / lasts_s, 1))}
    load["window_waves"] = rng.choice([2, 16, 0, 0])
    load["streams"] = rng.choice([1, 1, 2])
    case: Tables = {"workload": load}
    if rng.random() < 0.4:
        case |= {"filter": rng.choice(_IDEMPOTENT), "recovery": rng.choice(["compose", "compose", "replay"])}
    else:
        case |= {"filter": rng.choice(_STRICT), "recovery": "replay"}
        if case["filter"] in _DECOMPOSABLE and "decompose" in space.recoveries and apart.random() < 0.4:
            case["recovery"] = "decompose"
    if case["recovery"] not in space.recoveries:
        case["recovery"] = apart.choice(space.recoveries)
        if not _fits(case["filter"], case["recovery"]):
            case["filter"] = apart.choice([f for f in (*_STRICT, *_IDEMPOTENT) if _fits(f, case["recovery"])])
    if case["filter"] == "average":
        load["item"] = "f64"
    if case["filter"] in ("sum", "min", "max") and rng.random() < 0.4:
        load["shape"] = rng.choice([[[3]], [[40]]])
        load["chunk_bytes"] = rng.choice([24, 100])
    return case


def _fits(filter_: str, recovery: str) -> bool:
    if recovery == "decompose":
        return filter_ in _DECOMPOSABLE
    return filter_ in _IDEMPOTENT or recovery != "compose"


def _faults(rng: random.Random, space: Space, tree: Tree) -> list[Tables]:
    count = rng.randint(0, space.faults)
    spread = rng.choice([0.01, 0.05, 0.3, space.spread_s])
    inner = [n.id for n in tree.communication]
    everyone = [n.id for n in tree.nodes if n.id]
    found: list[Tables] = []
    for _ in range(count):
        node = rng.choice(inner if inner and rng.random() < 0.7 else everyone)
        nodes = {node}
        shape = rng.random()
        if shape < 0.15:
            nodes |= set(rng.sample(everyone, min(2, len(everyone))))
        elif shape < 0.3:
            nodes |= set(tree.nodes[node].children[:1])
        fault = _kind(rng, rng.choice(space.fault_kinds))
        fault["target"] = ", ".join(f"node:{n}" for n in sorted(nodes))
        found.append(fault | _when(rng, space, spread, fault))
    return found


#: What may happen to a front-end that has a standby.
_TO_FRONT_END = ("crash", "restart", "host-loss", "hang", "cut", "partition", "slow", "refuse")


def _front_end_lost(seed: int, space: Space, tree: Tree, case: Tables) -> list[Tables]:
    """Perhaps a standby, which the case gets, and what strikes the front-end then. It has numbers of its own, so that a seed
    is what it was otherwise."""
    rng = random.Random(seed * 7919 + 13)
    fit = [n.id for n in tree.communication if n.depth == 1]
    decomposed = case.get("recovery") == "decompose" or set(space.recoveries) == {"decompose"}
    if not fit or decomposed or rng.random() >= space.standbys:
        return []
    case["standby"] = f"node:{rng.choice(fit)}"
    found: list[Tables] = []
    kinds = [k for k in space.fault_kinds if k in _TO_FRONT_END] if space.faults else []
    for target in ("node:0", "node:0", case["standby"]):
        if kinds and rng.random() < (0.15 if found else 0.8):
            fault = _kind(rng, rng.choice(kinds))
            if target == "node:0":
                fault |= {key: value for key, value in (("links", "all"), ("side", "rest")) if key in fault}
            found.append(fault | {"target": target} | _when(rng, space, rng.choice([0.05, 0.3, space.spread_s]), fault))
    return found


def _kind(rng: random.Random, kind: str) -> Tables:
    """A fault with its own keys."""
    if kind == "restart":
        return {"kind": "crash", "restart_after_s": rng.choice([0.01, 0.2, 1.0, 4.0])}
    if kind == "hang":
        return {"kind": kind, "resume_after_s": rng.choice([0.3, 0.9, 1.2, 2.0, 2.6, 5.0])}
    if kind == "cut":
        return {"kind": kind, "links": rng.choice(["parent", "parent", "all"])}
    if kind == "partition":
        fault: Tables = {"kind": kind, "heal_after_s": rng.choice([0.2, 0.9, 1.2, 2.5, 5.0])}
        fault["side"] = rng.choice(["rest", "parent"])
        return fault | {"direction": rng.choice(["both", "both", "out", "in"])}
    if kind == "late":
        return {"kind": kind, "by_s": rng.choice([0.05, 0.5, 0.9, 2.0])}
    if kind == "slow":
        return {"kind": kind, "turn_s": rng.choice([0.0005, 0.005]), "for_s": rng.choice([0.3, 2.0])}
    if kind == "skew":
        return {"kind": kind, "rate": rng.choice([0.8, 0.95, 1.05, 1.25]), "for_s": rng.choice([1.0, 5.0])}
    if kind == "refuse":
        return {"kind": kind, "for_s": rng.choice([0.1, 1.0])}
    return {"kind": kind}


def _when(rng: random.Random, space: Space, spread: float, fault: Tables) -> Tables:
    chance = rng.random()
    if space.at_events and chance < 0.25:
        return {"at_event": rng.randint(50, 6000)}
    if fault["kind"] in ("crash", "hang") and chance < 0.4:
        return {"moment": rng.choice(["mid-flush", "mid-load", "mid-load", "shutdown"])}
    return {"at_s": round(rng.random() * spread, 6)}


def toml_text(tables: Tables, head: str = "") -> str:
    """The scenario as a suite file; `head` goes before it as a comment."""
    lines = [f"# {line}".rstrip() for line in head.splitlines()]
    for name in ("suite", "testbed", "node"):
        if tables[name]:
            lines += ["", f"[{name}]", *(f"{k} = {_value(v)}" for k, v in tables[name].items())]
    for case in tables["case"]:
        lines += ["", "[[case]]", *(f"{k} = {_value(v)}" for k, v in case.items() if k != "fault")]
        for fault in case.get("fault", ()):
            lines += ["", "[[case.fault]]", *(f"{k} = {_value(v)}" for k, v in fault.items())]
    return "\n".join(lines).lstrip("\n") + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k if _BARE.fullmatch(k) else json.dumps(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return json.dumps(value)  # strings, numbers and truth values look the same in TOML
