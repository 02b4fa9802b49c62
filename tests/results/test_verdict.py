"""Verdicts and counts on trials whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api.records import SAMPLE_DTYPE, TrialRecord
from harness.core.ranks import RankSet
from harness.core.tree import Tree
from harness_results import harness_judge


@pytest.fixture
def judged(tmp_path: Path) -> Any:
    return lambda trial: harness_judge(trial.record(tmp_path / trial.plan["trial"]), trial.for_judge())


def counts(verdict: dict[str, Any]) -> dict[str, int]:
    """The counts that are not zero, without `delivered`."""
    return {k: v for k, v in verdict["figures"]["audit"].items() if v and k != "delivered"}


def test_a_good_run_passes(synthetic: Any, judged: Any) -> None:
    v = judged(synthetic.calm())
    assert (v["verdict"], v["passed"]) == ("passed", True)
    assert v["figures"]["audit"]["delivered"] == 4900 and counts(v) == {}
    assert v["figures"]["missing_ranks"] == "none"


def test_a_recovered_crash_passes(synthetic: Any, judged: Any) -> None:
    v = judged(synthetic.crash())
    assert (v["verdict"], v["passed"]) == ("passed", True)
    assert v["summary"] == "recovered in 250 ms; each in its wave once"
    assert counts(v) == {}


def test_a_lost_wave_is_found(synthetic: Any, judged: Any) -> None:
    trial = synthetic.crash()
    del trial.rows[30]
    v = judged(trial)
    assert (v["verdict"], v["passed"]) == ("failed", False)
    assert counts(v) == {"lost": 10}
    assert v["reasons"] == ["stream 1: waves 300 to 309 never came out"]


def test_waves_lost_from_the_start_are_found(synthetic: Any, judged: Any) -> None:
    trial = synthetic.calm()
    del trial.rows[:2]
    v = judged(trial)
    assert counts(v) == {"lost": 20} and v["reasons"] == ["stream 1: waves 0 to 19 never came out"]


def test_a_duplicate_is_found(synthetic: Any, judged: Any) -> None:
    trial = synthetic.crash()
    t_s, granted_s, stream, contributors, first, _, complete, pad = trial.rows[40]
    trial.rows.insert(41, (t_s + 0.001, granted_s, stream, contributors, first + 7, 3, complete, pad))
    v = judged(trial)
    assert v["verdict"] == "failed" and counts(v) == {"duplicated": 3}
    assert v["reasons"] == ["stream 1: waves 407 to 409 came out again"]
    assert v["figures"]["audit"]["delivered"] == 4650


def test_a_wave_out_of_order_is_found(synthetic: Any, judged: Any) -> None:
    trial = synthetic.calm()
    a, b = trial.rows[50], trial.rows[51]
    trial.rows[50], trial.rows[51] = a[:4] + b[4:], b[:4] + a[4:]
    v = judged(trial)
    assert v["verdict"] == "failed" and counts(v) == {"disordered": 10}
    assert v["reasons"] == ["stream 1: wave 500 came out after a later one"]


def test_mixed_waves_are_the_workload_s_to_find(synthetic: Any, judged: Any) -> None:
    trial = synthetic.crash()
    trial.check = {"passed": False, "summary": "wave 12 holds wave 11 of rank 3", "counts": {"mixed": 1}, "violations": []}
    v = judged(trial)
    assert v["verdict"] == "failed" and v["figures"]["counts"]["mixed"] == 1
    assert v["reasons"] == ["the workload's check failed: wave 12 holds wave 11 of rank 3"]


def test_a_live_rank_that_is_missing_is_found(synthetic: Any, judged: Any) -> None:
    trial = synthetic.trial(synthetic.plan())
    trial.deliver(0.1, 1.0)
    trial.deliver(1.0, 1.05, ((0, 1), (2, 4)))
    trial.deliver(1.05, 2.0)
    v = judged(trial)
    assert v["verdict"] == "failed" and counts(v) == {"partial": 50, "degraded": 50}
    assert v["reasons"] == ["stream 1: wave 900 lacks rank 1, which was alive at 1.000 s"]
    assert v["figures"]["missing_ranks"] == "1"


def back_end_lost(synthetic: Any, action: str = "kill", **more: Any) -> Any:
    """Rank 1 (node 4) is hit at 2 s; from 2.2 s on waves come without it."""
    trial = synthetic.trial(synthetic.plan(**more))
    trial.deliver(0.1, 2.0)
    if action == "kill":
        trial.kill(4, 2.0)
    else:
        trial.plan["injections"].append(synthetic.injection(4, "stop", undo_after_s=1.5))
        trial.say(2.0, "fault", fault=0, action="stop", node=4)
        trial.say(2.004, "fault-confirmed", fault=0, node=4, effect="state T")
        trial.say(3.5, "fault-undone", fault=0, node=4)
    trial.say(2.01, "link-lost", node=1, peer=4, cause="closed")
    trial.say(2.19, "dead", node=0, member=4, ranks=[1])
    trial.deliver(2.2, 4.0, ((0, 1), (2, 4)))
    return trial


@pytest.mark.parametrize("action", ["kill", "stop"])
def test_a_rank_may_be_missing_after_its_death(synthetic: Any, judged: Any, action: str) -> None:
    v = judged(back_end_lost(synthetic, action))
    assert v["verdict"] == "passed" and counts(v) == {"partial": 1800}
    assert (v["figures"]["missing_ranks"], v["figures"]["dead_ranks"]) == ("1", "1")


def test_a_stopped_rank_is_alive_until_it_is_declared_dead(synthetic: Any, judged: Any) -> None:
    trial = back_end_lost(synthetic, "stop")
    trial.events = [e for e in trial.events if e["kind"] != "dead"]
    v = judged(trial)
    assert v["verdict"] == "failed" and counts(v)["degraded"] == 1800


def test_being_declared_dead_is_no_excuse_for_a_rank_that_nothing_struck(synthetic: Any, judged: Any) -> None:
    trial = synthetic.trial(synthetic.plan())
    trial.deliver(0.1, 2.0)
    trial.say(1.99, "dead", node=0, member=4, ranks=[1])
    trial.deliver(2.0, 3.0, ((0, 1), (2, 4)))
    v = judged(trial)
    assert v["verdict"] == "failed" and counts(v)["degraded"] == 1000


def test_a_rank_missing_before_it_was_killed_is_found(synthetic: Any, judged: Any) -> None:
    trial = synthetic.trial(synthetic.plan())
    trial.deliver(0.1, 1.0)
    trial.deliver(1.0, 3.0, ((0, 1), (2, 4)))
    trial.kill(4, 2.0)
    v = judged(trial)
    assert v["verdict"] == "failed" and 900 <= counts(v)["degraded"] <= 1000


def test_the_dead_never_come_back(synthetic: Any, judged: Any) -> None:
    trial = back_end_lost(synthetic)
    trial.deliver(4.0, 4.02)
    v = judged(trial)
    assert v["verdict"] == "failed" and counts(v) == {"partial": 1800, "risen": 20}
    assert v["reasons"] == ["stream 1: wave 3700 has rank 1 again, which had died at 2.000 s"]


def test_an_orphan_that_dies_soon_after_it_is_back_has_not_risen(synthetic: Any, judged: Any) -> None:
    """Under compose a wave may lack a rank for other reasons than its death, which the front-end alone can tell apart."""
    trial = synthetic.trial(synthetic.plan(recovery="compose", expect={"recovery": "equivalent"}))
    trial.deliver(0.1, 2.0)
    trial.deliver(2.0, 2.02, ((0, 1), (2, 4)))
    trial.deliver(2.02, 2.04)
    trial.kill(4, 2.03)
    trial.deliver(2.04, 3.0, ((0, 1), (2, 4)))
    trial.say(2.3, "dead", node=0, member=4, ranks=[1])
    assert "risen" not in counts(judged(trial))
    trial.deliver(3.0, 3.02)  # under way, or made before it heard of its death
    trial.deliver(3.02, 4.5, ((0, 1), (2, 4)))
    assert "risen" not in counts(judged(trial))
    trial.deliver(4.5, 4.52)  # more than a lease later it has been fenced
    assert counts(judged(trial))["risen"] == 20


def test_what_the_dead_had_sent_before_may_still_come_out(synthetic: Any, judged: Any) -> None:
    trial = synthetic.trial(synthetic.plan())
    trial.deliver(0.1, 2.0)
    trial.kill(4, 1.8)
    trial.deliver(2.0, 3.0, ((0, 1), (2, 4)))
    v = judged(trial)
    assert v["verdict"] == "passed" and "risen" not in counts(v)


@pytest.mark.parametrize(
    ("contributors", "complete", "reason"),
    [
        (((0, 3),), True, "stream 1: wave 900 is said to be complete though it lacks rank 3"),
        (((0, 4),), False, "stream 1: wave 900 is said to be partial though every member is in it"),
    ],
)
@pytest.mark.parametrize("expect", ["exact", "equivalent", "bounded-loss"])
def test_a_false_name_is_found_whatever_is_expected(
    synthetic: Any, judged: Any, contributors: Any, complete: bool, reason: str, expect: str
) -> None:
    trial = synthetic.trial(synthetic.plan(expect={"recovery": expect}))
    trial.deliver(0.1, 1.0)
    trial.deliver(1.0, 1.01, contributors, complete)
    v = judged(trial)
    assert v["verdict"] == "failed" and counts(v)["misnamed"] == 10 and reason in v["reasons"]


def test_a_stranger_is_found(synthetic: Any, judged: Any) -> None:
    trial = synthetic.trial(synthetic.plan(workload={"kind": "reduce-stream", "members": [0, 1, 2]}))
    trial.deliver(0.1, 1.0, ((0, 3),), True)
    trial.deliver(1.0, 1.01, ((0, 4),), True)
    v = judged(trial)
    assert v["reasons"] == ["stream 1: wave 900 names rank 3, which is no member of the stream"]


def test_the_members_of_a_stream_are_those_of_its_opening(synthetic: Any, judged: Any) -> None:
    trial = synthetic.trial(synthetic.plan())
    trial.say(0.05, "stream-opened", stream=1, members=[[1, 3]])
    trial.deliver(0.1, 1.0, ((1, 3),), True)
    v = judged(trial)
    assert v["verdict"] == "passed" and counts(v) == {}


@pytest.mark.parametrize(("expect", "verdict"), [("exact", "failed"), ("bounded-loss", "passed"), ("equivalent", "passed")])
def test_only_exact_forbids_gaps_and_partial_waves(synthetic: Any, judged: Any, expect: str, verdict: str) -> None:
    trial = synthetic.trial(synthetic.plan(expect={"recovery": expect}, recovery="resume"))
    trial.deliver(0.1, 1.0)
    trial.deliver(1.0, 1.05, ((0, 3),))
    trial.deliver(1.05, 2.0)
    del trial.rows[95]
    v = judged(trial)
    assert v["verdict"] == verdict and counts(v)["lost"] == 10


def test_only_equivalent_allows_repeats(synthetic: Any, judged: Any) -> None:
    found = []
    for i, expect in enumerate(("equivalent", "bounded-loss")):
        trial = synthetic.calm(index=i, expect={"recovery": expect})
        trial.rows.insert(30, trial.rows[29])
        found.append(judged(trial)["verdict"])
    assert found == ["passed", "failed"]


def test_a_policy_may_leave_out_whoever_is_late(synthetic: Any, judged: Any) -> None:
    trial = synthetic.trial(synthetic.plan(accept="quorum"))
    trial.deliver(0.1, 1.0)
    trial.deliver(1.0, 1.05, ((0, 3),))
    v = judged(trial)
    assert v["verdict"] == "passed" and counts(v) == {"partial": 50, "degraded": 50}


def test_without_waiting_waves_come_in_pieces(synthetic: Any, judged: Any) -> None:
    def piece(t_s: float, rank: int, first: int, count: int) -> tuple[Any, ...]:
        return (t_s, t_s - 0.001, 1, rank + 1, first, count, False, b"")

    trial = synthetic.trial(synthetic.plan(sync="do-not-wait"))
    trial.sets += [RankSet.of([r]) for r in range(4)]
    trial.rows = [piece(0.1 + r / 100, r, 0, 10) for r in range(4)] + [piece(0.2, 3, 10, 10), piece(0.21, 0, 10, 5)]
    v = judged(trial)
    assert v["verdict"] == "passed" and v["figures"]["audit"]["delivered"] == 20 and "duplicated" not in counts(v)
    trial.rows.append(piece(0.3, 3, 15, 10))
    v = judged(trial)
    assert v["verdict"] == "failed" and counts(v)["duplicated"] == 5
    assert v["reasons"] == ["stream 1: waves 15 to 19 came out again with rank 3"]


def test_a_fault_that_nobody_saw_is_never_survived(synthetic: Any, judged: Any) -> None:
    trial = synthetic.crash()
    trial.events = [e for e in trial.events if e["kind"] != "fault-confirmed"]
    v = judged(trial)
    assert (v["verdict"], v["passed"]) == ("infrastructure", None)
    assert v["reasons"] == ["fault 0 (crash of node 1 at 2 s) was done at 2.000 s, but nobody saw its effect"]


def test_a_fault_that_was_not_done_is_never_survived(synthetic: Any, judged: Any) -> None:
    trial = synthetic.calm()
    trial.plan["injections"] = [synthetic.injection(at_s=9.0)]
    v = judged(trial)
    assert v["verdict"] == "infrastructure" and "was never done" in v["reasons"][0]


def test_a_stop_that_was_not_taken_back_is_told(synthetic: Any, judged: Any) -> None:
    trial = back_end_lost(synthetic, "stop")
    trial.events = [e for e in trial.events if e["kind"] != "fault-undone"]
    assert "never taken back" in judged(trial)["reasons"][0]
    trial.say(4.1, "node-exited", node=4, status=-9)
    assert judged(trial)["verdict"] == "passed"


def test_a_death_that_nobody_planned_puts_the_trial_in_doubt(synthetic: Any, judged: Any) -> None:
    trial = synthetic.calm()
    trial.say(3.0, "node-exited", node=2, status=-9)
    v = judged(trial)
    assert v["verdict"] == "infrastructure"
    assert v["reasons"] == ["node 2 was ended by signal 9 at 3.000 s, and no fault did it"]


def test_a_workload_that_ends_early_fails(synthetic: Any, judged: Any) -> None:
    trial = synthetic.crash()
    trial.events[-1].update(ok=False, reason="DeadlineExceeded: wave 1900")
    v = judged(trial)
    assert v["verdict"] == "failed" and v["reasons"] == ["the workload ended early: DeadlineExceeded: wave 1900"]


@pytest.mark.parametrize("check", [None, {"passed": None, "summary": "the workload never started", "counts": {}}])
def test_without_a_check_nothing_is_said(synthetic: Any, judged: Any, check: Any) -> None:
    trial = synthetic.calm()
    trial.check = check
    v = judged(trial)
    assert (v["verdict"], v["passed"]) == ("invalid", None) and v["reasons"][0].startswith("nothing can be said")


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [("interrupted", "interrupted"), ("unfinished", "interrupted"), ("infrastructure", "infrastructure")],
)
def test_a_trial_that_was_not_measured_is_never_passed(synthetic: Any, judged: Any, outcome: str, verdict: str) -> None:
    trial = synthetic.crash()
    trial.outcome, trial.reason = outcome, "the agent is gone"
    v = judged(trial)
    assert (v["verdict"], v["passed"], v["reasons"]) == (verdict, None, ["the agent is gone"])
    assert v["figures"]["waves"] == 4650


def test_a_record_that_is_not_whole_is_no_evidence(synthetic: Any, tmp_path: Path) -> None:
    trial = synthetic.calm()
    plan = {**trial.for_judge(), "record_notes": ["samples.bin is missing"]}
    v = harness_judge(trial.record(tmp_path), plan)
    assert v["verdict"] == "infrastructure" and v["reasons"] == ["the record is not whole: samples.bin is missing"]


def test_reasons_are_bounded_and_counts_are_not(synthetic: Any, judged: Any) -> None:
    trial = synthetic.calm()
    trial.rows = trial.rows[::2]
    v = judged(trial)
    assert len(v["reasons"]) <= 13 and counts(v)["lost"] == 10 * 244


def test_ten_million_waves_are_judged_from_their_rows(synthetic: Any) -> None:
    """50,000 rows, a thousand contributor sets, 64 back-ends: only work by row and by set is affordable."""
    n = 50_000
    rows = np.zeros(n, dtype=SAMPLE_DTYPE)
    rows["count"] = 200
    rows["first"] = 200 * np.arange(n)
    rows["t_s"] = np.linspace(0.1, 60.0, n)
    rows["granted_s"] = rows["t_s"] - 0.001
    rows["stream"] = 1
    rows["contributors"] = np.arange(n) % 1000
    tree = Tree.from_parents([None, *[0] * 8, *[1 + i // 8 for i in range(64)]])
    sets = [RankSet([(0, 64)])] + [RankSet([(0, 64)]) - RankSet.of([i % 64, (i * 7) % 64]) for i in range(1, 1000)]
    rows["complete"] = rows["contributors"] == 0
    plan = synthetic.plan()
    record = TrialRecord(plan, tree, [], rows, np.zeros(1), sets)
    v = harness_judge(record, {**plan, "check": {"passed": True, "summary": "", "counts": {}}})
    assert v["figures"]["audit"]["delivered"] == 10_000_000
    assert v["figures"]["audit"]["degraded"] == 10_000_000 - 200 * (n // 1000)
