"""A bare socket that has gone through the TCP transport's handshake, so that tests can put any bytes behind it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from harness.testing.transport_rig import SECRET, End
from harness_plugins.transports.tcp_endpoint import parse_address
from harness_plugins.transports.tcp_handshake import Handshake


class Wire:
    @staticmethod
    def dial(end: End) -> socket.socket:
        """A bare connection."""
        to = parse_address(end.address)
        assert to is not None
        sock = socket.create_connection(to, 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    @staticmethod
    def prove(end: End, sock: socket.socket, node: int = 1, peer: int = 0) -> None:
        """The connector's side of the handshake; `end` has the link afterwards."""
        links = len(end.sink.links)
        shake = Handshake(node, SECRET, bytes(32), peer)
        sock.sendall(shake.opening())
        sock.setblocking(False)
        answer = b""
        while len(answer) < shake.wanted:
            end.poll(0.01)
            try:
                answer += sock.recv(shake.wanted - len(answer))
            except BlockingIOError:
                continue
        sock.setblocking(True)
        sock.sendall(shake.feed(answer))
        while len(end.sink.links) == links:
            end.poll(1.0)

    @staticmethod
    def connected(end: End, node: int = 1) -> socket.socket:
        """`dial` and `prove`."""
        sock = Wire.dial(end)
        Wire.prove(end, sock, node)
        return sock

    @staticmethod
    def descriptors() -> set[str]:
        """What this process has open."""
        return {f"{fd.name} {fd.readlink()}" for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()}


@pytest.fixture(scope="session")
def wire() -> type[Wire]:
    return Wire
