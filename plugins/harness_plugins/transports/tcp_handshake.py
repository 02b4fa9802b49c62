"""How two TCP endpoints prove to each other that they belong to the same run, before either hears of the other.

Three messages, each with the 8-byte prefix of a frame: the connector says hello (a nonce, its node id); the listener answers
with a nonce and node id of its own and a proof; the connector answers with its proof. A proof is an HMAC-SHA256 (RFC 2104)
under the run's secret over the prover's role, both nonces and both node ids, so that none can be used again, by the other
side, or for another pair of nodes. Frames that follow carry no proof: this keeps strangers and other runs away, not somebody
who can change packets on the way.

Nothing here does any input or output.
"""

from __future__ import annotations

import hmac
import struct

#: Every frame and message starts with this: tag (magic, version, kind) and the number of bytes that follow, little-endian.
PREFIX = struct.Struct("<II")
PREFIX_BYTES = PREFIX.size

MAGIC = b"\xa9\x7e"
VERSION = 1


def _tag(kind: int) -> int:
    return int.from_bytes(MAGIC + bytes((VERSION, kind)), "little")


DATA = _tag(0)
HELLO = _tag(1)
CHALLENGE = _tag(2)
PROOF = _tag(3)

NONCE_BYTES = 32
_MAC_BYTES = 32
_HELLO = struct.Struct(f"<{NONCE_BYTES}sQ")
_CHALLENGE = struct.Struct(f"<{NONCE_BYTES}sQ{_MAC_BYTES}s")
_PROOF = struct.Struct(f"<{_MAC_BYTES}s")
_LISTENER, _CONNECTOR = b"harness tcp/1 listener", b"harness tcp/1 connector"


class HandshakeError(Exception):
    """The other side is not who it should be. The message is the reason to report."""


def _message(tag: int, body: bytes) -> bytes:
    return PREFIX.pack(tag, len(body)) + body


def _proof(secret: bytes, role: bytes, nonces: tuple[bytes, bytes], nodes: tuple[int, int]) -> bytes:
    covered = b"".join((struct.pack("<B", len(role)), role, *nonces, struct.pack("<QQ", *nodes)))
    return hmac.digest(secret, covered, "sha256")


def strange(tag: int) -> str:
    """What is wrong with a tag that was not expected."""
    raw = tag.to_bytes(4, "little")
    if raw[:2] != MAGIC:
        return f"protocol error: {raw!r} begins no frame of this transport"
    if raw[2] != VERSION:
        return f"protocol error: the peer speaks version {raw[2]} of the protocol, this side version {VERSION}"
    return f"protocol error: a message of kind {raw[3]} out of turn"


class Handshake:
    """One side of it: feed it exactly `wanted` bytes at a time until `done`.

    wanted: how many bytes are to be read next, and no more: whatever follows them belongs to somebody else.
    peer: the node id that the other side gave; proved once `done`.
    """

    __slots__ = ("_expected", "_initiator", "_node", "_nonce", "_other", "_secret", "_tag", "done", "peer", "wanted")

    def __init__(self, node: int, secret: bytes, nonce: bytes, expected: int | None) -> None:
        """`expected` is the node that this side has connected to; None for the listener, who takes any."""
        self._node = node
        self._secret = secret
        self._nonce = nonce
        self._other = b""
        self._expected = expected
        self._initiator = expected is not None
        self.peer = -1
        self.done = False
        self._tag, body = (CHALLENGE, _CHALLENGE.size) if self._initiator else (HELLO, _HELLO.size)
        self.wanted = PREFIX_BYTES + body

    def opening(self) -> bytes:
        """What the connector sends first."""
        return _message(HELLO, _HELLO.pack(self._nonce, self._node))

    def feed(self, data: bytes) -> bytes:
        """Take the message of `wanted` bytes; return what to send in reply (nothing where it is b""). Raises HandshakeError."""
        tag, length = PREFIX.unpack_from(data)
        if tag != self._tag:
            raise HandshakeError(strange(tag))
        if length != len(data) - PREFIX_BYTES:
            raise HandshakeError(f"protocol error: a handshake message of {length} bytes instead of {len(data) - PREFIX_BYTES}")
        body = data[PREFIX_BYTES:]
        if tag == HELLO:
            return self._challenge(body)
        if tag == CHALLENGE:
            return self._answer(body)
        self._check(_CONNECTOR, _PROOF.unpack(body)[0])
        self.done = True
        return b""

    def _challenge(self, body: bytes) -> bytes:
        self._other, self.peer = _HELLO.unpack(body)
        self._tag, self.wanted = PROOF, PREFIX_BYTES + _PROOF.size
        return _message(CHALLENGE, _CHALLENGE.pack(self._nonce, self._node, self._own(_LISTENER)))

    def _answer(self, body: bytes) -> bytes:
        self._other, self.peer, proof = _CHALLENGE.unpack(body)
        self._check(_LISTENER, proof)
        if self.peer != self._expected:
            raise HandshakeError(f"wrong peer: node {self.peer} is there instead of node {self._expected}")
        self.done = True
        return _message(PROOF, self._own(_CONNECTOR))

    def _own(self, role: bytes) -> bytes:
        """The proof for `role` over what both sides have said, connector first."""
        nonces, nodes = (self._nonce, self._other), (self._node, self.peer)
        if not self._initiator:
            nonces, nodes = nonces[::-1], nodes[::-1]
        return _proof(self._secret, role, nonces, nodes)

    def _check(self, role: bytes, proof: bytes) -> None:
        if not hmac.compare_digest(proof, self._own(role)):
            raise HandshakeError("wrong secret: the peer belongs to another run")
