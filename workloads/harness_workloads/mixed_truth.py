"""What the record of a `mixed` trial says about its ranks: who died, who was suspect, and when all was healed."""

from __future__ import annotations

import math
from collections import Counter
from functools import cached_property

from harness.api.records import TrialRecord
from harness.api.workload import TrialContext
from harness.core.ranks import RankSet
from harness.core.settings import NodeSettings
from harness_workloads import common
from harness_workloads.coverage import CLOCK_SLACK_S

#: Events after which a stream may have to heal.
_MOVES = ("link-lost", "reattached", "rejoined", "dead", "fault", "fault-undone")
#: Acts after which a process is gone; another that takes its place knows nothing.
_FATAL = ("kill", "vanish")


class Truth:
    """What the record says about the tree and its ranks."""

    def __init__(self, record: TrialRecord, context: TrialContext) -> None:
        self.record, self.context = record, context
        self.everybody = common.everybody(context)
        self.moves_s = [float(e["t_s"]) for e in record.of_kind(*_MOVES)]
        self.links_lost = len(record.of_kind("link-lost"))
        self.died_s = {int(r): float(e["t_s"]) for e in record.of_kind("dead") for r in e["ranks"]}
        fatal = [e for e in record.of_kind("fault") if e["action"] in _FATAL]
        self.killed_nodes = {int(n) for e in fatal for n in e.get("nodes") or [e["node"]]}
        gone = {record.tree.nodes[n].rank for n in self.killed_nodes}
        self.killed = RankSet.of(r for r in gone if r is not None)
        #: Who was there from the beginning to the end.
        self.fit = self.everybody - RankSet.of(self.died_s) - self.killed

    @cached_property
    def heal_s(self) -> float:
        """How long after a loss somebody may still be missing: a time of grace, and one attempt at an adoption."""
        told = self.record.plan.get("settings") or {}
        usual = NodeSettings()
        grace = told.get("orphan_grace_s", usual.orphan_grace_s), told.get("connect_timeout_s", usual.connect_timeout_s)
        return float(sum(grace))

    @cached_property
    def healed_s(self) -> float:
        """From when on nobody who is alive may be missing; inf where a fault lasts to the end."""
        begun = Counter((e["fault"], e["node"]) for e in self.record.of_kind("fault") if e["action"] not in (*_FATAL, "cut"))
        begun.subtract((e["fault"], e["node"]) for e in self.record.of_kind("fault-undone"))
        if any(n > 0 for n in begun.values()):
            return math.inf
        return max(self.moves_s) + self.heal_s if self.moves_s else 0.0

    def disturbed(self, since_s: float, until_s: float) -> bool:
        """Whether a fault was done or taken back in that time."""
        return any(since_s <= float(e["t_s"]) <= until_s for e in self.record.of_kind("fault", "fault-undone"))

    def dead_at(self, t_s: float) -> RankSet:
        """The ranks that had been declared dead."""
        return RankSet.of(r for r, died_s in self.died_s.items() if died_s <= t_s + CLOCK_SLACK_S)

    def suspect_at(self, t_s: float) -> RankSet:
        """The ranks that were suspect then, or may have been."""
        return RankSet.of(r for r, a, b in self._suspicions if a - CLOCK_SLACK_S <= t_s <= b + CLOCK_SLACK_S)

    @cached_property
    def _suspicions(self) -> list[tuple[int, float, float]]:
        """(rank, since when, until when) it was suspect."""
        found: list[tuple[int, float, float]] = []
        since: dict[int, float] = {}
        for e in self.record.of_kind("suspect", "rejoined", "dead"):
            t_s = float(e["t_s"])
            if e["kind"] == "suspect":
                since |= {int(r): t_s for r in e["ranks"] if r not in since}
                continue
            ranks = e["ranks"] if e["kind"] == "dead" else [self.record.tree.nodes[int(e["member"])].rank]
            found += [(r, since.pop(r), t_s) for r in ranks if r in since]
        return found + [(r, a, math.inf) for r, a in since.items()]
