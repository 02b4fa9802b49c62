"""Runs as text: every frame and every event, in the order in which they happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
from byhand import Frame, take_apart
from small import Back, Rig

from harness.core import frames
from harness.core.node import Node
from harness.core.ranks import RankSet
from harness.core.settings import NodeSettings

#: Fields of events that would only repeat the line, or are long.
_LEFT_OUT = {"tree", "took_s", "kind", "order", "told", "t_s"}
_FAULTS = {"fault", "cut", "hold", "stall"}


SETTINGS = NodeSettings(lease_s=1.0, heartbeat_s=0.25, connect_timeout_s=0.5, leaf_grace_s=0.3, orphan_grace_s=1.5)
#: No chance: every link takes the same time, every node starts at once.
EVEN: dict[str, Any] = {"even": True, "settings": SETTINGS}
#: The front-end; a communication process, 1; its back-ends, 2 and 3.
SMALL = (None, 0, 1, 1)
#: Two communication processes, 1 and 2, with one back-end each: 3 below 1, 4 below 2.
TWINS = (None, 0, 0, 1, 2)
#: Three of them, 1 to 3, with one back-end each: 4 to 6.
THREE = (None, 0, 0, 0, 1, 2, 3)


def slow(rank: int) -> Back:
    """A wave every 10 ms, three in all."""
    return Back(rank, 3, every_s=0.01, batch=1, begin_s=0.02)


class Written:
    """What is written down of a run, from the moment on at which the tree is ready, or (`whole`) from the start. Heartbeats are
    left out. messages: write down as well what the applications of the back-ends are given. several: where waves are delivered
    together, write down which; otherwise the first of them stands for all."""

    def __init__(self, run: Rig, *, whole: bool = False, messages: bool = False, several: bool = False) -> None:
        self.run = run
        self.lines: list[str] = []
        self.whole = whole
        self.messages = messages
        self.several = several
        self.ready = False
        self.faults = self.came = 0
        self.given: dict[int, int] = {}
        run.net.on_send = self._send
        run.net.on_node = self._look

    def _line(self, text: str) -> None:
        self.lines.append(f"{self.run.net.now * 1000:9.1f}  {text}".rstrip())

    def _look(self, node: Node) -> None:
        """Called before what a node has answered is carried out."""
        self._faults()
        for e in node.out.events:
            if e["kind"] == "tree-ready" and not self.whole and not self.ready:
                self.ready = True
                self.lines.clear()
            fields = " ".join(f"{k}={v}" for k, v in e.items() if k not in _LEFT_OUT)
            self._line(f"node {node.id}: {e['kind']} {fields}")
        for _, kind, what in self.run.front.log[self.came :]:
            if kind == "result":
                missing = f", without {what.missing}" if what.missing else ""
                waves = f"wave {what.first}"
                if self.several and what.count > 1:
                    waves = f"waves {what.first}-{what.first + what.count - 1}"
                self._line(f"node {node.id}: delivers {waves} of ranks {what.contributors}{missing}")
        self.came = len(self.run.front.log)
        if node.out.exit is not None and node.out.exit[0] not in (0, 4):  # 4: fenced, which is an event
            self._line("node {}: ends with status {}: {}".format(node.id, *node.out.exit))
        if self.messages and node.me.rank is not None:
            all_given = self.run.backs[node.me.rank].messages
            for payload in all_given[self.given.get(node.id, 0) :]:
                self._line(f"node {node.id}: is given {payload.decode()!r}")
            self.given[node.id] = len(all_given)

    def _send(self, a: int, b: int, raw: memoryview) -> None:
        self._faults()
        if raw[1] != frames.PING:
            self._line(f"{a} -> {b}  {describe(take_apart(raw), raw)}")

    def _faults(self) -> None:
        new = self.run.net.events[self.faults :]
        self.faults = len(self.run.net.events)
        self.lines += [f"{e['t_s'] * 1000:9.1f}  FAULT {_fault(e)}" for e in new if e["kind"] in _FAULTS]


Scenario = Callable[[], tuple[Rig, Written]]
#: By the name of the transcript.
SCENARIOS: dict[str, Scenario] = {}


def scenario(f: Scenario) -> Scenario:
    """The function is a scenario: it makes a run. Its docstring tells the reader of the transcript what to look at."""
    SCENARIOS[f.__name__.replace("_", "-")] = f
    return f


def _fault(e: dict[str, Any]) -> str:
    if e["kind"] == "cut":
        return f"cut link {e['node']} - {e['peer']}"
    if e["kind"] == "hold":
        return f"hold link {e['node']} -> {e['peer']} for {e['for_s'] * 1000:g} ms"
    if e["kind"] == "stall":
        return f"stall node {e['node']}: its transport takes nothing more for its parent"
    return f"{e['action']} node {e['node']}"


def describe(f: Frame, raw: memoryview) -> str:
    """One frame in one line."""
    text = f"{f.kind:8}"
    if f.kind in ("DATA", "STATE"):
        head = frames.parse_header(raw)
        if f.kind == "STATE" and not f.count:
            whom = f"unit {f.first}, {f.epoch} waves: ranks {frames.decode_ranks(raw, head[7])}, give it again"
            return f"{text} stream {f.stream} {whom if head[7] else f'settled below {f.first}'}"
        ranks = RankSet.decode(bytes(raw[frames.HEADER_SIZE + head[7] - 8 * _ranges(raw) : frames.HEADER_SIZE + head[7]]))
        units = f"unit {f.first}" if f.count == 1 else f"units {f.first}-{f.first + f.count - 1}"
        return f"{text} stream {f.stream} {units} of ranks {ranks}, epoch {f.epoch}, {head[8]} bytes"
    if f.kind == "CREDIT":
        return f"{text} stream {f.stream} below {f.first}, delivered below {frames.decode_acked(raw)}"
    if f.kind in ("REWIND", "SKIP"):
        return f"{text} stream {f.stream} {'from' if f.kind == 'REWIND' else 'to'} unit {f.first}"
    if f.kind == "DACK":
        return f"{text} stream {f.stream} messages up to {f.first}"
    if f.kind == "DOWN":
        return f"{text} {_message(f, raw)}"
    if f.kind == "ATTACH":
        b = f.body
        lost = f", lost node {b['lost']}" if b["lost"] >= 0 else ""
        of = f", generation {b['generation']} of node {b['root']}, log {b['log']}" if "generation" in b else ""
        return (
            f"{text} ranks {RankSet.decode(b['ranks'])}, incarnation {b['inc']}{lost}, below {_edges(b['below'])}, "
            f"orders {b['control']}, streams {b['streams']}{of}"
        )
    if f.kind == "WELCOME":
        return f"{text} streams {f.body['streams']}"
    if f.kind == "REFUSE":
        return f"{text} {f.body['reason']}"
    if f.kind == "NOTICE":
        return f"{text} {'; '.join(map(_news, f.body['notices']))}; ranks below {RankSet.decode(f.body['ranks'])}"
    if f.kind == "LOG":
        return f"{text} entry {f.first}: {_entry(f.body)}"
    if f.kind == "KEPT":
        return f"{text} entry {f.first}"
    if f.kind == "VOTE":
        return f"{text} for node {f.body['root']}: nodes {f.body['nodes']}"
    return text.rstrip()


def _entry(e: dict[str, Any]) -> str:
    parts = [f"order {msgpack.unpackb(o)['op']}" for o in e["orders"]]
    parts += [f"message {n} of stream {i}" for i, n, _, _ in e["messages"]]
    parts += [f"stream {i} delivered below {m[0]}" for i, m in e["marks"].items()]
    return ", ".join([*parts, *(t["kind"] for t in e["tells"])])


def _ranges(raw: memoryview) -> int:
    return int.from_bytes(raw[frames.HEADER_SIZE + 6 : frames.HEADER_SIZE + 8], "little")


def _message(f: Frame, raw: memoryview) -> str:
    to = frames.decode_ranks(raw, frames.parse_header(raw)[7])
    whom = f" to ranks {to}" if to else ""
    if f.stream:
        return f"stream {f.stream} message {f.first}{whom}: {f.body.decode() or 'a place-holder'}"
    order = dict(f.body)
    rest = {"open": f"stream {order.get('id')}", "close": f"stream {order.get('id')}", "dead": f"nodes {order.get('nodes')}"}
    rest["root"] = f"is node {order.get('node')}"
    rest["left"] = rest["leave"] = f"node {order.get('node')}"
    rest["admit"] = (
        f"node {order.get('node')}, life {order.get('life')}, by stream: first unit, last message {order.get('streams')}"
    )
    return f"order {f.first}: {order['op']} {rest.get(order['op'], '')}".rstrip()


def _news(n: dict[str, Any]) -> str:
    if n["op"] in ("applies", "leaves"):
        ends = f", has produced below {n['ends']}" if n.get("ends") is not None else ""
        return f"node {n['node']}, life {n['life']}, {n['op']}{ends}"
    if n["op"] == "lost":
        return f"node {n['by']} lost node {n['node']} (incarnation {n['inc']}): {n['cause']}"
    if n["op"] == "joined":
        return f"node {n['by']} took in node {n['node']} (incarnation {n['inc']}) with {_edges(n['below'])}"
    return f"below node {n['node']}: {_edges(n['below'])}"


def _edges(below: Any) -> str:
    return ", ".join(f"{node} at {by}" for node, by, _ in below) or "nobody"
