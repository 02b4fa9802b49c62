"""The workload trace-classes: shares of files, classes of lines, and the check against one pass."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.api.errors import UsageError
from harness.api.workload import Workload
from harness.core.spec import Recovery, Sync
from harness_workloads.lines import (
    BLANK,
    FURTHER,
    LONGEST_CLASS,
    LONGEST_LINE,
    NO_MATCH,
    Classifier,
    Owners,
    Tally,
    share_lines,
    shares,
)
from harness_workloads.trace_classes import TraceClasses

SAMPLES = Path(__file__).parents[2] / "suites" / "data"


@pytest.fixture
def logs(tmp_path):
    """Three files: 600 lines of ten kinds."""
    for n in range(3):
        lines = [f"{i} worker {i % 7} does job of kind {'abcdefghij'[(i * (n + 1)) % 10]}\n" for i in range(200)]
        (tmp_path / f"part-{n}.log").write_text("".join(lines))
    return tmp_path


def run(make_world, workload, plant=None, strike=None, **more):
    more.setdefault("recovery", Recovery.COMPOSE)
    world = make_world(workload, **more)
    world.plant = plant or world.plant
    if strike:
        world.strike(*strike)
    return world.run()


# -- reading ------------------------------------------------------------------------------------------------------------


@given(
    lines=st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=40),
    ends=st.booleans(),
    ranks=st.integers(1, 9),
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_shares_hold_every_line_once(tmp_path, lines, ends, ranks):
    text = b"\n".join(lines) + (b"\n" if ends else b"")
    path = tmp_path / "some.log"
    path.write_bytes(text)
    parts = [[line for part in shares([str(path)], r, ranks, False) for line in share_lines(part)] for r in range(ranks)]
    assert b"".join(line for part in parts for line in part) == text
    owned = [[] for _ in range(ranks)]
    for owner, line in Owners([str(path)], ranks, False).in_file(0):
        owned[owner].append(line)
    assert parts == owned  # found in quite another way


def test_long_lines_are_cut_and_nothing_is_read_twice(tmp_path):
    path = tmp_path / "long.log"
    path.write_bytes(b"a" * (3 * LONGEST_LINE + 5) + b"\nshort\n" + b"b" * LONGEST_LINE + b"\nlast")
    for ranks in (1, 2, 5):
        parts = [p for r in range(ranks) for p in shares([str(path)], r, ranks, False)]
        lines = [line for part in parts for line in share_lines(part)]
        assert [len(line) for line in lines] == [LONGEST_LINE, 6, LONGEST_LINE, 4]


def test_whole_files_are_dealt_out_in_turn(logs):
    paths = sorted(str(p) for p in logs.glob("*.log"))
    assert [[s.path for s in shares(paths, r, 2, True)] for r in range(2)] == [[paths[0], paths[2]], [paths[1]]]


def test_classes_of_lines():
    numbers = Classifier("", r"0x[0-9a-f]+|\d+", "N")
    assert numbers(b"12:30 page 0xff of 7 is bad\n") == "N:N page N of N is bad"
    assert numbers(b"  \n") == BLANK
    assert numbers(b"\xff\x00bad\n") == "\ufffd?bad"
    assert len(numbers(b"x" * 10_000)) == LONGEST_CLASS
    level = Classifier(r"^\S+ (\w+) (\w+)", "", "")
    assert level(b"12 WARN disk full\n") == "WARN disk"
    assert level(b"nothing\n") == NO_MATCH
    assert Classifier(r"[A-Z]+", "", "")(b"12 WARN disk\n") == "WARN"
    assert Classifier("", "a", r"\1")(b"bab") == r"b\1b"  # no group, just text


def test_a_tally_knows_so_many_classes_and_no_more():
    tally = Tally(2)
    assert [tally.add(name) for name in "abcab"] == ["a", "b", FURTHER, "a", "b"]
    assert tally.counts == {"a": 2, "b": 2, FURTHER: 1}


# -- the whole workload -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", ["lines", "files"])
@pytest.mark.parametrize("recovery", [Recovery.COMPOSE, Recovery.REPLAY])
def test_the_classes_are_those_of_one_pass(make_world, logs, share, recovery):
    workload = TraceClasses(files=(str(logs / "*.log"),), share=share, batch_lines=7)
    world = run(make_world, workload, recovery=recovery)
    check = world.check()
    assert check.passed, check
    assert check.counts["delivered"] == 600
    text = "".join(p.read_text() for p in sorted(logs.glob("*.log")))
    wanted = Counter(re.sub(r"\d+", "N", line) for line in text.splitlines())
    told = world.notes("classes")[0]
    assert told["lines"] == 600 and told["classes"] == 10
    assert {name: lines for name, lines, _ in told["top"]} == wanted


def test_the_samples_of_the_suites(make_world):
    world = run(make_world, TraceClasses(files=(str(SAMPLES / "sample-*.log"),), share="files"))
    check = world.check()
    assert check.passed and check.counts["delivered"] == 2800
    told = {name: ranks for name, _, ranks in world.notes("classes")[0]["top"]}
    assert told["N ERROR worker N restarted by signal N"] == "0"
    assert told["N ERROR clock stepped back by N ms"] == "1"
    assert told["N ERROR page N has a bad checksum"] == "2-3"


def test_more_ranks_than_lines(make_world, tmp_path):
    (tmp_path / "one.log").write_text("just one line\n")
    check = run(make_world, TraceClasses(files=(str(tmp_path / "one.log"),)), fanouts=(3, 3)).check()
    assert check.passed and check.counts["delivered"] == 1


def test_a_dead_back_end_counts_as_far_as_it_got(make_world, logs):
    workload = TraceClasses(files=(str(logs / "*.log"),), batch_lines=5)
    world = run(make_world, workload, strike=(1, 4))
    check = world.check("equivalent")
    assert check.passed, check
    assert 450 <= check.counts["delivered"] < 600 and "as far as rank 1 had read" in check.summary


def test_relative_paths_start_where_the_run_starts(logs, monkeypatch):
    monkeypatch.chdir(logs)
    workload = TraceClasses(files=("part-*.log",))
    assert workload.files == (str(logs / "part-*.log"),)
    monkeypatch.chdir("/")
    assert workload.mistakes("") == []


# -- what is wrong is named ---------------------------------------------------------------------------------------------


def change_entry(world, change):
    note = next(e["fields"] for e in world.events if e.get("name") == "class-entries")
    change(note["entries"])
    return world.check()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda entries: entries[0].__setitem__(2, entries[0][2] - 1), "lost"),
        (lambda entries: entries[0].__setitem__(2, entries[0][2] + 1), "duplicated"),
        (lambda entries: entries.pop(0), "lost"),
        (lambda entries: entries.append(["a class of its own", 2, 3]), "mixed"),
    ],
)
def test_wrong_counts(make_world, logs, change, what):
    world = run(make_world, TraceClasses(files=(str(logs / "*.log"),)))
    check = change_entry(world, change)
    assert check.passed is False and {v.what for v in check.violations} == {what}
    assert check.counts[what] > 0


def test_a_lost_contribution(make_world, logs):
    """The counts are cumulative, so that a lost wave matters only for classes that do not come again."""
    (logs / "part-3.log").write_text("".join(f"kind {'abcdefghijklmnopqrst'[i]} comes once\n" for i in range(20)))
    lost = []

    def lose(batch):
        if batch.first <= 1 < batch.first + len(batch.parts[1]) and not lost:
            lost.append(batch.parts.pop(1))

    world = run(make_world, TraceClasses(files=(str(logs / "part-3.log"),), batch_lines=2), lose, recovery=Recovery.REPLAY)
    check = world.check()
    assert {(v.what, v.rank) for v in check.violations} == {("lost", 1)} and 0 < check.counts["lost"] <= 5


def test_changed_files_say_nothing(make_world, logs):
    world = run(make_world, TraceClasses(files=(str(logs / "*.log"),)))
    with (logs / "part-1.log").open("r+") as file:
        file.write("9")
    check = world.check()
    assert check.passed is None and "changed" in check.summary
    for path in logs.glob("*.log"):
        path.unlink()
    assert world.check().passed is None


def test_an_unfinished_run_fails(make_world, logs):
    world = make_world(TraceClasses(files=(str(logs / "*.log"),)), recovery=Recovery.COMPOSE)
    world.front.start(world)
    world.finish(ok=False, reason="somebody lost patience")
    assert "lost patience" in world.check().summary and world.check().passed is False


# -- parameters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "filter_", "part"),
    [
        ({"files": ()}, "", "at least one file"),
        ({"files": ("/nowhere/*.log",)}, "", "there is no file /nowhere/*.log"),
        ({"pattern": "("}, "", "'(' is no regular expression"),
        ({"batch_lines": 0}, "", "batch_lines: 0"),
        ({"most_classes": 0}, "", "most_classes: 0"),
        ({}, "sum", "uses 'classes', not 'sum'"),
    ],
)
def test_mistakes_are_found(logs, keys, filter_, part):
    mistakes = TraceClasses(**{"files": (str(logs / "*.log"),), **keys}).mistakes(filter_)
    assert any(part in line for line in mistakes), mistakes


def test_it_needs_whole_waves(make_world, logs):
    with pytest.raises(UsageError, match="do-not-wait"):
        make_world(TraceClasses(files=(str(logs / "*.log"),)), sync=Sync.DO_NOT_WAIT, recovery=Recovery.COMPOSE)


def test_it_is_a_plain_workload(logs):
    workload = TraceClasses(files=(str(logs / "*.log"),))
    assert isinstance(workload, Workload) and workload.mistakes("classes") == []
    assert pickle.loads(pickle.dumps(workload)) == workload
