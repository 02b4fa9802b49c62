"""The built-in transports: `memory` within one process, `tcp` between processes."""

from __future__ import annotations

from harness.api.transport import Transport
from harness.hookspecs import hookimpl
from harness_plugins.transports.memory import Memory
from harness_plugins.transports.tcp import Tcp


@hookimpl
def harness_transports() -> dict[str, type[Transport]]:
    """The kinds for `case.transport`."""
    return {"memory": Memory, "tcp": Tcp}
