"""Plant a bug in a copy of the package, and explore that copy until a seed fails.

    python tests/mutants/hunt.py [NAME ...] [--most SEEDS]     hunt mutants, all of them without a name; a line for each
    python tests/mutants/hunt.py --rows                        the rows of the table in docs/mutants.md

A hunt runs in a process of its own, which finds the copy first on its path. Seeds are tried from 0 on, and what fails is not
made small. The same seed runs the same each time, so the seed that finds a bug is known beforehand.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from planted import QUESTS, Change, Mutant

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "harness"
#: Beside the package that is changed; these come as they are.
BESIDE = ("plugins", "workloads", "faults", "results")
_MOST = 2000


@dataclass(frozen=True)
class Found:
    """The first seed that failed, and by (invariant or check, what it said) pairs."""

    seed: int
    violations: tuple[tuple[str, str], ...]


def changed(path: Path, change: Change) -> str:
    """The text of the file after the change. Raises ValueError where the old text does not occur exactly once."""
    text = path.read_text()
    if text.count(change.old) != 1:
        times = f"{change.old!r} occurs {text.count(change.old)} times, not once"
        raise ValueError(f"harness/core/{change.file}: {times}; make the mutant fit the source")
    return text.replace(change.old, change.new)


def plant(changes: Iterable[Change], place: Path) -> None:
    """Copy the package into `place`, as plain Python, with these changes. Raises ValueError as `changed` does."""
    shutil.copytree(PACKAGE, place / "harness", ignore=shutil.ignore_patterns("*.so"))
    for change in changes:
        path = place / "harness" / "core" / change.file
        path.write_text(changed(path, change))


def hunt(changes: Iterable[Change], quest: str, seeds: int) -> Found | None:
    """Explore the changed package with seeds 0 to `seeds` - 1; None where none fails. Raises RuntimeError where the process
    that explores ends by itself."""
    with tempfile.TemporaryDirectory(prefix="harness-mutant-") as name:
        place = Path(name)
        plant(changes, place)
        path = os.pathsep.join([str(place), *(str(ROOT / beside) for beside in BESIDE)])
        task = json.dumps({"quest": QUESTS[quest], "seeds": seeds, "place": str(place)})
        done = subprocess.run(
            [sys.executable, __file__, "--explore"],
            input=task,
            capture_output=True,
            text=True,
            cwd=place,
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"},
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"the process that explores ended with {done.returncode}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout)
    return Found(found["seed"], tuple((n, w) for n, w in found["violations"])) if found else None


def explore() -> None:
    """In the process of its own: the task comes as JSON, and what was found goes out the same way (null for nothing)."""
    import harness
    from harness.explore.campaign import quest_of
    from harness.explore.judge import run_scenario
    from harness.registry import load

    task = json.load(sys.stdin)
    if not Path(harness.__file__).is_relative_to(Path(task["place"])):
        raise SystemExit(f"{harness.__file__} would be explored, not the copy in {task['place']}")
    quest = quest_of(tomllib.loads(task["quest"]), task["quest"])
    registry = load()
    found = None
    for seed in range(task["seeds"]):
        outcome = run_scenario(quest.scenario(seed), registry, quest.space.heal_s)
        if outcome.violations:
            found = {"seed": seed, "violations": outcome.violations}
            break
    print(json.dumps(found))


def line(mutant: Mutant, most: int) -> str:
    """Hunt one mutant: what became of it, for people."""
    found = hunt(mutant.changes, mutant.quest, most)
    if found is None:
        return f"{mutant.name} ({mutant.quest}): not found by {most} seeds"
    by, what = found.violations[0]
    return f"{mutant.name} ({mutant.quest}): found by seed {found.seed}, {by}: {what}"


def main() -> int:
    """Hunt by name; the exit status."""
    from mutants import MUTANTS

    parser = argparse.ArgumentParser(description="Hunt planted bugs.")
    parser.add_argument("names", nargs="*", help="which mutants; all without a name")
    parser.add_argument("--most", type=int, default=_MOST, help="give up after so many seeds (default: %(default)s)")
    parser.add_argument("--rows", action="store_true", help="hunt nothing, print the rows of the table")
    options = parser.parse_args()
    if options.rows:
        print("\n".join(m.row for m in MUTANTS))
        return 0
    known = {m.name: m for m in MUTANTS}
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"there is no mutant {unknown[0]!r}; there are {', '.join(known)}")
    for name in options.names or known:
        print(line(known[name], options.most), flush=True)
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--explore"]:
        explore()
    else:
        sys.exit(main())
