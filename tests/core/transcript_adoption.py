"""Golden transcripts of nodes that lose their parent: who takes them in, who does not, and who is too late."""

from __future__ import annotations

from typing import Any

from small import Back, Rig, reduce, rig, spec
from transcript import EVEN, SMALL, THREE, TWINS, Written, scenario, slow

from harness.core import frames


@scenario
def siblings_crash_at_once() -> tuple[Rig, Written]:
    """Two of three communication processes die at once. The first choice of each orphan is the other dead one; both end up at
    the third, and no wave is lost. Node 3 rewinds once for both of them, so its next DATA is of epoch 1; the front-end has
    merged nothing that is not delivered, and has nothing to take back."""
    run = reduce(spec(members=[0, 1, 2]), 3, parents=THREE, back=slow, **EVEN)
    for node in (1, 2):
        run.at(0.0215, lambda node=node: run.net.crash(node))
    return run, Written(run)


@scenario
def parent_and_child_crash_at_once() -> tuple[Rig, Written]:
    """A communication process, 1, and the one below it, 3, die at once. Nobody is left who could tell that 3 is lost: the
    front-end suspects all that is below 1. The orphan, 5, turns to 4, which is as deep in the tree as its dead parent. The news
    of that, and the new epoch, go up by 2; wave 0, which had been delivered, is sent again and dropped by number."""
    run = reduce(spec(members=[0, 1]), 3, parents=(None, 0, 0, 1, 2, 3, 4), back=slow, **EVEN)
    for node in (1, 3):
        run.at(0.0235, lambda node=node: run.net.crash(node))
    return run, Written(run)


@scenario
def adopter_dies_while_adopting() -> tuple[Rig, Written]:
    """The orphan's WELCOME goes down with the adopter that sent it. To the orphan, the attempt has failed like any other: it
    goes on to the next candidate, and says again that node 1 is the parent that it lost. Its incarnation has grown by one for
    each ATTACH."""
    run = reduce(spec(members=[0, 1, 2]), 3, parents=THREE, back=slow, **EVEN)
    run.at(0.0215, lambda: run.net.crash(1))
    run.at(0.0258, lambda: run.net.crash(2))
    return run, Written(run)


@scenario
def adopter_without_a_parent() -> tuple[Rig, Written]:
    """While the tree starts, node 2 loses the link on which it asked to be taken in, and has to try again. So it has had no
    parent when the orphan of node 1 asks, refuses, and the next candidate takes the orphan in."""
    run = reduce(spec(members=[0, 1, 2]), 1, parents=THREE, **EVEN)
    written = Written(run, whole=True)
    run.at(0.0025, lambda: run.net.cut(2, 0))
    run.at(0.0100, lambda: run.net.crash(1))
    return run, written


@scenario
def adopter_is_stopped() -> tuple[Rig, Written]:
    """The first candidate of an orphan is stopped, though not for a lease: nobody else misses it. The orphan gives it 500 ms,
    then goes to the front-end. When node 2 goes on, the orphan's connection is made after all, and closed at once, since it is
    not wanted any more."""
    run = reduce(spec(members=[0, 1]), 3, parents=TWINS, back=slow, **EVEN)
    run.at(0.0215, lambda: run.net.crash(1))
    run.at(0.0220, lambda: run.net.hang(2, 0.6))
    return run, Written(run, several=True)


@scenario
def adopter_knows_fewer_orders() -> tuple[Rig, Written]:
    """A stream is opened while the link to node 2 is slow. The orphan of node 1 has heard that order, its adopter has not: the
    orphan waits there without an answer until the adopter knows the stream, too. Only then is it taken in, on terms about
    it."""

    def begin(fe: Any) -> None:
        fe.call_at(0.02)

    def then(fe: Any, kind: str, what: Any) -> None:
        if kind == "timer":
            fe.expect(fe.open_stream(spec(members=[0, 1])), 1)
        else:
            fe.finish()

    run = rig(begin, then, parents=TWINS, back=lambda r: Back(r, 1), **EVEN)
    run.at(0.019, lambda: run.net.hold(0, 2, 0.02))
    run.at(0.0225, lambda: run.net.crash(1))
    return run, Written(run)


@scenario
def stopped_for_less_than_a_lease() -> tuple[Rig, Written]:
    """A communication process stops for 800 ms, less than the lease. Nobody is suspect, nobody moves, there is no new epoch:
    the waves are late. What had come in meanwhile goes on in order."""
    run = reduce(spec(members=[0, 1]), 3, parents=SMALL, back=slow, **EVEN)
    run.at(0.0255, lambda: run.net.hang(1, 0.8))
    return run, Written(run, several=True)


@scenario
def stopped_subtree_is_fenced() -> tuple[Rig, Written]:
    """A communication process and the back-end below it stop for four seconds, as on a host that is suspended. Both are
    declared dead by one order, and waves go on without rank 0. When the two go on, their own link is whole. The front-end
    refuses node 1, which ends; its child then turns to node 2, which knows the order and refuses it as well."""
    run = reduce(spec(members=[0, 1]), 3, parents=TWINS, back=lambda r: Back(r, 3, every_s=2.2, batch=1), **EVEN)
    for node in (1, 3):
        run.at(0.02, lambda node=node: run.net.hang(node, 4.0))
    written = Written(run)
    run.run()
    run.net.run_out(run.net.now + 3.0)
    return run, written


@scenario
def cut_link() -> tuple[Rig, Written]:
    """Only the link between a communication process and the front-end breaks. There is no other candidate for node 1 than its
    old parent, which takes it back. Its children notice nothing, and are suspect as long as it is: node 1 itself has kept the
    unit that was on its way, and sends it again."""
    run = reduce(spec(members=[0, 1]), 3, parents=SMALL, back=slow, **EVEN)
    run.at(0.0215, lambda: run.net.cut(1, 0))
    return run, Written(run)


@scenario
def garbage_ends_the_link() -> tuple[Rig, Written]:
    """The second unit of rank 0 is cut short on its way. Its parent drops the link, and has taken in nothing of it.
    The back-end finds a new parent, here the front-end, within its time of grace; the unit comes once more, whole."""
    run = reduce(spec(members=[0, 1]), 3, parents=SMALL, back=slow, **EVEN)
    spoilt: list[int] = []

    def mangle(frame: memoryview) -> memoryview:
        head = frames.parse_header(frame)
        if spoilt or head[1] != frames.DATA or head[6] != 1:
            return frame
        spoilt.append(head[6])
        run.net.events.append({"kind": "fault", "action": "cut short the DATA that was sent by", "node": 2, "t_s": run.net.now})
        return frame[:-3]

    run.net.world.garbled = mangle
    return run, Written(run)


@scenario
def half_broken_link() -> tuple[Rig, Written]:
    """The link between 1 and 3 is silent in one direction, later in both: 3 gives up its parent 720 ms before the parent
    notices. Until then rank 0 is on two paths, and node 1 offers unit 1 of rank 0, node 2 of ranks 0-1.
    Sets that overlap are not merged: wave 1 waits until node 1 has lost node 3 and said so."""
    every = {0: 0.01, 1: 1.38}
    back = {"back": lambda r: Back(r, 2, every_s=every[r], batch=1, begin_s=0.02)}
    run = reduce(spec(members=[0, 1]), 2, parents=TWINS, **back, **EVEN)
    run.at(0.1, lambda: run.net.hold(1, 3, 4.0))
    run.at(0.6, lambda: run.net.hold(3, 1, 4.0))
    return run, Written(run)
