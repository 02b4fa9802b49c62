"""Back-ends that come late, leave in order, and come back: which process contributes in the name of a rank, and from where on.

The tree is planned whole: who may ever come has its place, id and rank. A *life* counts the processes that had a place. The
front-end alone decides which life contributes, by orders in stream 0 that every node gets in the same sequence: `admit` lets a
life in, with the first unit that it contributes to each running stream; `left` says that a rank is a member no more. Both hold
for units that nobody can have delivered yet, so that contributor sets stay the truth. (Views that are changed by one sequencer,
as in Birman and Joseph, "Exploiting Virtual Synchrony in Distributed Systems", SOSP 1987; the front-end is the sequencer.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from harness.core.agreement import chained
from harness.core.comers import Comers
from harness.core.ranks import RankSet

if TYPE_CHECKING:
    from harness.core.actions import Neighbour
    from harness.core.node import Node
    from harness.core.upstream import UpStream

#: The life that is admitted of a back-end that has not come yet.
_NONE_YET: Final = -1


def begin_without(node: Node, late: Iterable[int]) -> None:
    """These back-ends are not there at the start, and not awaited. Before `start`. Raises ValueError for other nodes."""
    for n in late:
        rank = node.tree.nodes[n].rank
        if rank is None:
            raise ValueError(f"node {n} is no back-end: it cannot come late")
        node.dead.add(n)
        node.dead_ranks = node.dead_ranks | RankSet.of([rank])
        node.lives.admitted[n] = _NONE_YET
        node.lives.away.add(n)
    node.on_late(set(late))


# -- a process at the door ---------------------------------------------------------------------------------------------------


def may_come_in(node: Node, link: Neighbour, body: dict[str, Any]) -> bool:
    """Whether who attaches need not wait for the front-end to let it in. If it must, the front-end is asked. If it was let in
    just now, it reports of its streams what it would, had it heard the order before."""
    rank = node.tree.nodes[link.node].rank if 0 <= link.node < len(node.tree.nodes) else None
    if rank is None:
        return True
    if not node.closing and node.lives.must_ask(link.node, body["life"], node.settings.rejoin):
        node.waiting_children.append((link, body))
        _ask(node, link.node, body["life"])
        return False
    for i, s in node.streams.up.items():
        if s.comers is not None and rank in s.comers.floors:
            nxt, acked, epoch, last, everywhere = body["streams"].get(i, [0, 0, 0, 0, 0])
            mail = s.comers.mail[rank]
            body["streams"][i] = [max(nxt, s.comers.floors[rank]), acked, epoch, max(last, mail), max(everywhere, mail)]
    return True


def ask_again(node: Node) -> None:
    """With every heartbeat, since a question may be lost with a node."""
    for link, body in node.waiting_children:
        if node.lives.must_ask(link.node, body["life"], node.settings.rejoin):
            _ask(node, link.node, body["life"])


def _ask(node: Node, child: int, life: int) -> None:
    node.notify({"op": "applies", "node": child, "life": life})


def passed_on(node: Node, news: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """What of this news the parent is told now: who leaves does so behind all that it has sent. While states are owed to the
    parent (compose), that is left out; it is said again with the next heartbeat."""
    if any(s.owed for s in node.streams.up.values()):
        return [n for n in news if n["op"] != "leaves"]
    return news


# -- orders ------------------------------------------------------------------------------------------------------------------


def admit(node: Node, order: dict[str, Any]) -> None:
    """The order `admit`: a life contributes from a unit of each stream on, and gets the messages behind a given one. Raises
    ValueError for a node that is no back-end."""
    n, life = int(order["node"]), int(order["life"])
    rank = node.tree.nodes[n].rank
    if rank is None:
        raise ValueError(f"node {n} is no back-end: it cannot be admitted")
    node.deaths += 1
    node.deaths_digest = chained(node.deaths_digest, [n], "+")
    node.dead.discard(n)
    node.dead_ranks = node.dead_ranks - RankSet.of([rank])
    node.lives.admitted[n] = life
    node.lives.away.discard(n)
    for i, (unit, message) in order["streams"].items():
        s, d = node.streams.up.get(int(i)), node.streams.down.get(int(i))
        if s is None or d is None:
            continue
        if s.comers is None:
            s.comers = Comers()
        s.comers.came(rank, int(unit), int(message))
        if n == node.id and life == node.life:
            s.next = int(unit)
            d.last = d.trimmed = d.reported = int(message)


def see_off(node: Node, order: dict[str, Any]) -> None:
    """The order `left`: the front-end has all that this back-end contributed, and it is a member no more."""
    n = int(order["node"])
    node.lives.away.add(n)
    if node.id == n and node.lives.life(n) == node.life:
        node.out.exit = (0, "left")
    node.bury({n}, RankSet.decode(order["ranks"]), "-")


def is_this_life(node: Node) -> bool:
    """Whether an order about this node's place is about this process: not about one before it, which it waits to follow."""
    return node.me.rank is None or node.lives.life(node.id) == node.life


def forget(node: Node, ranks: RankSet) -> None:
    """These ranks contribute no more: nobody waits for the first unit of one that was let in."""
    for s in node.streams.up.values():
        if s.comers is not None:
            s.comers.forget(ranks)


def first_unit(s: UpStream, depth: int, rank: int, sent: int) -> int:
    """The first unit that a new life of `rank` may contribute: nobody can have made it yet. Under replay a back-end is at most
    a window ahead of what is acknowledged; otherwise each link on its way adds what it may hold, and its upper end a batch.
    Nodes with nobody else below them have gone on to where the life before began. A request that is not among the `sent`
    messages was answered by nobody."""
    u = s.units
    if s.replies:
        return sent * u.per_wave
    ahead = (depth + 1) * (u.link_window + u.batch)
    began = 0 if s.comers is None else s.comers.began.get(rank, 0)
    bound = s.acked + u.window if s.replay else max(s.next, s.acked, began) + ahead
    return -(-bound // u.per_wave) * u.per_wave
