"""One look at the host's own figures in /proc: the only place of the workloads that reads a clock-driven outside world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: The metrics of one sample, in order.
METRICS = ("cpu_busy", "memory_used", "load_1m", "received_bytes_per_s", "sent_bytes_per_s")


@dataclass(frozen=True)
class Reading:
    """The kernel's counters at one moment: busy and total processor time (ticks, all cores), bytes of memory in use and in
    all, the load average over a minute, bytes received and sent on all interfaces but loopback."""

    busy: int
    total: int
    used_bytes: int
    memory_bytes: int
    load: float
    received: int
    sent: int


def read_host(proc: Path) -> Reading:
    """Read stat, meminfo, loadavg and net/dev below `proc` (see proc(5)). Raises OSError where they are not there."""
    ticks = [int(x) for x in (proc / "stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = ticks[3] + ticks[4]  # idle and iowait
    memory = {}
    for line in (proc / "meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        memory[name] = int(rest.split()[0]) * 1024
    received = sent = 0
    for line in (proc / "net" / "dev").read_text().splitlines()[2:]:
        name, _, rest = line.partition(":")
        if name.strip() != "lo":
            columns = rest.split()
            received, sent = received + int(columns[0]), sent + int(columns[8])
    return Reading(
        busy=sum(ticks) - idle,
        total=sum(ticks),
        used_bytes=memory["MemTotal"] - memory.get("MemAvailable", memory["MemFree"]),
        memory_bytes=memory["MemTotal"],
        load=float((proc / "loadavg").read_text().split()[0]),
        received=received,
        sent=sent,
    )


def sample(before: Reading, after: Reading, seconds: float) -> list[float]:
    """The METRICS between two readings: shares of 1 for processor and memory, the load, and bytes a second."""
    ticks = after.total - before.total
    busy = (after.busy - before.busy) / ticks if ticks > 0 else 0.0
    span = max(seconds, 1e-9)
    return [
        min(1.0, max(0.0, busy)),
        after.used_bytes / after.memory_bytes,
        after.load,
        max(0, after.received - before.received) / span,
        max(0, after.sent - before.sent) / span,
    ]
