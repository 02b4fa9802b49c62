"""Faults after which nobody was lost need no recovery; they are told from those whose recovery was not seen to its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness_results import harness_judge, harness_report
from harness_results.expectations import judge_expectations

LIMIT = {"recovery": "exact", "recovery_ms": {"max": 2000.0}}


@pytest.fixture
def faults(tmp_path: Path) -> Any:
    return lambda trial: harness_judge(trial.record(tmp_path / trial.plan["trial"]), trial.for_judge())["figures"]["faults"]


def hang(trial: Any, synthetic: Any, node: int, at_s: float, undone_s: float | None, fault: int) -> None:
    """Stop a node at `at_s`; the event of the undoing is left out where it is None."""
    trial.plan["injections"].append(synthetic.injection(node, "stop", at_s, fault, undo_after_s=0.5))
    trial.say(at_s, "fault", fault=fault, action="stop", node=node)
    trial.say(at_s + 0.004, "fault-confirmed", fault=fault, node=node, effect="state T")
    if undone_s is not None:
        trial.say(undone_s, "fault-undone", fault=fault, node=node)


def with_hang(synthetic: Any, undone_s: float | None = 4.0, at_s: float = 3.5, **more: Any) -> Any:
    """The usual crash at 2 s, recovered from in 250 ms, and then a hang of node 2, by default shorter than the lease."""
    trial = synthetic.crash(expect=LIMIT, **more)
    hang(trial, synthetic, 2, at_s, undone_s, fault=1)
    return trial


def test_a_hang_that_nobody_noticed_does_not_undo_the_crash_s_recovery(synthetic: Any, tmp_path: Path) -> None:
    document, text = harness_report(synthetic.write_run(tmp_path / "run", [with_hang(synthetic)]), 100)
    (case,) = document["cases"]
    assert (document["verdict"], document["exit_code"]) == ("passed", 0)
    assert case["recovery_ms"] == {"p50": 250.0, "p90": 250.0, "p99": 250.0, "max": 250.0, "n": 1}
    assert (case["each"][0]["recovery_ms"], case["each"][0]["recovery_needed"]) == ([250.0, None], [True, False])
    assert "expected: passed: the slowest recovery over 1 trial is 250.0 ms and is within 2000 ms" in text


@pytest.mark.parametrize(
    "sign",
    [
        {"kind": "link-lost", "node": 0, "peer": 2, "cause": "silent"},
        {"kind": "link-lost", "node": 2, "peer": 0, "cause": "silent"},
        {"kind": "suspect", "node": 0, "member": 2, "ranks": [2, 3], "by": 0, "cause": "silent"},
        {"kind": "adopter-chosen", "node": 5, "lost": 2, "adopter": 0, "attempt": 1},
        {"kind": "reattached", "node": 0, "child": 5, "parent": 0, "lost": 2},
        {"kind": "dead", "node": 0, "member": 2, "ranks": []},
        {"kind": "fenced", "node": 2},
        {"kind": "gave-up", "node": 2, "status": 1, "reason": "nobody took it in"},
        {"kind": "node-exited", "node": 2, "status": 1},
    ],
    ids=lambda s: s["kind"],
)
def test_any_sign_of_a_loss_means_that_a_recovery_was_needed(synthetic: Any, faults: Any, sign: dict[str, Any]) -> None:
    trial = with_hang(synthetic)
    trial.say(3.9, **sign)
    assert [f["recovery_needed"] for f in faults(trial)] == [True, True]


def test_a_recovery_that_began_and_has_no_end_is_inconclusive(synthetic: Any, tmp_path: Path) -> None:
    trial = with_hang(synthetic)
    trial.plan["expect"] = {**LIMIT, "recovery": "bounded-loss"}
    trial.say(3.9, "link-lost", node=0, peer=2, cause="silent")
    trial.rows = [r for r in trial.rows if r[0] < 3.9]
    trial.deliver(4.1, 5.0, ((0, 2),))
    document, _ = harness_report(synthetic.write_run(tmp_path / "run", [trial]), 100)
    assert (document["verdict"], document["exit_code"]) == ("inconclusive", 11)
    assert document["reasons"] == ["crash: not all recoveries were seen to their end in any of 1 trial"]


def test_the_loss_of_another_fault_s_target_is_not_the_hang_s(synthetic: Any, faults: Any) -> None:
    """Node 2 stands still while its child 5 dies, and tells of it when it goes on."""
    trial = synthetic.trial(synthetic.plan())
    trial.deliver(0.1, 2.6)
    hang(trial, synthetic, 2, 2.0, 2.5, fault=0)
    trial.kill(5, 2.2, fault=1)
    trial.say(2.51, "link-lost", node=2, peer=5, cause="closed")
    trial.say(2.52, "suspect", node=0, member=5, ranks=[2], by=2, cause="closed")
    trial.say(2.8, "dead", node=0, member=5, ranks=[2])
    trial.deliver(2.9, 5.0, ((0, 2), (3, 4)))
    stopped, killed = faults(trial)
    assert (stopped["recovery_needed"], stopped["recovery_ms"]) == (False, None)
    assert (killed["recovery_needed"], killed["recovery_ms"]) == (True, pytest.approx(700.0))


@pytest.mark.parametrize(
    ("at_s", "undone_s", "finished_s"),
    [(3.5, None, 5.0), (4.8, 5.3, 5.0), (4.5, 4.995, 5.0)],
    ids=["not taken back", "taken back after the end", "nothing whole after it"],
)
def test_a_hang_that_was_not_outlived_may_have_needed_one(
    synthetic: Any, faults: Any, at_s: float, undone_s: float | None, finished_s: float
) -> None:
    trial = with_hang(synthetic, undone_s, at_s)
    trial.say(finished_s, "finished", ok=True, reason="")
    assert [f["recovery_needed"] for f in faults(trial)] == [True, True]


def test_a_node_that_was_killed_is_lost_even_if_nobody_had_the_time_to_say_so(synthetic: Any, faults: Any) -> None:
    trial = synthetic.calm()
    trial.kill(2, 4.9)
    (fault,) = faults(trial)
    assert (fault["recovery_needed"], fault["recovery_ms"]) == (True, None)


def test_each_of_two_hangs_of_a_node_has_its_own_outcome(synthetic: Any, faults: Any) -> None:
    """The first is too short to be noticed; what the second led to does not count as its recovery."""
    trial = synthetic.trial(synthetic.plan())
    trial.deliver(0.1, 3.0)
    hang(trial, synthetic, 1, 1.0, 1.2, fault=0)
    hang(trial, synthetic, 1, 3.0, 4.5, fault=1)
    trial.recover(1, 3.2)
    trial.deliver(3.4, 5.0)
    short, long = faults(trial)
    assert (short["recovery_needed"], short["recovery_ms"]) == (False, None)
    assert (long["recovery_needed"], long["recovery_ms"]) == (True, pytest.approx(400.0))


def test_a_loss_is_the_doing_of_the_hang_that_it_follows(synthetic: Any, faults: Any) -> None:
    """Node 1 has long been well again when its child 3 stands still for too long; both tell that they lost the other."""
    trial = synthetic.trial(synthetic.plan())
    trial.deliver(0.1, 2.0)
    hang(trial, synthetic, 1, 1.0, 1.3, fault=0)
    hang(trial, synthetic, 3, 2.0, 3.0, fault=1)
    trial.say(2.5, "link-lost", node=1, peer=3, cause="silent")
    trial.say(3.01, "link-lost", node=3, peer=1, cause="closed")
    trial.say(3.02, "adopter-chosen", node=3, lost=1, adopter=2, attempt=1)
    trial.say(3.03, "reattached", node=2, child=3, parent=2, lost=1)
    trial.deliver(3.1, 5.0)
    short, long = faults(trial)
    assert (short["recovery_needed"], short["recovery_ms"], short["orphans"][0]["node"]) == (False, None, 4)
    assert (long["recovery_needed"], long["recovery_ms"]) == (True, pytest.approx(1100.0))


def test_a_node_that_drops_a_neighbour_which_was_well_again_has_lost_it_itself(synthetic: Any, faults: Any) -> None:
    trial = synthetic.calm()
    hang(trial, synthetic, 1, 1.0, 1.3, fault=0)
    hang(trial, synthetic, 3, 2.0, 3.0, fault=1)
    trial.say(3.01, "link-lost", node=3, peer=1, cause="silent")
    assert [f["recovery_needed"] for f in faults(trial)] == [False, True]


def test_where_no_fault_needed_one_the_expectation_says_so(synthetic: Any, tmp_path: Path) -> None:
    trial = synthetic.calm(expect=LIMIT)
    hang(trial, synthetic, 2, 2.0, 2.5, fault=0)
    document, _ = harness_report(synthetic.write_run(tmp_path / "run", [trial]), 100)
    assert (document["verdict"], document["exit_code"]) == ("inconclusive", 11)
    assert document["reasons"] == ["crash: there was no recovery to time in any of 1 trial: no fault lost anybody"]


def trial_of(*times: float | None, needless: int = 0) -> dict[str, Any]:
    found = [{"recovery_ms": t, "recovery_needed": True} for t in times]
    return {"faults": found + [{"recovery_ms": None, "recovery_needed": False}] * needless}


@pytest.mark.parametrize(
    ("limit", "trials", "verdict", "text"),
    [
        ("max", [trial_of(8.0, needless=2), trial_of(9.0)], "passed", "over 2 trials is 9.0 ms and is within 10 ms"),
        ("max", [trial_of(8.0), trial_of(needless=1)], "passed", "over 1 trial is 8.0 ms and is within 10 ms"),
        # However long the one that was not seen to its end took, half of the trials were quick.
        ("p50", [trial_of(8.0), trial_of(None)], "passed", "is 8.0 ms and is within 10 ms; in 1 more no recovery was seen"),
        ("max", [trial_of(8.0), trial_of(None)], "invalid", "cannot be told: in 1 of 2 trials"),
        ("max", [trial_of(8.0, None)], "invalid", "not all recoveries were seen to their end in any of 1 trial"),
        # It is too long already.
        ("max", [trial_of(12.0, None)], "failed", "over 1 trial is at least 12.0 ms and exceeds 10 ms"),
        ("max", [trial_of(12.0), trial_of(None)], "failed", "is at least 12.0 ms and exceeds 10 ms"),
    ],
)
def test_a_recovery_without_an_end_never_helps_to_pass(limit: str, trials: Any, verdict: str, text: str) -> None:
    (found,) = judge_expectations({"recovery_ms": {limit: 10.0}}, trials)
    assert found.verdict == verdict and text in found.reason


def test_a_front_end_that_the_suite_kills_is_named(synthetic: Any, tmp_path: Path) -> None:
    trial = synthetic.trial(synthetic.plan())
    trial.plan["injections"].append(synthetic.injection(0, "kill", 3.0, 0))
    trial.say(3.0, "fault", fault=0, action="kill", node=0)
    trial.say(3.004, "fault-confirmed", fault=0, node=0, effect="exited by signal 9")
    document, _ = harness_report(synthetic.write_run(tmp_path / "run", [trial]), 100)
    assert (document["verdict"], document["exit_code"]) == ("failed", 12)
    assert "the suite's own fault killed the front-end (node 0) at 3.000 s" in document["reasons"][0]


def stopped_front_end(synthetic: Any, ok: bool, undo_after_s: float | None = None, undone_s: float = 4.1) -> Any:
    """The front-end is stopped at 3 s; the workload ends at 4 s; `undone_s` is when the process was continued."""
    trial = synthetic.crash()
    trial.events = [e for e in trial.events if e["kind"] != "finished"]
    hang(trial, synthetic, 0, 3.0, undone_s, fault=1)
    trial.plan["injections"][-1]["undo_after_s"] = undo_after_s
    trial.say(4.0, "finished", ok=ok, reason="" if ok else "nothing came any more")
    return trial


def test_a_front_end_that_the_suite_stopped_for_good_is_the_reason(synthetic: Any, tmp_path: Path) -> None:
    document, _ = harness_report(synthetic.write_run(tmp_path / "run", [stopped_front_end(synthetic, ok=False)]), 100)
    assert (document["verdict"], document["exit_code"]) == ("failed", 12)
    (reason,) = document["reasons"]
    said = "the suite's own fault stopped the front-end (node 0) for good at 3.000 s, which no run outlives"
    assert reason.endswith(f"{said} without a standby (key `standby`)")


@pytest.mark.parametrize(
    "how",
    [
        {"ok": True},  # it was stopped after its last word, as at the moment shutdown
        {"ok": False, "undo_after_s": 1.1},
        {"ok": False, "undone_s": 3.5},  # another fault's undo has continued it
    ],
    ids=str,
)
def test_one_that_was_not_stopped_for_good_is_not(synthetic: Any, tmp_path: Path, how: dict[str, Any]) -> None:
    document, _ = harness_report(synthetic.write_run(tmp_path / "run", [stopped_front_end(synthetic, **how)]), 100)
    assert "front-end" not in str(document["reasons"])
