"""Golden transcripts of back-ends that come and go."""

from __future__ import annotations

from dataclasses import replace

from comers_rig import begin_late, streaming
from small import Back, Rig
from transcript import SETTINGS, Written, scenario


def steady(rank: int) -> Back:
    """A wave every 10 ms."""
    return Back(rank, 20, every_s=0.01, batch=1, begin_s=0.02)


@scenario
def back_end_joins_late() -> tuple[Rig, Written]:
    """Rank 1 is not there at the start, and no member: the first waves are complete without it. It comes at 35 ms. Node 1 keeps
    it waiting and asks the front-end, which lets it in from the wave on that nobody can have been granted yet: two, the window,
    beyond what is acknowledged. From there on every wave has both."""
    run = begin_late(streaming(6, steady), 3)
    run.at(0.035, lambda: run.net.start_anew(3))
    return run, Written(run)


@scenario
def back_end_leaves() -> tuple[Rig, Written]:
    """Rank 1 leaves at 42 ms. What it has produced is delivered with it; then the front-end orders that it is no member any
    more, and it ends. The waves after that are complete without it."""
    run = streaming(5, steady)
    run.at(0.042, lambda: run.net.leave(3))
    return run, Written(run)


@scenario
def back_end_leaves_and_comes_back() -> tuple[Rig, Written]:
    """Rank 1 leaves at 42 ms, and another process comes in its place at 60 ms: in between it is no member. The front-end lets
    the second life in without any setting."""
    run = streaming(7, steady)
    run.at(0.042, lambda: run.net.leave(3))
    run.at(0.060, lambda: run.net.start_anew(3))
    return run, Written(run)


@scenario
def successor_of_a_killed_back_end() -> tuple[Rig, Written]:
    """Rank 1 is killed at 42 ms, and 5 ms later, before its time of grace is over, another process comes in its place, which
    `rejoin` lets in. The front-end declares the first one dead and lets the second one in with the next order. It was a member
    all the time: the waves in between lack it, and say so."""
    run = streaming(7, steady, settings=replace(SETTINGS, rejoin=True))
    run.at(0.042, lambda: run.net.crash(3))
    run.at(0.047, lambda: run.net.start_anew(3))
    return run, Written(run)
