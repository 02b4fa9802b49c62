"""Bugs in how a front-end hands over to its standby."""

from __future__ import annotations

from planted import mutant

FRONT_END_MUTANTS = (
    mutant(
        "acknowledged-before-kept",
        "The front-end acknowledges what it has delivered before its standby knows of it.",
        "front-end",
        316,
        "every-request-ends",
        "results.py",
        "        return min(s.acked, self.delivery[s.stream].sealed) if self.sealing and s.replay else s.floor()\n",
        "        return s.floor()\n",
    ),
    mutant(
        "messages-not-logged",
        "The log says nothing of messages to the back-ends.",
        "front-end",
        1,
        "failed",
        "handover.py",
        "        self._next.messages.append((stream, message))\n",
        "        self._released[stream] = message.seq\n        self._pass_on(stream, message)\n",
    ),
    mutant(
        "marks-not-taken-over",
        "The standby has everything sent again that it has not heard to be acknowledged, whatever the log says.",
        "front-end",
        28,
        "failed",
        "standby.py",
        "            self.results.learn({stream: acked})\n",
        "",
    ),
    mutant(
        "orders-before-kept",
        "Orders are given before the standby knows of them.",
        "front-end",
        22,
        "failed",
        "handover.py",
        "        self._next.orders.append(payload)\n",
        "        self._issue(payload)\n",
    ),
    mutant(
        "old-front-end-welcome",
        "The standby in charge has nothing against the front-end that it has replaced.",
        "front-end",
        84,
        "fenced",
        "ballot.py",
        "            node.dead = node.dead | {0}\n",
        "",
    ),
)
