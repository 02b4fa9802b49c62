"""Reading a run back: what is whole is used, what is not is cut to what is and told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api.errors import InfrastructureError
from harness.api.records import SAMPLE_DTYPE
from harness.core.ranks import RankSet
from harness.run.environment import describe_environment
from harness.run.journal import Journal
from harness.run.record import load_trial, read_run, read_trial

PLAN: dict[str, Any] = {"trial": "a-t0", "tree": {"parents": [None, 0, 0], "hosts": [0, 0, 1]}}
COUNTS = [3, 1, 4, 1, 5]


def put_samples(directory: Path, sets: int = 2, kind: str = "i8") -> None:
    directory.mkdir(parents=True, exist_ok=True)
    rows = np.zeros(len(COUNTS), dtype=SAMPLE_DTYPE)
    rows["count"] = COUNTS
    rows["first"] = np.cumsum([0, *COUNTS[:-1]])
    rows["contributors"] = [0, 1, 0, 1, 0]
    (directory / "samples.bin").write_bytes(rows.tobytes())
    (directory / f"observed.{kind}.bin").write_bytes(np.arange(sum(COUNTS), dtype=f"<{kind}").tobytes())
    lines = ["[[0, 2]]", "[[0, 1]]"][:sets]
    (directory / "contributors.jsonl").write_text("".join(f"{line}\n" for line in lines))


def test_a_whole_record(tmp_path: Path) -> None:
    put_samples(tmp_path)
    events = [{"t_s": 2.0, "kind": "finished", "ok": True}, {"t_s": 1.0, "kind": "workload-started"}]
    record, notes = load_trial(tmp_path, PLAN, events)
    assert notes == ()
    assert record.samples["count"].tolist() == COUNTS and record.observed.tolist() == list(range(14))
    assert record.contributor_sets == [RankSet([(0, 2)]), RankSet([(0, 1)])]
    assert [e["kind"] for e in record.events] == ["workload-started", "finished"]
    assert [n.host for n in record.tree.nodes] == [0, 0, 1]
    assert isinstance(record.observed, np.memmap)


def test_numbers_may_be_floats(tmp_path: Path) -> None:
    put_samples(tmp_path, kind="f8")
    record, notes = load_trial(tmp_path, PLAN, [])
    assert notes == () and record.observed.dtype == np.dtype("<f8")


@pytest.mark.parametrize("name", ["samples.bin", "observed.i8.bin"])
@given(data=st.data())
def test_files_cut_anywhere_give_whole_rows_with_their_numbers(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("trial")
    put_samples(directory)
    whole = (directory / name).read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    (directory / name).write_bytes(whole[:cut])
    record, notes = load_trial(directory, PLAN, [])
    rows = len(record.samples)
    assert record.samples["count"].tolist() == COUNTS[:rows]
    assert record.observed.tolist() == list(range(sum(COUNTS[:rows])))
    if name == "samples.bin":
        assert rows == cut // SAMPLE_DTYPE.itemsize
    else:
        assert rows == max(n for n in range(6) if sum(COUNTS[:n]) * 8 <= cut)
    assert notes


def test_rows_of_an_unknown_contributor_set_are_left_out(tmp_path: Path) -> None:
    put_samples(tmp_path, sets=1)
    record, notes = load_trial(tmp_path, PLAN, [])
    assert record.samples["count"].tolist() == COUNTS[:1]
    assert notes[0].startswith("row 1 of samples.bin names an unknown contributor set")


def test_a_torn_contributor_set_is_left_out(tmp_path: Path) -> None:
    put_samples(tmp_path)
    with (tmp_path / "contributors.jsonl").open("a") as f:
        f.write("[[0,")
    record, notes = load_trial(tmp_path, PLAN, [])
    assert len(record.samples) == 5
    assert notes == ("contributors.jsonl: line 3 is damaged; it and the lines after it are left out",)


def test_a_trial_without_files_is_empty(tmp_path: Path) -> None:
    record, notes = load_trial(tmp_path / "missing", PLAN, [])
    assert len(record.samples) == 0 and len(record.observed) == 0
    assert notes == ("contributors.jsonl is missing", "samples.bin is missing", "observed.i8.bin is missing")


def test_a_front_end_that_ended_in_order_and_recorded_nothing_leaves_nothing_out(tmp_path: Path) -> None:
    (tmp_path / "samples.bin").touch()
    (tmp_path / "contributors.jsonl").touch()
    ended = {"t_s": 1.0, "kind": "node-exited", "node": 0, "status": 0}
    record, notes = load_trial(tmp_path, PLAN, [ended])
    assert (len(record.samples), len(record.observed), notes) == (0, 0, ())
    assert list(record.events) == [ended]
    for events in ([], [ended | {"status": -9}], [ended | {"node": 3}]):
        assert load_trial(tmp_path, PLAN, events)[1] == ("observed.i8.bin is missing",)


def make_run(run_dir: Path) -> tuple[Journal, tuple[int, int]]:
    trials = [{**PLAN, "trial": f"a-t{i}", "index": i} for i in range(4)]
    (run_dir / "plan.json").write_text(json.dumps({"format": 1, "trials": trials}))
    (run_dir / "environment.json").write_text("{}")
    journal = Journal(run_dir)
    journal.append({"what": "trial-started", "trial": "a-t0"})
    journal.append({"what": "event", "trial": "a-t0", "event": {"t_s": 1.0, "kind": "note"}})
    journal.append({"what": "trial-ended", "trial": "a-t0", "outcome": "measured", "reason": "", "check": {"passed": True}})
    journal.append({"what": "verdict", "trial": "a-t0", "verdict": {"verdict": "passed"}})
    journal.append({"what": "trial-ended", "trial": "a-t1", "outcome": "skipped", "reason": "no device", "check": None})
    position = journal.position
    journal.append({"what": "trial-started", "trial": "a-t2"})
    journal.append({"what": "event", "trial": "a-t2", "event": {"t_s": 1.5, "kind": "note"}})
    return journal, position


def test_a_run_as_far_as_it_went(tmp_path: Path) -> None:
    journal, position = make_run(tmp_path)
    run = read_run(tmp_path)
    assert [t.outcome for t in run.trials] == ["measured", "skipped", "unfinished", "not-run"]
    assert run.trials[0].check == {"passed": True} and run.trials[0].verdict == {"verdict": "passed"}
    assert run.trials[1].reason == "no device" and run.finished is None and run.verdict is None
    assert read_trial(tmp_path, run.plan["trials"][2], position).events == [{"t_s": 1.5, "kind": "note"}]
    journal.append({"what": "run-finished", "interrupted": False, "reason": ""})
    journal.close()
    assert read_run(tmp_path).finished == {"what": "run-finished", "interrupted": False, "reason": ""}


def test_a_torn_journal_is_noted(tmp_path: Path) -> None:
    journal, _ = make_run(tmp_path)
    journal.close()
    journal.path.write_bytes(journal.path.read_bytes()[:-4])
    run = read_run(tmp_path)
    assert run.trials[2].events == [] and run.trials[2].outcome == "unfinished"
    assert len(run.notes) == 1 and run.notes[0].startswith("journal: the last line")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": 9, "trials": []}', "has format 9; this program reads format 1"),
        ('{"format": 1, "tri', "is damaged"),
        ("[]", "holds no JSON object"),
    ],
)
def test_a_plan_that_cannot_be_read_is_told(tmp_path: Path, text: str, message: str) -> None:
    make_run(tmp_path)[0].close()
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(InfrastructureError, match=message):
        read_run(tmp_path)


def test_a_directory_without_a_plan_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="Name the directory of a run"):
        read_run(tmp_path)


def test_the_environment_is_plain_and_names_no_host() -> None:
    found = describe_environment(["harness", "run", "x.toml"])
    assert json.loads(json.dumps(found)) == found
    assert found["argv"] == ["harness", "run", "x.toml"] and found["packages"]["numpy"] == np.__version__
    assert found["cpus"] >= 1 and found["kernel"] and len(found["host"]) == 12
