"""Messages between an agent and its fork server, over a socket pair that the one inherits from the other.

Pickle is acceptable here and only here: both ends are ours, the pair has no name that a third process could open, and nothing
that arrives from a network is ever passed through it unparsed.
"""

from __future__ import annotations

import os
import pickle
import struct
from dataclasses import dataclass
from typing import Any

_LENGTH = struct.Struct("<Q")
_READ_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Launch:
    """An order's argument: the nodes of one trial on one host. `spec` is a pickled DeploymentSpec as the driver sent it through
    Ray (which carries the driver's code and objects anyway); `epoch_s` is on this host's monotonic clock; `entry` names the
    node's main function as "module:function"; `address` is the host's data address; `bind`: whether each
    subtree keeps to processors of its own."""

    spec: bytes
    nodes: tuple[int, ...]
    host: int
    address: str
    epoch_s: float
    entry: str
    bind: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """A request to the fork server; `number` comes back in the answer."""

    number: int
    name: str
    args: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one order: `value`, or `error` (a message for the user) where it failed."""

    number: int
    value: Any = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Events:
    """Events of node processes, and of the fork server about them, in the order in which it learned of them."""

    events: list[dict[str, Any]]


Message = Order | Answer | Events


def send(fd: int, message: Message) -> None:
    """Write one message, waiting as long as it takes. Raises OSError where the other end is gone."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    view = memoryview(_LENGTH.pack(len(body)) + body)
    while view:
        view = view[os.write(fd, view) :]


class Reader:
    """Cuts the bytes of one descriptor into messages."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = bytearray()

    def read(self) -> list[Message]:
        """One read, and the messages that it completed. Raises EOFError where the other end is gone."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except ConnectionError as gone:
            raise EOFError from gone
        if not data:
            raise EOFError
        self._buffer += data
        messages: list[Message] = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages.append(pickle.loads(bytes(self._buffer[_LENGTH.size : end])))
            del self._buffer[:end]
        return messages
