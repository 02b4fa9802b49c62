"""Whole runs: the document and the text are functions of the directory alone; frames are what COLUMNS says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.api.errors import InfrastructureError
from harness.run.journal import FILE_NAME
from harness.run.record import load_trial, read_run
from harness_results import harness_judge, harness_report, load
from harness_results.frames import COLUMNS

EXPECT = {
    "recovery": "exact",
    "recovery_ms": {"p99": 500.0},
    "throughput": {"min_ratio_to_steady": 0.95, "within_s": 1.0},
}


@pytest.fixture
def judge(tmp_path: Path) -> Any:
    def verdict(trial: Any) -> dict[str, Any]:
        directory = tmp_path / "judged" / trial.plan["trial"]
        trial.write(directory)
        record, _ = load_trial(directory, trial.plan, trial.events)
        return json.loads(json.dumps(harness_judge(record, trial.for_judge())))

    return verdict


def test_a_good_run(synthetic: Any, tmp_path: Path) -> None:
    trials = [synthetic.crash(index=i, back_s=2.25 + i / 100, expect=EXPECT) for i in range(3)]
    document, text = harness_report(synthetic.write_run(tmp_path / "run", trials), 100)
    assert (document["schema"], document["verdict"], document["exit_code"]) == (1, "passed", 0)
    assert document["run"] == str(tmp_path / "run") and document["command"] == "harness run synthetic.toml"
    (case,) = document["cases"]
    assert case["trials"]["planned"] == case["trials"]["passed"] == 3
    assert case["counts"] == {"delivered": 13920, "lost": 0, "duplicated": 0, "mixed": 0, "partial": 0}
    assert case["recovery_ms"] == {"p50": 260.0, "p90": 270.0, "p99": 270.0, "max": 270.0, "n": 3}
    assert [e["verdict"] for e in case["expectations"]] == ["passed", "passed"]
    assert case["phases"]["steps"][-1]["end_ms"] == 260.0 and case["phases"]["steps"][-1]["worst_end_ms"] == 270.0
    assert case["throughput"]["back_s"]["median"] == pytest.approx(0.26, abs=0.011)
    assert text.startswith("PASSED  synthetic: 1 case, 3 of 3 trials passed\n")
    for words in ("first-complete-wave", "p99.9", "recovery p99 over 3 trials is 270.0 ms", "harness run synthetic.toml"):
        assert words in text
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_the_report_is_a_function_of_the_directory(synthetic: Any, tmp_path: Path, judge: Any) -> None:
    bad = synthetic.crash(index=1)
    del bad.rows[30]
    run_dir = synthetic.write_run(tmp_path / "run", [synthetic.crash(), bad, synthetic.calm("calm")], judge=judge)
    first = harness_report(run_dir, 90)
    tables = {p.name: p.read_bytes() for p in (run_dir / "frames").iterdir()}
    shutil.rmtree(run_dir / "frames")
    assert harness_report(run_dir, 90) == first
    assert {p.name: p.read_bytes() for p in (run_dir / "frames").iterdir()} == tables
    for trial in read_run(run_dir).trials:
        again = harness_judge(trial.record, trial.for_judge())
        assert json.loads(json.dumps(again)) == trial.verdict
    assert first[0]["notes"] == []


def test_a_recorded_verdict_that_does_not_hold_is_told(synthetic: Any, tmp_path: Path) -> None:
    run_dir = synthetic.write_run(tmp_path / "run", [synthetic.calm()], judge=lambda _: {"verdict": "failed"})
    document, text = harness_report(run_dir, 100)
    assert document["notes"] == ["crash-t0: the verdict was 'failed' when the trial ran and is 'passed' now"]
    assert document["notes"][0] in text


def test_who_sent_garbage_is_named(synthetic: Any, tmp_path: Path) -> None:
    spoilt, fine = synthetic.calm(index=0), synthetic.calm(index=1)
    for t_s, peer, message in ((1.0, 3, "no frame"), (1.1, 4, "too long"), (1.2, 3, "no frame either")):
        spoilt.say(t_s, "protocol-error", node=1, peer=peer, message=message)
    document, text = harness_report(synthetic.write_run(tmp_path / "run", [spoilt, fine]), 100)
    assert document["notes"] == [
        "crash-t0: node 1 was sent garbage by node 3: no frame (the first of 2 times)",
        "crash-t0: node 1 was sent garbage by node 4: too long",
    ]
    assert document["verdict"] == "passed"
    assert all(f"note: {n}" in text for n in document["notes"])


def failed(synthetic: Any) -> Any:
    trial = synthetic.calm("bad")
    del trial.rows[30]
    return trial


def spoilt(synthetic: Any, outcome: str, reason: str = "why") -> Any:
    trial = synthetic.calm(outcome)
    trial.outcome, trial.reason = outcome, reason
    return trial


def unjudged(synthetic: Any) -> Any:
    trial = synthetic.calm("unjudged")
    trial.check = {"passed": None, "summary": "no oracle", "counts": {}}
    return trial


@pytest.mark.parametrize(
    ("kinds", "last", "verdict", "code"),
    [
        (["calm"], None, "passed", 0),
        (["calm", "skipped"], None, "passed", 0),
        (["skipped"], None, "infrastructure", 13),
        (["calm", "infrastructure"], None, "infrastructure", 13),
        (["failed", "infrastructure"], None, "failed", 12),
        (["failed", "interrupted"], {"interrupted": True, "reason": "interrupted by SIGINT"}, "failed", 12),
        (["calm", "interrupted", "not-run"], {"interrupted": True, "reason": "interrupted by SIGINT"}, "interrupted", 11),
        (["infrastructure", "not-run"], {"interrupted": False, "reason": "given up"}, "infrastructure", 13),
        (["calm"], {"interrupted": False, "reason": "the testbed could not be closed"}, "infrastructure", 13),
        (["calm", "unjudged"], None, "inconclusive", 11),
        (["calm", "unfinished"], {}, "interrupted", 11),
    ],
)
def test_what_decides_the_verdict_of_a_run(
    synthetic: Any, tmp_path: Path, kinds: list[str], last: Any, verdict: str, code: int
) -> None:
    make = {"calm": synthetic.calm, "failed": lambda: failed(synthetic), "unjudged": lambda: unjudged(synthetic)}
    trials = [make[k]() if k in make else spoilt(synthetic, k) for k in kinds]
    document, text = harness_report(synthetic.write_run(tmp_path / "run", trials, last), 100)
    assert (document["verdict"], document["exit_code"]) == (verdict, code)
    assert text.startswith(verdict.upper())
    assert document["reasons"] if verdict != "passed" else not document["reasons"]


def test_skipped_cases_are_listed_with_their_reason_and_never_counted_as_passed(synthetic: Any, tmp_path: Path) -> None:
    trials = [synthetic.calm(), spoilt(synthetic, "skipped", "no RDMA device: load rdma_rxe")]
    document, text = harness_report(synthetic.write_run(tmp_path / "run", trials), 100)
    reason = "no RDMA device: load rdma_rxe"
    assert document["skipped"] == [{"case": "skipped", "name": "skipped", "trials": 1, "reason": reason}]
    assert document["cases"][1]["verdict"] == "skipped" and document["cases"][1]["trials"]["passed"] == 0
    assert f"skipped (1 trial): {reason}" in text and "1 of 2 trials passed" in text


def test_an_expectation_that_fails_fails_the_case(synthetic: Any, tmp_path: Path) -> None:
    expect = {"recovery": "exact", "recovery_ms": {"p50": 100.0}}
    document, text = harness_report(synthetic.write_run(tmp_path / "run", [synthetic.crash(expect=expect)]), 100)
    assert (document["verdict"], document["exit_code"]) == ("failed", 12)
    assert document["reasons"] == ["crash: recovery p50 over 1 trial is 250.0 ms and exceeds 100 ms"]
    assert "expected: failed: recovery p50 over 1 trial is 250.0 ms and exceeds 100 ms" in text


def test_an_expectation_that_cannot_be_told_is_inconclusive(synthetic: Any, tmp_path: Path) -> None:
    trial = synthetic.calm(expect={"recovery": "exact", "recovery_ms": {"p50": 100.0}})
    document, _ = harness_report(synthetic.write_run(tmp_path / "run", [trial]), 100)
    assert (document["verdict"], document["exit_code"]) == ("inconclusive", 11)


def test_reasons_that_are_not_the_headline_s_are_marked_and_come_last(synthetic: Any, tmp_path: Path) -> None:
    trials = [unjudged(synthetic), failed(synthetic), spoilt(synthetic, "infrastructure")]
    document, text = harness_report(synthetic.write_run(tmp_path / "run", trials), 100)
    assert document["verdict"] == "failed"
    assert document["reasons"] == [
        "bad: trial 0: stream 1: waves 300 to 309 never came out",
        "unjudged (inconclusive): trial 0: nothing can be said: no oracle",
        "infrastructure (infrastructure): trial 0: why",
    ]
    assert "\n  unjudged (inconclusive): trial 0: nothing can be said: no oracle\n" in text


def test_the_shares_that_are_shown_are_those_of_the_rates_beside_them(synthetic: Any, tmp_path: Path) -> None:
    """Three trials with other rates before and after their crash: the median of their ratios is not the ratio of the medians,
    and stays in the document as what it is."""
    trials = []
    for index, (before, after) in enumerate(((10, 20), (20, 30), (15, 20))):
        trial = synthetic.crash(index=index)
        rows, first = [], 0
        for r in trial.rows:
            count = before if r[0] < 2.0 else after
            rows.append((*r[:4], first, count, *r[6:]))
            first += count
        trial.rows = rows
        trial.events = [e for e in trial.events if not e["kind"].startswith("first-")]
        trials.append(trial)
    document, text = harness_report(synthetic.write_run(tmp_path / "run", trials), 120)
    t = document["cases"][0]["throughput"]
    assert t["ratio_after"]["median"] == pytest.approx(1.5, abs=0.02)
    steady, after = t["steady_waves_per_s"]["median"], t["after_waves_per_s"]["median"]
    shown = f"throughput, waves/s: steady {steady:,.0f}; during 0.000 (0%); after {after:,.0f} ({after / steady:.0%});"
    assert shown in text


def test_what_was_measured_before_an_interruption_is_shown(synthetic: Any, tmp_path: Path) -> None:
    trials = [spoilt(synthetic, "interrupted", "interrupted by SIGINT")]
    last = {"interrupted": True, "reason": "interrupted by SIGINT"}
    document, text = harness_report(synthetic.write_run(tmp_path / "run", trials, last), 100)
    (case,) = document["cases"]
    assert case["figures_from"] == "unfinished trials" and case["counts"]["delivered"] == 4900
    assert case["throughput"]["steady_waves_per_s"]["median"] == pytest.approx(1000, rel=0.01)
    assert "no trial was judged" in text


def test_a_run_whose_program_died_can_be_reported(synthetic: Any, tmp_path: Path) -> None:
    run_dir = synthetic.write_run(tmp_path / "run", [synthetic.calm(), synthetic.crash("other")])
    journal = run_dir / FILE_NAME
    journal.write_bytes(journal.read_bytes()[:-300])
    document, text = harness_report(run_dir, 100)
    assert document["verdict"] == "interrupted"
    assert document["reasons"][0] == "the program ended before the run did: the journal has no last word"
    assert any("was torn by a crash" in n for n in document["notes"]) and "torn by a crash" in text
    assert [c["verdict"] for c in document["cases"]] == ["passed", "interrupted"]


def test_a_damaged_journal_is_refused(synthetic: Any, tmp_path: Path) -> None:
    run_dir = synthetic.write_run(tmp_path / "run", [synthetic.calm()])
    journal = run_dir / FILE_NAME
    data = bytearray(journal.read_bytes())
    data[len(data) // 3] ^= 1
    journal.write_bytes(data)
    with pytest.raises(InfrastructureError, match=r"line \d+ is corrupted"):
        harness_report(run_dir, 100)


def test_another_directory_is_no_run(tmp_path: Path) -> None:
    assert harness_report(tmp_path, 100) is None


def test_missing_samples_are_no_success(synthetic: Any, tmp_path: Path) -> None:
    run_dir = synthetic.write_run(tmp_path / "run", [synthetic.calm()])
    (run_dir / "trials" / "crash-t0" / "samples.bin").unlink()
    document, _ = harness_report(run_dir, 100)
    assert document["verdict"] == "infrastructure"
    assert document["reasons"][0] == "crash: trial 0: the record is not whole: samples.bin is missing"


def test_the_report_needs_no_room_for_its_tables(synthetic: Any, tmp_path: Path) -> None:
    run_dir = synthetic.write_run(tmp_path / "run", [synthetic.calm()])
    (run_dir / "frames").write_text("in the way")
    document, text = harness_report(run_dir, 100)
    assert document["verdict"] == "passed" and "frames" not in document["files"]
    assert document["notes"] == ["the tables in frames/ could not be written: File exists"]
    assert document["notes"][0] in text


def test_frames_have_the_columns_that_are_documented(synthetic: Any, tmp_path: Path) -> None:
    trials = [synthetic.crash(), synthetic.calm("calm"), spoilt(synthetic, "skipped")]
    run_dir = synthetic.write_run(tmp_path / "run", trials)
    harness_report(run_dir, 100)
    frames = load(run_dir)
    assert frames.keys() == COLUMNS.keys()
    for name, frame in frames.items():
        assert list(frame.columns) == list(COLUMNS[name])
        written = pd.read_parquet(run_dir / "frames" / f"{name}.parquet")
        assert list(written.columns) == list(frame.columns) and len(written) == len(frame)
        assert len(pd.read_csv(run_dir / "frames" / f"{name}.csv")) == len(frame)
    assert frames["trials"]["verdict"].tolist() == ["passed", "passed", "skipped"]
    assert frames["trials"]["waves"].tolist()[:2] == [4650, 4900]
    assert frames["samples"].groupby("trial")["count"].sum().to_dict() == {"crash-t0": 4650, "calm-t0": 4900}
    assert frames["faults"]["recovery_ms"].tolist() == [250.0]
    assert frames["phases"]["phase"].tolist()[:2] == ["detect", "choose"]
    assert frames["orphans"]["node"].tolist() == [3, 4]
    assert frames["throughput"].groupby("trial")["waves"].sum().to_dict() == {"crash-t0": 4650, "calm-t0": 4900}
    calm = frames["throughput"].query("trial == 'calm-t0' and start_s > 0.15 and start_s < 4.85")
    assert calm["waves_per_s"].between(899, 1101).all()
    assert len(frames["events"]) == len(trials[0].events) + len(trials[1].events)


def test_how_late_faults_by_the_clock_were_done(synthetic: Any, tmp_path: Path) -> None:
    """The workload starts at 0.05 s, the faults are done at 2 s; one is planned at a wave."""
    trials = [synthetic.crash(index=i) for i in range(3)]
    for trial, late_s in zip(trials, (0.001, 0.007, 0.002), strict=True):
        trial.plan["injections"][0]["trigger"]["at_s"] = 2.0 - 0.05 - late_s
    trials.append(synthetic.crash(index=3))
    trials[3].plan["injections"][0]["trigger"] = {"at_s": None, "at_wave": 100, "moment": None}
    run_dir = synthetic.write_run(tmp_path / "run", trials)
    document, text = harness_report(run_dir, 100)
    assert document["cases"][0]["fault_late_ms"] == {"median": 2.0, "min": 1.0, "max": 7.0, "n": 3}
    assert "  3 faults by the clock, ms later than planned: median 2.000, max 7.000\n" in text
    faults = load(run_dir)["faults"]
    assert faults["late_ms"].dropna().tolist() == [1.0, 7.0, 2.0] and pd.isna(faults["planned_s"].iloc[3])
    assert faults["planned_s"].dropna().tolist() == [1.999, 1.993, 1.998]


@pytest.mark.parametrize("missing", ["fault", "workload-started"])
def test_a_fault_that_was_not_done_or_had_no_start_to_count_from_is_not_late(
    synthetic: Any, tmp_path: Path, missing: str
) -> None:
    trial = synthetic.crash()
    trial.events = [e for e in trial.events if e["kind"] != missing]
    document, text = harness_report(synthetic.write_run(tmp_path / "run", [trial]), 100)
    assert document["cases"][0]["fault_late_ms"] is None and "by the clock" not in text


def test_frames_of_a_run_in_which_nothing_ran(synthetic: Any, tmp_path: Path) -> None:
    run_dir = synthetic.write_run(tmp_path / "run", [spoilt(synthetic, "not-run")], {"interrupted": False, "reason": "no"})
    assert harness_report(run_dir, 100)[0]["verdict"] == "infrastructure"
    assert {name: len(frame) for name, frame in load(run_dir).items() if len(frame)} == {"trials": 1}


def test_the_text_fits_its_width_and_is_plain(synthetic: Any, tmp_path: Path) -> None:
    run_dir = synthetic.write_run(tmp_path / "run", [synthetic.crash(expect=EXPECT)])
    text = harness_report(run_dir, 120)[1]
    assert "\x1b" not in text
    copied = ("  in ", "  harness run")
    assert all(len(line) <= 120 for line in text.splitlines() if not line.startswith(copied))


def test_the_text_is_ascii_where_standard_output_is(synthetic: Any, tmp_path: Path) -> None:
    run_dir = synthetic.write_run(tmp_path / "run", [synthetic.crash()])
    script = "import sys; from pathlib import Path; from harness_results import harness_report; "
    script += "sys.stdout.write(harness_report(Path(sys.argv[1]), 100)[1])"
    done = subprocess.run(
        [sys.executable, "-c", script, str(run_dir)],
        env={"PYTHONPATH": ":".join(p for p in sys.path if p), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    assert b"####" in done.stdout and done.stdout.isascii()


def test_importing_the_plugin_is_cheap() -> None:
    script = (
        "import sys; import harness_results; print([m for m in ('numpy', 'pandas', 'pyarrow', 'rich') if m in sys.modules])"
    )
    env = {"PYTHONPATH": ":".join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
