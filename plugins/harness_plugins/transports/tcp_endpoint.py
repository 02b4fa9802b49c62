"""One node's attachment over TCP: listens, connects, lets nobody in who does not know the secret."""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from harness.api.transport import Sink
from harness_plugins.transports.buffers import Arena, BufferPool
from harness_plugins.transports.reactor import Reactor
from harness_plugins.transports.tcp_link import ARENA_BYTES, BIG_BYTES, TcpLink, reason_of
from harness_plugins.transports.tcp_pending import Pending

if TYPE_CHECKING:
    from harness_plugins.transports.tcp import Tcp

#: Connections accepted in one turn, so that a flood of them does not keep the links waiting.
_ACCEPTS_A_TURN = 64
#: How long nothing is accepted after the process or the machine ran out of descriptors or memory.
_ACCEPT_PAUSE_S = 0.1
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def family_of(host: str) -> socket.AddressFamily | None:
    """AF_INET or AF_INET6 for an address written in numbers, None for anything else."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return family
    return None


def format_address(host: str, port: int) -> str:
    """host:port, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(address: str) -> tuple[str, int] | None:
    """The inverse of `format_address`; None where it is no such address."""
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if family_of(host) is None or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        return None
    return host, int(port)


class TcpEndpoint:
    """harness.api.transport.Endpoint over TCP. Use it from one thread.

    A callback that raises leaves the endpoint fit for `close` only. rejected: how many connections were turned away, since
    they did not prove that they belong to the run; last_rejection: why, for the latest of them.
    """

    def __init__(self, options: Tcp, node: int, secret: bytes, listener: socket.socket | None, host: str, limit: int) -> None:
        """Takes `listener`, a listening socket, as its own. Raises OSError where a descriptor is not to be had."""
        self.rejected = 0
        self.last_rejection = ""
        self._options = options
        self._identity = (node, secret)
        self._host = host
        self._limit = limit
        self._listener = listener
        self._accepting = False
        self._resume_at = float("inf")
        # Insertion order is order of age.
        self._dialling: dict[Pending, None] = {}
        self._strangers: dict[Pending, None] = {}
        self._refused: list[tuple[int, str]] = []
        self._links: set[TcpLink] = set()
        self._reactor = Reactor(self._on_timer)
        #: As harness.api.transport.Endpoint.poll, which is what the reactor does.
        self.poll: Callable[[float | None, Sink], int] = self._reactor.poll
        self._arena = Arena(BufferPool(), ARENA_BYTES, BIG_BYTES)
        self.address = ""
        if listener is not None:
            self.address = format_address(host, listener.getsockname()[1])
            self._resume()

    def fileno(self) -> int:
        """As harness.api.transport.Endpoint.fileno."""
        return self._reactor.fileno()

    def close(self) -> None:
        """As harness.api.transport.Endpoint.close: closes every link, too. Idempotent."""
        if self._reactor.closed:
            return
        for link in list(self._links):
            link.close()
        for pending in (*self._dialling, *self._strangers):
            self._reactor.retire(pending.sock)
        self._dialling.clear()
        self._strangers.clear()
        self._refused.clear()
        if self._listener is not None:
            self._reactor.retire(self._listener)
        self._reactor.close()

    def connect(self, peer: int, address: str, timeout_s: float) -> None:
        """As harness.api.transport.Endpoint.connect."""
        if self._reactor.closed:
            return
        parsed = parse_address(address)
        if parsed is None:
            self._refuse(peer, f"bad address {address!r}: it has the form 127.0.0.1:4000 or [::1]:4000")
            return
        try:
            sock = self._dial(parsed)
        except OSError as error:
            hint = "; raise `ulimit -n`" if error.errno in (errno.EMFILE, errno.ENFILE) else ""
            self._refuse(peer, reason_of(error) + hint)
            return
        self._add(sock, peer, timeout_s)

    # ---------------------------------------------------------------- connecting

    def _dial(self, to: tuple[str, int]) -> socket.socket:
        family = family_of(to[0])
        assert family is not None
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._options.configure(sock)
            if family == family_of(self._host):
                # So that what leaves this node can be told from other hosts' traffic on the same machine. The port is chosen
                # at connect, when the destination is known, so that few ports are enough for many connections.
                sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT, for both families
                sock.bind((self._host, 0))
            code = sock.connect_ex(to)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, errno.errorcode.get(code, "unknown error"))
        except OSError:
            sock.close()
            raise
        return sock

    def _refuse(self, peer: int, reason: str) -> None:
        """Have `on_refused` called by the next poll."""
        self._refused.append((peer, reason))
        self._reactor.call_by(time.monotonic())

    def _add(self, sock: socket.socket, peer: int | None, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        pending = Pending(sock, peer, deadline, timeout_s, self._identity, self._reactor, self._decided)
        (self._strangers if peer is None else self._dialling)[pending] = None
        self._reactor.call_by(deadline)

    def _decided(self, pending: Pending, reason: str, sink: Sink) -> int:
        """A pending connection is a link, or nothing."""
        del (self._strangers if pending.peer is None else self._dialling)[pending]
        self._call_next()
        if not reason:
            link = TcpLink(pending.proved, pending.sock, self._reactor, self._arena, self._limit, self._links.discard)
            self._links.add(link)
            self._reactor.replace(pending.sock.fileno(), select.EPOLLIN, link.ready, link.wait)
            sink.on_link(link, pending.peer is not None)
            return 1
        self._reactor.retire(pending.sock)
        if pending.peer is None:
            self._reject(reason)
            return 0
        sink.on_refused(pending.peer, reason)
        return 1

    # ---------------------------------------------------------------- listening

    def _reject(self, reason: str) -> None:
        self.rejected += 1
        self.last_rejection = reason

    def _resume(self) -> None:
        if self._listener is not None and not self._accepting:
            self._reactor.watch(self._listener.fileno(), select.EPOLLIN, self._accept)
            self._accepting = True

    def _accept(self, mask: int, sink: Sink) -> int:
        listener = self._listener
        assert listener is not None
        for _ in range(_ACCEPTS_A_TURN):
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(error)
                    break
                # The stranger has left again, or the network reports its trouble here (accept(2)).
                continue
            sock.setblocking(False)
            try:
                self._options.configure(sock)
            except OSError as error:
                self._reject(reason_of(error))
                sock.close()
                continue
            if len(self._strangers) >= self._options.max_strangers:
                # One of us needs only a moment, so the oldest has had its chance.
                crowd = f"crowded out: more than {self._options.max_strangers} strangers at once"
                self._decided(next(iter(self._strangers)), crowd, sink)
            self._add(sock, None, self._options.handshake_timeout_s)
        return 0

    def _pause(self, error: OSError) -> None:
        """Accept nothing for a moment; those who wait stay in the kernel's backlog."""
        assert self._listener is not None
        self._reactor.ignore(self._listener.fileno())
        self._accepting = False
        self._resume_at = time.monotonic() + _ACCEPT_PAUSE_S
        self._reactor.call_by(self._resume_at)
        self.last_rejection = f"accepting paused: {reason_of(error)}; raise `ulimit -n`"

    # ---------------------------------------------------------------- time

    def _on_timer(self, sink: Sink) -> int:
        count = 0
        refused, self._refused = self._refused, []
        for peer, reason in refused:
            if not self._reactor.closed:
                sink.on_refused(peer, reason)
                count += 1
        now = time.monotonic()
        for pending in (*self._dialling, *self._strangers):
            # A callback may have ended it by closing the endpoint.
            if pending.deadline <= now and (pending in self._dialling or pending in self._strangers):
                count += self._decided(pending, pending.expired(), sink)
        if self._reactor.closed:
            return count
        if now >= self._resume_at:
            self._resume_at = float("inf")
            self._resume()
        self._call_next()
        return count

    def _call_next(self) -> None:
        """Have the timer called when something is due, and not watched where nothing is."""
        if self._refused or self._dialling or self._strangers or self._resume_at < float("inf"):
            # The oldest stranger is the first whose time is over.
            strangers = islice(self._strangers, 1)
            deadlines = (pending.deadline for pending in (*self._dialling, *strangers))
            self._reactor.call_by(min(deadlines, default=self._resume_at))
            self._reactor.call_by(self._resume_at)
        else:
            self._reactor.call_off()
