"""Phases, orphans, throughput and latency around faults: figures that can be worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness_results import harness_judge
from harness_results.expectations import judge_expectations


@pytest.fixture
def figures(tmp_path: Path) -> Any:
    return lambda trial: harness_judge(trial.record(tmp_path / trial.plan["trial"]), trial.for_judge())["figures"]


def ends(fault: dict[str, Any]) -> dict[str, float | None]:
    return {p["phase"]: p["end_ms"] for p in fault["phases"]}


def test_the_phases_of_a_crash(synthetic: Any, figures: Any) -> None:
    (fault,) = figures(synthetic.crash())["faults"]
    assert ends(fault) == {
        "detect": 10.0,
        "choose": 12.0,
        "connect": 21.0,
        "rebuild": 30.0,
        "first-wave": 250.0,
        "first-complete-wave": 250.0,
    }
    assert [p["length_ms"] for p in fault["phases"]] == [10.0, 2.0, 9.0, 9.0, 220.0, 0.0]
    assert (fault["recovery_ms"], fault["rebuilt_by"]) == (250.0, "replay")
    assert [(o["node"], o["adopter"], o["attempts"], o["reattached_ms"]) for o in fault["orphans"]] == [
        (3, 2, 1, 20.0),
        (4, 2, 1, 21.0),
    ]
    assert (fault["done_s"], fault["confirmed_s"], fault["effect"], fault["doubt"]) == (2.0, 2.004, "exited by signal 9", None)


def test_attempts_that_failed_belong_to_their_orphan(synthetic: Any, figures: Any) -> None:
    trial = synthetic.crash()
    trial.say(2.0115, "adopter-refused", node=3, adopter=2, reason="closing")
    trial.say(2.012, "adopter-chosen", node=3, lost=1, adopter=0, attempt=2)
    for e in trial.events:
        if e["kind"] == "reattached" and e.get("child") == 3:
            e.update(node=0, parent=0)
    (fault,) = figures(trial)["faults"]
    first, second = fault["orphans"]
    assert (first["adopter"], first["attempts"], first["refused"], first["chosen_ms"]) == (0, 2, 1, 12.0)
    assert (second["adopter"], second["attempts"], second["refused"]) == (2, 1, 0)


def test_waves_that_were_under_way_are_no_recovery(synthetic: Any, figures: Any) -> None:
    """The front-end still delivers a whole batch 8 ms after the fault, when nobody has noticed it yet; the next one is the
    first after the recovery, as the front-end says and as the samples show where it says nothing."""
    trial = synthetic.crash()
    row = next(i for i, r in enumerate(trial.rows) if r[0] > 2.0)
    trial.rows[row] = (2.008, *trial.rows[row][1:])
    for event in trial.events:
        if event["kind"] in ("first-wave", "first-complete-wave"):
            event.update(t_s=2.263, wave=1915)
    (fault,) = figures(trial)["faults"]
    assert fault["recovery_ms"] == pytest.approx(260.0) and ends(fault)["first-wave"] == pytest.approx(260.0)
    trial.events = [e for e in trial.events if e["kind"] != "first-complete-wave"]
    (fault,) = figures(trial)["faults"]
    assert fault["recovery_ms"] == pytest.approx(260.0)


def test_the_first_complete_wave_after_another_fault_is_that_fault_s(synthetic: Any, figures: Any) -> None:
    """The front-end names one whole wave, after the second crash; the first recovery was over before, as the samples show."""
    trial = synthetic.trial(synthetic.plan())
    trial.deliver(0.1, 2.0)
    trial.kill(1, 2.0, fault=0)
    trial.recover(1, 2.0)
    trial.deliver(2.25, 3.0)
    trial.kill(2, 3.0, fault=1)
    trial.recover(2, 3.0, adopter=0, orphans=(3, 4, 5, 6))
    trial.say(3.302, "first-complete-wave", stream=1, wave=2650)
    trial.deliver(3.3, 5.0)
    one, two = figures(trial)["faults"]
    assert (one["recovery_ms"], two["recovery_ms"]) == (pytest.approx(250.0), pytest.approx(300.0))


def test_partial_waves_during_a_recovery_do_not_end_it(synthetic: Any, figures: Any) -> None:
    trial = synthetic.trial(synthetic.plan(expect={"recovery": "bounded-loss"}))
    trial.deliver(0.1, 2.0)
    trial.kill(1, 2.0)
    trial.recover(1, 2.0)
    trial.say(2.06, "first-wave", stream=1, wave=1900)
    trial.deliver(2.06, 2.36, ((2, 4),))
    trial.deliver(2.36, 5.0)
    (fault,) = figures(trial)["faults"]
    assert ends(fault)["first-wave"] == 60.0
    assert fault["recovery_ms"] == pytest.approx(360.0)


def test_two_crashes_at_once_have_their_own_phases_and_one_steady_window(synthetic: Any, figures: Any) -> None:
    trial = synthetic.trial(synthetic.plan())
    trial.deliver(0.1, 2.0)
    trial.kill(1, 2.0, fault=0)
    trial.kill(2, 2.04, fault=1)
    trial.recover(1, 2.0, adopter=0)
    trial.recover(2, 2.04, adopter=0, orphans=(5, 6))
    trial.say(2.30, "first-complete-wave", stream=1, wave=1900)
    trial.deliver(2.30, 5.0)
    one, two = figures(trial)["faults"]
    assert (one["recovery_ms"], two["recovery_ms"]) == (pytest.approx(300.0), pytest.approx(260.0))
    assert (ends(one)["detect"], ends(two)["detect"]) == (10.0, 10.0)
    assert [o["node"] for o in one["orphans"]] == [3, 4] and [o["node"] for o in two["orphans"]] == [5, 6]
    assert one["before"] == two["before"] and one["before"]["end_s"] == 2.0


def test_two_crashes_apart_have_steady_windows_of_their_own(synthetic: Any, figures: Any) -> None:
    trial = synthetic.trial(synthetic.plan())
    trial.deliver(0.1, 2.0)
    trial.kill(1, 2.0, fault=0)
    trial.recover(1, 2.0)
    trial.deliver(2.25, 4.0)
    trial.kill(2, 4.0, fault=1)
    trial.recover(2, 4.0, adopter=0, orphans=(3, 4, 5, 6))
    trial.deliver(4.3, 6.0)
    one, two = figures(trial)["faults"]
    assert one["after"]["end_s"] == 4.0 and two["before"]["end_s"] == 4.0
    assert two["before"]["start_s"] == pytest.approx(2.25 + 0.25 * 1.75)
    assert [o["node"] for o in two["orphans"]] == [3, 4, 5, 6]
    assert (one["recovery_ms"], two["recovery_ms"]) == (pytest.approx(250.0), pytest.approx(300.0))


def test_a_parent_and_its_child_at_once(synthetic: Any, figures: Any) -> None:
    """Node 1 and its child 3 (rank 0): the child is no orphan to wait for, and whole waves lack it. No neighbour is left to
    notice the child's end, but the front-end declares it dead, and whole waves follow."""
    trial = synthetic.trial(synthetic.plan())
    trial.deliver(0.1, 2.0)
    trial.kill(1, 2.0, fault=0)
    trial.kill(3, 2.0, fault=0)
    trial.recover(1, 2.0, orphans=(4,))
    trial.say(2.2, "dead", node=0, member=3, ranks=[0])
    trial.deliver(2.3, 5.0, ((1, 4),))
    parent, child = figures(trial)["faults"]
    assert [o["node"] for o in parent["orphans"]] == [4]
    assert parent["recovery_ms"] == pytest.approx(300.0)
    assert child["orphans"] == [] and ends(child)["detect"] is None
    assert child["recovery_ms"] == pytest.approx(300.0)


def test_a_back_end_s_death_is_over_when_it_is_declared(synthetic: Any, figures: Any) -> None:
    trial = synthetic.trial(synthetic.plan())
    trial.deliver(0.1, 2.1)
    trial.kill(4, 2.0)
    trial.say(2.01, "link-lost", node=1, peer=4, cause="closed")
    trial.say(2.25, "dead", node=0, member=4, ranks=[1])
    trial.deliver(2.3, 4.0, ((0, 1), (2, 4)))
    (fault,) = figures(trial)["faults"]
    assert fault["orphans"] == [] and fault["rebuilt_by"] == "nothing"
    assert ends(fault)["choose"] is None and ends(fault)["detect"] == 10.0
    assert fault["recovery_ms"] == pytest.approx(300.0)


def test_what_nobody_noticed_needed_no_recovery(synthetic: Any, figures: Any) -> None:
    trial = synthetic.calm()
    trial.plan["injections"] = [synthetic.injection(2, "stop", undo_after_s=0.1)]
    trial.say(2.0, "fault", fault=0, action="stop", node=2)
    trial.say(2.0, "fault-confirmed", fault=0, node=2, effect="state T")
    trial.say(2.1, "fault-undone", fault=0, node=2)
    (fault,) = figures(trial)["faults"]
    assert fault["recovery_ms"] is None and fault["after"] is None
    assert fault["during"]["waves"] == 3000


def hang_that_goes_on_late(synthetic: Any, goes_on_s: float, finished_s: float) -> Any:
    """Node 1 and its child 3 (rank 0) stand still from 2 s on; the tree does without them from 2.3 s on. Then both go on:
    the child looks for a new parent, and tells so."""
    trial = synthetic.trial(synthetic.plan())
    trial.deliver(0.1, 2.0)
    for node in (1, 3):
        trial.plan["injections"].append(synthetic.injection(node, "stop", 2.0, undo_after_s=goes_on_s - 2.0))
        trial.say(2.0, "fault", fault=0, action="stop", node=node)
        trial.say(2.0, "fault-confirmed", fault=0, node=node, effect="state T")
        trial.say(goes_on_s, "fault-undone", fault=0, node=node)
    trial.recover(1, 2.0, orphans=(4,))
    trial.say(2.2, "dead", node=0, member=3, ranks=[0])
    trial.say(2.3, "first-complete-wave", stream=1, wave=1900)
    trial.deliver(2.3, finished_s, ((1, 4),))
    trial.say(finished_s, "finished", ok=True, reason="")
    trial.recover(1, goes_on_s, orphans=(3,))
    return trial


@pytest.mark.parametrize(("goes_on_s", "finished_s"), [(4.0, 5.0), (6.0, 5.0)], ids=["in mid-run", "after the end"])
def test_what_a_struck_node_does_when_it_goes_on_is_no_phase(
    synthetic: Any, figures: Any, goes_on_s: float, finished_s: float
) -> None:
    (fault, _) = figures(hang_that_goes_on_late(synthetic, goes_on_s, finished_s))["faults"]
    assert [o["node"] for o in fault["orphans"]] == [4]
    assert ends(fault) == {
        "detect": 10.0,
        "choose": 11.0,
        "connect": 20.0,
        "rebuild": 29.0,
        "first-wave": pytest.approx(300.0),
        "first-complete-wave": pytest.approx(300.0),
    }


def test_a_straggler_s_later_attempts_are_no_phase(synthetic: Any, figures: Any) -> None:
    """An orphan that another fault holds up is declared dead before it moves, or finds no adopter in time; the waves have
    long been whole again."""
    trial = synthetic.crash()
    for t_s in (4.0, 4.5, 5.5):
        trial.say(t_s, "adopter-chosen", node=3, lost=1, adopter=0, attempt=2)
        trial.say(t_s + 0.001, "replayed", node=3, stream=1, wave=1, count=5)
    (fault,) = figures(trial)["faults"]
    assert (ends(fault)["choose"], ends(fault)["rebuild"]) == (12.0, 30.0)
    assert [(o["node"], o["attempts"]) for o in fault["orphans"]] == [(3, 1), (4, 1)]


def test_steps_after_the_end_of_the_workload_are_no_phase(synthetic: Any, figures: Any) -> None:
    """No whole wave came out any more, so that only the end of the workload bounds what belongs to the recovery."""
    trial = synthetic.trial(synthetic.plan())
    trial.deliver(0.1, 2.0)
    trial.kill(1, 2.0)
    trial.recover(1, 2.0, orphans=(4,))
    trial.say(2.5, "finished", ok=False, reason="DeadlineExceeded")
    trial.recover(1, 3.0, orphans=(3,))
    (fault,) = figures(trial)["faults"]
    assert (ends(fault)["choose"], ends(fault)["connect"], ends(fault)["rebuild"]) == (11.0, 20.0, 29.0)
    assert fault["recovery_ms"] is None and fault["recovery_needed"]


def test_throughput_and_latency_around_a_crash(synthetic: Any, figures: Any) -> None:
    trial = synthetic.trial(synthetic.plan())
    trial.deliver(0.1, 2.0, latency_s=0.002)
    trial.kill(1, 2.0)
    trial.recover(1, 2.0)
    trial.say(2.25, "first-complete-wave", stream=1, wave=1900)
    trial.deliver(2.25, 2.26, latency_s=0.252)
    trial.deliver(2.26, 5.0, latency_s=0.003)
    (fault,) = figures(trial)["faults"]
    assert fault["before"]["start_s"] == pytest.approx(0.1 + 0.25 * 1.9)
    assert fault["before"]["waves_per_s"] == pytest.approx(1000, rel=0.005)
    assert fault["before"]["latency_ms"] == pytest.approx(dict.fromkeys(("p50", "p90", "p99", "p99.9", "max"), 2.0), abs=1e-3)
    assert (fault["during"]["waves"], fault["ratio_during"]) == (0, 0.0)
    assert fault["after"]["waves"] == 2750 and fault["ratio_after"] == pytest.approx(1.0, rel=0.01)
    assert fault["after"]["latency_ms"]["max"] == pytest.approx(252, abs=0.1)
    assert fault["after"]["latency_ms"]["p99"] == pytest.approx(3, abs=0.1)
    assert fault["back_s"] == pytest.approx(0.25, abs=0.011)
    assert fault["lost_waves"] == pytest.approx(250, abs=12)


def ramp(synthetic: Any, level: int, back_s: float) -> Any:
    """After the recovery at 2.25 s only `level` of ten waves come in each batch, until `back_s`."""
    trial = synthetic.crash()
    first = 0
    for i, (t_s, granted_s, stream, sets, _, count, complete, pad) in enumerate(trial.rows):
        count = level if 2.25 <= t_s < back_s else count
        trial.rows[i] = (t_s, granted_s, stream, sets, first, count, complete, pad)
        first += count
    return trial


def test_throughput_is_back_only_when_it_stays(synthetic: Any, figures: Any) -> None:
    (fault,) = figures(ramp(synthetic, 5, 3.0))["faults"]
    assert fault["recovery_ms"] == 250.0
    assert fault["back_s"] == pytest.approx(1.0, abs=0.06)
    # 250 waves while nothing came out, and half of 750 after that.
    assert fault["lost_waves"] == pytest.approx(625, abs=40)


def test_a_burst_is_no_return(synthetic: Any, figures: Any) -> None:
    trial = ramp(synthetic, 5, 9.0)
    burst = next(i for i, r in enumerate(trial.rows) if r[0] >= 2.3)
    rows = [list(r) for r in trial.rows]
    rows[burst][5] += 200
    for r in rows[burst + 1 :]:
        r[4] += 200
    trial.rows = [tuple(r) for r in rows]
    (fault,) = figures(trial)["faults"]
    assert fault["back_s"] is None and fault["back_judged_s"] == pytest.approx(2.7, abs=0.05)


def test_rare_waves_get_wider_bins(synthetic: Any, figures: Any) -> None:
    """Five waves a second: a bin of 100 ms would hold one or none."""
    trial = synthetic.trial(synthetic.plan())
    trial.rows = [(0.2 * i, 0.2 * i - 0.01, 1, 0, i, 1, True, b"") for i in range(1, 200) if not 20.0 < 0.2 * i < 21.0]
    trial.rows = [(*r[:4], i, *r[5:]) for i, r in enumerate(trial.rows)]
    trial.kill(1, 20.05)
    trial.recover(1, 20.05)
    (fault,) = figures(trial)["faults"]
    assert fault["back_s"] == pytest.approx(0.95, abs=0.3)


def faults_of(**fields: Any) -> dict[str, Any]:
    return {"faults": [{"recovery_ms": None, "back_s": None, "back_judged_s": 9.0, **fields}]}


def test_percentiles_are_over_trials_and_take_the_slowest_recovery_of_each() -> None:
    trials = [faults_of(recovery_ms=float(t)) for t in range(1, 100)]
    trials.append({"faults": [{"recovery_ms": 5.0}, {"recovery_ms": 900.0}]})
    p99, most = judge_expectations({"recovery_ms": {"p99": 99.0, "max": 500.0}}, trials)
    assert (p99.verdict, p99.reason) == ("passed", "recovery p99 over 100 trials is 99.0 ms and is within 99 ms")
    assert (most.verdict, most.reason) == ("failed", "the slowest recovery over 100 trials is 900.0 ms and exceeds 500 ms")


def test_recoveries_that_nobody_saw_to_their_end() -> None:
    (none,) = judge_expectations({"recovery_ms": {"p50": 10.0}}, [faults_of()])
    assert none.verdict == "invalid"
    (some,) = judge_expectations({"recovery_ms": {"p50": 10.0}}, [faults_of(), faults_of(recovery_ms=8.0)])
    assert some.verdict == "passed" and "in 1 more no recovery was seen to its end" in some.reason


@pytest.mark.parametrize(
    ("times", "verdict", "text"),
    [
        ([0.2, 0.4, 3.0], "passed", "95% of the steady throughput was back after 0.40 s (median over 3 trials), within 1 s"),
        ([0.2, 1.2, 3.0], "failed", "back after 1.20 s (median over 3 trials), not within 1 s"),
        ([0.2, None, None], "failed", "back never (median over 3 trials), not within 1 s, and not at all in 2 of them"),
    ],
)
def test_throughput_is_expected_of_the_median_trial(times: list[float | None], verdict: str, text: str) -> None:
    expect = {"throughput": {"min_ratio_to_steady": 0.95, "within_s": 1.0}}
    (found,) = judge_expectations(expect, [faults_of(back_s=t) for t in times])
    assert found.verdict == verdict and text in found.reason


def test_throughput_of_trials_that_ended_too_soon_cannot_be_told() -> None:
    expect = {"throughput": {"min_ratio_to_steady": 0.95, "within_s": 1.0}}
    (found,) = judge_expectations(expect, [faults_of(back_judged_s=0.4), {"faults": []}])
    assert found.verdict == "invalid" and "no trial ran long enough" in found.reason


def test_latency_is_weighted_by_waves(synthetic: Any, figures: Any) -> None:
    trial = synthetic.trial(synthetic.plan())
    counts = [1, 997, 2]
    trial.rows = [(1.0 + i, 1.0 + i - 0.001 * 10**i, 1, 0, sum(counts[:i]), n, True, b"") for i, n in enumerate(counts)]
    found = figures(trial)["whole"]["latency_ms"]
    expanded = np.repeat([1.0, 10.0, 100.0], counts)
    for name, q in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)):
        assert found[name] == pytest.approx(float(np.quantile(expanded, q)), abs=0.01)
