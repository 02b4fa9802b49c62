"""What must happen sometimes: rare paths of the protocol, counted over an exploration. A long one that never takes a path does
not test it, and fails."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.core.tree import Tree

Event = Mapping[str, Any]
#: So soon after the take-over, what is sent again is sent again for it.
_AT_ONCE_S = 0.1

#: Name to what it means.
PATHS: Mapping[str, str] = {
    "orphan-adopted": "a node lost its parent and was taken in by another",
    "old-parent-again": "a cut link, and the old parent took the child back",
    "second-choice": "the first candidate refused or did not answer, a later one took the orphan in",
    "adopter-died-adopting": "a candidate was lost while it was taking the orphan in",
    "second-failure-during-adoption": "another node was lost while an orphan was looking for a parent",
    "whole-chain-lost": "an orphan's parent and grandparent had both been lost",
    "rejoined-in-grace": "a suspect came back before its time ran out",
    "declared-dead": "a suspect's time ran out",
    "zombie-fenced": "a node that had been declared dead came back and was refused",
    "replay": "waves were sent again",
    "replay-across-two-epochs": "one stream was rewound twice by different losses",
    "composed": "a child's state rebuilt what the dead parent knew",
    "decomposed": "a part that the state lacked was asked of the back-ends",
    "stream-opened-in-recovery": "a stream was opened while somebody was looking for a parent",
    "finished-in-recovery": "the workload ended while somebody was looking for a parent",
    "restarted": "a new process took the place of a dead one",
    "restarted-taken-in": "such a process was attached",
    "typed-error": "a request ended in a typed error",
    "back-end-lost": "a back-end was declared dead",
    "front-end-child-lost": "the front-end itself lost a child",
    "joined-late": "a back-end came while streams ran, and was let in",
    "left": "a back-end left in order",
    "rejoined-after-leaving": "a back-end that had left was let in again",
    "rejoined-after-death": "a new process in the place of a dead back-end was let in",
    "contributed-after-joining": "a back-end that was let in attached while the workload ran",
    "partition-healed": "a partition healed while the workload ran",
    "standby-took-over": "the front-end was lost, and its standby went on",
    "took-over-within-a-wave": "it had waves sent again that the front-end had not delivered",
    "front-end-fenced": "a front-end that its standby had replaced came back and was refused",
    "went-on-alone": "the standby was lost, and the nodes voted for the front-end alone",
}


def paths_taken(events: Sequence[Event], tree: Tree) -> Counter[str]:
    """How often each of PATHS was taken, by the events of one trial in their order."""
    return _Walk(tree).over(events)


class _Walk:
    """Goes through the events of a trial and remembers who is looking for a parent."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.found: Counter[str] = Counter()
        #: Orphans that look for a parent: node to the candidates that it has tried.
        self.searching: dict[int, list[int]] = {}
        self.struck: set[int] = set()
        self.rewound: dict[int, set[float]] = defaultdict(set)
        self.started: Counter[int] = Counter()
        self.partitions: set[int] = set()
        self.finished = False
        self.took_over_s = -math.inf
        #: Back-ends that are no members: the path that their coming back is.
        self.away: dict[int, str] = {}

    def over(self, events: Sequence[Event]) -> Counter[str]:
        steps: Mapping[str, Callable[[Event], None]] = {
            "adopter-chosen": self._chosen,
            "adopter-refused": self._refused,
            "reattached": self._reattached,
            "link-lost": self._link_lost,
            "node-exited": self._exited,
            "node-started": self._started,
            "attached": self._attached,
            "rejoined": lambda e: self._count("rejoined-in-grace"),
            "dead": self._dead,
            "fenced": lambda e: self._count("zombie-fenced" if e["node"] else "front-end-fenced"),
            "took-over": self._took_over,
            "alone": lambda e: self._count("went-on-alone"),
            "replayed": self._replayed,
            "rewound": self._rewound,
            "composed": lambda e: self._count("composed"),
            "decomposed": lambda e: self._count("decomposed"),
            "stream-opened": self._opened,
            "stream-error": lambda e: self._count("typed-error"),
            "finished": self._finish,
            "absent": lambda e: self.away.update(dict.fromkeys(e["members"], "joined-late")),
            "left": self._left,
            "admitted": lambda e: self._count(self.away.pop(e["member"], "rejoined-after-death")),
            "joined": self._joined,
            "fault-undone": self._undone,
            "fault": self._fault,
        }
        for event in events:
            step = steps.get(event["kind"])
            if step is not None:
                step(event)
        return self.found

    def _count(self, path: str) -> None:
        self.found[path] += 1

    def _chosen(self, e: Event) -> None:
        self.searching.setdefault(e["node"], []).append(e["adopter"])

    def _refused(self, e: Event) -> None:
        if e["node"] in self.searching and e["adopter"] in self.struck:
            self._count("adopter-died-adopting")

    def _reattached(self, e: Event) -> None:
        tried = self.searching.pop(e["child"], [])
        self._count("orphan-adopted" if e["parent"] != e["lost"] else "old-parent-again")
        if len(tried) > 1 and e["parent"] != e["lost"]:
            self._count("second-choice")
        above = self.tree.nodes[e["lost"]].parent
        if e["lost"] in self.struck and above in self.struck:
            self._count("whole-chain-lost")

    def _link_lost(self, e: Event) -> None:
        if any(node != e["node"] for node in self.searching):
            self._count("second-failure-during-adoption")
        if e["node"] == 0:
            self._count("front-end-child-lost")

    def _exited(self, e: Event) -> None:
        self.searching.pop(e["node"], None)

    def _started(self, e: Event) -> None:
        self.started[e["node"]] += 1
        if self.started[e["node"]] > 1:
            self._count("restarted")

    def _attached(self, e: Event) -> None:
        if self.started[e["node"]] > 1:
            self._count("restarted-taken-in")

    def _took_over(self, e: Event) -> None:
        self._count("standby-took-over")
        self.took_over_s = float(e["t_s"])

    def _replayed(self, e: Event) -> None:
        self._count("replay")
        if float(e["t_s"]) - self.took_over_s < _AT_ONCE_S:
            self._count("took-over-within-a-wave")

    def _dead(self, e: Event) -> None:
        self._count("declared-dead")
        if e.get("ranks"):
            self._count("back-end-lost")

    def _rewound(self, e: Event) -> None:
        times = self.rewound[e["stream"]]
        times.add(round(float(e["t_s"]), 2))
        if len(times) == 2:
            self._count("replay-across-two-epochs")

    def _left(self, e: Event) -> None:
        self._count("left")
        self.away[e["member"]] = "rejoined-after-leaving"

    def _joined(self, e: Event) -> None:
        if not self.finished:
            self._count("contributed-after-joining")

    def _opened(self, e: Event) -> None:
        if self.searching:
            self._count("stream-opened-in-recovery")

    def _finish(self, e: Event) -> None:
        self.finished = True
        if self.searching:
            self._count("finished-in-recovery")

    def _fault(self, e: Event) -> None:
        self.struck.update(e.get("nodes") or [e["node"]])
        if e["action"] == "part":
            self.partitions.add(e["fault"])

    def _undone(self, e: Event) -> None:
        if e["fault"] in self.partitions and not self.finished:
            self._count("partition-healed")
