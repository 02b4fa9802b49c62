"""Who may become a link over TCP: the handshake by itself, and what an endpoint does with strangers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from harness.testing.transport_rig import SECRET, End, payload
from harness_plugins.transports import Tcp
from harness_plugins.transports.tcp_handshake import CHALLENGE, HELLO, PREFIX, PROOF, Handshake, HandshakeError

NONCES = b"a" * 32, b"b" * 32


def sides(secrets: tuple[bytes, bytes] = (SECRET, SECRET), expected: int = 0) -> tuple[Handshake, Handshake]:
    """Connector (node 4) and listener (node 0)."""
    return Handshake(4, secrets[0], NONCES[0], expected), Handshake(0, secrets[1], NONCES[1], None)


def test_both_sides_prove_themselves() -> None:
    connector, listener = sides()
    challenge = listener.feed(connector.opening())
    assert not listener.done
    assert len(challenge) == connector.wanted
    proof = connector.feed(challenge)
    assert connector.done
    assert connector.peer == 0
    assert len(proof) == listener.wanted
    assert listener.feed(proof) == b""
    assert listener.done
    assert listener.peer == 4


def test_secret_and_peer_are_checked() -> None:
    connector, listener = sides((SECRET, b"another"))
    with pytest.raises(HandshakeError, match="wrong secret"):
        connector.feed(listener.feed(connector.opening()))
    connector, listener = sides(expected=3)
    with pytest.raises(HandshakeError, match="wrong peer: node 0 is there instead of node 3"):
        connector.feed(listener.feed(connector.opening()))


@given(st.integers(0, 2), st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_anywhere_is_noticed_by_somebody(message: int, where: int, flip: int) -> None:
    connector, listener = sides()

    def passed(number: int, data: bytes) -> bytes:
        if number != message:
            return data
        changed = bytearray(data)
        changed[where % len(data)] ^= flip
        return bytes(changed)

    with pytest.raises(HandshakeError):
        listener.feed(passed(2, connector.feed(passed(1, listener.feed(passed(0, connector.opening()))))))
    assert not listener.done


def test_proofs_cannot_be_used_again_or_turned_around() -> None:
    connector, listener = sides()
    challenge = listener.feed(connector.opening())
    proof = connector.feed(challenge)
    # Another time: the listener's nonce is new.
    again = Handshake(0, SECRET, b"c" * 32, None)
    again.feed(connector.opening())
    with pytest.raises(HandshakeError, match="wrong secret"):
        again.feed(proof)
    # As another node.
    impostor, victim = Handshake(9, b"?", NONCES[0], 0), Handshake(0, SECRET, NONCES[1], None)
    victim.feed(impostor.opening())
    with pytest.raises(HandshakeError, match="wrong secret"):
        victim.feed(proof)
    # The listener's own proof sent back to it: it speaks for the other role.
    mirror = Handshake(0, SECRET, NONCES[1], None)
    own = mirror.feed(PREFIX.pack(HELLO, 40) + NONCES[1] + bytes(8))[-32:]
    with pytest.raises(HandshakeError, match="wrong secret"):
        mirror.feed(PREFIX.pack(PROOF, 32) + own)


def test_messages_out_of_turn_are_errors() -> None:
    connector, listener = sides()
    opening = connector.opening()
    with pytest.raises(HandshakeError, match="kind 1 out of turn"):
        connector.feed(opening + bytes(connector.wanted - len(opening)))
    with pytest.raises(HandshakeError, match="kind 2 out of turn"):
        listener.feed(PREFIX.pack(CHALLENGE, 40) + bytes(40))
    with pytest.raises(HandshakeError, match="a handshake message of 41 bytes"):
        listener.feed(PREFIX.pack(HELLO, 41) + bytes(40))


@pytest.fixture
def end() -> Iterator[End]:
    end = listening(Tcp(max_strangers=5))
    yield end
    end.endpoint.close()


def listening(options: Tcp, node: int = 0) -> End:
    return End(options.endpoint(node=node, host="127.0.0.1", secret=SECRET, listen=True, max_frame_bytes=1000))


def until_rejected(end: End, count: int) -> None:
    give_up = time.monotonic() + 20
    while end.endpoint.rejected < count:
        assert end.poll(0.05) == 0, "a stranger was reported"
        assert time.monotonic() < give_up, end.endpoint.last_rejection


def test_strangers_are_counted_with_a_reason_and_not_reported(end: End, wire: Any) -> None:
    garbage, gone, wrong = (wire.dial(end) for _ in range(3))
    garbage.sendall(b"\xff" * 100)
    until_rejected(end, 1)
    assert end.endpoint.last_rejection.startswith("protocol error: b'\\xff")
    gone.close()
    until_rejected(end, 2)
    assert end.endpoint.last_rejection.startswith("closed by peer during the handshake")
    shake = Handshake(1, b"guessed", bytes(32), 0)
    wrong.sendall(shake.opening())
    end.poll(0.05)
    wrong.sendall(PREFIX.pack(PROOF, 32) + bytes(32))
    until_rejected(end, 3)
    assert end.endpoint.last_rejection.startswith("wrong secret")


def test_a_stranger_who_says_nothing_is_hung_up_on(wire: Any) -> None:
    end = listening(Tcp(handshake_timeout_s=0.1))
    mute = wire.dial(end)
    until_rejected(end, 1)
    assert end.endpoint.last_rejection == "timed out: no proof within 0.1 s"
    mute.settimeout(10)
    assert mute.recv(1) == b""
    end.endpoint.close()


def test_a_stranger_is_read_no_further_than_the_handshake(end: End, wire: Any) -> None:
    """It can fill the kernel's buffer, not ours."""
    stranger = wire.dial(end)
    hello = Handshake(1, SECRET, bytes(32), 0).opening()
    stranger.sendall(hello + payload(1, 40))
    until_rejected(end, 1)
    assert "begins no frame" in end.endpoint.last_rejection


def test_the_oldest_of_too_many_strangers_goes_first(end: End, wire: Any) -> None:
    strangers = [wire.dial(end) for _ in range(8)]
    until_rejected(end, 3)
    assert end.endpoint.last_rejection == "crowded out: more than 5 strangers at once"
    for stranger in strangers[:3]:
        stranger.settimeout(10)
        assert stranger.recv(1) == b""
    wire.prove(end, strangers[-1])
    assert end.link.peer == 1


def test_reasons_that_the_connector_hears(end: End) -> None:
    caller = End(Tcp().endpoint(node=1, host="127.0.0.1", secret=b"another", listen=False, max_frame_bytes=1000))
    closed = listening(Tcp(), 1)
    gone = closed.address
    closed.endpoint.close()
    hole = listening(Tcp(), 3)
    caller.endpoint.connect(0, end.address, 10)
    caller.endpoint.connect(1, gone, 10)
    caller.endpoint.connect(2, "localhost:80", 10)
    caller.endpoint.connect(3, hole.address, 0.1)
    while len(caller.sink.refused) < 4:
        caller.poll(0.01)
        end.poll(0)
    reasons = dict(caller.sink.refused)
    assert reasons[0] == "wrong secret: the peer belongs to another run"
    assert reasons[1] == "refused"
    assert reasons[2] == "bad address 'localhost:80': it has the form 127.0.0.1:4000 or [::1]:4000"
    assert reasons[3] == "timed out: no answer to the handshake within 0.1 s"
    caller.endpoint.close()
    hole.endpoint.close()


def test_a_link_of_the_run_is_no_rejection(end: End, wire: Any) -> None:
    sock = wire.connected(end)
    assert end.endpoint.rejected == 0
    assert end.endpoint.last_rejection == ""
    sock.close()
