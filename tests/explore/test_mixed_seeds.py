"""Random scenarios with loads of every kind at once (suites/explore-mixed.toml): some with every test run, ten thousand with
the long tests. To look at one seed: `harness explore suites/explore-mixed.toml --from 17 --seeds 1`.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.api.errors import ExitCode
from harness.cli import app
from harness.explore.campaign import Tally, explore_block, read_quest
from harness.explore.judge import run_scenario
from harness.registry import load

ROOT = Path(__file__).parents[2]
SUITE = "suites/explore-mixed.toml"
QUEST = read_quest(ROOT / SUITE)
#: A command that repeats a failure, as people are told it.
COMMAND = re.compile(r"to (?:repeat|see) it: (harness .*)$", re.MULTILINE)
#: Seeds that take longer than their share.
SLOW = {0, 5, 8, 11, 15, 17, 25, 26, 28, 31, 32, 36, 40, 44, 45, 47, 50, 52, 53, 55}
#: Seeds that once found a bug, and which.
FOUND = {164: "what a child had sent before it was known to take part in a stream was never asked for again"}
LONG, BLOCK, TASK = 10_000, 200, 4
#: What the long tests have found so far, in this process.
WHOLE = Tally()


def told(blocks: Iterable[Mapping[str, Any]]) -> list[str]:
    """What was wrong, each with the command that repeats it."""
    again = "harness explore {} --from {} --seeds 1"
    return [
        f"seed {f['seed']}: {name}: {what}; to repeat it: {again.format(SUITE, f['seed'])}"
        for block in blocks
        for f in block["failures"]
        for name, what in f["violations"]
    ]


@pytest.mark.parametrize("seed", [*(s for s in range(60) if s not in SLOW), *FOUND])
def test_seed(seed: int) -> None:
    assert told([explore_block((QUEST, seed, seed + 1))]) == []


def test_a_failing_seed_is_told_with_the_command_that_repeats_it(
    sabotage: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By these tests, and by the command itself, which writes a suite that repeats what is wrong."""
    wrong = next(w for s in range(60) if s not in SLOW and (w := told([explore_block((QUEST, s, s + 1))])))
    monkeypatch.chdir(ROOT)
    found = {command for line in wrong for command in COMMAND.findall(line)}
    assert len(found) == 1
    again = CliRunner().invoke(app, [*found.pop().split()[1:], "--jobs", "1", "--results", str(tmp_path)])
    assert again.exit_code == ExitCode.CHECK_FAILED
    (command,) = COMMAND.findall(again.stdout)
    suite = tomllib.loads(Path(command.split()[-1]).read_text())
    assert run_scenario(suite, load(), QUEST.space.heal_s).names & {line.split(": ")[1] for line in wrong}


@pytest.fixture(scope="module")
def workers() -> Iterator[Pool]:
    """A process for each core."""
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        yield pool


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, LONG, BLOCK))
def test_many_seeds(workers: Pool, first: int) -> None:
    tasks = [(QUEST, a, a + TASK) for a in range(first, first + BLOCK, TASK)]
    blocks = workers.map(explore_block, tasks, chunksize=1)
    for block in blocks:
        WHOLE.add(block)
    assert told(blocks) == []


@pytest.mark.long
def test_the_rare_paths_were_taken() -> None:
    """By all of the seeds together."""
    if WHOLE.seeds < LONG:
        pytest.skip(f"not applicable: {WHOLE.seeds} of {LONG} seeds were explored by this process")
    assert WHOLE.never(QUEST.space) == []
