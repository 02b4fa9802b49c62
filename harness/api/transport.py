"""What moves whole frames between two nodes.

A transport is synchronous and small: only `Endpoint.poll` waits. Frames to one peer arrive whole, once and in order, until
the link is lost; a lost link reports one `on_lost` and nothing after it. Links are authenticated with the run's secret
before either side hears of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

Buffer = bytes | bytearray | memoryview


class Link(Protocol):
    """One authenticated connection. Hashable by identity."""

    def __hash__(self) -> int: ...

    peer: int
    """The node id that the other side proved with the secret."""

    backlog_bytes: int
    """Bytes accepted by `send` that the kernel (or the device) has not taken yet."""

    def send(self, parts: Sequence[Buffer]) -> bool:
        """Send the concatenation of `parts` as one frame. Buffers must not change afterwards. False where something had to
        be queued: the caller should hold back until `on_writable`. A lost link swallows the frame (on_lost is coming).
        Raises ValueError for a frame larger than the endpoint's limit."""
        ...

    def close(self) -> None:
        """Send what is queued as far as it goes without waiting, then close. No callback follows. Idempotent."""
        ...


class Sink(Protocol):
    """Receives what `Endpoint.poll` found."""

    def on_link(self, link: Link, initiated: bool) -> None:
        """A link is up; `initiated` where this endpoint asked for it."""
        ...

    def on_frame(self, link: Link, frame: memoryview) -> None:
        """A whole frame. The memory stays valid and unchanged for as long as the view, or an array over it, is kept."""
        ...

    def on_lost(self, link: Link, reason: str) -> None: ...

    def on_writable(self, link: Link) -> None:
        """Everything queued on the link has gone out."""
        ...

    def on_refused(self, peer: int, reason: str) -> None:
        """A `connect` failed (refused, timed out, wrong secret, wrong peer)."""
        ...


class Endpoint(Protocol):
    """One node's attachment to the network."""

    address: str
    """Where others reach it, as `connect` takes it; empty where it does not listen."""

    def connect(self, peer: int, address: str, timeout_s: float) -> None:
        """Start to connect to node `peer`; `on_link` or `on_refused` follows from `poll`."""
        ...

    def poll(self, timeout_s: float | None, sink: Sink) -> int:
        """Wait at most `timeout_s` (None: for ever; 0: not at all) for something to happen, report it all, and return the
        number of callbacks made."""
        ...

    def fileno(self) -> int:
        """A descriptor that is readable when `poll(0)` would find something; -1 where there is none."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Transport(Protocol):
    """The plugin: a frozen dataclass whose fields are its TOML keys. One whose links join nodes of the same process only says
    so by a class attribute `one_process = True`; a testbed that runs all nodes in one process has that attribute as well."""

    def unavailable(self) -> str | None:
        """Why this machine cannot use the transport, with what would change it; None where it can."""
        ...

    def endpoint(self, *, node: int, host: str, secret: bytes, listen: bool, max_frame_bytes: int) -> Endpoint:
        """Attach node `node`; listen on the address `host` alone (any free port) where `listen` is set.

        Raises harness.api.errors.InfrastructureError where the address or a descriptor cannot be had.
        """
        ...
