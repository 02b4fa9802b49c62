"""Planted bugs in recovery `decompose`: the front-end's account, the requests, and what the back-ends keep."""

from __future__ import annotations

from planted import mutant

DECOMPOSE_MUTANTS = (
    mutant(
        "part-taken-twice",
        "The front-end takes every part that comes, also one that it has already (decompose).",
        "decompose",
        106,
        "failed",
        "ledger.py",
        "if lacking != waves * len(ranks):",
        "if lacking > waves * len(ranks):",
    ),
    mutant(
        "lost-waves-not-lacked",
        "The front-end takes waves that went down with a node for waves that its state holds (decompose).",
        "decompose",
        8,
        "failed",
        "ledger.py",
        "            self._lack(self.members, self.top, unit)\n",
        "",
    ),
    mutant(
        "forgotten-too-early",
        "A back-end forgets units that reach beyond the settled mark (decompose).",
        "decompose",
        12,
        "failed",
        "ledger.py",
        "while q and q[0][0] + len(q[0][1]) <= settled:",
        "while q and q[0][0] <= settled:",
    ),
    mutant(
        "asked-once",
        "A part that does not come is not asked for again (decompose).",
        "decompose",
        18,
        "failed",
        "ledger.py",
        "due = h.asked_s + patience_s if",
        "due = NEVER if",
    ),
    mutant(
        "requests-to-one-child",
        "A request goes to a child only where all who are asked are below it (decompose).",
        "decompose",
        16,
        "failed",
        "decompose.py",
        "if not ranks.isdisjoint(child.ranks):",
        "if ranks.issubset(child.ranks):",
    ),
    mutant(
        "mark-not-told",
        "The back-ends are not told that the state has no holes any more (decompose).",
        "decompose",
        18,
        "failed",
        "decompose.py",
        "        table.tell_mark(s)\n    ledger.told",
        "        node.rearm = True\n    ledger.told",
    ),
)
