"""Every command: what it prints, where, and its exit code."""

from __future__ import annotations

import json

import pytest

from harness import __version__
from harness.registry import Category

DOUBLING = """
from dataclasses import dataclass
from harness.hookspecs import hookimpl

@dataclass(frozen=True)
class Twice:
    def apply(self, payload):
        return payload + payload

@hookimpl
def harness_down_filters():
    return {"twice": Twice}
"""


def test_help_names_every_command_and_exit_code(harness):
    done = harness("--help")
    assert done.returncode == 0
    for word in ("run", "report", "plugin", "topology", "doctor", "--version", "--install-completion", "Exit codes"):
        assert word in done.stdout


def test_version(harness):
    done = harness("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"harness {__version__}\n", "")


@pytest.mark.parametrize("args", [["rum"], ["run"], ["run", "--dry"], ["plugin", "check", "filter"], []])
def test_a_wrong_command_line_is_exit_2(harness, args):
    done = harness(*args)
    assert done.returncode == 2


def test_dry_run_prints_the_matrix_and_the_fault_plan(harness, suite):
    done = harness("run", str(suite), "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "demo: 2 cases x 2 trials = 4 trials"
    assert lines[1] == "testbed local, 2 hosts; seed 3"
    assert "crash [topology.depth=2]" in lines
    assert "  expects   recovery exact, recovery_ms p99 500" in lines
    assert sum(line.startswith("    crash: kill node ") for line in lines) == 4
    assert list(suite.parent.iterdir()) == [suite]


def test_dry_run_as_json_is_the_plan(harness, suite):
    done = harness("run", str(suite), "--dry-run", "--json", "--only", "*depth=3", "--trials", "3", "--seed", "9")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["suite"]["seed"] == 9
    assert [t["trial"] for t in document["trials"]] == [f"crash,topology.depth=3-t{i}" for i in range(3)]
    assert all(len(t["injections"]) == 1 for t in document["trials"])


def test_a_wrong_suite_is_exit_2_with_every_mistake_on_standard_error(harness, suite):
    suite.write_text(suite.read_text().replace("waves = 1000", "wavs = 1000").replace("at_s = 0.5", "at_s = true"))
    done = harness("run", str(suite))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "error: 2 mistakes",
        "  case[0].workload.wavs (case 'crash'): unknown key; did you mean 'waves'?",
        "  case[0].fault[0].at_s (case 'crash'): must be a number, not the boolean true",
    ]


def test_a_wrong_suite_with_json_is_one_document_too(harness, suite):
    suite.write_text("x")
    done = harness("run", str(suite), "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit_code"], document["verdict"]) == (2, 2, "error")
    assert document["mistakes"] == [document["error"]]
    assert "is not valid TOML" in document["error"]
    assert document["error"] in done.stderr


def test_a_suite_that_is_not_there(harness):
    done = harness("run", "nothing.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == "error: nothing.toml: no such suite file; give the path of a TOML file such as suites/quickstart.toml\n"
    )


def test_reports_of_what_is_no_run(harness, tmp_path):
    missing, empty = harness("report", "nowhere"), harness("report", str(tmp_path), "--json")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert (
        missing.stderr == "error: nowhere: no such directory; give a run's directory, as `harness run` prints it at its end\n"
    )
    assert empty.returncode == 2
    assert "no plugin can report on it" in json.loads(empty.stdout)["error"]


def test_plugin_list(harness):
    done = harness("plugin", "list")
    assert (done.returncode, done.stderr) == (0, "")
    for category in Category:
        assert f"\n{category.value} (" in "\n" + done.stdout
    document = json.loads(harness("plugin", "list", "--json").stdout)
    kinds = {(k["category"], k["kind"]): k for p in document["plugins"] for k in p["kinds"]}
    assert kinds["topology", "kary"]["required"] == ["fanout", "depth"]
    assert kinds["transport", "tcp"]["keys"]
    assert all(p["broken"] is None for p in document["plugins"] if p["distribution"] == "harness")


@pytest.mark.parametrize(
    "args",
    [
        ["kary", "--fanout", "2", "--depth", "2"],
        ["kary", "--fanout=2", "--depth=2"],
        ["kary", "fanout=2", "depth=2"],
        ["2:2"],
        ['{ kind = "kary", fanout = 2, depth = 2 }'],
        ['{ kind = "kary", fanout = 2 }', "depth=2"],
    ],
)
def test_topology_show_takes_every_spelling(harness, args):
    done = harness("topology", "show", *args)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("front-end 0\n")
    assert done.stdout.endswith(
        "nodes 7: 1 front-end, 2 communication, 4 back-ends\nlinks 6, depth 2, largest fan-out 2, nodes by level 1, 2, 4\n"
    )


def test_topology_show_as_json_and_in_plain_characters(harness):
    document = json.loads(harness("topology", "show", "flat", "--back-ends", "3", "--json").stdout)
    assert document["parents"] == [None, 0, 0, 0]
    assert (document["nodes"], document["links"], document["depth"]) == (4, 3, 1)
    drawn = harness("topology", "show", "flat", "--back-ends", "3", "--ascii").stdout
    assert drawn.isascii()
    assert harness("topology", "show", "flat", "back_ends=3", PYTHONIOENCODING="ascii").stdout == drawn


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["karry"], "topology.kind: unknown topology 'karry'; did you mean 'kary'?"),
        (["kary", "fanout=2"], "topology.depth: is missing; give an integer"),
        (["kary", "fanout=2", "depth=deep"], "topology.depth: must be an integer, not the string 'deep'"),
        (["kary", "fanout=0", "depth=2"], "topology: kary: fanout"),
        (["kary", "2", "2"], "'2' is no key of the kind; write key=value, for example kary fanout=2\n"),
        (["generic", "2:8,4"], "'2:8,4' is no key of the kind; write key=value, for example generic spec=2:8,4\n"),
        (["file", "my tree"], "'my tree' is no key of the kind; write key=value, for example file 'path=my tree'\n"),
        (["flat", "eight"], "'eight' is no key of the kind; write key=value, for example flat back_ends=VALUE\n"),
        (["kary", "fanout", "2"], "'fanout' needs a value; write fanout=VALUE\n"),
        (["karry", "2"], "'2' is no key of the kind; write key=value\n"),
        (["kary", "--fanout"], "'--fanout' needs a value; write --fanout VALUE"),
        (["{ kind = kary }"], "'{ kind = kary }' is no table: Invalid value"),
    ],
)
def test_topology_show_of_what_is_no_tree(harness, args, message):
    done = harness("topology", "show", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}"), done.stderr


def test_plugin_check_of_sound_kinds(harness):
    done = harness("plugin", "check", "filter", "sum", "--examples", "5", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit_code"], document["passed"], document["kind"]) == (0, 0, True, "sum")
    assert document["checks"]
    done = harness("plugin", "check", "topology", "kary", "fanout=2", "depth=2")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].endswith(" 0 failed, 0 skipped")


def test_plugin_check_of_a_downstream_filter(harness):
    done = harness("plugin", "check", "down_filter", "quantize", "bits=10", "--examples", "20", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["category"], document["bits"], document["passed"]) == (0, "down_filter", 10, True)
    assert [c["name"] for c in document["checks"]] == ["applies", "repeatable", "idempotent"]
    assert "of 20 payloads taken" in document["checks"][0]["message"]
    done = harness("plugin", "check", "down_filter", "sum")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: down_filter.kind: unknown down_filter 'sum'")


def test_plugin_check_of_a_downstream_filter_that_breaks_its_law(harness, install, tmp_path):
    install("doubling", {"doubling": DOUBLING}, {"doubling": "doubling"})
    done = harness("plugin", "check", "down_filter", "twice", PYTHONPATH=str(tmp_path / "site" / "doubling"))
    assert done.returncode == 12, done.stderr
    words = [line.split()[0] for line in done.stdout.splitlines()]
    assert words[:3] == ["ok", "ok", "FAILED"]
    assert "applied twice: b" in done.stdout and done.stdout.endswith("2 passed, 1 failed, 0 skipped\n")


def test_plugin_check_of_what_cannot_be_checked(harness):
    done = harness("plugin", "check", "filtr", "sum")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: there are no checks for 'filtr'; did you mean 'filter'?\n"
    done = harness("plugin", "check", "filter", "summ")
    assert (done.returncode, done.stderr) == (2, "error: filter.kind: unknown filter 'summ'; did you mean 'sum'?\n")
    for words, advice in (("top-k 3", "write key=value, for example top-k k=3"), ("sum 3", "'sum' has no keys")):
        done = harness("plugin", "check", "filter", *words.split())
        assert (done.returncode, done.stderr) == (2, f"error: '3' is no key of the kind; {advice}\n")


def test_doctor(harness):
    done = harness("doctor", "--json")
    document = json.loads(done.stdout)
    found = {check["name"]: check for check in document["checks"]}
    assert {"python", "ray", "loopback", "signals", "cores", "memory", "open files", "transport tcp", "rdma"} <= found.keys()
    assert found["loopback"]["status"] == "ok"
    assert done.returncode == document["exit_code"] == (0 if document["able"] else 13)
    assert all(check["status"] in ("ok", "limited", "missing", "info") for check in document["checks"])


def test_doctor_says_how_to_mend_a_low_limit_of_open_files(harness):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        text = harness("doctor").stdout
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "open files" in text
    assert "limit 256, but a tree of 273 nodes needs 1348" in text
    assert "ulimit -n 1348" in text or "/etc/security/limits.conf" in text


def test_completion_is_offered(harness):
    done = harness("--show-completion", "bash", SHELL="/bin/bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0
    assert "_HARNESS_COMPLETE" in done.stdout
