"""The front-end's view of the tree: who is attached where, who is suspect, who is dead.

Suspect is not dead: a node whose link broke, and everything below it, has a time of grace in which it may attach again. Only
the front-end turns a suspect into a dead node, and it tells everybody, so that all agree on who is lost and nobody takes a
zombie back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from harness.core.below import Kin
from harness.core.frames import PROTOCOL_ERROR, SILENT
from harness.core.ranks import RankSet
from harness.core.settings import NodeSettings
from harness.core.tree import Tree

NEVER: Final = float("inf")
#: A node whose link was dropped for garbage so many times is broken: it would only come back and do it again.
_FORGIVEN: Final = 3


@dataclass(slots=True)
class Suspect:
    """A node that may be lost: until when it may come back, and why."""

    due: float
    cause: str


class Membership:
    """`parents` is the tree as it is now, node to current parent; `incarnations` counts how often a node has attached, so that
    old news is known as such."""

    def __init__(self, tree: Tree, settings: NodeSettings, now: float) -> None:
        self.tree = tree
        self.settings = settings
        self.parents: dict[int, int] = {}
        self._kin = Kin()
        self._unheard = {n.id for n in tree.nodes if n.id not in (0, tree.root)}
        self.incarnations: dict[int, int] = {}
        self.suspects: dict[int, Suspect] = {}
        self.dead: set[int] = set()
        self.offences: dict[int, int] = {}
        self.last_join = now

    def below(self, node: int) -> list[int]:
        """The nodes of the current subtree of `node`, itself included."""
        return self._kin.subtree(node)

    def joined(self, node: int, by: int, incarnation: int, below: Iterable[Sequence[int]], now: float) -> list[int]:
        """`by` took `node` in, with everything that is `below` it now; the nodes that are no longer suspect."""
        self.last_join = now
        back = self._place(node, by, incarnation)
        return back + self.below_is(node, below, now)

    def below_is(self, node: int, below: Iterable[Sequence[int]], now: float) -> list[int]:
        """The subtree of `node` is exactly this; whoever was there and is not listed is lost."""
        edges = [(int(n), int(by), int(inc)) for n, by, inc in below]
        back = [n for n, by, inc in edges for n in self._place(n, by, inc)]
        listed = {n for n, _, _ in edges}
        for n in self.below(node)[1:]:
            if n not in listed and self.parents.get(n) is not None:
                # How it was lost is not known: it may be out of reach as well as dead.
                self.lost(n, self.incarnations[n], f"{SILENT}: no longer below node {node}", now)
        return back

    def _place(self, node: int, by: int, incarnation: int) -> list[int]:
        if node in self.dead or incarnation < self.incarnations.get(node, 0):
            return []
        self.parents[node] = by
        self._kin.place(node, by)
        self._unheard.discard(node)
        self.incarnations[node] = incarnation
        return [node] if self.suspects.pop(node, None) is not None else []

    def lost(self, node: int, incarnation: int, cause: str, now: float) -> list[int]:
        """The parent of `node` lost it; the nodes that are suspect from now on (none where the news is old)."""
        if node in self.dead or incarnation < self.incarnations.get(node, 0):
            return []
        s = self.settings
        if cause.startswith(PROTOCOL_ERROR):
            self.offences[node] = self.offences.get(node, 0) + 1
        new = []
        for n in self.below(node):
            # A back-end whose connection was reset has most likely ended; one that fell silent may just be out of reach.
            leaf = n == node and self.tree.nodes[n].rank is not None and not cause.startswith(SILENT)
            if self.tree.standby >= 0 and self.tree.nodes[n].depth == 1:
                leaf = False  # it asks the standby first
            if n not in self.suspects and n not in self.dead:
                due = now + (s.leaf_grace_s if leaf else s.orphan_grace_s)
                if self.offences.get(n, 0) >= _FORGIVEN:
                    due = now
                self.suspects[n] = Suspect(due, cause if n == node else f"lost with node {node}")
                new.append(n)
        if node in new and cause.startswith(SILENT) and self.tree.nodes[node].rank is None:
            self._wait_for_those_below(node, now)
        return new

    def _wait_for_those_below(self, silent: int, now: float) -> None:
        """A suspect may have been taken in by a node that fell silent before it could tell: it does not even know yet that it
        has to look for somebody else, and gets its time of grace anew."""
        depth = self.tree.nodes[silent].depth
        for n, s in self.suspects.items():
            if n != silent and self.tree.nodes[n].depth > depth and self.offences.get(n, 0) < _FORGIVEN:
                s.due = max(s.due, now + self.settings.orphan_grace_s)

    def pause(self, for_s: float) -> None:
        """Nobody could come back for so long (s): it counts as no one's time of grace."""
        self.last_join += for_s
        for s in self.suspects.values():
            s.due += for_s

    def expired(self, now: float) -> set[int]:
        """Suspects whose time has run out; they are dead from now on."""
        gone = {n for n, s in self.suspects.items() if s.due <= now}
        return self.bury(gone)

    def bury(self, nodes: set[int]) -> set[int]:
        """Declare nodes dead."""
        for n in nodes:
            self.suspects.pop(n, None)
        self.dead |= nodes
        self._unheard -= nodes
        return nodes

    def awaits(self, node: int, now: float) -> None:
        """A new process was let in on this place: it has the time of grace of an orphan to attach."""
        self.dead.discard(node)
        self.offences.pop(node, None)
        self.suspects[node] = Suspect(now + self.settings.orphan_grace_s, "let in, and not attached yet")

    def due(self) -> float:
        """When the next suspect's time runs out."""
        return min((s.due for s in self.suspects.values()), default=NEVER)

    def ranks_of(self, nodes: set[int] | list[int]) -> RankSet:
        """The ranks of the back-ends among `nodes`."""
        return RankSet.of(r for n in nodes if (r := self.tree.nodes[n].rank) is not None)

    @property
    def suspect_ranks(self) -> RankSet:
        """The back-ends whose whereabouts are unknown."""
        return self.ranks_of(list(self.suspects))

    def missing(self) -> list[int]:
        """Nodes that have neither attached nor been declared dead."""
        return sorted(self._unheard)

    def view(self) -> dict[str, Any]:
        """Plain values for the journal: the tree as it is now."""
        return {
            "parents": {str(n): p for n, p in sorted(self.parents.items())},
            "suspect": sorted(self.suspects),
            "dead": sorted(self.dead),
        }
