"""TCP: one connection a link, peers proved with the run's secret, frames without needless copies."""

from __future__ import annotations

import errno
import select
import socket
from dataclasses import dataclass

from harness.api.errors import InfrastructureError
from harness_plugins.transports import timer
from harness_plugins.transports.tcp_endpoint import TcpEndpoint, family_of

#: Enough for all children of a large tree to connect at once; the kernel caps it at net.core.somaxconn.
_BACKLOG = 1024
#: A frame's length is 32 bits on the wire.
_MAX_FRAME_BYTES = (1 << 32) - 8
_KEEPALIVE_PROBES = 3


@dataclass(frozen=True)
class Tcp:
    """TCP connections whose two ends prove to each other that they belong to the same run.

    user_timeout_ms: for how long sent bytes may stay unacknowledged, or a full receiver may stay full, before the kernel gives
    the connection up (TCP_USER_TIMEOUT, RFC 5482). keepalive_s: how often the kernel asks an idle peer whether it is there;
    three answers missing end the connection. handshake_timeout_s: how long somebody who connected may take to prove who it is.
    max_strangers: how many may be at that at once. first_port, last_port: where to listen, both included; 0 and 0 for any free
    port. buffer_bytes: the kernel's send and receive buffer of each connection; 0 leaves it to the kernel.
    """

    user_timeout_ms: int = 30_000
    keepalive_s: int = 5
    handshake_timeout_s: float = 5.0
    max_strangers: int = 512
    first_port: int = 0
    last_port: int = 0
    buffer_bytes: int = 0

    def __post_init__(self) -> None:
        if not 100 <= self.user_timeout_ms <= 86_400_000:
            raise ValueError(f"user_timeout_ms = {self.user_timeout_ms} must be between 100 and 86400000 (a day)")
        if not 1 <= self.keepalive_s <= 32_767:
            raise ValueError(f"keepalive_s = {self.keepalive_s} must be between 1 and 32767")
        if not 0 < self.handshake_timeout_s <= 3600:
            raise ValueError(f"handshake_timeout_s = {self.handshake_timeout_s} must be above 0 and at most 3600")
        if not 1 <= self.max_strangers <= 65_536:
            raise ValueError(f"max_strangers = {self.max_strangers} must be between 1 and 65536")
        if not (self.first_port == self.last_port == 0 or 1 <= self.first_port <= self.last_port <= 65_535):
            raise ValueError(
                f"first_port = {self.first_port} and last_port = {self.last_port} must be a range within 1..65535, or both 0"
            )
        if not (self.buffer_bytes == 0 or 4096 <= self.buffer_bytes <= 1 << 30):
            raise ValueError(f"buffer_bytes = {self.buffer_bytes} must be 0 or between 4096 and {1 << 30}")

    def unavailable(self) -> str | None:
        """As harness.api.transport.Transport.unavailable."""
        if not hasattr(select, "epoll") or not timer.available():
            return 'the transport tcp needs Linux (epoll and timerfd); transport = "memory" works in one process anywhere'
        return None

    def endpoint(self, *, node: int, host: str, secret: bytes, listen: bool, max_frame_bytes: int) -> TcpEndpoint:
        """As harness.api.transport.Transport.endpoint."""
        if node < 0:
            raise ValueError(f"node = {node} must not be negative")
        if not secret:
            raise ValueError("the secret is empty")
        if not 0 < max_frame_bytes <= _MAX_FRAME_BYTES:
            raise ValueError(f"max_frame_bytes = {max_frame_bytes} must be between 1 and {_MAX_FRAME_BYTES}")
        try:
            listener = self._attach(host, listen)
            try:
                return TcpEndpoint(self, node, secret, listener, host, max_frame_bytes)
            except OSError:
                if listener is not None:
                    listener.close()
                raise
        except OSError as error:
            raise InfrastructureError(_explained(error, node, host, self)) from error

    def configure(self, sock: socket.socket) -> None:
        """Set a connection's options. Raises OSError where the connection is gone already."""
        tcp = socket.IPPROTO_TCP
        sock.setsockopt(tcp, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(tcp, socket.TCP_KEEPIDLE, self.keepalive_s)
        sock.setsockopt(tcp, socket.TCP_KEEPINTVL, self.keepalive_s)
        sock.setsockopt(tcp, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)
        sock.setsockopt(tcp, socket.TCP_USER_TIMEOUT, self.user_timeout_ms)
        if self.buffer_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.buffer_bytes)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer_bytes)

    def _attach(self, host: str, listen: bool) -> socket.socket | None:
        """Bind to `host`: to listen there, or only to see that it is this machine's address."""
        family = family_of(host)
        if family is None:
            raise OSError(errno.EINVAL, "it is no IP address in numbers")
        if not int.from_bytes(socket.inet_pton(family, host), "big"):
            raise OSError(errno.EINVAL, "it stands for every address of the machine; give the one to be used")
        if not listen:
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                sock.bind((host, 0))
            return None
        for port in range(self.first_port, self.last_port):
            try:
                return self._listener(family, host, port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        return self._listener(family, host, self.last_port)

    def _listener(self, family: socket.AddressFamily, host: str, port: int) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self.buffer_bytes:
                # A connection's window is agreed upon before it is accepted.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer_bytes)
            sock.bind((host, port))
            sock.listen(_BACKLOG)
        except OSError:
            sock.close()
            raise
        return sock


def _explained(error: OSError, node: int, host: str, options: Tcp) -> str:
    """What is wrong, where, and what to do."""
    ports = f"{options.first_port}..{options.last_port}" if options.first_port else "any"
    hint = {
        errno.EADDRINUSE: f"the port is taken (ports tried: {ports}); end its owner, or set first_port and last_port wider",
        errno.EADDRNOTAVAIL: "it is no address of this machine; `ip addr` lists them",
        errno.EACCES: f"not allowed to listen there (ports tried: {ports}); use ports above 1023",
        errno.EMFILE: "too few file descriptors for this process; raise `ulimit -n`",
        errno.ENFILE: "too few file descriptors on this machine; raise the sysctl fs.file-max",
    }
    what = hint.get(error.errno or 0) or error.strerror or str(error)
    return f"tcp: node {node} cannot use the address {host!r}: {what}"
