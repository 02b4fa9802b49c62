"""What a report says of back-ends that come and go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness_results.comings import MOST, comings, text_of
from harness_results.verdict import judge_trial

EVENTS: list[dict[str, Any]] = [
    {"kind": "absent", "t_s": 0.0, "members": [3, 4], "ranks": [0, 1]},
    {"kind": "admitted", "t_s": 0.5, "member": 3, "ranks": [0], "life": 0, "first": {"1": 30, "2": 28}},
    {"kind": "joined", "t_s": 0.6, "member": 3, "parent": 1},
    {"kind": "left", "t_s": 0.75, "member": 5, "ranks": [2], "first": {"1": 44}},
    {"kind": "admitted", "t_s": 1.0, "member": 4, "ranks": [1], "life": 0, "first": {}},
]


def told(trial: Any, directory: Path, events: list[dict[str, Any]]) -> str:
    trial.events += events
    return text_of(comings(trial.record(directory)))


def test_each_order_is_told(synthetic: Any, tmp_path: Path) -> None:
    assert told(synthetic.calm(), tmp_path, EVENTS) == (
        "node 3 was not there at the start; node 4 was not there at the start; node 3 was let in at 0.500 s, "
        "from wave 28 to 30 on; node 5 left at 0.750 s, from wave 44 on; node 4 was let in at 1.000 s"
    )


def test_nobody_and_many(synthetic: Any, tmp_path: Path) -> None:
    assert told(synthetic.calm(), tmp_path / "nobody", []) == ""
    many = [{"kind": "left", "t_s": 1.0, "member": n, "ranks": [n], "first": {}} for n in range(MOST + 2)]
    assert told(synthetic.calm(), tmp_path / "many", many).endswith("; and 2 more")


def test_who_is_let_in_behind_the_last_wave_came_too_late(synthetic: Any, tmp_path: Path) -> None:
    """The generator's stream has waves 0 to 4899."""
    for first, late in ((4900, True), (4899, False)):
        admitted = {"kind": "admitted", "t_s": 4.9, "member": 3, "ranks": [0], "life": 0, "first": {"1": first}}
        line = told(synthetic.calm(), tmp_path / str(first), [admitted])
        assert (line == f"node 3 was let in at 4.900 s, from wave {first} on: too late, no such wave came out any more") == late


def joining(synthetic: Any, let_in: bool, ok: bool = True, struck: bool = False) -> Any:
    """A trial in which node 3 is not there, and comes 100 ms before the end."""
    trial = synthetic.trial(synthetic.plan())
    trial.plan["injections"] = [{**synthetic.injection(3, "join", 4.85), "kind": "join"}]
    trial.say(0.0, "absent", node=0, members=[3], ranks=[0])
    trial.say(0.05, "workload-started")
    trial.deliver(0.1, 5.0, ((1, 4),), complete=True)
    trial.say(4.9, "fault", fault=0, action="join", node=3, trigger="at_s")
    trial.say(4.9, "fault-confirmed", fault=0, node=3, effect="started")
    if let_in:
        trial.say(4.95, "admitted", node=0, member=3, ranks=[0], life=0, first={"1": 5000})
    if struck:
        trial.kill(3, 4.92, fault=1)
    trial.say(5.0, "finished", ok=ok, reason="")
    return trial


def test_a_join_that_is_never_let_in_is_a_fault_that_was_missed(synthetic: Any, tmp_path: Path) -> None:
    def judged(name: str, **how: bool) -> dict[str, Any]:
        trial = joining(synthetic, **how)
        return judge_trial(trial.record(tmp_path / name), trial.for_judge())

    missed = judged("missed", let_in=False)
    assert (missed["verdict"], missed["passed"]) == ("infrastructure", None)
    assert missed["reasons"] == [
        "fault 0 (join of node 3 at 4.85 s) was done at 4.900 s, but node 3 was never let in: the workload may have ended "
        "before; make it longer, or let it join earlier"
    ]
    assert judged("in", let_in=True)["verdict"] == "passed"
    assert not any("never let in" in r for r in judged("killed", let_in=False, struck=True)["reasons"])
    assert judged("failed", let_in=False, ok=False)["verdict"] == "failed"
