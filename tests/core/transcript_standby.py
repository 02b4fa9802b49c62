"""Golden transcripts of a front-end that is lost, and of its standby."""

from __future__ import annotations

from small import Back, Rig, spec
from standbys import with_standby
from transcript import TWINS, Written, scenario, slow


@scenario
def standby_takes_over_under_replay() -> tuple[Rig, Written]:
    """The front-end is killed after it has delivered wave 0. Its standby, node 1, cannot reach it, hears that node 2 cannot
    either, and asks for votes with the order `root`. Four of five nodes are more than half: it is in charge, knows from the log
    what had been delivered, and goes on from there. It had merged nothing beyond, so nothing is sent again by node 3. Each wave
    ends once."""
    run = with_standby(spec(members=[0, 1]), 3, TWINS, 1, slow)
    run.at(0.0265, lambda: run.net.crash(0))
    return run, Written(run, several=True)


@scenario
def old_front_end_is_fenced() -> tuple[Rig, Written]:
    """The front-end stops for four seconds, and its standby takes over meanwhile. What it may have delivered when it goes on
    takes effect nowhere, as nobody confirms it. It asks its standby, is refused by name, and ends with status 4."""
    back = {"every_s": 2.5, "batch": 1, "begin_s": 0.02}
    run = with_standby(spec(members=[0, 1]), 3, TWINS, 1, lambda rank: Back(rank, 3, **back))
    run.at(0.0265, lambda: run.net.hang(0, 4.0))
    return run, Written(run, several=True)


@scenario
def front_end_goes_on_without_its_standby() -> tuple[Rig, Written]:
    """The standby, node 1, is killed. While it may come back, the front-end acknowledges nothing. When its time of grace is
    over, the front-end has all vote for its going on alone; with three of five votes, what had been held back takes effect."""
    run = with_standby(spec(members=[0, 1]), 3, TWINS, 1, slow)
    run.at(0.0265, lambda: run.net.crash(1))
    return run, Written(run, several=True)
