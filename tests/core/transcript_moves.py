"""Golden transcripts of orders and messages that meet a tree in the middle of a recovery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from small import Back, Rig, rig, spec
from transcript import EVEN, SETTINGS, SMALL, TWINS, Written, scenario

from harness.core.ranks import RankSet

Step = Callable[[Any], None]


def moving(*todo: tuple[float, Step], waves: int = 1, **how: Any) -> Rig:
    """Two communication processes with one back-end each, and a stream; every back-end offers one wave of each stream, the
    first at 20 ms. Node 1 dies at 21.5 ms, and everybody knows at 22.5 ms; its child attaches at 25.5 ms. The application
    takes each step at its time, and ends after so many waves."""
    left = list(todo)

    def begin(fe: Any) -> None:
        fe.expect(fe.open_stream(spec(members=[0, 1])), 1)
        fe.call_at(left[0][0])

    def then(fe: Any, kind: str, what: Any) -> None:
        if kind == "timer":
            left.pop(0)[1](fe)
            if left:
                fe.call_at(left[0][0])
        elif len(run.front.results) == waves:
            fe.finish()

    back = {"back": lambda r: Back(r, 1, every_s=0.01, begin_s=0.02)}
    run = rig(begin, then, parents=TWINS, **{**EVEN, **back, **how})
    run.at(0.0215, lambda: run.net.crash(1))
    return run


@scenario
def messages_while_a_member_moves() -> tuple[Rig, Written]:
    """Messages go out while rank 0 is without a parent: one for it alone, one for rank 1, one for both. Its adopter keeps them
    all, and after the WELCOME sends them from the number that the orphan asked for, each once and in order; of what is not for
    it, it gets a place-holder. The first message, which it had from its old parent, is not sent again."""

    def send(fe: Any) -> None:
        fe.send(1, b"for 0", RankSet.of([0]))
        fe.send(1, b"for 1", RankSet.of([1]))
        fe.send(1, b"for all")

    run = moving((0.015, lambda fe: fe.send(1, b"before")), (0.023, send))
    return run, Written(run, messages=True)


@scenario
def stream_opened_while_an_orphan_moves() -> tuple[Rig, Written]:
    """Stream 2 is opened while rank 0 is without a parent. Its ATTACH knows one order; the adopter sends it the second before
    the WELCOME, so that the terms are about streams that it knows. The first wave of the new stream has both ranks."""

    def open_another(fe: Any) -> None:
        fe.expect(fe.open_stream(spec("max", members=[0, 1])), 1)

    run = moving((0.023, open_another), waves=2)
    return run, Written(run)


@scenario
def stream_closed_in_mid_recovery() -> tuple[Rig, Written]:
    """The stream is closed while rank 0 is without a parent: what is outstanding ends in StreamClosed at once. The orphan still
    reports the stream when it attaches; its adopter does not know it any more, sends the order, and has no terms for it."""
    run = moving((0.023, lambda fe: fe.close_stream(1)), (0.05, lambda fe: fe.finish()))
    return run, Written(run)


@scenario
def finish_while_an_orphan_moves() -> tuple[Rig, Written]:
    """The front-end ends the run while rank 0 is without a parent. Node 2 passes the order on and waits for the BYE of node 4;
    meanwhile the orphan comes, is refused because the tree closes, and ends in order without a BYE of its own."""
    run = moving((0.024, lambda fe: fe.finish()))
    written = Written(run)
    run.run()
    run.net.run_out(run.net.now + 1.0)
    assert run.net.exits[3] == (0, "closed")
    return run, written


@scenario
def orphan_of_a_closed_tree() -> tuple[Rig, Written]:
    """As finish-while-an-orphan-moves, but the orphan comes when node 2 has said BYE, and nobody else is left. It looks for a
    parent for start_timeout_s, here 100 ms, with pauses between the rounds, and ends with an error."""
    run = moving((0.0222, lambda fe: fe.finish()), settings=replace(SETTINGS, start_timeout_s=0.1))
    written = Written(run)
    run.run()
    run.net.run_out(run.net.now + 1.0)
    return run, written


@scenario
def back_end_dies_before_the_stream_opens() -> tuple[Rig, Written]:
    """A back-end dies, and before its time of grace is over a stream is opened for it and for another one. The first wave waits
    until it is declared dead, then goes out without it. A stream that is opened after that does not wait for it at all."""

    def begin(fe: Any) -> None:
        fe.call_at(0.02)

    def then(fe: Any, kind: str, what: Any) -> None:
        if kind == "timer" or (kind == "result" and what.stream == 1):
            fe.expect(fe.open_stream(spec(members=[0, 1])), 1)
        elif kind == "result":
            fe.finish()

    run = rig(begin, then, parents=SMALL, back=lambda r: Back(r, 1), **EVEN)
    run.at(0.01, lambda: run.net.crash(2))
    return run, Written(run)
