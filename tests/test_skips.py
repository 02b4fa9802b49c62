"""Skips are failures where everything is required."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

def test_lacks_something(require):
    require(False, "needs a guest")

def test_has_no_meaning_here():
    pytest.skip("not applicable: this machine has one kernel only")

@pytest.mark.xfail(reason="known")
def test_known_to_fail():
    assert False
"""
MODULE = 'import pytest\npytest.skip("needs torch", allow_module_level=True)\n'


@pytest.fixture
def outcome(tmp_path):
    shutil.copy(Path(__file__).parent / "conftest.py", tmp_path)
    (tmp_path / "test_some.py").write_text(TESTS)

    def run(**env: str) -> tuple[int, str]:
        plain = {k: v for k, v in os.environ.items() if k != "HARNESS_REQUIRE_ALL"}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env={**plain, **env}, cwd=tmp_path
        )
        return done.returncode, done.stdout

    return run


def test_a_skip_is_fine_on_a_machine_that_lacks_something(outcome):
    code, text = outcome()
    assert code == 0
    assert "2 skipped, 1 xfailed" in text


def test_a_skip_fails_where_everything_is_required(outcome, tmp_path):
    (tmp_path / "test_module.py").write_text(MODULE)
    code, text = outcome(HARNESS_REQUIRE_ALL="1")
    assert code != 0
    assert "skipped, although HARNESS_REQUIRE_ALL is set: needs torch" in text
    (tmp_path / "test_module.py").unlink()
    code, text = outcome(HARNESS_REQUIRE_ALL="1")
    assert code == 1
    assert "skipped, although HARNESS_REQUIRE_ALL is set: needs a guest" in text
    assert "1 failed, 1 skipped, 1 xfailed" in text
