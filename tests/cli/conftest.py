"""The command line, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SUITE = """
[suite]
name = "demo"
seed = 3
trials = 2
[testbed]
kind = "local"
hosts = 2
[[case]]
name = "crash"
workload = { kind = "reduce-stream", waves = 1000 }
topology = { kind = "kary", fanout = 2, depth = [2, 3] }
filter = "sum"
[[case.fault]]
kind = "crash"
target = "any 1 of role:internal"
at_s = 0.5
[case.expect]
recovery_ms = { p99 = 500 }
"""


@pytest.fixture
def harness(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`harness("plugin", "list")` runs the command in an empty directory; keywords go into its environment."""

    def run(*args: str, stdin: int | None = subprocess.DEVNULL, **env: str) -> subprocess.CompletedProcess[str]:
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("HARNESS_", "COLUMNS", "FORCE_COLOR"))}
        return subprocess.run(
            [sys.executable, "-m", "harness", *args],
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=tmp_path,
            env={**plain, "NO_COLOR": "1", "COLUMNS": "100", **env},
        )

    return run


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "demo.toml"
    path.write_text(SUITE)
    return path
