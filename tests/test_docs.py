"""Whatever a user can write or meet stands in the documentation."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from harness.api.errors import ExitCode
from harness.api.fault import Moment
from harness.cli import app
from harness.core.settings import NodeSettings
from harness.core.spec import Recovery
from harness.hookspecs import Hooks
from harness.registry import Category, load
from harness.registry.loading import BUILT_IN
from harness.run.tables import (
    ACCEPTS,
    CASE_KEYS,
    FAULT_KEYS,
    SYNCS,
    TOP_KEYS,
    Expect,
    RecoveryMs,
    SuiteTable,
    Throughput,
)
from harness.run.targets import ROLES

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
TABLES = (SuiteTable, NodeSettings, Expect, RecoveryMs, Throughput, *SYNCS.values(), *ACCEPTS.values())


def code(name: str) -> set[str]:
    """All words in code spans and blocks of a page."""
    text = (DOCS / name).read_text()
    spans = re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL)
    return set(re.findall(r"[\w-]+", " ".join(spans)))


def commands(group: object, prefix: str = "harness") -> Iterator[tuple[str, object]]:
    for name, command in getattr(group, "commands", {}).items():
        if getattr(command, "commands", None):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def test_every_hook():
    hooks = {name for name in vars(Hooks) if name.startswith("harness_")}
    assert hooks - code("plugins-hooks.md") == set()


def test_every_key_of_a_suite():
    keys = {*TOP_KEYS, *CASE_KEYS, *FAULT_KEYS}
    for table in TABLES:
        keys |= {field.name for field in dataclasses.fields(table)}
    assert keys - code("suite.md") == set()


def test_every_value_of_a_suite():
    values = {*SYNCS, *ACCEPTS, *ROLES, *(m.value for m in Moment), *(r.value for r in Recovery), "auto"}
    assert values - code("suite.md") == set()


def test_defaults_in_the_tables_are_the_real_ones():
    text = (DOCS / "suite.md").read_text()
    for field in dataclasses.fields(NodeSettings):
        assert f"| `{field.name}` | {field.default} |" in text


@pytest.mark.parametrize("category", list(Category))
def test_every_built_in_kind_and_its_keys(category):
    kinds = [kind for kind in load().kinds(category).values() if kind.origin.distribution == BUILT_IN]
    assert kinds
    documented = code("kinds.md")
    assert {word for kind in kinds for word in (kind.name, *kind.keys)} - documented == set()


def test_every_exit_code():
    text = (DOCS / "cli.md").read_text()
    assert [c.value for c in ExitCode if f"\n| {c.value} | " not in text] == []


def test_every_command_and_option():
    text = (DOCS / "cli.md").read_text()
    found = dict(commands(typer.main.get_command(app)))
    assert len(found) == 9
    assert [name for name in found if f"`{name}" not in text] == []
    words = code("cli.md")
    options = {o for c in found.values() for p in c.params for o in p.opts if o.startswith("--") and o != "--help"}
    assert [o for o in sorted(options) if o not in words and o.removeprefix("--") not in words] == []


def test_links_between_pages_lead_somewhere():
    pages = [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]
    missing = []
    for page in pages:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            if not (page.parent / link).exists():
                missing.append(f"{page.name}: {link}")
    assert missing == []
