"""How a node finds its parent, and another one after that is lost.

Candidates are ranked by a policy (harness.core.adoption), by `Tree.adopters` where there is none: all are strictly nearer
to the root than this node, so that adoptions can never form a cycle. Each attempt has a time-out; after the last candidate
the round begins again, until the node has been alone for `start_timeout_s`. (MRNet picks one adopter and does not retry; see
Arnold and Miller, IPDPS 2010, for the protocol that this one descends from.)
"""

from __future__ import annotations

from typing import Final

from harness.core import actions, frames, vetting
from harness.core.actions import Neighbour
from harness.core.adoption import Policy, ranked_for
from harness.core.comers import LEFT
from harness.core.port import Port
from harness.core.settings import START_UP_PATIENCE

NEVER: Final = float("inf")
_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.5
#: An orphan that has found nobody for this part of the time of grace lets its children go: others may be in reach for them.
_RELEASE: Final = 0.5


class Uplink:
    """`link` is the connection being attached, `parent` the same once the other side has welcomed this node."""

    def __init__(self, node: Port) -> None:
        self.node = node
        self.link: Neighbour | None = None
        self.parent: Neighbour | None = None
        self.target: int | None = None
        self.lost_parent = -1
        self.attempt = 0
        self.round = 0
        self.candidates: tuple[int, ...] = ()
        #: Ranks the candidates; None for the order of `Tree.adopters`. Set before `begin`.
        self.policy: Policy | None = None
        self.alone_since = NEVER
        self.release_at = NEVER
        self.due = NEVER
        #: Whether a link was lost before the welcome: this node may have been taken in, and be suspect since then.
        self.hurried = False
        self.incarnation = 0
        self.told = 0

    def begin(self) -> None:
        """Look for the parent of the plan first."""
        me = self.node.me
        if me.parent is not None:
            self.alone_since = self.node.now
            self._try_next()

    @property
    def helpless(self) -> bool:
        """Whether this node cannot help an orphan: it has had no parent yet, or has looked for one for so long that it has let
        its own children go."""
        if self.parent is not None or self.node.me.parent is None:
            return False
        return self.lost_parent < 0 or self.release_at == NEVER

    def deadline(self) -> float:
        return min(self.due, self.release_at)

    def wants(self, peer: int) -> bool:
        """Whether a link to `peer` was asked for and is still wanted."""
        return peer == self.target and self.link is None

    # -- one attempt -----------------------------------------------------------------------------------------------------

    def _try_next(self) -> None:
        node = self.node
        if node.now - self.alone_since > node.settings.start_timeout_s:
            node.out.exit = (5, f"no parent found within {node.settings.start_timeout_s} s")
            return
        target = self._choose()
        if target is None:
            node.out.event("front-end-lost", by=node.id)
            node.out.exit = (5, "the front-end is lost: nobody is left to adopt this node")
            return
        self.target = target
        if self.lost_parent >= 0:
            node.out.event("adopter-chosen", lost=self.lost_parent, adopter=self.target, attempt=self.attempt)
        self.due = node.now + self.patience()
        node.rearm = True
        node.out.actions.append((actions.CONNECT, self.target, None))

    def _choose(self) -> int | None:
        """The next candidate, None where nobody is left."""
        node, me = self.node, self.node.me
        if self.lost_parent < 0 and not self.candidates:
            if self.attempt == 0 and me.depth > 1 and me.parent not in node.dead:
                self.attempt, self.round = 1, 0
                return me.parent  # nearly always it will do, and the others, who may be many, need not be looked for
            assert me.parent is not None
            self.candidates = (me.parent, *self._adopters(me.parent))
        alive = [c for c in self.candidates if c not in node.dead]
        if not alive:
            return None
        target = alive[self.attempt % len(alive)]
        self.attempt += 1
        self.round = self.attempt // len(alive)
        return target

    def _adopters(self, lost: int) -> tuple[int, ...]:
        """Who may take this node in after the loss of its parent `lost`, best first."""
        tree, me = self.node.tree, self.node.id
        return tree.adopters(me, lost) if self.policy is None else ranked_for(self.policy, tree, me, lost)

    def patience(self) -> float:
        """How long the attempt under way may take."""
        starting = self.lost_parent < 0 and not self.hurried
        return self.node.settings.connect_timeout_s * (START_UP_PATIENCE if starting else 1)

    def connected(self, link: Neighbour) -> None:
        """The link to the candidate is up: ask to be taken in."""
        node = self.node
        self.link = link
        node.out.event("connected", parent=link.node)
        self.incarnation += 1
        self.told = node.below.version
        body = {
            "ranks": node.ranks().encoded,
            "inc": (node.life << 20) + self.incarnation,  # news of an earlier life is old news
            "below": node.below.edges(),
            "lost": self.lost_parent,
            "control": node.control.last,
            "streams": node.report(),
            **node.credentials(),
        }
        if node.life:
            body["life"] = node.life
        node.out.send(link, node.now, frames.object_frame(frames.ATTACH, body))

    def refused(self, peer: int, reason: str) -> None:
        """The candidate could not be reached."""
        if peer == self.target and self.link is None:
            self._failed(reason)

    def _failed(self, reason: str) -> None:
        node = self.node
        node.out.event("adopter-refused", adopter=self.target, reason=reason)
        self.target = self.link = None
        # Pause between rounds only: a refused candidate costs nothing, the next one may be there at once.
        longest = max(_FIRST_PAUSE_S, min(_LONGEST_PAUSE_S, node.settings.orphan_grace_s / 3))
        pause = 0.0 if self.round == 0 else min(longest, _FIRST_PAUSE_S * 2 ** min(self.round, 6))
        if pause:
            self.due = node.now + pause
            node.rearm = True
        else:
            self._try_next()

    def tick(self) -> None:
        node = self.node
        if node.now >= self.release_at:
            self.release_at = NEVER
            for child in list(node.children.values()):
                node.drop(child, f"{frames.SILENT}: let go by an orphan that finds nobody")
        if node.now < self.due or self.parent is not None:
            return
        self.due = NEVER
        if node.closing:
            return
        if self.link is not None:
            link, self.link = self.link, None
            node.links.pop(link.conn, None)
            node.out.actions.append((actions.CLOSE, link.conn, None))
            self._failed(f"no answer within {self.patience()} s")
        elif self.target is not None:
            self._failed(f"not connected within {self.patience()} s")
        else:
            self._try_next()

    # -- answers ---------------------------------------------------------------------------------------------------------

    def on_welcome(self, link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
        if link is not self.link or self.parent is not None:
            raise frames.FrameError("a welcome that was not asked for")
        node = self.node
        terms = vetting.marks(frames.decode_object(frame)["streams"], 2)
        link.ready = True
        self.parent = link
        self.due = self.alone_since = self.release_at = NEVER
        if self.lost_parent < 0:
            node.out.event("attached", parent=link.node, depth=node.me.depth)
        again = self.lost_parent >= 0
        self.attempt = 0
        node.welcomed(link, terms, again)
        if node.below.version != self.told:
            node.retell(link)

    def on_refuse(self, link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
        if link is not self.link:
            raise frames.FrameError("a refusal that was not asked for")
        reason = str(frames.decode_object(frame)["reason"])
        node = self.node
        node.links.pop(link.conn, None)
        node.out.actions.append((actions.CLOSE, link.conn, None))
        if reason == LEFT:  # it was away when the order came that it waited for
            node.out.exit = (0, "left")
            return
        if reason.startswith("fenced"):
            node.out.event("fenced")
            node.out.exit = (4, f"refused by node {link.node}: {reason}")
            return
        self.link = None
        if reason == "closing":  # this node was away when the order went round
            node.close_below()
        else:
            self._failed(reason)

    def on_ping(self, link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
        """Hearing from the neighbour is all that a PING is for."""

    def lost(self, link: Neighbour, cause: str) -> None:
        """A link that is no child's was lost."""
        if link is not self.link:
            return
        node = self.node
        was_parent, self.parent, self.link = self.parent is link, None, None
        if not was_parent:
            if node.me.parent is not None and self.lost_parent < 0 and not self.hurried:
                self.hurried = True
                self.release_at = node.now + node.settings.orphan_grace_s * _RELEASE
                node.rearm = True
            self._failed(cause)
            return
        if node.closing:
            node.out.exit = (0, "closed")
            return
        node.out.event("link-lost", peer=link.node, cause=cause)
        self.lost_parent = link.node
        # The old parent comes last: only the link may be broken.
        self.candidates = (*self._adopters(link.node), link.node)
        self.attempt = self.round = 0
        self.alone_since = node.now
        self.release_at = node.now + node.settings.orphan_grace_s * _RELEASE
        node.rearm = True
        self._try_next()
