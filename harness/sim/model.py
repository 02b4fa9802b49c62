"""What the simulated network and machines are like."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.sim.chance import JITTERS

#: How far links and machines may differ, as a factor.
MOST_APART = 10_000


@dataclass(frozen=True, slots=True)
class Model:
    """Links and machines of a tree.

    latency_s: mean one-way delay of a frame, of which the part `varies` (0 to 1) follows the distribution `jitter` (none,
    uniform, exponential). Frames of one connection stay in order; connections overtake each other. bytes_per_s: rate of a
    connection, 0 for no limit; the part `rate_varies` (0 to 1) of the time that a frame takes at this rate follows the same
    distribution. links_differ: each link has a mean latency and a rate of its own, between 1 / links_differ and links_differ
    times these. between_hosts: links between hosts have so many times the latency. machines_differ: as links_differ, for the
    `turn_s` of a node. buffer_bytes: what a connection holds before its sender is blocked. stall: probability that a
    sender is blocked for a few latencies although there was room. apart: probability that a node takes in more than one frame
    before it moves on. turn_s: time that a node needs for one thing that happens to it. user_timeout_s: a connection on which
    data finds no way for so long is given up by its sender (TCP_USER_TIMEOUT). retry_s: after a partition has healed, what was
    sent before it comes within so much.
    """

    latency_s: float = 0.0002
    jitter: str = "exponential"
    varies: float = 0.8
    bytes_per_s: float = 0.0
    buffer_bytes: int = 4 << 20
    stall: float = 0.0
    apart: float = 0.2
    turn_s: float = 0.0
    rate_varies: float = 0.0
    links_differ: float = 1.0
    machines_differ: float = 1.0
    between_hosts: float = 1.0
    user_timeout_s: float = 10.0
    retry_s: float = 0.2

    def __post_init__(self) -> None:
        if self.jitter not in JITTERS:
            raise ValueError(f"jitter = '{self.jitter}' must be one of {', '.join(JITTERS)}")
        for name in ("latency_s", "user_timeout_s", "retry_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} = {getattr(self, name)} must be positive")
        for name in ("bytes_per_s", "turn_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} = {getattr(self, name)} must not be negative")
        for name in ("links_differ", "machines_differ", "between_hosts"):
            if not 1 <= getattr(self, name) <= MOST_APART:
                raise ValueError(f"{name} = {getattr(self, name)} must be between 1 (all alike) and {MOST_APART}")
        for name in ("varies", "rate_varies", "stall", "apart"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be between 0 and 1")
        if self.stall > 0.9:
            raise ValueError(f"stall = {self.stall}: a sender that is always blocked never sends; at most 0.9")
        if self.buffer_bytes < 1:
            raise ValueError(f"buffer_bytes = {self.buffer_bytes} must be positive")
