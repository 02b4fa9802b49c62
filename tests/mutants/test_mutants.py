"""Planted bugs are found: what an exploration is good for is measured by what it finds."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hunt import PACKAGE, ROOT, changed, hunt, plant
from mutants import MUTANTS
from planted import BOUNDS, NODE, QUESTS, Change, Mutant

DOCS = ROOT / "docs" / "mutants.md"
BY_NAME = {m.name: m for m in MUTANTS}
#: MRNet's own.
OF_MRNET = ("single-adopter", "adoption-cycles", "lost-wake-up", "topology-before-peers", "flush-to-dead-parent")
#: Found by few seeds, in two modules.
CHEAP = ("lost-wake-up", "single-adopter")
#: What the unchanged package is explored with: each quest as far as any mutant needs it.
CONTROLS = {quest: max((m.seeds for m in MUTANTS if m.quest == quest), default=0) for quest in QUESTS}


def test_names_are_unique_and_the_famous_five_are_there() -> None:
    assert len(BY_NAME) == len(MUTANTS) >= 25
    assert set(OF_MRNET) <= set(BY_NAME)


def test_every_quest_is_needed() -> None:
    assert [quest for quest, seeds in CONTROLS.items() if not seeds] == []


@pytest.mark.parametrize("name", BY_NAME)
def test_the_change_fits_the_source(name: str) -> None:
    """Each old text occurs once, and the changed file is valid Python and says something else."""
    for change in BY_NAME[name].changes:
        path = PACKAGE / "core" / change.file
        tree = ast.parse(changed(path, change))
        assert ast.dump(tree) != ast.dump(ast.parse(path.read_text()))


def test_a_change_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="occurs 0 times, not once"):
        plant([Change("node.py", "no such text", "")], tmp_path)


def test_a_copy_has_the_changes_and_nothing_compiled(tmp_path: Path) -> None:
    mutant = BY_NAME["messages-twice"]  # two changes of one file
    plant(mutant.changes, tmp_path)
    core = tmp_path / "harness" / "core"
    for change in mutant.changes:
        assert change.new in (core / change.file).read_text()
    assert list(tmp_path.rglob("*.so")) == []
    other = {p.relative_to(PACKAGE) for p in PACKAGE.rglob("*.py") if p.name not in {c.file for c in mutant.changes}}
    assert all((tmp_path / "harness" / p).read_bytes() == (PACKAGE / p).read_bytes() for p in other)


@pytest.mark.parametrize("name", CHEAP)
def test_a_cheap_one_is_found(name: str) -> None:
    assert_found(BY_NAME[name])


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in BY_NAME if name not in CHEAP])
def test_every_one_is_found(name: str) -> None:
    assert_found(BY_NAME[name])


@pytest.mark.long
@pytest.mark.parametrize("quest", QUESTS)
def test_the_unchanged_package_passes_the_same_seeds(quest: str) -> None:
    assert hunt([], quest, CONTROLS[quest]) is None


def assert_found(mutant: Mutant) -> None:
    """Within the seeds of the table, and by what the table says."""
    found = hunt(mutant.changes, mutant.quest, mutant.seeds)
    assert found is not None, f"{mutant.name} was not found by {mutant.seeds} seeds"
    assert (found.seed, found.violations[0][0]) == (mutant.seeds - 1, mutant.by)


def test_the_table_in_the_docs_is_this() -> None:
    text = DOCS.read_text()
    assert [m.name for m in MUTANTS if m.row not in text] == []
    assert sum(line.startswith("| `") for line in text.splitlines()) == len(MUTANTS)  # and no others
    assert NODE in text
    assert [quest for quest, bounds in BOUNDS.items() if f"### {quest}\n\n```toml\n{bounds}```" not in text] == []
