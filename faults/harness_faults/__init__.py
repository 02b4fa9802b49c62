"""The built-in faults."""

from __future__ import annotations

from harness.hookspecs import hookimpl
from harness_faults.process import Crash, Hang


@hookimpl
def harness_faults() -> dict[str, type]:
    """Kinds of `[[case.fault]]`."""
    return {"crash": Crash, "hang": Hang}
