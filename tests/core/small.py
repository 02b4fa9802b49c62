"""Small scenarios, told step by step: a front-end that does what the test says, back-ends that offer what they are told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import loads
from net import Net

from harness.core.node import Node
from harness.core.ranks import RankSet
from harness.core.settings import NodeSettings
from harness.core.spec import Accept, Recovery, Result, StreamError, StreamSpec, Sync
from harness.core.tree import Tree
from harness_plugins.filters import Average, Classes, Concat, Count, Maximum, Null, NullDown, Sum, Union

SETTINGS = NodeSettings(
    lease_s=1.0, heartbeat_s=0.25, connect_timeout_s=0.5, leaf_grace_s=0.3, orphan_grace_s=1.5, start_timeout_s=8.0
)
FILTERS = {"sum": Sum(), "max": Maximum(), "average": Average(), "concat": Concat()}
FILTERS |= {"count": Count(), "union": Union(), "classes": Classes(), "null": Null()}


class Mark:
    """A downward filter that leaves a trace, once."""

    def apply(self, payload: bytes) -> bytes:
        return payload if payload.endswith(b"!") else payload + b"!"


DOWN = {"null": NullDown(), "mark": Mark()}
#: No chance: every link takes the same time.
NO_CHANCE: dict[str, Any] = {"jitter": "none", "varies": 0.0, "apart": 0.0}
#: 0 is the front-end; 1 and 2 have two back-ends each: nodes 3 to 6, ranks 0 to 3.
TWO_BY_TWO = (None, 0, 0, 1, 1, 2, 2)


def spec(filter_: str = "sum", members: Sequence[int] = (0, 1, 2, 3), **fields: Any) -> StreamSpec:
    """A stream for some ranks."""
    for name, kind in (("recovery", Recovery), ("sync", Sync), ("accept", Accept)):
        if name in fields:
            fields[name] = kind(fields[name])
    fields.setdefault("dtype", "<f8" if filter_ == "average" else "<i8")
    return StreamSpec(filter_, RankSet.of(members), filter_, **fields)


class Front:
    """begin: what the application does when the tree is up. then: called after every result, error and so on, with its name
    and what came. All that came is kept."""

    def __init__(self, begin: Callable[[Any], None], then: Callable[[Any, str, Any], None] | None = None) -> None:
        self.begin, self.then = begin, then
        self.results: list[Result] = []
        self.errors: list[StreamError] = []
        self.log: list[tuple[float, str, Any]] = []

    def _note(self, fe: Any, kind: str, what: Any) -> None:
        self.log.append((fe.now, kind, what))
        if self.then is not None:
            self.then(fe, kind, what)

    def start(self, fe: Any) -> None:
        self.begin(fe)

    def on_result(self, fe: Any, result: Result) -> None:
        self.results.append(result)
        self._note(fe, "result", result)

    def on_error(self, fe: Any, error: StreamError) -> None:
        self.errors.append(error)
        self._note(fe, "error", error)

    def on_writable(self, fe: Any, stream: int) -> None:
        self._note(fe, "writable", stream)

    def on_membership(self, fe: Any, dead: RankSet) -> None:
        self._note(fe, "dead", dead)

    def on_timer(self, fe: Any) -> None:
        self._note(fe, "timer", None)

    def waves(self, stream: int = 1) -> list[tuple[int, str, Any]]:
        """(wave, contributors, value) of everything that was delivered."""
        return [
            (r.first + k, str(r.contributors), r.values[k]) for r in self.results if r.stream == stream for k in range(r.count)
        ]


@dataclass
class Back:
    """Offers `waves` waves of each stream from `begin_s` on, at most `batch` at a time and one offer every `every_s`."""

    rank: int
    waves: int = 0
    every_s: float = 0.0
    begin_s: float = 0.0
    batch: int = 1 << 30
    made: dict[int, int] = field(default_factory=dict)
    specs: dict[int, StreamSpec] = field(default_factory=dict)
    messages: list[bytes] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)
    due: float = 0.0

    def on_open(self, be: Any, stream: int, spec: StreamSpec) -> None:
        self.specs[stream] = spec

    def on_message(self, be: Any, stream: int, payload: bytes) -> None:
        self.messages.append(payload)

    def on_close(self, be: Any, stream: int) -> None:
        self.closed.append(stream)

    def produce(self, be: Any, stream: int, first: int, at_most: int) -> Any:
        n = min(at_most, self.batch, self.waves - first)
        due = max(self.due, self.begin_s)
        if n <= 0 or be.now < due:
            if n > 0:
                be.call_at(due)
            return None
        self.due = be.now + self.every_s
        self.made[stream] = first + n
        spec = self.specs[stream]
        return loads.offer(spec.filter, self.rank, first, first + n, spec.item_shape)


@dataclass
class Rig:
    """A network with its two kinds of applications, not run yet."""

    net: Net
    front: Front
    backs: dict[int, Back]

    def at(self, when: float, what: Callable[[], None]) -> None:
        self.net.at(when, what)

    def run(self, until: float = 60.0) -> Rig:
        """To the front-end's end, or `until`."""
        self.net.run(until)
        return self

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        return [e for e in self.net.events if e["kind"] in kinds]

    def node(self, n: int) -> Node:
        return self.net.nodes[n]


def rig(
    begin: Callable[[Any], None],
    then: Callable[[Any, str, Any], None] | None = None,
    *,
    parents: Sequence[int | None] = TWO_BY_TWO,
    back: Callable[[int], Back] | None = None,
    settings: NodeSettings = SETTINGS,
    latency_s: float = 0.001,
    seed: int = 1,
    even: bool = False,
    stall: float = 0.0,
) -> Rig:
    """Put a scenario together. even: without chance. stall: how often a sender is blocked for a few latencies."""
    backs: dict[int, Back] = {}

    def make(rank: int) -> Back:
        backs[rank] = back(rank) if back is not None else Back(rank)
        return backs[rank]

    front = Front(begin, then)
    model = {"latency_s": latency_s, "stall": stall, **(NO_CHANCE if even else {})}
    net = Net(Tree.from_parents(parents), settings, FILTERS, DOWN, front, make, None if even else seed, **model)
    return Rig(net, front, backs)


def reduce(what: StreamSpec, waves: int, *, stop: bool = True, **how: Any) -> Rig:
    """One stream, reduced; with `stop`, the run ends with the last wave."""

    def begin(fe: Any) -> None:
        fe.expect(fe.open_stream(what), waves)

    def then(fe: Any, kind: str, came: Any) -> None:
        last = came.first + came.count if kind == "result" else came.wave + getattr(came, "count", 1) if kind == "error" else 0
        if stop and last >= waves:
            fe.finish()

    how.setdefault("back", lambda rank: Back(rank, waves))
    return rig(begin, then, **how)
