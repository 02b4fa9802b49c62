"""Back-ends that come and go in a suite: what is accepted, and what is said about the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.api.errors import UsageError
from harness.api.fault import Action
from harness.registry import load
from harness.run.plan import Plan, load_plan

SUITE = """
[suite]
name = "s"
[testbed]
kind = "{testbed}"
hosts = 2
[node]
rejoin = {rejoin}
[[case]]
name = "c"
workload = {{ kind = "{load} }}
topology = {{ kind = "kary", fanout = 2, depth = 2 }}
{more}
[[case.fault]]
{fault}
"""
JOIN = 'kind = "join"\ntarget = "rank:0"\nat_s = 1.0'
LEAVE = 'kind = "leave"\ntarget = "rank:0"\nat_s = 1.0'
AGAIN = 'kind = "crash"\ntarget = "rank:0"\nat_s = 1.0\nrestart_after_s = 1.0'


def planned(fault: str, more: str = "", load_: str = 'reduce-stream", waves = 9', **how: str) -> Plan:
    text = SUITE.format(**{"testbed": "sim", "rejoin": "false", "fault": fault, "more": more, "load": load_, **how})
    return load_plan(Path("s.toml"), load(), text=text)


def mistakes(fault: str, more: str = "", **how: str) -> list[str]:
    with pytest.raises(UsageError) as found:
        planned(fault, more, **how)
    return list(found.value.mistakes)


@pytest.mark.parametrize("load_", ['reduce-stream", waves = 9', 'round-trip", requests = 9'])
def test_loads_that_can_be_judged(load_: str) -> None:
    assert planned(JOIN, load_=load_).trials[0].injections


def test_a_late_back_end_and_one_that_comes_back() -> None:
    (join,) = planned(JOIN).trials[0].injections
    assert (join.action, join.node, join.undo_after_s) == (Action.JOIN, 3, None)
    (leave,) = planned(f"{LEAVE}\nrejoin_after_s = 2.0").trials[0].injections
    assert (leave.action, leave.node, leave.undo_after_s) == (Action.LEAVE, 3, 2.0)
    assert planned(JOIN).settings.rejoin is False
    assert planned(AGAIN, rejoin="true").settings.rejoin is True


@pytest.mark.parametrize(
    ("fault", "rejoin", "who"),
    [(JOIN, "false", "'join'"), (LEAVE, "false", "'leave'"), (AGAIN, "true", "'crash'")],
    ids=["join", "leave", "rejoin"],
)
@pytest.mark.parametrize(
    ("more", "where", "what"),
    [
        ('standby = "node:1"', "standby", "with a standby no back-ends come and go"),
        ('filter = "sum"\nrecovery = "decompose"', "recovery", "recovery 'decompose' knows no back-ends that come and go"),
        ('recovery = "resume"\nsync = "do-not-wait"', "sync", "sync 'do-not-wait' has no back-ends that come and go"),
        ('accept = { kind = "quorum", n = 2 }', "accept", "accept 'quorum' has no back-ends that come and go"),
    ],
    ids=["standby", "decompose", "sync", "accept"],
)
def test_what_does_not_go_together(fault: str, rejoin: str, who: str, more: str, where: str, what: str) -> None:
    (line,) = mistakes(fault, more, rejoin=rejoin)
    assert line.startswith(f"case[0].{where} (case 'c'): {what}, as node 3 does by {who}; ")


@pytest.mark.parametrize(
    ("fault", "rejoin", "who"), [(JOIN, "false", "'join'"), (AGAIN, "true", "'crash'")], ids=["join", "rejoin"]
)
def test_a_load_that_cannot_be_judged(fault: str, rejoin: str, who: str) -> None:
    found = mistakes(fault, 'sync = "do-not-wait"', rejoin=rejoin, load_='mixed", waves = 9')
    line = next(line for line in found if line.startswith("case[0].workload (case 'c'): "))
    assert line == (
        f"case[0].workload (case 'c'): 'mixed' cannot judge back-ends that come and go, as node 3 does by {who}; "
        "use reduce-stream or round-trip, or leave the faults out by which back-ends come and go"
    )


def test_a_restart_without_rejoin_goes_with_everything() -> None:
    assert planned(AGAIN, 'standby = "node:1"').trials[0].injections


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (JOIN.replace("rank:0", "node:1"), "node 1 is no back-end: only back-ends join"),
        (LEAVE.replace("rank:0", "node:1"), "node 1 is no back-end: only back-ends leave"),
        (JOIN.replace("at_s = 1.0", "at_wave = 3"), "join needs at_s (or at_event)"),
        (LEAVE.replace("rank:0", "role:back-end"), "the targets are all back-ends: leave one that stays"),
        (f"{LEAVE}\nrejoin_after_s = 0.0", "rejoin_after_s"),
        (
            JOIN.replace("rank:0", "rank:0, rank:1") + "\n[[case.fault]]\n" + JOIN.replace("rank:0", "rank:2, rank:3"),
            "join late",
        ),
        (f"{JOIN}\n[[case.fault]]\n{JOIN}", "node 3 joins twice"),
        (f"{JOIN}\n[[case.fault]]\n{LEAVE}", "node 3 leaves at 1 s, and joins only at 1 s"),
        (f"{JOIN}\n[[case.fault]]\n{LEAVE.replace('1.0', '0.5')}", "node 3 leaves at 0.5 s, and joins only at 1 s"),
    ],
)
def test_acts_that_cannot_be(fault: str, what: str) -> None:
    (line,) = mistakes(fault)
    assert line.startswith("case[0].fault") and what in line


@pytest.mark.parametrize("testbed", ["local", 'cluster"\naddress = "127.0.0.1:6379'], ids=["local", "cluster"])
def test_real_testbeds_have_them_too(testbed: str) -> None:
    for fault in (JOIN, LEAVE.replace("at_s = 1.0", "at_wave = 3"), AGAIN):
        assert planned(fault, rejoin="true", testbed=testbed).trials[0].injections
    (line,) = mistakes(JOIN.replace("at_s = 1.0", "at_event = 3"), testbed=testbed)
    assert "does not count what happens; use testbed 'sim', or at_s, at_wave or moment" in line
