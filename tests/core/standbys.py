"""Small scenarios with a standby: an application that another front-end can go on with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack
from net import Net
from small import DOWN, FILTERS, NO_CHANCE, Back, Front, Rig
from transcript import SETTINGS

from harness.core.spec import StreamSpec
from harness.core.tree import Tree


class Lasting(Front):
    """Reduces one stream of `waves` waves, and ends with the last. Two that tell one story share `log` and `results`."""

    def __init__(self, what: StreamSpec, waves: int, before: Lasting | None = None) -> None:
        super().__init__(lambda fe: fe.expect(fe.open_stream(what), waves), self._look)
        self.waves_due, self.ended = waves, 0
        if before is not None:
            self.log, self.results, self.errors = before.log, before.results, before.errors

    def _look(self, fe: Any, kind: str, came: Any) -> None:
        if kind == "result":
            self.ended = came.first + came.count
            if self.ended >= self.waves_due:
                fe.finish()

    def checkpoint(self) -> bytes:
        return bytes(msgpack.packb(self.ended))

    def vet(self, state: bytes) -> None:
        if not isinstance(msgpack.unpackb(state), int):
            raise ValueError("no number of waves")

    def resume(self, fe: Any, state: bytes, shift_s: float) -> None:
        self.ended = msgpack.unpackb(state)
        self.log.append((fe.now, "resumed", self.ended))


def with_standby(what: StreamSpec, waves: int, parents: Sequence[int | None], standby: int, back: Any) -> Rig:
    """One stream, reduced by a tree with a standby; no chance."""
    backs: dict[int, Back] = {}

    def make(rank: int) -> Back:
        backs[rank] = back(rank)
        return backs[rank]

    front = Lasting(what, waves)
    tree = Tree.from_parents(parents).with_standby(standby)
    heir = Lasting(what, waves, front)
    net = Net(tree, SETTINGS, FILTERS, DOWN, front, make, None, heir, latency_s=0.001, **NO_CHANCE)
    return Rig(net, front, backs)
