"""Golden transcripts of waves that come out partial, late or not at all: policies, time-outs and typed errors."""

from __future__ import annotations

from typing import Any

from small import Back, Rig, reduce, spec
from transcript import EVEN, SMALL, TWINS, Written, scenario, slow


def rank_1_late(by_s: float, every_s: tuple[float, float] = (0.01, 0.01), parents: Any = SMALL) -> dict[str, Any]:
    """Two back-ends, three waves, and how often each offers one. The first of rank 1 is late."""
    return {"parents": parents, "back": lambda r: Back(r, 3, every_s=every_s[r], batch=1, begin_s=0.02 + r * by_s), **EVEN}


@scenario
def quorum() -> tuple[Rig, Written]:
    """A back-end of three dies between two waves, as in dead-back-end; but two of three are enough here. The next wave does not
    wait for the time of grace: the front-end knows that who is missing is suspect, and lets it out at once."""
    run = reduce(spec(members=[0, 1, 2], accept="quorum", quorum=2), 3, parents=(None, 0, 1, 1, 1), back=slow, **EVEN)
    run.at(0.025, lambda: run.net.crash(2))
    return run, Written(run)


@scenario
def quorum_lost() -> tuple[Rig, Written]:
    """Both back-ends are needed, and one dies. While it is suspect its waves wait. When it is declared dead all that are
    outstanding end in one QuorumLost, long before their deadline of 30 s."""
    run = reduce(spec(members=[0, 1], accept="quorum", quorum=2), 3, stop=False, parents=SMALL, back=slow, **EVEN)
    run.front.then = lambda fe, kind, what: fe.finish() if kind == "error" else None
    run.at(0.025, lambda: run.net.crash(2))
    return run, Written(run)


@scenario
def accept_by_deadline() -> tuple[Rig, Written]:
    """Two subtrees. The front-end waits for 15 ms; rank 1 is 18 ms late, then 8, then not at all. The first wave goes out
    without it, and what it offers of that wave then is dropped by number, also under replay."""
    what = spec(members=[0, 1], accept="deadline", accept_after_s=0.015)
    run = reduce(what, 3, **rank_1_late(0.018, (0.04, 0.03), TWINS))
    return run, Written(run)


@scenario
def deadline_exceeded() -> tuple[Rig, Written]:
    """The first wave has no result within the stream's 40 ms: DeadlineExceeded takes its place, and says for whom the front-end
    waits. When rank 1 offers it after all the wave is dropped, since it has ended; the next ones are delivered."""
    run = reduce(spec(members=[0, 1], deadline_s=0.04), 3, **rank_1_late(0.035))
    return run, Written(run)


@scenario
def time_out_with_a_partial_wave() -> tuple[Rig, Written]:
    """Synchronization by time-out: node 1 waits for 15 ms from the first packet of a wave on; rank 1 is 18 ms late, then 8,
    then not at all. The first wave goes on without it, and what it offers of that wave then is dropped where it is."""
    what = spec(members=[0, 1], sync="time-out", sync_timeout_s=0.015, recovery="resume")
    run = reduce(what, 3, **rank_1_late(0.018, (0.04, 0.03)))
    return run, Written(run)


@scenario
def chunk_without_a_straggler() -> tuple[Rig, Written]:
    """As time-out-with-a-partial-wave, but with waves of 5 numbers in chunks of 2. Node 1 waits once, for the first chunk. As
    rank 1 is not in that, it is left out of the other two as well, which go at once: a wave whose chunks had other
    contributors would be no wave."""
    what = spec(members=[0, 1], sync="time-out", sync_timeout_s=0.015, recovery="resume", item_shape=(5,), chunk_bytes=16)
    run = reduce(what, 1, **rank_1_late(0.018))
    return run, Written(run)


@scenario
def do_not_wait() -> tuple[Rig, Written]:
    """Nobody waits for anybody: each packet goes up alone, as opaque bytes, and is a result with one contributor. Rank 1 is
    late, and the first waves of rank 0 have long been delivered."""
    what = spec("null", members=[0, 1], sync="do-not-wait", recovery="resume")
    run = reduce(what, 3, stop=False, **rank_1_late(0.015))
    run.front.then = lambda fe, kind, what: fe.finish() if len(run.front.results) == 6 else None
    return run, Written(run)


@scenario
def dead_process_resume() -> tuple[Rig, Written]:
    """The only communication process dies with a wave in its hands, and nothing is sent again (resume). Its children attach to
    the front-end, and say which unit they will send next, which is 2. Nobody has unit 1 any more, and WavesLost names it."""
    run = reduce(spec(members=[0, 1], recovery="resume"), 3, parents=SMALL, back=slow, **EVEN)
    run.at(0.0305, lambda: run.net.crash(1))
    return run, Written(run)
