"""Connections of which it is not yet known who is at the other end."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable

from harness.api.transport import Sink
from harness_plugins.transports.reactor import Reactor
from harness_plugins.transports.tcp_handshake import NONCE_BYTES, Handshake, HandshakeError
from harness_plugins.transports.tcp_link import reason_of

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT

#: Called when it is decided: the socket (still watched), the handshake, and the reason against it ("" where there is none).
Decided = Callable[["Pending", str, Sink], int]


class Pending:
    """One connection on its way to being a link. It reads what the handshake needs and not one byte more.

    peer: the node that it was made to, None where it was accepted. deadline: when it is given up (time.monotonic()).
    """

    __slots__ = ("_decided", "_got", "_handshake", "_reactor", "_what", "deadline", "peer", "sock", "timeout_s")

    def __init__(
        self, sock: socket.socket, peer: int | None, deadline: float, timeout_s: float,
        identity: tuple[int, bytes], reactor: Reactor, decided: Decided,
    ) -> None:  # fmt: skip
        self.sock = sock
        self.peer = peer
        self.deadline = deadline
        self.timeout_s = timeout_s
        node, secret = identity
        self._handshake = Handshake(node, secret, os.urandom(NONCE_BYTES), peer)
        self._got = b""
        self._reactor = reactor
        self._decided = decided
        if peer is None:
            self._what = "no proof"
            reactor.watch(sock.fileno(), _IN, self._readable)
        else:
            self._what = "no connection"
            reactor.watch(sock.fileno(), _OUT, self._connected)

    @property
    def proved(self) -> int:
        """The node id that the other side has proved."""
        return self._handshake.peer

    def expired(self) -> str:
        """The reason to give once the deadline is over."""
        return f"timed out: {self._what} within {self.timeout_s:g} s"

    def _connected(self, mask: int, sink: Sink) -> int:
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            return self._decided(self, reason_of(OSError(code, os.strerror(code))), sink)
        self._what = "no answer to the handshake"
        self._reactor.replace(self.sock.fileno(), _IN, self._readable)
        return self._say(self._handshake.opening(), sink)

    def _readable(self, mask: int, sink: Sink) -> int:
        wanted = self._handshake.wanted - len(self._got)
        try:
            data = self.sock.recv(wanted)
        except BlockingIOError:
            return 0
        except OSError as error:
            return self._decided(self, f"{reason_of(error)} during the handshake", sink)
        if not data:
            return self._decided(self, "closed by peer during the handshake (another run's secret, or not one of us)", sink)
        self._got += data
        if len(data) < wanted:
            return 0
        got, self._got = self._got, b""
        try:
            reply = self._handshake.feed(got)
        except HandshakeError as error:
            return self._decided(self, str(error), sink)
        return self._say(reply, sink)

    def _say(self, message: bytes, sink: Sink) -> int:
        """Send a message of the handshake; they are so short that an empty socket takes them whole or is broken."""
        try:
            if message and self.sock.send(message) < len(message):
                raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        except OSError as error:
            return self._decided(self, f"{reason_of(error)} during the handshake", sink)
        return self._decided(self, "", sink) if self._handshake.done else 0
