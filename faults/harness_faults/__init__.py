"""The built-in faults."""

from __future__ import annotations

from harness.hookspecs import hookimpl
from harness_faults.members import Join, Leave
from harness_faults.network import Cut, HostLoss, Late, Partition, Refuse, Skew, Slow
from harness_faults.process import Crash, Hang


@hookimpl
def harness_faults() -> dict[str, type]:
    """Kinds of `[[case.fault]]`."""
    return {
        "crash": Crash,
        "cut": Cut,
        "hang": Hang,
        "host-loss": HostLoss,
        "join": Join,
        "late": Late,
        "leave": Leave,
        "partition": Partition,
        "refuse": Refuse,
        "skew": Skew,
        "slow": Slow,
    }
