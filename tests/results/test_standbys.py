"""What a report says of a standby: who took over, how long the users of the streams waited, who is in charge at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness_results.report import report
from harness_results.standbys import lines_of, longest_pause
from harness_results.verdict import judge_trial

TREE = {"parents": [None, 0, 0, 1, 1, 2, 2], "hosts": [0] * 7, "standby": 1}


def lost(synthetic: Any, node: int, back_s: float) -> Any:
    """A trial in which `node` is killed at 2 s, waves come out for 100 ms more, and then no more until `back_s`."""
    trial = synthetic.trial(synthetic.plan("crash", 0, tree=TREE))
    trial.say(0.05, "workload-started")
    trial.deliver(0.1, 2.1)
    trial.kill(node, 2.0)
    trial.deliver(back_s, 5.0)
    return trial


def figures(trial: Any, directory: Path) -> Any:
    return judge_trial(trial.record(directory), trial.for_judge())["figures"]["standby"]


def test_a_standby_that_took_over(synthetic: Any, tmp_path: Path) -> None:
    trial = lost(synthetic, 0, 4.0)
    trial.say(2.0125, "took-over", node=1, generation=1, lost=0, votes=4)
    trial.say(5.0, "finished", ok=True, reason="")
    found = figures(trial, tmp_path)
    (turn,) = found["turns"]
    assert (turn["what"], turn["node"], turn["lost"], turn["fault"], found["front_end"]) == ("took-over", 1, 0, "crash", 1)
    assert turn["after_ms"] == pytest.approx(12.5)
    assert (turn["pause_ms"], turn["pause_s"]) == (pytest.approx(1910.0), pytest.approx(2.09))
    assert lines_of(found, "in trial 0") == [
        "standby in trial 0: node 1 took over at 2.013 s, 12 ms after the crash of node 0, with 4 votes; front-end at the end: "
        "node 1",
        "users waited in trial 0: no wave came out for 1,910 ms from 2.090 s on; 10 ms at most before",
    ]


def test_a_front_end_that_goes_on_alone(synthetic: Any, tmp_path: Path) -> None:
    trial = lost(synthetic, 1, 4.0)
    trial.say(4.0, "alone", node=0, standby=1, votes=4)
    trial.say(5.0, "finished", ok=True, reason="")
    found = figures(trial, tmp_path)
    assert found["front_end"] == 0
    first, second = lines_of(found, "in trial 3")
    assert "in trial 3: node 0 went on without its standby at 4.000 s, 2,000 ms after the crash of node 1" in first
    assert "no wave came out for 1,910 ms from 2.090 s on" in second


def test_a_front_end_that_nobody_followed(synthetic: Any, tmp_path: Path) -> None:
    trial = lost(synthetic, 0, 5.0)
    trial.rows = trial.rows[:150]
    trial.say(3.0, "finished", ok=False, reason="the front-end's process is gone")
    assert lines_of(figures(trial, tmp_path), "in trial 0") == [
        "standby in trial 0: crash of node 0 at 2.000 s; node 1 did not take over; front-end at the end: nobody",
        "users waited in trial 0: no wave came out after 2.000 s",
    ]


def test_who_is_front_end_at_the_end(synthetic: Any, tmp_path: Path) -> None:
    """A run that was interrupted still has one; one whose standby was killed after it had taken over has none."""
    trial = lost(synthetic, 0, 4.0)
    trial.say(2.0125, "took-over", node=1, generation=1, lost=0, votes=4)
    trial.say(5.0, "finished", ok=False, reason="stopped by the harness")
    assert figures(trial, tmp_path / "stopped")["front_end"] == 1
    trial.kill(1, 4.5, fault=1)
    assert figures(trial, tmp_path / "killed")["front_end"] is None


def test_the_next_fault_s_pause_is_another(synthetic: Any, tmp_path: Path) -> None:
    trial = lost(synthetic, 0, 2.2)
    trial.say(2.01, "took-over", node=1, generation=1, lost=0, votes=4)
    trial.rows = [row for row in trial.rows if not 3.0 < row[0] < 4.0]
    trial.say(5.0, "finished", ok=True, reason="")
    record = trial.record(tmp_path)
    length, began = longest_pause(record, 2.0, float("inf")) or (0.0, 0.0)
    assert (length, began) == (pytest.approx(1.0, abs=0.03), pytest.approx(3.0, abs=0.02))
    trial.kill(5, 2.5, fault=1)
    (turn,) = figures(trial, tmp_path / "again")["turns"]
    assert turn["pause_ms"] == pytest.approx(110.0)


def test_nothing_is_said_where_nothing_happened(synthetic: Any, tmp_path: Path) -> None:
    calm, other, alone = synthetic.calm(tree=TREE), synthetic.crash(), synthetic.crash(tree=TREE | {"standby": 2})
    for i, trial in enumerate((calm, other, alone)):
        assert figures(trial, tmp_path / str(i)) is None
    assert lines_of(None, "in trial 0") == []


def test_the_report_has_it(synthetic: Any, tmp_path: Path) -> None:
    trial = lost(synthetic, 0, 4.0)
    trial.say(2.0125, "took-over", node=1, generation=1, lost=0, votes=4)
    trial.say(5.0, "finished", ok=True, reason="")
    document, text = report(synthetic.write_run(tmp_path / "run", [trial, synthetic.crash(index=1)]), 200)
    assert [t["standby"] is None for t in document["cases"][0]["each"]] == [False, True]
    assert "  standby in trial 0: node 1 took over" in text and "  users waited in trial 0: no wave came out for" in text
    assert "in trial 1" not in text
