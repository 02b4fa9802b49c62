"""The built-in workloads."""

from __future__ import annotations

from harness.hookspecs import hookimpl
from harness_workloads.host_metrics import HostMetrics
from harness_workloads.mixed import Mixed
from harness_workloads.reduce_stream import ReduceStream
from harness_workloads.round_trip import RoundTrip
from harness_workloads.trace_classes import TraceClasses


@hookimpl
def harness_workloads() -> dict[str, type]:
    """Kinds of `case.workload`."""
    return {
        "reduce-stream": ReduceStream,
        "round-trip": RoundTrip,
        "host-metrics": HostMetrics,
        "trace-classes": TraceClasses,
        "mixed": Mixed,
    }
