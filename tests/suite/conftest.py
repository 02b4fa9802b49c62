"""A registry of small kinds, and a way to plan a suite from its text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.api.errors import UsageError
from harness.registry import Registry
from harness.run.plan import Plan, load_plan

HERE = Path(__file__).parent
MODULES = {path.stem: path.read_text() for path in (HERE.parent / "small_kinds.py", HERE / "kinds_for_tests.py")}


@pytest.fixture
def registry(install: Callable[..., list]) -> Registry:
    registry = Registry(install("kinds-for-tests", MODULES, {"kinds": "kinds_for_tests"}))
    assert [p.broken for p in registry.plugins] == [None]
    return registry


@pytest.fixture
def planned(registry: Registry, tmp_path: Path) -> Callable[..., Plan]:
    """`planned(text)`: the plan of the suite with this text."""

    def plan(text: str, **options: object) -> Plan:
        path = tmp_path / "suite.toml"
        path.write_text(text)
        return load_plan(path, registry, **options)

    return plan


@pytest.fixture
def called() -> Callable[[str, str], str]:
    """`called(line, name)`: a mistake in a case as it is told where the case has that name."""

    def line_of(line: str, name: str) -> str:
        path, colon, text = line.partition(": ")
        return f"{path} (case '{name}'){colon}{text}" if name and path.startswith("case[") else line

    return line_of


@pytest.fixture
def mistakes(planned: Callable[..., Plan]) -> Callable[..., list[str]]:
    """`mistakes(text)`: what is wrong with the suite of this text."""

    def lines(text: str, **options: object) -> list[str]:
        with pytest.raises(UsageError) as caught:
            planned(text, **options)
        return caught.value.mistakes

    return lines
