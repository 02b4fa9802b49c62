"""Ctrl-C, SIGTERM, a closed terminal and SIGKILL at any moment: the tree is torn down, the journal is whole, the report can be
made, and the exit code is the documented one."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STEADY = '{ kind = "reduce-stream", duration_s = 60.0, rate = 200.0 }'
SHORT = '{ kind = "reduce-stream", duration_s = 0.5, rate = 200.0 }'


def ends_well(running: Any, reason: str, *, measured: int | None = None) -> dict[str, Any]:
    """It was interrupted, took everything down, and left a whole record; the document. measured: the least number of
    contributions in it."""
    scene = running.scene
    done = running.done()
    told = f"{done.out}\n{done.err}"
    assert done.code == 11, told
    assert "Traceback" not in told
    document = done.document
    assert (document["exit_code"], document["verdict"]) == (11, "interrupted"), told
    assert reason in " ".join(document["reasons"])
    assert done.err.count("everything is being taken down") == 1
    entries = [json.loads(line) for line in scene.journal.splitlines()]
    (finished,) = [e for e in entries if e.get("what") == "run-finished"]
    assert finished["interrupted"] and finished["reason"] == reason
    started, ended = ({e["trial"] for e in entries if e.get("what") == what} for what in ("trial-started", "trial-ended"))
    assert started == ended
    assert not (scene.run_dir / "reserve").exists()
    if measured is not None:
        (case,) = document["cases"]
        assert case["figures_from"] == "unfinished trials" and case["counts"]["delivered"] >= measured
        assert case["counts"]["lost"] == case["counts"]["duplicated"] == case["counts"]["mixed"] == 0
    scene.assert_clean()
    scene.report_says(document)
    return dict(document)


def test_ctrl_c_in_the_middle_of_a_run(scene: Any) -> None:
    running = scene.start("run", scene.small(STEADY), "--json")
    running.wait_for_entry("progress", 4)
    scene.look_at_sockets()
    assert set(scene.nodes()) == {"n0", "n1", "n2"} and scene.listening
    running.interrupt()
    ends_well(running, "interrupted by SIGINT", measured=10)


def test_a_hang_up_in_the_middle_of_a_run(scene: Any) -> None:
    """As a terminal sends it when it is closed: to the whole process group."""
    running = scene.start("run", scene.small(STEADY), "--json")
    running.wait_for_entry("progress", 4)
    scene.look_at_sockets()
    os.killpg(running.process.pid, signal.SIGHUP)
    ends_well(running, "interrupted by SIGHUP", measured=10)


def test_under_nohup_a_run_outlives_its_terminal(scene: Any) -> None:
    workload = '{ kind = "reduce-stream", duration_s = 2.0, rate = 200.0 }'
    running = scene.start("run", scene.small(workload), "--json", prefix=("nohup",))
    for moment in ("trial-started", "progress", "finished"):
        running.wait_for_entry(moment)
        scene.look()
        os.killpg(running.process.pid, signal.SIGHUP)
    done = running.done()
    assert (done.code, done.document["verdict"]) == (0, "passed"), done.err
    assert "interrupted" not in done.err
    scene.assert_clean()
    scene.report_says(done.document)


def test_the_driver_is_killed_in_the_middle_of_a_run(scene: Any) -> None:
    running = scene.start("run", scene.small(STEADY), "--json")
    running.wait_for_entry("progress", 4)
    scene.look_at_sockets()
    assert len(scene.look()) > 5 and scene.listening
    os.kill(running.process.pid, signal.SIGKILL)
    assert running.process.wait(10.0) == -signal.SIGKILL
    scene.assert_clean()
    report = scene.run("report", str(scene.run_dir), "--json")
    document = report.document
    assert (report.code, document["verdict"]) == (11, "interrupted")
    assert document["reasons"][0] == "the program ended before the run did: the journal has no last word"
    (case,) = document["cases"]
    assert case["trials"]["interrupted"] == 1  # its samples were still with its host, and are gone
    assert "the journal ends in the middle of this trial" in case["reasons"][0]


def gcs_runs(running: Any) -> bool:
    return any("gcs_server" in running.scene.command(pid) for pid in running.scene.look())


#: When the signal is sent: the suite's workload and tree, and how to tell that the moment has come.
MOMENTS: dict[str, tuple[str, str, Callable[[Any], object]]] = {
    "before Ray is started": (SHORT, "", lambda r: "writing to runs/" in r.told),
    "while Ray starts": (SHORT, "", gcs_runs),
    "while a tree is deployed": (SHORT, "fanout = 6, depth = 2", lambda r: r.scene.count("trial-started")),
    "while a tree is stopped": (SHORT, "", lambda r: r.scene.count("finished")),
    "while the run ends": (SHORT, "", lambda r: r.scene.count("run-finished")),
}


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
@pytest.mark.parametrize("moment", MOMENTS)
def test_at_any_moment(scene: Any, moment: str, number: signal.Signals) -> None:
    workload, tree, reached = MOMENTS[moment]
    path = scene.work / scene.small(workload)
    path.write_text(path.read_text().replace("fanout = 1, depth = 2", tree or "fanout = 1, depth = 2"))
    running = scene.start("run", path.name, "--json")
    running.wait_for(lambda: reached(running), moment)
    running.interrupt(number)
    if moment == "while the run ends":  # everything was measured: there was nothing to interrupt any more
        done = running.done()
        assert (done.code, done.document["verdict"]) == (0, "passed")
        scene.assert_clean()
        scene.report_says(done.document)
    elif moment == "while a tree is stopped" and running.done().code == 0:
        scene.report_says(running.done().document)  # it was the last trial, and was over already
    else:
        ends_well(running, f"interrupted by {number.name}")


@pytest.mark.long
@pytest.mark.parametrize("pause_s", [0.0, 0.3, 2.0])
def test_twice_and_more(scene: Any, pause_s: float) -> None:
    running = scene.start("run", scene.small(STEADY), "--json")
    running.wait_for_entry("progress", 2)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        if running.process.poll() is None:
            running.interrupt(number)
        time.sleep(pause_s)
    ends_well(running, "interrupted by SIGINT")


def on_a_terminal(scene: Any) -> tuple[subprocess.Popen[bytes], Reader, int]:
    """A run on a terminal of its own, which is steady; the terminal's other end."""
    master, slave = os.openpty()

    def take_control() -> None:
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", scene.small(STEADY)],
        stdin=slave, stdout=slave, stderr=slave, cwd=scene.work, env=scene.environment,
        start_new_session=True, preexec_fn=take_control,
    )  # fmt: skip
    os.close(slave)
    scene.sessions.append(process.pid)
    shown = Reader(master)
    shown.wait_for(lambda: scene.count("progress") > 2)
    scene.look()
    return process, shown, master


def was_interrupted(scene: Any) -> None:
    scene.assert_clean()
    document = scene.run("report", str(scene.run_dir), "--json").document
    assert document["verdict"] == "interrupted"
    (case,) = document["cases"]
    assert case["counts"]["delivered"] > 0


@pytest.mark.long
def test_ctrl_c_as_it_is_typed(scene: Any) -> None:
    process, shown, master = on_a_terminal(scene)
    os.write(master, b"\x03")
    shown.wait_for(lambda: process.poll() is not None)
    os.close(master)
    assert process.returncode == 11
    assert "interrupted by SIGINT" in shown.text and "harness report" in shown.text and "Traceback" not in shown.text
    was_interrupted(scene)


@pytest.mark.long
def test_a_terminal_that_is_closed(scene: Any) -> None:
    process, _, master = on_a_terminal(scene)
    os.close(master)
    assert process.wait(90.0) == 11
    was_interrupted(scene)


class Reader:
    """Reads a terminal, so that whoever writes there is not held up."""

    def __init__(self, master: int) -> None:
        os.set_blocking(master, False)
        self._master = master
        self.text = ""

    def wait_for(self, there: Callable[[], object]) -> None:
        end = time.monotonic() + 90.0
        while not there():
            assert time.monotonic() < end, self.text
            try:
                self.text += os.read(self._master, 1 << 16).decode(errors="replace")
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:  # nobody has it open any more
                time.sleep(0.05)


def test_ctrl_c_before_anything_is_deployed(scene: Any) -> None:
    """While the suite is read, from a pipe into which nobody writes."""
    os.mkfifo(scene.work / "slow.toml")
    running = scene.start("run", "slow.toml", "--json")
    writers: list[int] = []
    running.wait_for(lambda: writers.extend(opened(scene.work / "slow.toml")) or writers, "it waits for its suite")
    running.interrupt()
    done = running.done()
    os.close(writers[0])
    done.fails(11, "error: interrupted")
    assert not (scene.work / "runs").exists()


def opened(pipe: Path) -> list[int]:
    """The pipe's end for writing, once somebody wants to read from it."""
    try:
        return [os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)]
    except OSError:
        return []
