"""Keeping a Ray of our own quiet while something is measured beside it."""

from __future__ import annotations

import contextlib
from typing import Final

#: Chores of Ray's that nobody here has a use for, and which take their time from what is measured: workers for tasks, reports
#: of free resources ten times a second, memory watching (it would end agents), its own event loops' lag.
QUIET: Final = {
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_raylet_report_resources_period_milliseconds": "1000",
    "RAY_raylet_check_gc_period_milliseconds": "5000",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_io_context_event_loop_lag_collection_interval_ms": "0",
}


def dismiss_helpers() -> None:
    """End what reads log files for a driver that does not want them, and what would ask a cloud for machines: both wake many
    times a second. Ray has no setting for it; where its inside looks different, they stay."""
    with contextlib.suppress(Exception):
        from ray._private import worker

        for end in ("kill_log_monitor", "kill_monitor"):
            getattr(worker._global_node, end)(check_alive=False)
