"""`harness topology show`."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from harness.api.errors import ExitCode, UsageError
from harness.cli.common import print_json
from harness.cli.spec import spec_of
from harness.core.render import describe, render
from harness.core.tree import Tree
from harness.registry import Category, Kind, Mistakes, Registry, load
from harness.registry.mistakes import asked

#: What only the kind `generic` understands: numbers with colons, commas and multipliers.
_LEVELS = re.compile(r"\d[\dx,]*(:[\dx,]+)*")


def show(kind: str, words: Sequence[str], lines: int, ascii_only: bool, as_json: bool) -> ExitCode:
    """Build a tree, draw it and count it; without a kind, list the kinds."""
    registry = load()
    if not kind:
        return _kinds(registry, as_json)
    levels = _LEVELS.fullmatch(kind) and not words
    spec = {"kind": "generic", "spec": kind} if levels else spec_of(kind, words, registry.kinds(Category.TOPOLOGY))
    tree = _built(registry, spec)
    facts = describe(tree)
    if as_json:
        print_json({"topology": spec, **facts, "parents": [n.parent for n in tree.nodes]})
        return ExitCode.PASSED
    drawing = render(tree, max_lines=lines, ascii_only=ascii_only or not _can_draw())
    sys.stdout.write("\n".join([*drawing, "", *_counted(facts)]) + "\n")
    return ExitCode.PASSED


def _kinds(registry: Registry, as_json: bool) -> ExitCode:
    """All kinds of topologies, each with a command that draws one."""
    kinds = sorted(registry.kinds(Category.TOPOLOGY).values(), key=lambda kind: kind.name)
    if as_json:
        listed = [{"kind": k.name, "summary": k.summary, "required": k.required, "example": k.example_keys} for k in kinds]
        print_json({"kinds": listed})
        return ExitCode.PASSED
    commands = [f"harness topology show {_words(kind)}" for kind in kinds]
    width = max(map(len, commands), default=0)
    lines = [f"{command.ljust(width)}  # {kind.summary}" for command, kind in zip(commands, kinds, strict=True)]
    lines += ["", "levels alone are a tree of the kind generic: harness topology show 2:8,4"]
    sys.stdout.write("\n".join(lines) + "\n")
    return ExitCode.PASSED


def _words(kind: Kind) -> str:
    """A kind and its keys as words of a command line."""
    keys = kind.example_keys
    pairs = [f"{key}=VALUE" for key in kind.required] if keys is None else [f"{key}={value}" for key, value in keys.items()]
    return " ".join([kind.name, *map(shlex.quote, pairs)])


def _built(registry: Registry, spec: dict[str, Any]) -> Tree:
    topology = registry.make(Category.TOPOLOGY, spec)
    mistakes = Mistakes()
    tree: Tree | None = asked(topology.build, "topology", mistakes)
    mistakes.raise_if_any()
    if tree is None:
        raise UsageError(f"topology: '{spec['kind']}' built nothing")
    return tree


def _counted(facts: dict[str, Any]) -> list[str]:
    levels = ", ".join(str(n) for n in facts["levels"])
    return [
        f"nodes {facts['nodes']}: 1 front-end, {facts['communication']} communication, {facts['back_ends']} back-ends",
        f"links {facts['links']}, depth {facts['depth']}, largest fan-out {facts['max_fanout']}, nodes by level {levels}",
    ]


def _can_draw() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
