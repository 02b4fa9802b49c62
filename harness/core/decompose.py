"""Recovery `decompose`: the front-end asks for the parts that its state lacks, the back-ends give them (docs/protocol.md).

It is for filters that are not idempotent, where states that overlap must not be merged (Arnold and Miller, "Scalable Failure
Recovery for Tree-based Overlay Networks", IPDPS 2010, state decomposition). So none are: the state is decomposed into single
contributions, of which the front-end knows those that it has, and which only their back-ends can give again. Nodes between the
two pass requests down and parts up, and need to know nothing.
"""

from __future__ import annotations

from typing import Any

from harness.core import frames
from harness.core.actions import Neighbour
from harness.core.filters import Filter, Items
from harness.core.frames import FrameError
from harness.core.ledger import Ledger
from harness.core.multicast import DownTable
from harness.core.ranks import RankSet
from harness.core.spec import StreamSpec, Sync
from harness.core.upstream import UpStream


class PartTable(DownTable):
    """What a node does with STATE frames of `decompose` streams; here a communication process."""

    def on_part(self, s: UpStream, link: Neighbour, frame: memoryview, head: tuple[int, ...]) -> None:
        """A request or the mark from the parent, or a part from a child."""
        waves, unit = head[4], head[6]
        if link.conn in self.node.children:
            items, ranks = frames.decode_items(frame, head[5], head[7], head[8], s.filter.codec)
            s.vet(unit, items, ranks)
            if head[5] != 1 or waves < 1:
                raise FrameError(f"a part of {head[5]} states over {waves} waves")
            self.take_part(s, unit, waves, items, ranks)
        elif link is not self.node.parent:
            raise FrameError(f"STATE from node {link.node}, which is neither parent nor child")
        elif head[7]:
            self.asked(s, unit, waves, frames.decode_ranks(frame, head[7]))
        else:
            self.settle(s, unit)
            self.tell_mark(s)

    def asked(self, s: UpStream, unit: int, waves: int, ranks: RankSet) -> None:
        """Pass a request on to the children whose members it is for."""
        request = frames.control_frame(frames.STATE, s.stream, unit, epoch=waves, meta=ranks.encoded)
        for child in self.node.children.values():
            if not ranks.isdisjoint(child.ranks):
                self.node.out.send(child, self.node.now, request)

    def take_part(self, s: UpStream, unit: int, waves: int, items: Any, ranks: RankSet) -> None:
        """Pass a part on. Who has no parent drops it, and the front-end asks again. While the parent takes nothing, parts of
        the same waves become one, so that no more of them wait than there are holes."""
        parent = self.node.parent
        if parent is None:
            return
        if not parent.blocked:
            self.send_part(s, parent, unit, waves, items, ranks)
            return
        waiting = s.parts.get((unit, waves))
        if waiting is None:
            s.parts[unit, waves] = (items, ranks)
        elif waiting[1].isdisjoint(ranks):
            s.parts[unit, waves] = (s.filter.combine([waiting[0], items], [waiting[1], ranks]), waiting[1] | ranks)

    def send_part(self, s: UpStream, parent: Neighbour, unit: int, waves: int, items: Any, ranks: RankSet) -> None:
        """STATE, upward: the fold of the contributions of `ranks` to `waves` waves."""
        parts = frames.data_frame(frames.STATE, s.stream, waves, unit, items, ranks, s.filter.codec)
        self.node.out.send(parent, self.node.now, *parts)

    def send_parts(self, s: UpStream, parent: Neighbour) -> None:
        """The parent takes frames again."""
        waiting, s.parts = s.parts, {}
        for (unit, waves), (items, ranks) in waiting.items():
            self.send_part(s, parent, unit, waves, items, ranks)

    def settle(self, s: UpStream, unit: int) -> None:
        """All below `unit` is in the front-end's state as far as it ever will be."""
        s.acked = max(s.acked, unit)

    def tell_mark(self, s: UpStream) -> None:
        """Tell everybody below where the state stands. In normal operation the credits do."""
        frame = frames.control_frame(frames.STATE, s.stream, s.floor())
        for child in self.node.children.values():
            self.node.out.send(child, self.node.now, frame)


def lowered_state(s: UpStream, ledger: Ledger, chunks: list[Items]) -> list[Items]:
    """The folds of all chunks as results: by the filter's `lower_fold`, where it has one."""
    lower = getattr(s.filter, "lower_fold", None)
    return chunks if lower is None else [lower(items, ledger.contributions(c)) for c, items in enumerate(chunks)]


def refusal(spec: StreamSpec, filter_: Filter) -> str:
    """Why a stream cannot have this recovery; empty where it can."""
    if not filter_.algebra.decomposable:
        what = "is idempotent; use compose" if filter_.algebra.idempotent else "is not decomposable; use replay"
        return f"filter {spec.filter!r} {what}"
    if spec.sync is not Sync.WAIT_FOR_ALL:
        return "decompose recovery needs wait-for-all synchronization; use resume"
    return ""


def pull(table: PartTable, s: UpStream, ledger: Ledger, dead: RankSet, unknown: RankSet) -> None:
    """The front-end's side, whenever something has happened to the stream: note what is lacking, ask for it, and tell how far
    the state is settled where holes had kept that from being told."""
    node = table.node
    ledger.reach(s.next)
    ledger.bury(dead)
    if not ledger.holes and not ledger.torn:
        return
    for unit, waves, ranks in ledger.wanted(node.now, unknown, node.settings.heartbeat_s):
        table.asked(s, unit, waves, ranks)
    node.rearm = True
    mark = ledger.settled()
    if ledger.torn and mark > ledger.told:
        table.tell_mark(s)
    ledger.told = mark
    ledger.torn = bool(ledger.holes)
