"""How the front-end lets back-ends in, and sees them off: the orders `admit` and `left` (see lives.py)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from harness.core.comers import Comers
from harness.core.lives import first_unit
from harness.core.ranks import RankSet

if TYPE_CHECKING:
    from harness.core.frontend import FrontEnd


class Comings:
    """What the front-end has to decide. asked: the life that asks to be let in, by node. leaving: by node the life that
    leaves, and the units below which it has produced; None until it is its turn, and it has said so where it is now. turn: the
    node whose turn it is (0: nobody's). Two at once would wait for each other where each has produced more than the other in
    one of two streams. coming: nodes that were let in and have not attached yet."""

    def __init__(self, front: FrontEnd) -> None:
        self._front = front
        self._asked: dict[int, int] = {}
        self._leaving: dict[int, tuple[int, dict[int, int] | None]] = {}
        self._turn = 0
        self._coming: set[int] = set()

    def take(self, notice: dict[str, Any]) -> None:
        """Somebody asks to be let in, or to leave."""
        node, life = int(notice["node"]), int(notice["life"])
        known = self._front.lives.life(node)
        if notice["op"] == "applies":
            if life > known:
                self._asked[node] = max(life, self._asked.get(node, 0))
        elif node not in self._front.dead and life == known and (notice["ends"] is not None or node not in self._leaving):
            self._leaving[node] = life, notice["ends"]

    def moved(self, nodes: Iterable[int]) -> None:
        """These nodes are lost, or below another parent: what they have sent may come by another way, as state (compose), and
        behind that they say again that they leave."""
        for node in self._leaving.keys() & set(nodes):
            self._leaving[node] = self._leaving[node][0], None

    def how(self, node: int) -> str:
        """What it is called that a suspect has attached: the first time after it was let in, or again."""
        came = node in self._coming
        self._coming.discard(node)
        return "joined" if came else "rejoined"

    def opened(self, stream: int) -> None:
        """Who is away is no member of a new stream."""
        s = self._front.results.up[stream]
        for rank in self._front.membership.ranks_of(self._front.lives.away) & s.members:
            s.comers = s.comers or Comers()
            s.comers.leave(rank, 0)

    @property
    def pending(self) -> bool:
        """Whether there is anything to decide."""
        return bool(self._asked or self._leaving)

    def act(self) -> None:
        """Let in who asks, and see off who leaves once all that it produced has been delivered."""
        front = self._front
        asked, self._asked = self._asked, {}
        for node, life in asked.items():
            if not front.closing and life > front.lives.life(node):
                self._let_in(node, life)
        for node, (life, ends) in list(self._leaving.items()):
            if node in front.dead or front.closing or life != front.lives.life(node):
                self._turn_over(node)
            elif ends is not None and all(front.results.up[i].acked >= end for i, end in ends.items() if i in front.results.up):
                self._turn_over(node)
                self._see_off(node)
        if self._leaving and not self._turn:
            self._turn, (life, _) = next(iter(self._leaving.items()))
            front.order({"op": "leave", "node": self._turn, "life": life})

    def _turn_over(self, node: int) -> None:
        del self._leaving[node]
        if node == self._turn:
            self._turn = 0

    def _streams(self, ranks: RankSet) -> list[int]:
        return [i for i, s in self._front.results.up.items() if not ranks.isdisjoint(s.members)]

    def _let_in(self, node: int, life: int) -> None:
        front, m = self._front, self._front.membership
        ranks = m.ranks_of([node])
        if node not in front.dead:  # there is another process in its place: the one before is gone
            front.order_dead(m.bury({node}))
        up, mine = front.results.up, self._streams(ranks)
        (rank,) = ranks
        sent = {i: front.results.down[i].last for i in mine}
        marks = {i: [first_unit(up[i], front.tree.depth, rank, sent[i]), sent[i]] for i in mine}
        self._coming.add(node)
        m.awaits(node, front.now)
        first = {str(i): marks[i][0] // up[i].units.per_wave for i in mine}
        front.tell("admitted", member=node, ranks=list(ranks), life=life, first=first, order=front.deaths + 1)
        for i in mine:
            comers = up[i].comers = up[i].comers or Comers()
            comers.enter(rank, marks[i][0])
        front.order({"op": "admit", "node": node, "life": life, "streams": marks})
        front.members_changed(ranks)

    def _see_off(self, node: int) -> None:
        front = self._front
        ranks, up = front.membership.ranks_of([node]), front.results.up
        mine = self._streams(ranks)
        for i in mine:
            comers = up[i].comers = up[i].comers or Comers()
            for rank in ranks:
                comers.leave(rank, up[i].acked)
        first = {str(i): up[i].acked // up[i].units.per_wave for i in mine}
        front.tell("left", member=node, ranks=list(ranks), first=first, order=front.deaths + 1)
        front.membership.bury({node})
        front.order({"op": "left", "node": node, "ranks": ranks.encoded})
        front.members_changed(ranks)
