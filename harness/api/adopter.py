"""What ranks the candidates for an adoption, and how it travels to the nodes."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast, runtime_checkable

from harness.core.adoption import Policy
from harness.core.tree import Role, Tree, TreeNode

__all__ = ["Adopter", "AdopterByName", "Role", "Tree", "TreeNode"]


@runtime_checkable
class Adopter(Protocol):
    """The plugin: a frozen dataclass whose fields are its TOML keys, of the types bool, int, float, str and tuples of these."""

    def rank(self, tree: Tree, orphan: int, lost: int, candidates: Sequence[int], seed: int) -> Sequence[int]:
        """The ids of the candidates, best first, for node `orphan` that has lost its parent, node `lost`. All of it is about
        the planned `tree`.

        candidates: who may adopt it, by id: the root (the front-end, node 0, or the standby that has taken its place) and the
        communication processes that are strictly nearer to it. Others are refused by the core; some may be left out. The
        root comes last where it is not named, and after it the lost parent, since only the link may be broken. seed: of the
        trial, for policies that choose at random. The answer must follow from these arguments alone: every node has its own
        instance, and a run can be repeated.
        """
        ...


@dataclass(frozen=True)
class AdopterByName:
    """A policy as it is sent to the nodes: the class by its module and name, and its keys as plain values."""

    module: str
    name: str
    keys: Mapping[str, Any]

    @classmethod
    def of(cls, policy: Adopter) -> AdopterByName:
        """The names of `policy`. Raises ValueError where it could not be made again of them."""
        kind = type(policy)
        keys = {f.name: getattr(policy, f.name) for f in dataclasses.fields(cast(Any, policy)) if f.init}
        for key, value in keys.items():
            if not _plain(value):
                what = f"'{key}' of {kind.__qualname__} holds a {type(value).__name__}"
                raise ValueError(f"{what}; a policy of adoption has keys of bool, int, float, str and tuples of these")
        named = cls(kind.__module__, kind.__qualname__, keys)
        if named.make() != policy:
            raise ValueError(f"{kind.__qualname__}, made again of its keys, is another; keep nothing but keys in it")
        return named

    def make(self) -> Adopter:
        """The policy. Raises ImportError or AttributeError where its class is not installed."""
        found: Any = importlib.import_module(self.module)
        for part in self.name.split("."):
            found = getattr(found, part)
        return cast(Adopter, found(**self.keys))

    def policy(self, seed: int) -> Policy:
        """What the core calls, for a trial with this seed."""
        return partial(self.make().rank, seed=seed)


def _plain(value: object) -> bool:
    return all(_plain(v) for v in value) if isinstance(value, tuple) else isinstance(value, bool | int | float | str)
