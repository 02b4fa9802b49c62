"""Which nodes a fault strikes: a small language over the tree. Pure.

node:3  node:1-4      nodes by id
host:2                every node on a host
rank:5  rank:0-3      back-ends by rank
depth:1               every node of one level
role:internal         communication processes; also role:back-end, role:front-end
A, B                  both (a union)
any N of TARGET       N of the target's nodes, chosen by the trial's seed
chain of N            N communication processes, each the parent of the next, chosen by the trial's seed
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.core.tree import Role, Tree, TreeNode
from harness.registry.mistakes import nearest

ROLES: Mapping[str, Role] = {
    "internal": Role.COMMUNICATION,
    "back-end": Role.BACK_END,
    "front-end": Role.FRONT_END,
}
_NUMBERED: Mapping[str, Callable[[TreeNode], int | None]] = {
    "node": lambda n: n.id,
    "host": lambda n: n.host,
    "rank": lambda n: n.rank,
    "depth": lambda n: n.depth,
}
_FORMS = "node:N, host:N, rank:N, depth:N, role:NAME, 'any N of TARGET', 'chain of N', or several with commas"
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class Selector:
    """One `what:which` term: nodes whose `what` lies in [low, high], or the nodes of a role."""

    what: str
    low: int = 0
    high: int = 0
    role: Role | None = None

    def nodes(self, tree: Tree) -> set[int]:
        """The ids of the nodes that it selects, none where there are none."""
        if self.role is not None:
            return {n.id for n in tree.nodes if n.role is self.role}
        number = _NUMBERED[self.what]
        return {n.id for n in tree.nodes if (v := number(n)) is not None and self.low <= v <= self.high}

    def __str__(self) -> str:
        if self.role is not None:
            return f"role:{next(name for name, role in ROLES.items() if role is self.role)}"
        return f"{self.what}:{self.low}" + (f"-{self.high}" if self.high != self.low else "")


@dataclass(frozen=True)
class Target:
    """A parsed target. `any_of` and `chain` are 0 where they are not used."""

    text: str
    selectors: tuple[Selector, ...] = ()
    any_of: int = 0
    chain: int = 0

    @property
    def highest_host(self) -> int:
        """The highest host that it names, -1 where it names none."""
        return max((s.high for s in self.selectors if s.what == "host"), default=-1)

    def select(self, tree: Tree, rng: random.Random) -> tuple[int, ...]:
        """The ids of the struck nodes, ascending. Raises ValueError where there are none, or too few to choose from."""
        if self.chain:
            return _chain(tree, self.chain, rng)
        found: set[int] = set()
        for selector in self.selectors:
            nodes = selector.nodes(tree)
            if not nodes:
                raise ValueError(f"'{selector}' selects nothing; the tree has {_inventory(tree)}")
            found |= nodes
        if not self.any_of:
            return tuple(sorted(found))
        if self.any_of > len(found):
            raise ValueError(f"'{self.text}' wants {self.any_of} nodes, but only {len(found)} are there to choose from")
        return tuple(sorted(rng.sample(sorted(found), self.any_of)))


def parse_target(text: str) -> Target:
    """Parse a target. Raises ValueError, with the form that was probably meant."""
    words = text.strip()
    if match := re.fullmatch(r"chain\s+of\s+(\S+)", words):
        return Target(text, chain=_count(match[1], "chain of", least=2))
    if match := re.fullmatch(r"any\s+(\S+)\s+of\s+(.+)", words):
        return Target(text, _selectors(match[2]), any_of=_count(match[1], "any", least=1))
    return Target(text, _selectors(words))


def _count(word: str, what: str, least: int) -> int:
    if not word.isdecimal() or int(word) < least:
        raise ValueError(f"'{what}' needs a number of at least {least}, not '{word}'")
    return int(word)


def _selectors(text: str) -> tuple[Selector, ...]:
    return tuple(_selector(part.strip()) for part in text.split(","))


def _selector(text: str) -> Selector:
    what, colon, which = text.partition(":")
    if not colon:
        raise ValueError(f"'{text}' is no target; write {_FORMS}")
    if what == "role":
        if which not in ROLES:
            raise ValueError(f"unknown role '{which}'; {nearest(which, ROLES, 'roles')}")
        return Selector(what, role=ROLES[which])
    if what not in _NUMBERED:
        raise ValueError(f"unknown target '{what}:'; {nearest(what, [*_NUMBERED, 'role'], 'targets')}")
    match = _RANGE.fullmatch(which)
    if not match:
        raise ValueError(f"'{what}:' needs a number or a range such as 2-4, not '{which}'")
    low, high = int(match[1]), int(match[2] or match[1])
    if high < low:
        raise ValueError(f"the range '{which}' is empty; write {what}:{high}-{low}")
    return Selector(what, low, high)


def _chain(tree: Tree, length: int, rng: random.Random) -> tuple[int, ...]:
    found = []
    for node in tree.communication:
        path = [node]
        while len(path) < length and path[-1].parent is not None:
            path.append(tree.nodes[path[-1].parent])
        if len(path) == length and path[-1].role is Role.COMMUNICATION:
            found.append(tuple(sorted(n.id for n in path)))
    if not found:
        raise ValueError(
            f"'chain of {length}' needs {length} communication processes below each other; the tree has {_inventory(tree)}, "
            f"so give it a depth of at least {length + 1}"
        )
    return rng.choice(sorted(found))


def _inventory(tree: Tree) -> str:
    hosts = 1 + max(n.host for n in tree.nodes)
    return (
        f"{len(tree.nodes)} nodes ({len(tree.communication)} internal, {len(tree.back_ends)} back-ends), depth {tree.depth}, "
        f"on {hosts} host{'s' if hosts > 1 else ''}"
    )
