"""Golden transcripts of the basics: starting, waves and messages without faults, and the plain failures."""

from __future__ import annotations

from typing import Any

from small import Back, Rig, reduce, rig, spec
from transcript import EVEN, SMALL, THREE, TWINS, Written, scenario, slow

from harness.core.ranks import RankSet


@scenario
def start_up() -> tuple[Rig, Written]:
    """A small tree comes up and closes in order: the front-end, one communication process, two back-ends."""
    run = rig(lambda fe: fe.finish(), parents=SMALL, **EVEN)
    written = Written(run, whole=True)
    run.run()
    run.net.run_out(5.0)
    return run, written


@scenario
def one_wave() -> tuple[Rig, Written]:
    """One wave of a stream, from two back-ends to the front-end."""
    run = reduce(spec(members=[0, 1]), 1, parents=SMALL, **EVEN)
    return run, Written(run)


@scenario
def chunked_wave() -> tuple[Rig, Written]:
    """A wave of 5 numbers in chunks of 2: each is reduced while the next is on its way."""
    run = reduce(spec(members=[0, 1], item_shape=(5,), chunk_bytes=16), 1, parents=SMALL, **EVEN)
    return run, Written(run)


@scenario
def multicast_and_reduce() -> tuple[Rig, Written]:
    """A message to all and one to rank 1 alone; every back-end answers the first with a wave."""

    def begin(fe: Any) -> None:
        fe.expect(fe.open_stream(spec(members=[0, 1])), 1)
        fe.send(1, b"to all")
        fe.send(1, b"to one", RankSet.of([1]))

    class Answers(Back):
        def produce(self, be: Any, stream: int, first: int, at_most: int) -> Any:
            return super().produce(be, stream, first, at_most) if self.messages else None

    run = rig(begin, lambda fe, kind, what: fe.finish(), parents=SMALL, back=lambda r: Answers(r, 1), **EVEN)
    return run, Written(run)


@scenario
def dead_back_end() -> tuple[Rig, Written]:
    """A back-end dies between two waves. The next wave waits until its grace is over, then goes out and says who is missing."""
    run = reduce(spec(members=[0, 1]), 3, parents=SMALL, back=slow, **EVEN)
    run.at(0.025, lambda: run.net.crash(2))
    return run, Written(run)


def dead_process(recovery: str) -> tuple[Rig, Written]:
    run = reduce(spec("max", [0, 1], recovery=recovery), 3, parents=TWINS, back=slow, **EVEN)
    run.at(0.0215, lambda: run.net.crash(1))  # a unit of rank 0 is on its way to it
    return run, Written(run)


@scenario
def dead_process_replay() -> tuple[Rig, Written]:
    """A communication process dies with a wave in its hands. Its child goes to the other one and sends again what was not
    delivered; the adopter rewinds, and no wave is lost."""
    return dead_process("replay")


@scenario
def dead_process_compose() -> tuple[Rig, Written]:
    """The same with compose: nothing is kept and sent again. The orphan's state goes to the adopter instead; waves come out
    without the orphan until it is back."""
    return dead_process("compose")


@scenario
def hang_and_fencing() -> tuple[Rig, Written]:
    """A communication process stops for four seconds. The leases run out, its child goes elsewhere, it is declared dead; when
    it goes on, nobody takes it in."""
    run = reduce(spec("max", [0, 1]), 3, parents=TWINS, back=lambda r: Back(r, 3, every_s=2.2, batch=1), **EVEN)
    run.at(0.02, lambda: run.net.hang(1, 4.0))
    written = Written(run)
    run.run()
    run.net.run_out(run.net.now + 3.0)
    return run, written


@scenario
def refused_and_retried() -> tuple[Rig, Written]:
    """An orphan whose first two candidates are dead, too, gets to the front-end."""
    run = reduce(spec("max", [0, 1, 2]), 3, parents=THREE, back=slow, **EVEN)
    for node in (1, 2, 3):
        run.at(0.0215, lambda node=node: run.net.crash(node))
    return run, Written(run)
