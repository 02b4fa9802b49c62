"""A transport for tests: TCP, but one node of the tree is not what it should be. Runs in node processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.api.transport import Endpoint, Link, Sink, Transport
from harness.hookspecs import hookimpl
from harness_plugins.transports.tcp import Tcp
from harness_plugins.transports.tcp_handshake import DATA, PREFIX

GARBAGE = bytes(range(255, 0, -1)) * 20


@dataclass(frozen=True)
class Hostile:
    """does: "frame" sends a frame that holds garbage, "bytes" sends garbage past the framing, "oversized" announces a frame
    beyond the limit, "raises" raises an error, each once, after `after` frames; "secret" does not know the run's secret.
    node: which one does it."""

    node: int
    does: str
    after: int = 30

    def unavailable(self) -> str | None:
        return None

    def endpoint(self, *, node: int, host: str, secret: bytes, listen: bool, max_frame_bytes: int) -> Endpoint:
        mine = node == self.node
        known = bytes(len(secret)) if mine and self.does == "secret" else secret
        made = Tcp().endpoint(node=node, host=host, secret=known, listen=listen, max_frame_bytes=max_frame_bytes)
        return LyingEndpoint(made, self) if mine and self.does != "secret" else made


class LyingLink:
    """Passes everything on, and once something else in between."""

    def __init__(self, link: Any, options: Hostile) -> None:
        self._link = link
        self._options = options
        self._sent = 0

    @property
    def peer(self) -> int:
        return int(self._link.peer)

    @property
    def backlog_bytes(self) -> int:
        return int(self._link.backlog_bytes)

    def send(self, parts: Sequence[Any]) -> bool:
        self._sent += 1
        if self._sent == self._options.after:
            self._lie()
        return bool(self._link.send(parts))

    def _lie(self) -> None:
        if self._options.does == "raises":
            raise MemoryError("no room for 8 TiB")
        if self._options.does == "frame":
            self._link.send([GARBAGE])
        elif self._options.does == "bytes":
            self._link._sock.send(GARBAGE)
        else:
            self._link._sock.send(PREFIX.pack(DATA, 0xFFFFFFF0))

    def close(self) -> None:
        self._link.close()


class LyingEndpoint:
    """Its first link to a parent lies; all others are as they are."""

    def __init__(self, endpoint: Endpoint, options: Hostile) -> None:
        self._endpoint = endpoint
        self._options = options
        self._true: Link | None = None
        self._lying: Any = None
        self.address = endpoint.address

    def connect(self, peer: int, address: str, timeout_s: float) -> None:
        self._endpoint.connect(peer, address, timeout_s)

    def poll(self, timeout_s: float | None, sink: Sink) -> int:
        return self._endpoint.poll(timeout_s, Renamed(sink, self))

    def fileno(self) -> int:
        return self._endpoint.fileno()

    def close(self) -> None:
        self._endpoint.close()

    def made(self, link: Link, initiated: bool) -> Any:
        if self._true is None and initiated:
            self._true, self._lying = link, LyingLink(link, self._options)
        return self.named(link)

    def named(self, link: Link) -> Any:
        return self._lying if link is self._true else link


class Renamed:
    """The sink of a lying endpoint."""

    def __init__(self, sink: Sink, endpoint: LyingEndpoint) -> None:
        self._sink = sink
        self._made = endpoint.made
        self._named = endpoint.named

    def on_link(self, link: Link, initiated: bool) -> None:
        self._sink.on_link(self._made(link, initiated), initiated)

    def on_frame(self, link: Link, frame: memoryview) -> None:
        self._sink.on_frame(self._named(link), frame)

    def on_lost(self, link: Link, reason: str) -> None:
        self._sink.on_lost(self._named(link), reason)

    def on_writable(self, link: Link) -> None:
        self._sink.on_writable(self._named(link))

    def on_refused(self, peer: int, reason: str) -> None:
        self._sink.on_refused(peer, reason)


@hookimpl
def harness_transports() -> Mapping[str, type[Transport]]:
    return {"hostile": Hostile}
