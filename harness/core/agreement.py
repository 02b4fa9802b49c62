"""Who is lost, and whether all say the same.

Deaths are ordered by the front-end, and every node is told of them in one sequence. Each node keeps a digest of what it was
told, and says it when it ends (`view`); at the end of a trial the views are compared (`compare`). A node that was away when it
all ended knows the beginning of the sequence: it was cut off, and that is no disagreement.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.core.port import Port
from harness.core.ranks import RankSet

#: The events of orders that change who is dead, and their signs in the digest.
_SIGNS = {"dead": "", "left": "-", "admitted": "+"}
#: All events that `compare` looks at, but for the end of the run.
KINDS = ("absent", "view", "suspect", "rejoined", *_SIGNS)
#: Digits of a digest, in hexadecimal.
_DIGITS = 16


def chained(digest: str, nodes: Iterable[int], sign: str = "") -> str:
    """The digest of a sequence of deaths after one more order, about `nodes`; that of no orders is empty. sign: "-" where they
    left in order, "+" where they were let in (again)."""
    text = f"{digest}:{sign}{','.join(map(str, sorted(nodes)))}"
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def view(node: Port) -> dict[str, Any]:
    """What a node tells of itself when it ends, plain values: how many orders it was told, how many of them were about deaths,
    the digest of these, and whom it holds for dead (ranges of ids). A front-end that its standby has replaced is a matter of
    votes, not of these orders, and is left out."""
    dead = [list(pair) for pair in RankSet.of(n for n in node.dead if n).ranges]
    return {"heard": node.control.last, "orders": node.deaths, "digest": node.deaths_digest, "dead": dead}


@dataclass(frozen=True)
class Agreement:
    """What the views of a trial come to.

    lost: node to the time, in seconds since the trial's start, at which it was declared dead, in that order. agreed: the nodes
    that told the whole sequence. cut_off: those that told the beginning of it, since they were away. disagreeing: node to what
    it says instead. None of the three has nodes that were declared dead, or left, but for those that disagree. suspects: node
    to the time since when it is missed, of those that were neither declared dead nor back when the trial ended.
    """

    lost: Mapping[int, float]
    agreed: Sequence[int]
    cut_off: Sequence[int]
    disagreeing: Mapping[int, str]
    suspects: Mapping[int, float] = field(default_factory=dict)

    @property
    def somebody(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.lost or self.disagreeing or self.suspects)

    @property
    def told(self) -> int:
        """How many nodes said what they know."""
        return len(self.agreed) + len(self.cut_off) + len(self.disagreeing)

    @property
    def text(self) -> str:
        """One line: who is lost, since when, and who says so."""
        line = f"{_since(self.lost)}; agreed by {len(self.agreed)} of {self.told} nodes"
        if self.suspects:
            line += f"; still suspect: {_since(self.suspects)}"
        for word, nodes in (("cut off", self.cut_off), ("disagreeing", list(self.disagreeing))):
            if nodes:
                line += f"; {word}: {', '.join(f'node {n}' for n in nodes[:_MOST])}"
                line += f" and {len(nodes) - _MOST} more" if len(nodes) > _MOST else ""
        return line


#: So many nodes are named in a line.
_MOST = 8


def _since(nodes: Mapping[int, float]) -> str:
    who = ", ".join(f"node {n} since {t_s:.3f} s" for n, t_s in list(nodes.items())[:_MOST])
    return (who or "nobody") + (f" and {len(nodes) - _MOST} more" if len(nodes) > _MOST else "")


def compare(events: Sequence[Mapping[str, Any]]) -> Agreement | None:
    """Compare the views in the events of a trial; None where the node that ordered the deaths did not tell its own, since then
    nobody can say what it ordered last."""
    lost: dict[int, float] = {}
    suspects: dict[int, float] = {}
    away: set[int] = set()
    order_of: dict[int, tuple[str, list[int]]] = {}
    by = 0
    for e in events:
        if e["kind"] == "suspect":
            suspects[int(e["member"])] = float(e["t_s"])
        elif e["kind"] == "rejoined":
            suspects.pop(int(e["member"]), None)
        elif e["kind"] == "absent":
            away |= set(e["members"])
        elif e["kind"] in _SIGNS:
            member = int(e.get("member", e["node"]))
            suspects.pop(member, None)
            lost.pop(member, None)
            away.discard(member)
            if e["kind"] == "dead":
                lost[member] = float(e["t_s"])
            elif e["kind"] == "left":
                away.add(member)
            order_of.setdefault(int(e.get("order", 0)), (_SIGNS[e["kind"]], []))[1].append(member)
            by = int(e["node"])
    views = {int(e["node"]): e for e in events if e["kind"] == "view"}  # of several processes in one place, the last
    root = next((int(e.get("node", 0)) for e in reversed(events) if e["kind"] == "finished"), by)
    root = next((int(e["node"]) for e in events if e["kind"] == "took-over"), root)  # also where it did not live to the end
    if root:
        views.pop(0, None)  # replaced: what it had decided alone has no effect, and it is fenced
    own = views.get(root)
    if own is None or (order_of and not int(own["heard"])):  # that is another process, which was turned away
        return None
    gave_up = any(e["kind"] == "gave-up" and int(e["node"]) == root for e in events)
    chain, dead = [""], [RankSet.of(n for e in events if e["kind"] == "absent" for n in e["members"])]
    for sign, nodes in (order_of[number] for number in sorted(order_of)):
        chain.append(chained(chain[-1], nodes, sign))
        named = RankSet.of(n for n in nodes if n)
        dead.append(dead[-1] - named if sign == "+" else dead[-1] | named)
    agreed: list[int] = []
    cut_off: list[int] = []
    disagreeing: dict[int, str] = {}
    for node, said in sorted(views.items()):
        orders, heard = int(said["orders"]), int(said["heard"])
        known = orders < len(chain) and said["digest"] == chain[orders]
        names = RankSet((int(a), int(b)) for a, b in said["dead"])
        whole = orders == len(chain) - 1
        if known and names == dead[orders] and (whole or heard < int(own["heard"])):
            if node not in lost and node not in away:
                (agreed if whole else cut_off).append(node)
            continue
        if not known and node == root and gave_up:
            continue  # what it had decided without its standby took no effect
        if not known:
            what = f"its {orders} orders are not the first {orders} of {len(chain) - 1}"
        elif names != dead[orders]:
            what = f"after {orders} orders it names {names or 'nobody'}, and not {dead[orders] or 'nobody'}"
        else:
            what = f"it was told everything, but of {orders} orders of {len(chain) - 1}"
        disagreeing[node] = what
    return Agreement(lost, tuple(agreed), tuple(cut_off), disagreeing, suspects)
