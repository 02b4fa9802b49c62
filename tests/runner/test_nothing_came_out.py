"""A trial from which nothing came out, though the front-end ended in order, says something: about the tree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.cli import app

#: The only way up from the back-ends is stopped before the first wave.
SUITE = """
[suite]
name = "x"
[testbed]
kind = "{testbed}"
hosts = 1
[node]
lease_s = 60.0
[[case]]
name = "c"
workload = {{ kind = "reduce-stream", waves = 2, rate = 2.0 }}
topology = {{ kind = "generic", spec = "1:2" }}
filter = "sum"
deadline_s = 1.0
[[case.fault]]
kind = "hang"
resume_after_s = 2.0
target = "node:1"
at_s = 0.0
"""


def document(tmp_path: Path, testbed: str) -> tuple[int, dict[str, Any]]:
    suite = tmp_path / "suite.toml"
    suite.write_text(SUITE.format(testbed=testbed))
    done = CliRunner().invoke(app, ["run", str(suite), "--results", str(tmp_path / "runs"), "--json"])
    return done.exit_code, json.loads(done.stdout)


@pytest.mark.parametrize("testbed", ["sim", "local"])
def test_it_fails_and_is_no_fault_of_the_surroundings(tmp_path: Path, testbed: str) -> None:
    code, found = document(tmp_path, testbed)
    assert (code, found["verdict"]) == (12, "failed"), found["reasons"]
    assert any("no wave was delivered" in r or "had no result within 1.0 s" in r for r in found["reasons"])
    assert found["notes"] == []
