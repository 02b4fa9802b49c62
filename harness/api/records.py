"""What is known about a trial afterwards. The journal holds all of it; everything that judges reads only this.

Times are seconds since the trial's start on the front-end host's clock. Events are plain dictionaries with at least `t_s` and
`kind`; the kinds and their fields are listed in EVENT_KINDS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.ranks import RankSet
from harness.core.tree import Tree

EVENT_KINDS: Mapping[str, str] = {
    "node-started": "node, pid, host: a node process runs; life: how many ran in its place before, where any did",
    "attached": "node, parent, depth: a node has its parent for the first time",
    "tree-ready": "nodes, took_s: every node is attached and the front-end knows it",
    "workload-started": "the front-end called the workload's start: faults' at_s count from here",
    "stream-opened": "stream, name, filter, recovery, members (ranges of ranks): the front-end opened a stream",
    "link-lost": "node, peer, cause: a node noticed that a neighbour is gone (phase detect)",
    "adopter-chosen": "node, lost, adopter, attempt: an orphan picked a candidate (phase choose)",
    "adopter-refused": "node, adopter, reason: a candidate did not answer or said no",
    "connected": "node, parent: an orphan's new link is up (phase connect)",
    "reattached": "node (= parent), child, lost: an adopter took an orphan in",
    "rewound": "node, stream, wave: a node asked its children to send again from `wave` (phase replay)",
    "replayed": "node, stream, wave, count: a child sent waves again (phase replay)",
    "composed": "node, stream, child: a node merged a child's filter state (phase compose)",
    "decomposed": "node, stream, wave, count, ranks: the front-end put into its state what it had lacked of these (phase "
    "decompose)",
    "first-wave": "stream, wave: first result delivered after a recovery",
    "first-complete-wave": "stream, wave: first result with every live back-end after a recovery",
    "suspect": "member, ranks, by, cause: the front-end heard that a node was lost; ranks: the back-ends that went with it",
    "dead": "member, ranks, order: the front-end declared a node dead by its n-th order of deaths; it is fenced from now on",
    "rejoined": "member, parent: a suspect came back in time",
    "absent": "members, ranks: back-ends that are not there at the start and may join later",
    "admitted": "member, ranks, life, first (stream: wave): a new process is let in, and contributes from these waves on",
    "joined": "member, parent: a back-end that was let in has attached",
    "leaving": "node, rank, made (stream: waves): a back-end was told to leave; it produces nothing more",
    "left": "member, ranks, first (stream: wave): it left in order; from these waves on it is no member",
    "fenced": "node: a node that had been declared dead ended itself",
    "front-end-lost": "by: a node found nobody to adopt it, or a standby asks for votes since the front-end is lost",
    "standing-by": "node: the standby has the first entry of the front-end's log, and could take over from now on",
    "took-over": "node, generation, lost, votes: the standby is in charge in place of the front-end",
    "alone": "node, standby, votes: the front-end goes on without its standby",
    "fault": "fault, action, node, trigger, nodes (where there are several): a fault was done (ground truth)",
    "fault-confirmed": "fault, node, effect: what the agent saw afterwards (exited by signal 9, state T, ...)",
    "fault-undone": "fault, node: a fault was taken back",
    "progress": "waves, alive: the front-end's counters, every other second",
    "stream-error": "stream, wave, error, message: a request ended in a typed error",
    "protocol-error": "node, peer, message: a neighbour sent something that is no frame of ours",
    "usage": "node, rss_bytes, pss_bytes, cpu_s: what a node process had used when it ended",
    "finished": "ok, reason: the workload ended",
    "gave-up": "node, status, reason: a node ended itself, and why",
    "node-failed": "node, message: the code of a node process raised; the end of the traceback",
    "view": "node, heard, orders, digest, dead (ranges of ids): whom a node that ended held for dead (harness.core.agreement)",
    "node-exited": "node, status: a node process ended (negative: by that signal)",
    "note": "name, fields: an event of the workload's own",
}

#: One row for each run of waves that the workload recorded together.
SAMPLE_DTYPE = np.dtype(
    [
        ("t_s", "<f8"),  # when they were delivered
        ("granted_s", "<f8"),  # when the window opened for the first of them
        ("stream", "<u4"),
        ("contributors", "<u4"),  # index into TrialRecord.contributor_sets
        ("first", "<u8"),
        ("count", "<u4"),
        ("complete", "<u1"),
        ("pad", "V3"),
    ]
)


@dataclass(frozen=True)
class TrialRecord:
    """One trial as it was observed.

    samples: rows of SAMPLE_DTYPE in order of delivery. observed: the recorded numbers of all waves of `samples`, laid end to
    end, shape (sum of count,), float64 or int64. plan: what was planned (case, seed, tree, faults), plain values.
    """

    plan: Mapping[str, Any]
    tree: Tree
    events: Sequence[Mapping[str, Any]]
    samples: NDArray[Any]
    observed: NDArray[Any]
    contributor_sets: Sequence[RankSet]

    def of_kind(self, *kinds: str) -> list[Mapping[str, Any]]:
        """The events of the given kinds, in order."""
        return [e for e in self.events if e["kind"] in kinds]


@dataclass(frozen=True)
class Violation:
    """One thing that was wrong: `what` is lost, duplicated, mixed, misnamed, unexpected or missing."""

    what: str
    message: str
    rank: int | None = None
    wave: int | None = None


@dataclass(frozen=True)
class Check:
    """The outcome of a workload's own correctness check. `passed` is None where nothing can be said (with the reason in
    `summary`). counts: how often each thing was found, e.g. delivered, lost, duplicated, mixed, partial."""

    passed: bool | None
    summary: str
    counts: Mapping[str, int] = field(default_factory=dict)
    violations: Sequence[Violation] = ()
