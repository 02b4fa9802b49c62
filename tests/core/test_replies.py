"""Streams of requests and replies: who is asked, and who answers while back-ends come and go."""

from __future__ import annotations

from typing import Any

import pytest
from comers_rig import begin_late
from small import Back, Rig, rig, spec
from transcript import EVEN, SMALL

from harness.core.lives import first_unit
from harness.core.spec import StreamSpec
from harness.core.upstream import UpStream
from harness_plugins.filters import harness_filters

#: How long a back-end takes for an answer, and how many requests are outstanding.
THINKS_S = 0.01
OUTSTANDING = 3


class Replier(Back):
    """Answers each request after a while; it would go on without any."""

    def on_message(self, be: Any, stream: int, payload: bytes) -> None:
        super().on_message(be, stream, payload)
        self.due = max(self.due, be.now + THINKS_S)


def replier(rank: int) -> Back:
    return Replier(rank, 1 << 30, batch=1, every_s=THINKS_S)


def asking(last: int, **fields: Any) -> Rig:
    """`OUTSTANDING` requests at once to both back-ends of a small tree, until request `last` is answered."""

    def ask(fe: Any, upto: int) -> None:
        while sent[0] < upto:
            assert fe.send(1, b"%d" % sent[0])
            sent[0] += 1
        fe.expect(1, sent[0])

    def begin(fe: Any) -> None:
        fe.open_stream(spec(members=[0, 1], replies=True, **fields))
        ask(fe, OUTSTANDING)

    def then(fe: Any, kind: str, what: Any) -> None:
        if kind == "error" or (kind == "result" and what.first + what.count > last):
            fe.finish()
        elif kind == "result":
            ask(fe, what.first + what.count + OUTSTANDING)

    sent = [0]
    return rig(begin, then, back=replier, **{**EVEN, "parents": SMALL})


def sent_by(run: Rig, t_s: float) -> int:
    """How many requests had been sent then: each result is followed by as many."""
    done = [r.first + r.count for at, kind, r in run.front.log if kind == "result" and at <= t_s]
    return max(done, default=0) + OUTSTANDING


def named(run: Rig) -> list[tuple[int, bool, bool]]:
    """(request, whether rank 1 has answered it, whether the answer is called complete)."""
    return [(r.first + k, 1 in r.contributors, r.complete) for r in run.front.results for k in range(r.count)]


@pytest.mark.parametrize("recovery", ["replay", "resume"])
def test_who_comes_late_answers_what_is_sent_from_then_on(recovery: str) -> None:
    run = begin_late(asking(12, recovery=recovery), 3)
    run.at(0.035, lambda: run.net.start_anew(3))
    run.run()
    (admitted,) = run.events("admitted")
    first = int(admitted["first"]["1"])
    assert first == sent_by(run, admitted["t_s"]) and 0 < first < 12
    assert named(run) == [(wave, wave >= first, True) for wave in range(len(named(run)))] and len(named(run)) > 12
    assert run.backs[1].messages[0] == b"%d" % first, "and has no older request"


def test_who_leaves_has_answered_up_to_there() -> None:
    run = asking(12)
    run.at(0.042, lambda: run.net.leave(3))
    run.run()
    (left,) = run.events("left")
    first = int(left["first"]["1"])
    assert first == run.backs[1].made[1] < len(run.backs[1].messages), "requests that it had, and others answered"
    assert named(run) == [(wave, wave < first, True) for wave in range(len(named(run)))]


def test_nobody_is_asked_for_what_nobody_has_requested() -> None:
    """The back-ends offer whatever they are asked for."""

    def begin(fe: Any) -> None:
        stream = fe.open_stream(spec(members=[0, 1], replies=True))
        for _ in range(4):
            fe.send(stream, b"?")
        fe.expect(stream, 4)

    run = rig(begin, back=lambda rank: Back(rank, 1 << 30), **{**EVEN, "parents": SMALL}).run(1.0)
    assert [wave for wave, _, _ in run.front.waves()] == [0, 1, 2, 3]
    assert [back.made for back in run.backs.values()] == [{1: 4}, {1: 4}]


@pytest.mark.parametrize("recovery", ["replay", "resume"])
def test_the_first_unit_answers_the_next_request(recovery: str) -> None:
    s = UpStream(1, spec("sum", [0], replies=True, recovery=recovery), harness_filters()["sum"]())
    assert first_unit(s, 5, 0, 7) == 7
    cut = StreamSpec("s", spec().members, "sum", item_shape=(10,), chunk_bytes=32, replies=True)
    s = UpStream(1, cut, harness_filters()["sum"]())
    assert first_unit(s, 5, 0, 7) == 7 * s.units.per_wave > 7


def test_on_the_wire() -> None:
    for replies in (True, False):
        what = spec(replies=replies)
        assert StreamSpec.from_wire(what.to_wire()) == what and ("replies" in what.to_wire()) is replies
