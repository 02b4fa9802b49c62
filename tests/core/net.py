"""The nodes of a tree in the simulator (harness.sim), with applications that the test gives, and faults by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.core.apps import BackEndApp, FrontEndApp, ResumableApp
from harness.core.backend import BackEnd
from harness.core.filters import DownFilter, Filter
from harness.core.frontend import FrontEnd
from harness.core.lives import begin_without
from harness.core.node import Node
from harness.core.settings import NodeSettings
from harness.core.standby import Standby
from harness.core.tree import Tree
from harness.sim import acts
from harness.sim.model import Model
from harness.sim.seats import WRITABLE, Pipe, Seat
from harness.sim.world import World


class Net:
    """All nodes of one tree. `run` returns when the front-end has ended, or at `until` (virtual seconds).

    seed: None for no chance at all: all start at once, and nothing that was under way on a broken link arrives. model: fields
    of `Model`. events: the journal, with what the test did. on_send: called with sender, receiver and each frame; on_node: with
    a node after each of its turns, before what it wants is done.
    """

    def __init__(
        self,
        tree: Tree,
        settings: NodeSettings,
        filters: Mapping[str, Filter],
        down_filters: Mapping[str, DownFilter],
        front: FrontEndApp,
        back: Callable[[int], BackEndApp],
        seed: int | None,
        heir: ResumableApp | None = None,
        **model: Any,
    ) -> None:
        self.tree = tree
        self.events: list[dict[str, Any]] = []
        self.on_send: Callable[[int, int, memoryview], None] | None = None
        self.on_node: Callable[[Node], None] | None = None

        self.late: tuple[int, ...] = ()

        def build(n: int, now: float, life: int) -> Node:
            made = process(n, now)
            made.life = life
            begin_without(made, self.late)
            return made

        def process(n: int, now: float) -> Node:
            rank = tree.nodes[n].rank
            if n == 0:
                return FrontEnd(tree, settings, filters, down_filters, front, now)
            if rank is not None:
                return BackEnd(n, tree, settings, filters, down_filters, back(rank), now)
            if n == tree.standby and heir is not None:
                return Standby(tree, settings, filters, down_filters, heir, now)
            return Node(n, tree, settings, filters, down_filters, now)

        self.world = World(tree, build, Model(**model), seed, self.events.append)
        self.world.overheard = self._overheard
        self.world.watch = self._watched

    def _overheard(self, a: Seat, b: Seat, frame: memoryview) -> None:
        if self.on_send is not None:
            self.on_send(a.id, b.id, frame)

    def _watched(self, seat: Seat) -> None:
        if self.on_node is not None:
            self.on_node(seat.node)

    # -- time --------------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        return self.world.now

    def at(self, when: float, what: Callable[[], object]) -> None:
        self.world.at(when, lambda _: what() and None)

    def run(self, until: float) -> None:
        while not self.over and self.world.next_at() <= until:
            self.world.step()

    def run_out(self, until: float) -> None:
        """Go on after the front-end's end, until every node that lives has ended, or `until`."""
        while self.living() and self.world.next_at() <= until:
            self.world.step()

    @property
    def over(self) -> bool:
        """Whether the front-end has ended, and no standby goes on."""
        seats = self.world.seats
        return not seats[0].alive and (self.tree.standby < 0 or not seats[self.tree.standby].alive)

    def begin_late(self, *late: int) -> None:
        """These nodes are not there at the start."""
        self.late = late
        for seat in self.world.seats:
            begin_without(seat.node, late)
            seat.alive = seat.id not in late

    # -- what became of the nodes --------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> dict[int, Node]:
        return {seat.id: seat.node for seat in self.world.seats}

    def living(self) -> list[int]:
        """The nodes that have neither been killed nor ended."""
        return [seat.id for seat in self.world.seats if seat.alive]

    @property
    def exits(self) -> dict[int, tuple[int, str]]:
        """How each node that has ended by itself did so: (status, reason)."""
        return {seat.id: seat.exit for seat in self.world.seats if seat.exit is not None and seat.exit[0] != acts.KILLED}

    # -- faults --------------------------------------------------------------------------------------------------------------

    def _note(self, kind: str, node: int, **fields: Any) -> None:
        self.events.append({"t_s": self.now, "kind": kind, "node": node, **fields})

    def crash(self, node: int) -> None:
        """SIGKILL: peers hear of it soon; what was in flight may be cut short."""
        if acts.kill(self.world, node):
            self._note("fault", node, action="kill")

    def hang(self, node: int, for_s: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        if acts.stop(self.world, node):
            self._note("fault", node, action="stop")
            self.at(self.now + for_s, lambda: acts.cont(self.world, node))

    def start_anew(self, node: int) -> None:
        """A new process on the place of `node`: of one that ended, or the first one of a node that is late."""
        assert acts.restart(self.world, node)

    def leave(self, node: int) -> None:
        """Tell a back-end to leave."""
        assert acts.leave(self.world, node)

    def cut(self, node: int, peer: int) -> None:
        """The link between two nodes breaks; both live on."""
        self._note("cut", node, peer=peer)
        for pipe in self._pipes(node, peer):
            self.world.break_pipe(pipe, None, "reset")

    def hold(self, node: int, peer: int, for_s: float) -> None:
        """Nothing that a node sends to a peer gets through for a while; it comes late, but it comes, and the node may go on
        sending."""
        self._note("hold", node, peer=peer, for_s=for_s)
        self._keep_back(node, peer, for_s)

    def stall(self, node: int, for_s: float) -> None:
        """The same with its parent, and the transport of the node takes nothing more meanwhile."""
        pipe = acts.uplink(self.world, node)
        if pipe is None or not pipe.open:
            return
        seat = self.world.seats[node]
        way = pipe.away_from(seat)
        self._note("stall", node)
        self._keep_back(node, way.to.id, for_s)
        way.blocked = True
        seat.node.blocked(pipe)
        self.world.push(self.now + for_s, WRITABLE, pipe, way, None, None)

    def send(self, node: int, peer: int, frame: bytes) -> None:
        """A frame that the node did not make comes from it all the same."""
        for pipe in self._pipes(node, peer):
            self.world.send(self.world.seats[node], pipe, (frame,))

    def under_way(self, node: int, peer: int) -> int:
        """Bytes that a node has sent to a peer and that were not taken in yet."""
        return sum(pipe.away_from(self.world.seats[node]).under_way for pipe in self._pipes(node, peer))

    def _keep_back(self, node: int, peer: int, for_s: float) -> None:
        for pipe in self._pipes(node, peer):
            way = pipe.away_from(self.world.seats[node])
            way.last_arrival = max(way.last_arrival, self.now + for_s)

    def _pipes(self, node: int, peer: int) -> list[Pipe]:
        seat = self.world.seats[node]
        return [pipe for pipe in seat.pipes if pipe.other(seat).id == peer]
