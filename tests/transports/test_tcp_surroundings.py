"""TCP and its machine: addresses, ports, descriptors, options."""

from __future__ import annotations

import os
import resource
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from harness.api.errors import InfrastructureError
from harness.testing.transport_rig import SECRET, End, Rig
from harness_plugins.transports import Tcp
from harness_plugins.transports.tcp_endpoint import TcpEndpoint, format_address, parse_address


def endpoint(options: Tcp, host: str = "127.0.0.1", listen: bool = True, **how: Any) -> TcpEndpoint:
    return options.endpoint(**{"node": 0, "host": host, "secret": SECRET, "listen": listen, "max_frame_bytes": 1000, **how})


@contextmanager
def descriptors(spare: int) -> Iterator[None]:
    """The process may open only so many more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open("/dev/null", os.O_RDONLY)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "wrong",
    [
        {"user_timeout_ms": 0}, {"keepalive_s": 0}, {"keepalive_s": 40_000}, {"handshake_timeout_s": 0.0},
        {"handshake_timeout_s": float("nan")}, {"max_strangers": 0}, {"first_port": 1}, {"first_port": 5000, "last_port": 4999},
        {"first_port": 5000, "last_port": 65_536}, {"buffer_bytes": 100}, {"buffer_bytes": -1},
    ],
)  # fmt: skip
def test_parameters_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Tcp(**wrong)


@pytest.mark.parametrize("wrong", [{"node": -1}, {"secret": b""}, {"max_frame_bytes": 0}, {"max_frame_bytes": 1 << 32}])
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        endpoint(Tcp(), **wrong)


@pytest.mark.parametrize("listen", [True, False])
@pytest.mark.parametrize(
    ("host", "hint"),
    [
        ("192.0.2.1", "no address of this machine"),
        ("localhost", "no IP address in numbers"),
        ("", "no IP address in numbers"),
        ("0.0.0.0", "every address of the machine"),
        ("::", "every address of the machine"),
    ],
)
def test_bad_hosts(host: str, hint: str, listen: bool) -> None:
    with pytest.raises(InfrastructureError, match=hint) as error:
        endpoint(Tcp(), host, listen)
    assert repr(host) in str(error.value)


def test_a_taken_port_and_a_range_of_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InfrastructureError, match=rf"port is taken \(ports tried: {port}\.\.{port}\)"):
            endpoint(Tcp(first_port=port, last_port=port))
        made = endpoint(Tcp(first_port=port, last_port=min(port + 50, 65_535)))
        found = parse_address(made.address)
        assert found is not None
        assert port < found[1] <= port + 50
        made.close()


def test_it_listens_on_the_given_address_alone(wire: Any) -> None:
    made = End(endpoint(Tcp(), "127.0.0.2"))
    assert made.address.startswith("127.0.0.2:")
    port = int(made.address.rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)
    sock = wire.dial(made)
    wire.prove(made, sock)
    sock.close()
    made.endpoint.close()


def test_a_node_speaks_from_its_own_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = endpoint(Tcp(), "127.0.0.3", listen=False)
        made.connect(1, format_address(*server.getsockname()), 5.0)
        _, (host, _) = server.accept()
        assert host == "127.0.0.3"
        made.close()


def test_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"not applicable: this machine has no IPv6 loopback: {error}")
    with Rig(Tcp()) as rig:
        root, leaf = End(endpoint(Tcp(), "::1")), End(endpoint(Tcp(), "::1", listen=False, node=1))
        assert root.address.startswith("[::1]:")
        rig.join(leaf, root)
        leaf.link.send((b"six",))
        rig.pump("the frame has arrived", lambda: bool(root.frames), root, leaf)
        root.endpoint.close()
        leaf.endpoint.close()


@pytest.mark.parametrize(
    "address", ["", "x", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "host:1", ":1", "1:1:1", "[::1]"]
)
def test_bad_addresses(address: str) -> None:
    assert parse_address(address) is None


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:65535"])
def test_addresses(address: str) -> None:
    parsed = parse_address(address)
    assert parsed is not None
    assert format_address(*parsed) == address


def test_too_few_descriptors_for_an_endpoint(wire: Any) -> None:
    for spare in range(3):
        before = wire.descriptors()
        with descriptors(spare), pytest.raises(InfrastructureError, match="ulimit -n"):
            endpoint(Tcp())
        assert wire.descriptors() == before, "a descriptor was left open"


def test_too_few_descriptors_to_accept(wire: Any) -> None:
    """Accepting pauses, without spinning, and goes on when there are descriptors again; other links do not notice."""
    end = End(endpoint(Tcp()))
    first = wire.dial(end)
    wire.prove(end, first)
    second = socket.socket()
    to = parse_address(end.address)
    assert to is not None
    with descriptors(0):
        second.connect(to)
        turns, until = 0, time.monotonic() + 0.3
        while time.monotonic() < until:
            end.endpoint.poll(0.02, end.sink)
            turns += 1
        assert "ulimit -n" in end.endpoint.last_rejection
        assert turns <= 20, "poll does not wait any more"
        first.sendall(b"\xa9\x7e\x01\x00\x00\x00\x00\x00")
        end.poll(1.0)
        assert len(end.frames) == 1
        third = end.endpoint
        third.connect(5, end.address, 1.0)
        end.poll(1.0)
        assert end.sink.refused[0][0] == 5
        assert "ulimit -n" in end.sink.refused[0][1]
    wire.prove(end, second, node=2)
    assert [link.peer for link in end.sink.links] == [1, 2]
    for sock in (first, second):
        sock.close()
    end.endpoint.close()


def test_a_descriptor_number_that_is_used_again_within_a_turn(wire: Any) -> None:
    """A callback closes a link that is ready, too, and opens a connection, which would get the same number: the event of the
    old one must not be taken for one of the new."""
    hole = socket.create_server(("127.0.0.1", 0), backlog=0)
    filling = [socket.socket() for _ in range(3)]
    for sock in filling:
        sock.setblocking(False)
        sock.connect_ex(hole.getsockname())  # from here on nobody's connection is completed
    end = End(endpoint(Tcp()))
    first, second = wire.connected(end, 1), wire.connected(end, 2)
    # No lower number is free.
    fillers = [os.dup(0) for _ in range(20)]

    def replace_other(link: Any, frame: memoryview) -> None:
        other = next(each for each in end.sink.links if each is not link)
        end.sink.close(other)
        end.endpoint.connect(9, format_address(*hole.getsockname()), 0.2)

    end.sink.on["on_frame"] = replace_other
    for sock in (first, second):
        sock.sendall(b"\xa9\x7e\x01\x00\x00\x00\x00\x00")
    assert end.poll(1.0) == 1
    while not end.sink.refused:
        end.poll(1.0)
    assert end.sink.refused == [(9, "timed out: no connection within 0.2 s")]
    end.endpoint.close()
    for sock in (first, second, hole, *filling):
        sock.close()
    for fd in fillers:
        os.close(fd)


def test_the_time_of_a_connect_that_succeeded_wakes_nobody(wire: Any) -> None:
    root, leaf = End(endpoint(Tcp())), End(endpoint(Tcp(), listen=False, node=1))
    leaf.endpoint.connect(0, root.address, 0.1)
    while not (leaf.sink.links and root.sink.links):
        leaf.poll(0.01)
        root.poll(0)
    assert select.select([leaf.endpoint.fileno()], [], [], 0.2) == ([], [], [])
    leaf.endpoint.close()
    root.endpoint.close()


def test_options_of_a_connection() -> None:
    options = Tcp(user_timeout_ms=1234, keepalive_s=7, buffer_bytes=20_000)
    with socket.socket() as sock:
        options.configure(sock)
        tcp = socket.IPPROTO_TCP
        assert sock.getsockopt(tcp, socket.TCP_NODELAY) != 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
        assert sock.getsockopt(tcp, socket.TCP_KEEPIDLE) == sock.getsockopt(tcp, socket.TCP_KEEPINTVL) == 7
        assert sock.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 1234
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 20_000  # the kernel doubles it
        fresh = socket.socket()
        replace(options, buffer_bytes=0).configure(fresh)
        assert fresh.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) != 2 * 20_000
        fresh.close()


def test_nothing_is_left_open(wire: Any) -> None:
    before = wire.descriptors()
    with Rig(Tcp()) as rig:
        leaf, root = rig.pair()
        caller = rig.endpoint(7, listen=False)
        caller.endpoint.connect(0, root.address, 10)
        stranger = wire.dial(root)
        root.poll(0)
    stranger.close()
    assert wire.descriptors() == before
    assert leaf.endpoint.fileno() == -1
    assert leaf.endpoint.poll(None, leaf.sink) == 0, "a closed endpoint has nothing to wait for"
    leaf.endpoint.connect(0, root.address, 1.0)
