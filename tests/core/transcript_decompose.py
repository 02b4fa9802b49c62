"""Golden transcripts of recovery decompose: which parts are asked for, and by which way they come."""

from __future__ import annotations

from typing import Any

from small import Back, Rig, reduce, spec
from transcript import EVEN, THREE, TWINS, Written, scenario, slow


def until_whole(waves: int, **how: Any) -> Rig:
    """A stream of sums, which ends when its state holds all that it will ever hold."""
    run = reduce(spec("sum", recovery="decompose", members=how.pop("members")), waves, stop=False, **how, **EVEN)

    def then(fe: Any, kind: str, came: Any) -> None:
        extent = fe.extent(1)
        if kind != "timer" and extent.units < waves:
            return
        if extent.pending:
            fe.call_at(fe.now + 0.01)
        else:
            run.front.then = None
            fe.finish()

    run.front.then = then
    return run


@scenario
def dead_process_decompose() -> tuple[Rig, Written]:
    """A communication process dies with a unit in its hands. A wave comes out without the orphan; when the orphan is back, the
    front-end asks it for what the state lacks, adds it, and tells that the state is settled."""
    run = until_whole(3, members=[0, 1], parents=TWINS, back=slow)
    run.at(0.0215, lambda: run.net.crash(1))
    return run, Written(run)


@scenario
def a_request_is_lost() -> tuple[Rig, Written]:
    """The orphan's new parent dies as well, with the answer in its hands. Only the front-end remembers that there was a
    request: when the orphan is back again, it asks anew, and for what was lost since."""
    run = until_whole(6, members=[0, 1, 2], parents=THREE, back=lambda r: Back(r, 6, every_s=0.01, batch=1, begin_s=0.02))
    run.at(0.0215, lambda: run.net.crash(1))
    run.at(0.0295, lambda: run.net.crash(2))
    return run, Written(run)


@scenario
def a_dead_back_end_is_not_waited_for() -> tuple[Rig, Written]:
    """A communication process and the back-end below it die at once. What they had in their hands stays away: once the back-end
    is declared dead, the state is settled without it, and keeps what it had of it before."""
    run = until_whole(4, members=[0, 1], parents=TWINS, back=lambda r: Back(r, 4, every_s=0.01, batch=1, begin_s=0.02))
    for node in (1, 3):
        run.at(0.0315, lambda node=node: run.net.crash(node))
    return run, Written(run)
