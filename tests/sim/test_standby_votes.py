"""When the standby takes over from a front-end that is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import run, suite

from harness.api.errors import ExitCode

HANG = 'kind = "hang"\ntarget = "node:0"\nat_s = 1.0'


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_keeps_those_below_it_until_it_has_tried_the_front_end_again(tmp_path: Path, seed: int) -> None:
    """With the usual times the attempt ends just when an orphan lets its children go: they are votes."""
    text = suite(fault=HANG, seed=seed, duration_s=9.0, case='recovery = "replay"\nstandby = "node:1"\n')
    outcome, (trial,) = run(tmp_path, text)
    assert outcome.exit_code is ExitCode.PASSED, outcome.text
    (took,) = [e for e in trial.events if e["kind"] == "took-over"]
    let_go = [e for e in trial.events if e["kind"] == "link-lost" and e["node"] == 1 and "let go" in e["cause"]]
    assert took["node"] == 1 and let_go == []
