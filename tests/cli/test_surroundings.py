"""The command line where things go wrong around it: broken plugins, failing testbeds, interrupts, closed pipes."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess
import sys

import pytest

TESTBED = """
import os, time
from dataclasses import dataclass
from harness.api.errors import InfrastructureError
from harness.hookspecs import hookimpl

@dataclass(frozen=True)
class Odd:
    does: str = "fail"
    hosts: int = 2

    def open(self, run_dir):
        os.write(1, b"noise from a child process\\n")
        print("noise from a library")
        if self.does == "fail":
            raise InfrastructureError("the machine is on fire; put it out")
        if self.does == "break":
            raise ZeroDivisionError("a mistake")
        os.write(2, b"opened\\n")
        time.sleep(2)

    def close(self):
        pass

    def possible(self):
        return None

    def capabilities(self):
        return {"kill": "by hand"}

    def host_count(self):
        return self.hosts

    def deploy(self, spec):
        raise NotImplementedError

@hookimpl
def harness_testbeds():
    return {"odd": Odd}
"""


@pytest.fixture
def odd(install, tmp_path, suite):
    """A distribution with an odd testbed, and a suite that uses it: the environment in which `harness` finds it."""
    install("odd-testbed", {"odd_testbed": TESTBED}, {"odd": "odd_testbed"})
    suite.write_text(suite.read_text().replace('kind = "local"', 'kind = "odd"'))
    return {"PYTHONPATH": str(tmp_path / "site" / "odd-testbed")}


def test_a_broken_plugin_is_listed_and_warned_of_but_stops_nobody_else(harness, install, tmp_path, suite):
    install("oops", {"oops": "1 / 0\n"}, {"thing": "oops"})
    env = {"PYTHONPATH": str(tmp_path / "site" / "oops")}
    listed = harness("plugin", "list", **env)
    assert listed.returncode == 0
    assert "broken: entry point 'thing' (oops) of distribution 'oops'" in listed.stdout
    assert "raised ZeroDivisionError when it was imported: division by zero (" in listed.stdout
    document = json.loads(harness("plugin", "list", "--json", **env).stdout)
    assert [p["distribution"] for p in document["plugins"] if p["broken"]] == ["oops"]
    dry = harness("run", str(suite), "--dry-run", "--json", **env)
    assert dry.returncode == 0
    assert dry.stderr.startswith(
        "warning: entry point 'thing' (oops) of distribution 'oops' is broken and left out: raised Zero"
    )
    assert json.loads(dry.stdout)["suite"]["name"] == "demo"


def test_a_suite_that_needs_a_broken_plugin_is_exit_2(harness, odd, install, tmp_path, suite):
    (tmp_path / "site" / "odd-testbed" / "odd_testbed.py").write_text("import nothing_of_this_name\n")
    done = harness("run", str(suite), **odd)
    assert done.returncode == 2
    assert "testbed.kind: unknown testbed 'odd'" in done.stderr
    assert "'odd' of 'odd-testbed'" in done.stderr


def test_a_failing_testbed_is_exit_13_and_json_stands_alone(harness, odd, suite, tmp_path):
    done = harness("run", str(suite), "--json", "--results", "out", **odd)
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit_code"]) == (13, 13)
    assert "the machine is on fire; put it out" in json.dumps(document)
    assert "noise from a child process" in done.stderr
    assert "noise from a library" in done.stderr
    (run_dir,) = (tmp_path / "out" / "runs").iterdir()
    again = harness("report", str(run_dir), "--json", **odd)
    assert again.returncode == 13
    assert json.loads(again.stdout)["verdict"] == document["verdict"]


def test_a_run_without_json_ends_with_its_report_and_its_directory(harness, odd, suite, tmp_path):
    done = harness("run", str(suite), **odd)
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert done.returncode == 13
    assert f"to see this again: harness report runs/{run_dir.name}" in done.stdout
    assert "demo: 2 cases, 4 trials, on odd; writing to" in done.stderr
    again = harness("report", str(run_dir), **odd)
    assert again.returncode == 13
    assert again.stdout.strip() in done.stdout


def test_a_run_without_json_keeps_the_noise_of_others_from_standard_output(harness, odd, suite):
    done = harness("run", str(suite), **odd)
    assert done.returncode == 13
    assert done.stdout.startswith("INFRASTRUCTURE  demo: ") and "noise" not in done.stdout
    assert "noise from a child process\n" in done.stderr and "noise from a library\n" in done.stderr


def test_a_report_on_a_terminal_is_coloured_and_alone_there(odd, suite, tmp_path):
    """Standard output is given back before the report is made, whose colours and width are those of the terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "harness", "run", str(suite)]
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")} | {"TERM": "xterm", **odd}
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True, timeout=60, cwd=tmp_path, env=env)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.returncode == 13
    assert shown.startswith("\x1b[") and "demo: " in shown and "noise" not in shown
    assert "noise from a child process\n" in done.stderr and "noise from a library\n" in done.stderr


@pytest.mark.parametrize("more", ["", "--json"])
def test_a_run_needs_a_standard_output(odd, suite, tmp_path, more):
    """Where it is closed, the journal would get its descriptor, and with it what others print."""
    command = f"{shlex.quote(sys.executable)} -m harness run {shlex.quote(str(suite))} {more} >&-"
    done = subprocess.run(
        command, shell=True, stderr=subprocess.PIPE, text=True, timeout=60, cwd=tmp_path, env={**os.environ, **odd}
    )
    why = "error: standard output was closed when harness was started; send it somewhere, if only to /dev/null\n"
    assert (done.returncode, done.stderr) == (2, why)
    assert not (tmp_path / "runs").exists()


WITNESS = """
from pathlib import Path
from harness.hookspecs import hookimpl

@hookimpl
def harness_report(run_dir, width):
    with Path("reports").open("a") as reports:
        reports.write(f"{width}\\n")
"""


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_run_makes_its_report_once(harness, odd, install, suite, tmp_path, more):
    install("witness", {"witness": WITNESS}, {"witness": "witness"})
    path = os.pathsep.join([odd["PYTHONPATH"], str(tmp_path / "site" / "witness")])
    done = harness("run", str(suite), *more, PYTHONPATH=path)
    assert done.returncode == 13 and "the machine is on fire" in done.stdout
    assert (tmp_path / "reports").read_text() == "110\n"


def test_ctrl_c_leaves_a_report_and_one_document(odd, suite, tmp_path):
    suite.write_text(suite.read_text().replace('kind = "odd"', 'kind = "odd"\ndoes = "wait"'))
    command = [sys.executable, "-m", "harness", "run", str(suite), "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env={**os.environ, **odd}
    ) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if line == "opened\n":
                break
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
    document = json.loads(out)
    assert run.returncode == document["exit_code"] == 11
    assert "Traceback" not in err
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert document["run"] == str(run_dir)


LIAR = """
from dataclasses import dataclass
from harness.hookspecs import hookimpl
from harness.api.filters import Algebra
from harness_plugins.filters.additive import Sum

@dataclass(frozen=True)
class Liar(Sum):
    @property
    def algebra(self):
        return Algebra(idempotent=True, invertible=True, keyed=False, ordered=False)

@hookimpl
def harness_filters():
    return {"liar": Liar}
"""


def test_a_filter_that_breaks_its_own_laws_fails_its_check_with_exit_12(harness, install, tmp_path):
    install("liar", {"liar": LIAR}, {"liar": "liar"})
    env = {"PYTHONPATH": str(tmp_path / "site" / "liar")}
    done = harness("plugin", "check", "filter", "liar", "--examples", "20", "--json", **env)
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit_code"], document["passed"]) == (12, 12, False)
    failed = [check for check in document["checks"] if check["passed"] is False]
    assert failed
    assert all(check["message"] for check in failed)
    text = harness("plugin", "check", "filter", "liar", "--examples", "20", **env)
    assert text.returncode == 12
    assert f"FAILED   {failed[0]['name']}" in text.stdout


def test_an_unexpected_exception_is_exit_13_and_shows_its_traceback_on_request_only(harness, install, tmp_path):
    source = """
from harness.hookspecs import hookimpl

@hookimpl
def harness_report(run_dir, width):
    raise SystemError("out of sorts")
"""
    install("sorts", {"sorts": source}, {"sorts": "sorts"})
    env = {"PYTHONPATH": str(tmp_path / "site" / "sorts")}
    done = harness("report", ".", "--json", **env)
    assert done.returncode == 13
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith(
        "error: SystemError: out of sorts; this is a mistake in harness or in a plugin: run it again with"
    )
    assert json.loads(done.stdout) == {"exit_code": 13, "verdict": "error", "error": "out of sorts"}
    for shown in (harness("--debug", "report", ".", **env), harness("report", ".", HARNESS_DEBUG="1", **env)):
        assert shown.returncode == 13
        assert 'raise SystemError("out of sorts")' in shown.stderr


def test_a_reader_that_leaves_is_no_traceback(suite, tmp_path):
    command = [sys.executable, "-m", "harness", "run", str(suite), "--dry-run", "--json", "--trials", "500"]
    # Without a buffer of its own Python would take a write that the pipe cut short for a whole one.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=env) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "{\n"
        run.stdout.close()
        assert run.stderr is not None
        errors = run.stderr.read()
    assert (run.returncode, errors) == (13, "")


@pytest.mark.parametrize(("kind", "code"), [("sum", 13), ("liar", 12)])
def test_a_result_that_nobody_reads_is_no_success_and_a_failure_stays_one(kind, code, install, tmp_path):
    install("liar", {"liar": LIAR}, {"liar": "liar"})
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site" / "liar")}
    command = [sys.executable, "-m", "harness", "plugin", "check", "filter", kind, "--examples", "20", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=env) as run:
        assert run.stdout is not None and run.stderr is not None
        run.stdout.close()
        errors = run.stderr.read()
    assert (run.returncode, errors) == (code, "")


@pytest.mark.parametrize(
    "args", [["--help"], ["plugin", "list"], ["run", "demo.toml", "--dry-run"], ["topology", "show", "2:2"]]
)
def test_light_commands_import_nothing_heavy(args, suite, tmp_path):
    code = (
        "import sys\n"
        f"sys.argv = ['harness', *{args!r}]\n"
        "from harness.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    heavy = [m for m in ('ray', 'pandas', 'pyarrow', 'hypothesis', 'harness.run.runner') if m in sys.modules]\n"
        "    print(heavy, end.code, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path)
    assert done.stderr == "[] 0\n"
