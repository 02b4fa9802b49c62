"""Times and limits of the node protocol, the same for every node of a tree."""

from __future__ import annotations

from dataclasses import dataclass

#: A process that waits to be scheduled among hundreds that start is not dead.
START_UP_PATIENCE = 10

#: What the protocol's own messages need, and what a length of 32 bits can say.
LEAST_FRAME_BYTES = 64 << 10
MOST_FRAME_BYTES = (1 << 32) - 8


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """lease_s: a neighbour that was silent for so long is lost. heartbeat_s: how often an idle link speaks (at most a third
    of the lease). connect_timeout_s: how long one adoption attempt may take (START_UP_PATIENCE
    times as long while the tree starts and all nodes connect at once). leaf_grace_s: how long a back-end whose own
    link broke may take to come back before it is declared dead. orphan_grace_s: the same for back-ends that fell silent or
    lost an ancestor, and for communication processes. max_frame_bytes: a larger frame is a protocol error.
    rejoin: whether a new process in the place of a back-end that was killed is let in, from a later wave on; otherwise it is
    fenced. One that left in order is always let in."""

    lease_s: float = 2.0
    heartbeat_s: float = 0.25
    connect_timeout_s: float = 1.0
    leaf_grace_s: float = 0.25
    orphan_grace_s: float = 2.0
    start_timeout_s: float = 60.0
    max_frame_bytes: int = 8 << 20
    rejoin: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_s <= self.lease_s / 3:
            most = f"at most a third of lease_s = {self.lease_s}"
            raise ValueError(f"heartbeat_s = {self.heartbeat_s} must be positive and {most}")
        for name in ("connect_timeout_s", "start_timeout_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} = {getattr(self, name)} must be positive")
        for name in ("leaf_grace_s", "orphan_grace_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} = {getattr(self, name)} must not be negative")
        if not LEAST_FRAME_BYTES <= self.max_frame_bytes <= MOST_FRAME_BYTES:
            limits = f"between {LEAST_FRAME_BYTES} and {MOST_FRAME_BYTES}"
            raise ValueError(f"max_frame_bytes = {self.max_frame_bytes} must be {limits}")
