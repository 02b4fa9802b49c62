"""What can be done to a simulated tree: to its processes, its machines, its clocks and its network."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from harness.core.backend import BackEnd
from harness.sim.seats import ALARM, NEVER, Pipe, Seat
from harness.sim.world import World

KILLED = -9
#: How often it is looked whether a process that leaves has ended.
_AGAIN_S = 0.01


def kill(world: World, node: int) -> bool:
    """SIGKILL: the kernel resets its connections. False where there is no process."""
    seat = world.seats[node]
    if not seat.alive:
        return False
    _bury(world, seat)
    for pipe in list(seat.pipes):
        world.break_pipe(pipe, seat, "reset by peer")
    seat.pipes.clear()
    return True


def vanish(world: World, node: int) -> bool:
    """Its machine loses power: nobody is told, and nothing answers any more."""
    seat = world.seats[node]
    if not seat.alive:
        return False
    _bury(world, seat)
    seat.vanished = True
    for pipe in list(seat.pipes):
        pipe.open = False
        for way in (pipe.to_a, pipe.to_b):
            if way.last_arrival > world.now:
                way.tail = world.now
    seat.pipes.clear()
    return True


def _bury(world: World, seat: Seat) -> None:
    world.gone(seat, (KILLED, "killed"))


def restart(world: World, node: int) -> bool:
    """A new process takes the place of a dead one, and knows nothing of it. False where there is a process."""
    seat = world.seats[node]
    if seat.alive:
        return False
    seat.node = world.build(node, seat.clock(world.now), seat.past)
    seat.alive, seat.begun, seat.vanished, seat.exit = True, False, False, None
    seat.due, seat.alarm, seat.idle, seat.busy_until = 0.0, NEVER, 0, 0.0
    life = {"life": seat.past} if seat.past else {}
    world.tell({"t_s": world.now, "kind": "node-started", "node": node, "host": world.tree.nodes[node].host, **life})
    world.at(world.now, world.begin, node)
    return True


def leave(world: World, node: int) -> bool:
    """A back-end leaves in order. False where no back-end runs there."""
    seat = world.seats[node]
    if not seat.running or not isinstance(seat.node, BackEnd):
        return False
    seat.node.leave()
    world.happen(seat, (ALARM, None, None, None))
    return True


def come_back(world: World, node: int) -> bool:
    """A new process takes the place of one that left, as soon as that has ended. True."""
    if not restart(world, node):
        world.at(world.now + _AGAIN_S, partial(_try_again, world), node)
    return True


def _try_again(world: World, node: int) -> None:
    come_back(world, node)


def stop(world: World, node: int) -> bool:
    """SIGSTOP. False where nothing runs there."""
    seat = world.seats[node]
    if not seat.running:
        return False
    seat.stopped = True
    return True


def cont(world: World, node: int) -> bool:
    """SIGCONT: what happened meanwhile is waiting. False where it is not stopped."""
    seat = world.seats[node]
    if not seat.alive or not seat.stopped:
        return False
    seat.stopped = False
    waiting, seat.alarm = list(seat.waiting), NEVER
    seat.waiting.clear()
    for what in waiting:
        world.happen(seat, what)
    if seat.alive:
        world.happen(seat, (ALARM, None, None, None))
    return True


def cut(world: World, node: int) -> int:
    """The connection of a node with its parent is reset; both live on. How many were reset."""
    pipe = uplink(world, node)
    if pipe is None:
        return 0
    world.break_pipe(pipe, None, "reset")
    return 1


def cut_all(world: World, node: int) -> int:
    """Every connection of a node is reset. How many there were."""
    pipes = [pipe for pipe in world.seats[node].pipes if pipe.open]
    for pipe in pipes:
        world.break_pipe(pipe, None, "reset")
    return len(pipes)


def late(world: World, node: int, by_s: float) -> bool:
    """What a node sends to its parent comes so much later: it is late, not lost. False where it has no parent."""
    pipe = uplink(world, node)
    if pipe is None:
        return False
    way = pipe.away_from(world.seats[node])
    way.last_arrival = max(way.last_arrival, world.now) + by_s
    return True


def uplink(world: World, node: int) -> Pipe | None:
    """The open connection on which a node has its parent, or asks for one."""
    seat = world.seats[node]
    link = seat.node.uplink.link if seat.alive else None
    if link is None:
        return None
    return next((pipe for pipe in seat.pipes if pipe is link.conn and pipe.open), None)


Sides = list[tuple[frozenset[int], frozenset[int]]]


def part(world: World, side: Iterable[int], peers: Iterable[int], direction: str) -> Sides:
    """Frames between the two sides do not arrive: `direction` is both, out (what `side` sends) or in. What `join` takes to
    undo it."""
    a, b = frozenset(side), frozenset(peers)
    made = {"both": [(a, b), (b, a)], "out": [(a, b)], "in": [(b, a)]}[direction]
    world.partitions.extend(made)
    return made


def join(world: World, made: Sides) -> bool:
    """A partition heals. True."""
    for one in made:
        world.partitions.remove(one)
    world.healed()
    return True


def slow(world: World, node: int, turn_s: float) -> float:
    """From now on a node needs so long for each thing that happens to it; what it needed before."""
    seat = world.seats[node]
    before, seat.turn_s = seat.turn_s, turn_s
    return before


def fast(world: World, node: int, turn_s: float) -> bool:
    """The undo of `slow`. True."""
    seat = world.seats[node]
    seat.turn_s = turn_s
    return True


def accept(world: World, node: int) -> bool:
    """The node takes in connections again. True."""
    world.refusing.discard(node)
    return True


def skew(world: World, node: int, rate: float) -> bool:
    """From now on the node's clock goes `rate` times as fast; it does not jump. True."""
    seat = world.seats[node]
    shows = seat.clock(world.now)
    seat.rate = rate
    seat.offset_s = shows - world.now * rate
    if seat.alive:
        seat.due = 0.0
        seat.node.rearm = True
        world.happen(seat, (ALARM, None, None, None))
    return True
