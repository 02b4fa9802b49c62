"""What draws an overlay tree."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from harness.core.tree import Role, Tree, TreeNode

__all__ = ["Role", "Topology", "Tree", "TreeNode"]


@runtime_checkable
class Topology(Protocol):
    """The plugin: a frozen dataclass whose fields are its TOML keys."""

    def build(self) -> Tree:
        """The tree. Raises ValueError, saying what to change, where the parameters describe none."""
        ...
