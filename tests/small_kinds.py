"""The kinds that need not be built-in ones to plan a suite, or to run it where no node moves data: those that the suites of
tests/suite and of tests/runner share. A fixture `registry` installs them beside the kinds of its own."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from harness.api.fault import Action, Injection, Trigger
from harness.api.filters import Algebra, Codec, Items, RankSet
from harness.api.topology import Tree
from harness.api.transport import Endpoint


@dataclass(frozen=True)
class Flat:
    """No communication processes."""

    back_ends: int = 3

    def build(self) -> Tree:
        return Tree.from_parents([None, *[0] * self.back_ends])


@dataclass(frozen=True)
class Wire:
    """A transport that is never used."""

    why_not: str = ""

    def unavailable(self) -> str | None:
        return self.why_not or None

    def endpoint(self, *, node: int, host: str, secret: bytes, listen: bool, max_frame_bytes: int) -> Endpoint:
        raise AssertionError("nothing is sent")


@dataclass(frozen=True)
class Sum:
    """Of the laws of addition, the declaration."""

    idempotent: ClassVar[bool] = False
    elementwise: ClassVar[bool] = True

    @property
    def algebra(self) -> Algebra:
        strict = not self.idempotent
        return Algebra(idempotent=self.idempotent, invertible=strict, keyed=False, ordered=False, decomposable=strict)

    @property
    def codec(self) -> Codec:
        return Codec.ARRAY

    def lift(self, items: Items, rank: int) -> Items:
        return items

    def combine(self, parts: Sequence[Items], ranks: Sequence[RankSet]) -> Items:
        return parts[0]

    def fold(self, items: Items) -> Items:
        return items[:1]

    def lower(self, items: Items, contributors: RankSet) -> Items:
        return items


@dataclass(frozen=True)
class Same:
    """A downstream filter that leaves messages as they are."""

    def apply(self, payload: bytes) -> bytes:
        return payload


@dataclass(frozen=True)
class Crash:
    """SIGKILL. `more`: what it says it needs besides."""

    more: tuple[str, ...] = ()

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"kill", *self.more})

    def plan(self, index: int, targets: tuple[int, ...], trigger: Trigger, tree: Tree, rng: random.Random) -> list[Injection]:
        if 0 in targets:
            raise ValueError("the front-end is not to be killed; choose another target")
        return [Injection(index, "crash", node, Action.KILL, trigger) for node in targets]
