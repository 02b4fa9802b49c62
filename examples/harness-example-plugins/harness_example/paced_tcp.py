"""The transport `paced-tcp`: TCP that sends no faster than a given rate, as over a slower network."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from harness.api.transport import Transport
from harness.hookspecs import hookimpl
from harness_plugins.transports.tcp import Tcp

#: Python's socket module does not name it: the number of <asm-generic/socket.h>, the same on x86, Arm, RISC-V and POWER.
SO_MAX_PACING_RATE = 47


@dataclass(frozen=True)
class PacedTcp(Tcp):
    """TCP whose connections each send at most `rate_mbit` megabits a second in either direction; keys of `tcp` work, too.

    The kernel spaces the packets out (SO_MAX_PACING_RATE, socket(7)), so that no process waits and bursts are evened out.
    """

    rate_mbit: float = 1000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.rate_mbit <= 10_000:
            raise ValueError(f"rate_mbit = {self.rate_mbit} must be between 1 and 10000 (10 Gbit/s)")

    def unavailable(self) -> str | None:
        """As harness.api.transport.Transport.unavailable: found by trying."""
        if reason := super().unavailable():
            return reason
        with socket.socket() as sock:
            try:
                self.configure(sock)
            except OSError as error:
                return f"this kernel does not pace sockets ({error.strerror}); it takes Linux 3.13 or newer"
        return None

    def configure(self, sock: socket.socket) -> None:
        """Called for every connection, whichever side made it. Raises OSError where the connection is gone already."""
        super().configure(sock)
        sock.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, round(self.rate_mbit * 1e6 / 8))


@hookimpl
def harness_transports() -> Mapping[str, type[Transport]]:
    """Kinds for `case.transport`."""
    return {"paced-tcp": PacedTcp}
