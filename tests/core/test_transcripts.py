"""Golden transcripts: what every node says in a few short scenarios, frame by frame.

A change of the protocol changes them. Record them anew with `pytest tests/core --record-transcripts` (or HARNESS_RECORD=1), and
read the difference before it is committed.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small import Back, Rig, reduce, rig, spec
from transcript import Even, Written

from harness.core.ranks import RankSet
from harness.core.settings import NodeSettings

PLACE = Path(__file__).parent / "transcripts"
SETTINGS = NodeSettings(lease_s=1.0, heartbeat_s=0.25, connect_timeout_s=0.5, leaf_grace_s=0.3, orphan_grace_s=1.5)
EVEN: dict[str, Any] = {"rng": Even(1), "settings": SETTINGS}
SMALL = (None, 0, 1, 1)

Scenario = Callable[[], tuple[Rig, Written]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(f: Scenario) -> Scenario:
    SCENARIOS[f.__name__.replace("_", "-")] = f
    return f


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


def slow(rank: int) -> Back:
    """A wave every 10 ms, three in all."""
    return Back(rank, 3, every_s=0.01, batch=1, begin_s=0.02)


@scenario
def dead_back_end() -> tuple[Rig, Written]:
    """A back-end dies between two waves. The next wave waits until its grace is over, then goes out and says who is missing."""
    run = reduce(spec(members=[0, 1]), 3, parents=SMALL, back=slow, **EVEN)
    run.at(0.025, lambda: run.net.crash(2))
    return run, Written(run)


def dead_process(recovery: str) -> tuple[Rig, Written]:
    run = reduce(spec("max", [0, 1], recovery=recovery), 3, parents=(None, 0, 0, 1, 2), back=slow, **EVEN)
    run.at(0.0215, lambda: run.net.crash(1))  # a unit of rank 0 is on its way to it
    return run, Written(run)


@scenario
def dead_process_replay() -> tuple[Rig, Written]:
    """A communication process dies with a wave in its hands. Its child goes to the other one and sends again what was not
    delivered; everything above rewinds, and no wave is lost."""
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
    run = reduce(spec("max", [0, 1]), 3, parents=(None, 0, 0, 1, 2), back=lambda r: Back(r, 3, every_s=2.2, batch=1), **EVEN)
    run.at(0.02, lambda: run.net.hang(1, 4.0))
    written = Written(run)
    run.run()
    run.net.run_out(run.net.now + 3.0)
    return run, written


@scenario
def refused_and_retried() -> tuple[Rig, Written]:
    """An orphan whose first two candidates are dead, too, gets to the front-end."""
    run = reduce(spec("max", [0, 1, 2]), 3, parents=(None, 0, 0, 0, 1, 2, 3), back=slow, **EVEN)
    for node in (1, 2, 3):
        run.at(0.0215, lambda node=node: run.net.crash(node))
    return run, Written(run)


@pytest.mark.parametrize("name", SCENARIOS)
def test_transcript(name: str, request: pytest.FixtureRequest) -> None:
    make = SCENARIOS[name]
    EVEN["rng"] = Even(1)
    run, written = make()
    if 0 not in run.net.exits:
        run.run(20.0)
    assert run.net.exits[0][0] == 0
    story = " ".join((make.__doc__ or "").split())
    tree = ", ".join(f"{n.id} below {n.parent}" for n in run.net.tree.nodes[1:])
    told = textwrap.wrap(story, 100, initial_indent="# ", subsequent_indent="# ")
    text = "\n".join([*told, f"# nodes: {tree}", "# time in ms; heartbeats are left out", *written.lines, ""])
    path = PLACE / f"{name}.txt"
    if request.config.getoption("--record-transcripts", default=False) or os.environ.get("HARNESS_RECORD") == "1":
        PLACE.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text


def test_there_is_a_scenario_for_each_transcript() -> None:
    assert {p.stem for p in PLACE.glob("*.txt")} == set(SCENARIOS)
