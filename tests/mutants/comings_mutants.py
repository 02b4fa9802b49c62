"""Planted bugs about back-ends that come and go."""

from __future__ import annotations

from planted import mutant

COMINGS_MUTANTS = (
    mutant(
        "contributes-too-early",
        "Who is let in contributes from the next wave on, of which the process before may have sent some (replay).",
        "members",
        46,
        "lives-apart",
        "lives.py",
        "bound = s.acked + u.window if s.replay else",
        "bound = s.acked if s.replay else",
    ),
    mutant(
        "asked-for-old-replies",
        "Who is let in is to answer from the next wave on, to which the request may have been sent before (replay).",
        "requests",
        1,
        "failed",
        "lives.py",
        "return sent * u.per_wave",
        "return s.acked",
    ),
    mutant(
        "left-too-early",
        "A back-end that leaves is seen off before what it produced has been delivered.",
        "members",
        12,
        "failed",
        "comings.py",
        "up[i].acked >= end",
        "up[i].acked >= 0",
    ),
    mutant(
        "gone-and-missing",
        "Who has left in order, or has not come yet, is named as missing.",
        "members",
        1,
        "failed",
        "results.py",
        " - s.outside(first) if",
        " if",
    ),
    mutant(
        "first-units-not-known",
        "A node waits for units of a child below which all came later.",
        "members",
        26,
        "failed",
        "streams.py",
        "            s.jump()\n",
        "            pass\n",
    ),
    mutant(
        "never-let-in-again",
        "The order that lets somebody in does not say that it is no longer dead.",
        "members",
        2,
        "same-sequence",
        "lives.py",
        "    node.dead.discard(n)\n",
        "",
    ),
)
