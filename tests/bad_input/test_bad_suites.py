"""Suites, command lines and run directories that are wrong: one clear error each, before anything is deployed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

MANY = """
colour = 3
[suite]
name = "many mistakes"
trials = "ten"
sed = 3
[testbed]
kind = "locl"
[node]
lease_s = "1"
heartbeat = 2

[[case]]
name = "a"
workload = { kind = "reduce-streem" }
topology = { kind = "kary", fanout = [0, 2], depth = 2 }
filter = "summ"

[[case]]
name = "b"
workload = { kind = "reduce-stream", waves = 1.5, wafes = 2 }
topology = { kind = "generic", spec = "2:x" }
transport = "tpc"
[[case.fault]]
kind = "crush"
target = "role:intern"
at_s = 1.0
at_wave = 3

[[case]]
name = "c"
workload = { kind = "reduce-stream", waves = 10 }
topology = { kind = "file", path = "no-such-tree.txt" }

[[case]]
name = "d"
workload = { kind = "trace-classes", files = ["no-such-*.log", "gone.log"] }
topology = { kind = "flat", back_ends = 100_000 }

[[case]]
name = "e"
workload = { kind = "reduce-stream", waves = 10 }
topology = { kind = "flat", back_ends = 2 }
filter = "sum"
recovery = "compose"
accept = { kind = "quorum", n = 7 }

[[case]]
topology = 3
"""

#: What must be said about it: where, what, and what to do.
TOLD = [
    ("colour: ", "unknown table", "known tables: "),
    ("suite.trials: ", "must be an integer, not the string 'ten'"),
    ("suite.sed: ", "unknown key", "did you mean 'seed'?"),
    ("testbed.kind: ", "unknown testbed 'locl'", "did you mean 'local'?"),
    ("node.lease_s: ", "must be a number, not the string '1'"),
    ("node.heartbeat: ", "unknown key", "did you mean 'heartbeat_s'?"),
    ("case[0].workload.kind (case 'a'): ", "unknown workload 'reduce-streem'", "did you mean 'reduce-stream'?"),
    ("case[0].topology (case 'a'): ", "fanout = 0 must be at least 1"),
    ("case[0].filter (case 'a'): ", "unknown filter 'summ'", "did you mean 'sum'?"),
    ("case[1].workload.waves (case 'b'): ", "must be an integer, not the number 1.5"),
    ("case[1].workload.wafes (case 'b'): ", "unknown key", "did you mean 'waves'?"),
    ("case[1].topology (case 'b'): ", 'spec = "2:x"', "write e.g. "),
    ("case[1].transport (case 'b'): ", "unknown transport 'tpc'", "did you mean 'tcp'?"),
    ("case[1].fault[0].kind (case 'b'): ", "unknown fault 'crush'", "did you mean 'crash'?"),
    ("case[1].fault[0].target (case 'b'): ", "unknown role 'intern'", "did you mean 'internal'?"),
    ("case[1].fault[0] (case 'b'): ", "says at_s and at_wave", "give exactly one"),
    ("case[2].topology (case 'c'): ", "no-such-tree.txt", "No such file"),
    ("case[3].workload.files (case 'd'): ", "there is no file", "no-such-*.log", "starts where the run is started"),
    ("case[3].workload.files (case 'd'): ", "there is no file", "gone.log"),
    ("case[3].topology (case 'd'): ", "100001 nodes", "make it smaller"),
    ("case[4].recovery (case 'e'): ", "compose cannot recover filter 'sum'", "use 'replay'"),
    ("case[4].accept (case 'e'): ", "n = 7, but the tree has 2 back-ends", "no wave could ever be accepted"),
    ("case[5].name: ", "is missing", "name the case"),
    ("case[5].workload: ", "is missing", "known workload kinds"),
    ("case[5].topology: ", "not the integer 3", "known topology kinds"),
]


def test_all_mistakes_of_a_suite_at_once(scene: Any) -> None:
    suite = scene.suite(MANY)
    plain, as_json, dry = scene.run_all(("run", suite), ("run", suite, "--json"), ("run", suite, "--dry-run"))
    lines = plain.fails(2).splitlines()
    assert lines[0] == f"error: {len(TOLD)} mistakes"
    assert dry.fails(2).splitlines() == lines
    as_json.fails(2)
    assert as_json.document["mistakes"] == [line.strip() for line in lines[1:]]
    left = [line.strip() for line in lines[1:]]
    for parts in TOLD:
        found = [line for line in left if line.startswith(parts[0]) and all(p in line for p in parts)]
        assert found, (parts, left)
        left.remove(found[0])
    assert left == []
    assert [p.name for p in scene.work.iterdir()] == [suite]


#: Files that are no suites: what is in them (None: they are as the name says), and what must be said.
ODD = {
    "empty.toml": (b"", ["3 mistakes", "suite.name: is missing", "testbed.kind: is missing", "case: is missing; add at least"]),
    "broken.toml": (b"name = \n", ["is not valid TOML", "line 1"]),
    "latin.toml": (b"[suite]\nname = '\xff\xfe'\n", ["is not UTF-8 text (byte 16)", "save it as UTF-8"]),
    "zeros.toml": (bytes(5000), ["is not valid TOML"]),
    "program": (b"\x7fELF\x02\x01\x01" + bytes(100) + b"\x90" * 50, ["is not"]),
    "missing.toml": (None, ["no such suite file", "give the path"]),
    ".": (None, ["cannot be read: Is a directory"]),
    "/dev/zero": (None, ["is no suite: it has more than 16 MiB"]),
    "/proc/self/mem": (None, ["cannot be read: Input/output error"]),
}


def test_files_that_are_no_suites(scene: Any) -> None:
    for name, (content, _) in ODD.items():
        if content is not None:
            (scene.work / name).write_bytes(content)
    for done, (_, parts) in zip(scene.run_all(*(("run", name, "--json") for name in ODD)), ODD.values(), strict=True):
        done.fails(2, *parts)
    assert not (scene.work / "runs").exists()


#: Values of the right type that make no sense: what is written where, and what must be said.
SENSELESS = """
[suite]
name = "senseless"
trials = 0
[testbed]
kind = "{testbed}"
{address}
start_timeout_s = 0
[node]
max_frame_bytes = 0
[[case]]
name = "a"
workload = {{ kind = "reduce-stream", waves = 10, shape = [1_000_000_000, 1_000_000_000, 1_000_000_000] }}
topology = {{ kind = "flat", back_ends = 2 }}
[[case]]
name = "b"
workload = {{ kind = "reduce-stream", waves = -1 }}
topology = {{ kind = "flat", back_ends = 2 }}
"""


def test_values_that_make_no_sense(scene: Any) -> None:
    suites = {
        "local": (
            "hosts = 100_000",
            ["testbed: hosts = 100000: each is a process of Ray's", "testbed: start_timeout_s = 0.0 must be positive"],
        ),
        "cluster": ('address = "nonsense"', ["testbed: 'nonsense' is no address of a Ray cluster"]),
    }
    names = [scene.suite(SENSELESS.format(testbed=kind, address=key), f"{kind}.toml") for kind, (key, _) in suites.items()]
    for done, (_, told) in zip(scene.run_all(*(("run", name, "--json") for name in names)), suites.values(), strict=True):
        done.fails(2, f"{4 + len(told)} mistakes")
        assert [line.partition(";")[0] for line in done.document["mistakes"]] == [
            "suite: trials = 0 must lie in 1..100000",
            "node: max_frame_bytes = 0 must be between 65536 and 4294967288",
            *told,
            "case[0].workload.shape (case 'a'): an item has 8000000000000000000000000000 bytes, more than 1024 MiB",
            "case[1].workload.waves (case 'b'): -1 is negative",
        ]


TREES = {
    '{ kind = "kary", fanout = -1, depth = 2 }': "fanout = -1 must be at least 1",
    '{ kind = "kary", fanout = 1_000_000_000, depth = 100 }': "more than 1,000,000 nodes",
    '{ kind = "knomial", k = 1, nodes = 4 }': "k = 1 must be at least 2",
    '{ kind = "flat", back_ends = 0 }': "back_ends = 0 must be at least 1",
    '{ kind = "generic", spec = "" }': "is no number of children",
    '{ kind = "file", path = "/dev/null" }': "no node",
    '{ kind = "file", path = "loop.txt" }': "",
    '{ kind = "file", path = "." }': "Is a directory",
}


def test_impossible_trees(scene: Any) -> None:
    (scene.work / "loop.txt").write_text("front: a\na: b\nb: a\n")
    head = '[suite]\nname = "trees"\n[testbed]\nkind = "local"\n'
    cases = [f'[[case]]\nname = "{i}"\nworkload = "host-metrics"\ntopology = {tree}\n' for i, tree in enumerate(TREES)]
    suite = scene.suite(head + "".join(cases))
    error = scene.run("run", suite, "--json")
    error.fails(2)
    mistakes = error.document["mistakes"]
    assert len(mistakes) == len(TREES)
    for i, (mistake, part) in enumerate(zip(mistakes, TREES.values(), strict=True)):
        assert mistake.startswith(f"case[{i}].topology (case '{i}'): ") and part in mistake
    shown = scene.run_all(*(("topology", "show", tree) for tree in list(TREES)[-2:]))
    for done, mistake in zip(shown, mistakes[-2:], strict=True):
        assert done.fails(2).removeprefix("error: topology: ") == mistake.partition(": ")[2]


def test_a_refused_command_line_is_a_document_too(scene: Any) -> None:
    for done in scene.run_all(("run", "--json"), ("run", "x.toml", "--trials", "many", "--json"), ("rum", "--json")):
        assert done.code == 2
        assert done.document["exit_code"] == 2 and done.document["mistakes"] == [done.document["error"]]


# --- plugins --------------------------------------------------------------------------------------------------------------

#: Plugins that cannot be used, and the reason that must be given.
BROKEN = {
    "raises": ("raise RuntimeError('no licence')", "raised RuntimeError when it was imported: no licence"),
    "exits": ("import sys\nprint('hello')\nsys.exit(3)", "raised SystemExit when it was imported: 3"),
    "syntax": ("def (", "raised SyntaxError when it was imported"),
    "misspelt": (
        "from harness.hookspecs import hookimpl\n@hookimpl\ndef harness_filtres():\n    return {}",
        "'harness_filtres' is marked as a hook, but there is none of this name: did you mean 'harness_filters'?",
    ),
    "bare": (
        "def harness_filtres():\n    return {}",
        "'harness_filtres' looks like a hook, but there is none of this name: did you mean 'harness_filters'?",
    ),
}


def test_broken_plugins_spoil_nothing_but_themselves(scene: Any) -> None:
    path = ":".join(scene.install(f"by-{name}", f"{name}_plugin", source) for name, (source, _) in BROKEN.items())
    text = (scene.work / scene.small()).read_text()
    sound, wanting = scene.suite(text, "sound.toml"), scene.suite(text.replace('"sum"', '"mine"'), "wanting.toml")
    dry, refused, listed = scene.run_all(
        ("run", sound, "--dry-run", "--json"), ("run", wanting, "--json"), ("plugin", "list", "--json"), PYTHONPATH=path
    )
    assert dry.code == 0 and dry.document["suite"]["name"] == "small"
    assert "hello\n" in dry.err
    unknown = "case[0].filter (case 'one'): unknown filter 'mine'"
    error = refused.fails(2, unknown, "'mine' of 'by-raises'", "harness plugin list")
    assert "\n" not in error
    broken = {p["distribution"]: p["broken"] for p in listed.document["plugins"] if p["broken"]}
    assert listed.code == 0 and len(broken) == len(BROKEN)
    for name, (_, reason) in BROKEN.items():
        assert reason in broken[f"by-{name}"]
        for done in (dry, refused):
            (warning,) = [line for line in done.err.splitlines() if line.startswith("warning: ") and f"'by-{name}'" in line]
            assert reason in warning


# --- the run's directory --------------------------------------------------------------------------------------------------


def test_results_that_cannot_be_written(scene: Any) -> None:
    (scene.work / "a-file").write_text("")
    places = ("a-file", "/proc", "/dev/null/x")
    suite = scene.small()
    for done, place in zip(scene.run_all(*(("run", suite, "--results", p, "--json") for p in places)), places, strict=True):
        done.fails(13, f"{place}/runs/", "cannot be written", "Name another directory with --results")


def test_directories_that_are_no_runs(scene: Any) -> None:
    (scene.work / "file").write_text("")
    (scene.work / "empty").mkdir()
    nowhere, file, empty = scene.run_all(("report", "nowhere"), ("report", "file", "--json"), ("report", "empty", "--json"))
    nowhere.fails(2, "nowhere: no such directory", "give a run's directory")
    file.fails(2, "file: no such directory", "give a run's directory")
    empty.fails(2, "empty: is no run's directory")


@pytest.fixture(scope="module")
def recorded(make: Any) -> Path:
    """A run that was recorded; Ray was missing, so that it is short."""
    scene = make()
    done = scene.run("run", scene.small(), "--json", PYTHONPATH=scene.fake_ray("raise ImportError('not here')"))
    assert done.code == 13
    scene.assert_clean()
    return Path(scene.run_dir)


#: What happened to which file of the record, and what must be said.
DAMAGE = [
    ("journal.jsonl", lambda b: b[:40] + b"XX" + b[42:], "line 2 is corrupted", "run the suite again"),
    ("journal.jsonl", lambda b: b"\xff\xfe\n" * 50, "line 1 is corrupted", "run the suite again"),
    ("journal.jsonl", lambda b: b.split(b"\n", 1)[1], "line 1 is corrupted", "lines are missing"),
    ("journal.jsonl", None, "journal.jsonl cannot be read: No such file", "Name the directory of a run"),
    ("plan.json", lambda b: b[:100], "plan.json is damaged", "run the suite again"),
    ("plan.json", lambda b: b"[]", "plan.json is damaged", "run the suite again"),
    ("plan.json", lambda b: b'{"format":1}', "plan.json is damaged", "run the suite again"),
    ("plan.json", lambda b: b'{"format":99}', "has format 99", "the version of harness that wrote it"),
    ("environment.json", None, "environment.json cannot be read", "No such file"),
]


def test_damaged_records(scene: Any, recorded: Path) -> None:
    for i, (name, spoil, *_) in enumerate(DAMAGE):
        shutil.copytree(recorded, scene.work / f"copy{i}")
        path = scene.work / f"copy{i}" / name
        if spoil is None:
            path.unlink()
        else:
            path.write_bytes(spoil(path.read_bytes()))
    reports = scene.run_all(*(("report", f"copy{i}", "--json") for i in range(len(DAMAGE))))
    for i, (done, (name, _, *parts)) in enumerate(zip(reports, DAMAGE, strict=True)):
        done.fails(13, f"copy{i}/{name}", *parts)


def test_a_journal_that_ends_in_the_middle_of_a_line_is_still_good(scene: Any, recorded: Path) -> None:
    shutil.copytree(recorded, scene.work / "copy")
    path = scene.work / "copy" / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    done = scene.run("report", "copy", "--json")
    assert done.code == done.document["exit_code"] == 13
    assert any("was torn by a crash" in note for note in done.document["notes"])
