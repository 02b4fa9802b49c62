"""The parameters of the cost model: what one frame, one byte and one wave cost.

After LogP (Culler et al., PPoPP 1993) and LogGP (Alexandrov et al., "LogGP: Incorporating Long Messages into the LogP Model",
SPAA 1995): a latency L, overheads o of sender and receiver, a gap G for each byte. Two things differ. On a loopback, and with
every transport that is driven by the CPU, bytes cost CPU time at both ends; as in LogGOPS (Hoefler, Schneider, Lumsdaine,
HPDC 2010) each end has an overhead for each byte beside G. And LogP's g, the least time between two messages, is left out:
such a transport cannot send faster than its overhead, so that g <= o never binds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Parameters:
    """CPU seconds, but for `latency_s` and `gap_s_per_byte`, which are time on the way.

    latency_s: L, from the end of a send until the receiver runs: the wire and the wake-up. gap_s_per_byte: G of a link between
    machines; 0 on one machine, where a byte costs only the CPU time of both ends. send_s, receive_s: o of one frame;
    send_s_per_byte: of each of its bytes, up or down; receive_s_per_byte: of each byte on the way up,
    request_receive_s_per_byte: on the way down, where messages are copied once more. filter_s_per_byte: to merge one more
    contribution. turn_s: to go to sleep and be woken, once for each time that a node waits. offer_s_per_byte: what a
    back-end's application needs to make an item; deliver_*: what the front-end's needs to take a frame of results.
    """

    latency_s: float
    gap_s_per_byte: float
    send_s: float
    send_s_per_byte: float
    receive_s: float
    receive_s_per_byte: float
    filter_s_per_byte: float
    request_receive_s_per_byte: float
    turn_s: float
    offer_s_per_byte: float
    deliver_s: float
    deliver_s_per_byte: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} = {value!r} must be a finite number of seconds, not below 0")
        if not self.receive_s:
            raise ValueError("receive_s = 0 must be above 0: to take a frame in costs something on every machine")

    def with_filter(self, filter_s_per_byte: float) -> Parameters:
        """The same with another filter. Raises ValueError where the cost is negative or no number."""
        return replace(self, filter_s_per_byte=filter_s_per_byte)

    def to_json(self) -> dict[str, float]:
        """Plain values by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Parameters:
        """The inverse of `to_json`. Raises ValueError, naming them, for keys that are missing, unknown or no durations."""
        names = [f.name for f in fields(cls)]
        missing, unknown = [n for n in names if n not in found], [n for n in found if n not in names]
        if missing or unknown:
            parts = [f"{what}: {', '.join(keys)}" for what, keys in (("missing", missing), ("unknown", unknown)) if keys]
            raise ValueError(f"the parameters have keys that are {'; '.join(parts)}")
        return cls(**found)


#: Two cores of an AMD EPYC under Linux 6.18, calibrated as docs/topologies.md tells.
DEFAULTS = Parameters(
    latency_s=25.2e-6,
    gap_s_per_byte=0.0,
    send_s=0.0,
    send_s_per_byte=0.159e-9,
    receive_s=14.1e-6,
    receive_s_per_byte=0.195e-9,
    filter_s_per_byte=0.0328e-9,
    request_receive_s_per_byte=0.307e-9,
    turn_s=13.7e-6,
    offer_s_per_byte=0.0587e-9,
    deliver_s=31.5e-6,
    deliver_s_per_byte=0.32e-9,
)
