"""The temporary directory of a host is removed by the next one where its own process could not do it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.testbeds import scratch

HOLD = "import sys, time; from harness.testbeds import scratch; print(scratch.make(sys.argv[1]), flush=True); time.sleep(60)"


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that has made a directory below `tmp_path`, and that directory."""
    path = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_what_a_killed_process_left_is_removed_by_the_next(holder: tuple[subprocess.Popen[str], Path], tmp_path: Path) -> None:
    process, left = holder
    (left / "n0").mkdir()
    (left / "n0" / "samples.bin").write_bytes(b"x" * 1000)
    (tmp_path / "harness-of-somebody").mkdir()
    scratch.sweep(tmp_path)
    assert (left / "n0" / "samples.bin").exists(), "it is in use"
    process.send_signal(signal.SIGKILL)
    process.wait()
    mine = scratch.make(str(tmp_path))
    assert not left.exists()
    assert mine.is_dir()
    assert (tmp_path / "harness-of-somebody").is_dir(), "there is no sign that this was ours"


def test_a_fork_keeps_it(tmp_path: Path) -> None:
    """A node that outlives its fork server for a moment still writes there."""
    code = f"import os, time; from harness.testbeds import scratch; p = scratch.make({str(tmp_path)!r}); "
    code += "c = os.fork(); print(p, c, flush=True) if c else time.sleep(60)"
    path = os.pathsep.join(p for p in sys.path if p)
    with subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        place, child = process.stdout.readline().split()
        process.wait()
        try:
            scratch.sweep(tmp_path)
            assert Path(place).exists()
        finally:
            os.kill(int(child), signal.SIGKILL)
    for _ in range(1000):  # the kernel lets go of the lock a moment after the kill
        scratch.sweep(tmp_path)
        if not Path(place).exists():
            break
        time.sleep(0.01)
    assert not Path(place).exists()
