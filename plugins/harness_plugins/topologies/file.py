"""The topology from a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.api.topology import Tree
from harness_plugins.topologies.shape import MAX_NODES, breadth_first, too_large

_MAX_BYTES = 64 << 20
#: A parent with its children, and the line on which it stands.
_Family = tuple[int, str, list[str]]


@dataclass(frozen=True)
class File:
    """A tree written down in a file as parents and children, in one of two formats.

    In both, `#` starts a comment. Ours, one parent a line, names of any characters but blanks, `:`, `;` and `#`:

        front: a b
        a: w0 w1 w2
        b: w3

    MRNet's, statements that end with `;`, names as host:number:

        h0:0 => h1:0 h1:1 ;
        h1:0 => h2:0 h2:1 h2:2 ;

    A file with `=>` or `;` in it is MRNet's. The one name that is nobody's child is the front-end; children keep their order.
    Names serve to tell nodes apart, here and in error messages: where a node runs is the testbed's business. path: relative
    to the current directory.
    """

    path: str = field(metadata={"example": "tree.txt"})

    def build(self) -> Tree:
        """The tree, numbered breadth first. Raises ValueError where the file cannot be read or describes no tree."""
        try:
            with Path(self.path).open("rb") as source:
                raw = source.read(_MAX_BYTES + 1)
            if len(raw) > _MAX_BYTES:
                raise too_large("file", f'"{self.path}" has more than {_MAX_BYTES >> 20} MiB')
            text = raw.decode()
        except OSError as e:
            raise ValueError(f'file: path = "{self.path}" cannot be read: {e.strerror or e}') from e
        except UnicodeDecodeError as e:
            raise ValueError(f'file: path = "{self.path}" is no UTF-8 text: {e}') from e
        lines = [line.split("#", 1)[0] for line in text.splitlines()]
        families = list(_statements(lines) if any("=>" in line or ";" in line for line in lines) else _lines(lines))
        try:
            return breadth_first(_children(families))
        except ValueError as e:
            raise ValueError(f'file: "{self.path}": {e}') from e


def _lines(lines: list[str]) -> Iterator[_Family]:
    """Families in our own format."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            parent, colon, rest = line.partition(":")
            if not colon or len(parent.split()) != 1 or ":" in rest:
                yield number, "", []
            else:
                yield number, parent.strip(), rest.split()


def _statements(lines: list[str]) -> Iterator[_Family]:
    """Families in MRNet's format, in which a statement may run over several lines."""
    start, pending = 0, ""
    for number, line in enumerate(lines, start=1):
        pieces = line.split(";")
        for i, piece in enumerate(pieces):
            if not pending.strip():
                start = number
            pending += " " + piece
            if i < len(pieces) - 1:
                yield _statement(start, pending)
                pending = ""
    if pending.strip():
        yield start, "", []  # no semicolon


def _statement(number: int, text: str) -> _Family:
    match = re.fullmatch(r"\s*(\S+)\s*=>\s*([^=>]*)", text)
    return (number, match[1], match[2].split()) if match else (number, "", [])


def _children(families: list[_Family]) -> list[list[int]]:
    """The children of every node, the front-end being node 0. Raises ValueError, saying where, for what is no tree."""
    stands_at, parent_of = _parents(families)
    roots = [name for name in stands_at if name not in parent_of]
    if len(roots) > 1:
        raise ValueError(f"{', '.join(roots[:3])} have no parent, but only the front-end may be without one")
    if not roots:
        raise ValueError("every node has a parent, so there is no front-end")
    if len(parent_of) >= MAX_NODES:
        raise too_large("file", "split it")
    number_of = {name: i for i, name in enumerate([roots[0], *parent_of])}
    children: list[list[int]] = [[] for _ in number_of]
    for _, parent, kids in families:
        children[number_of[parent]] = [number_of[kid] for kid in kids]
    reached = [0]
    for node in reached:  # grows while it is read
        reached.extend(children[node])
    if len(reached) < len(children):
        there = set(reached)
        name, passed = next(name for name in stands_at if number_of[name] not in there), set[str]()
        while name not in passed:  # upwards until the circle closes
            passed.add(name)
            name = parent_of[name]
        raise ValueError(f"line {stands_at[name]}: {name} is its own ancestor")
    return children


def _parents(families: list[_Family]) -> tuple[dict[str, int], dict[str, str]]:
    """The line of each parent, and the parent of each child, both in order of appearance."""
    if not families:
        raise ValueError('there is no node in it; write e.g. "front: a b"')
    stands_at: dict[str, int] = {}
    parent_of: dict[str, str] = {}
    for number, parent, kids in families:
        where = f"line {number}: "
        if not parent:
            raise ValueError(f'{where}write "parent: child child" or, in MRNet\'s format, "host:0 => host:1 host:2 ;"')
        if parent in stands_at:
            raise ValueError(f"{where}{parent} has its children on line {stands_at[parent]} already; put them together")
        if not kids:
            raise ValueError(f"{where}{parent} has no children; drop the line, since a back-end needs none")
        stands_at[parent] = number
        for kid in kids:
            if kid in parent_of:
                raise ValueError(f"{where}{kid} has the parent {parent_of[kid]} already")
            parent_of[kid] = parent
    return stands_at, parent_of
