"""The front-end's orders, as every node gets them. They are the same for all: where many nodes share a process (the simulator),
what follows from an order is made once, and they share it too."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from harness.core import frames
from harness.core.downstream import Message
from harness.core.ranks import EMPTY, RankSet
from harness.core.spec import StreamSpec

_HEADER: Final = bytes(frames.HEADER_SIZE)


def message_of(whole: bytes, head: tuple[int, ...]) -> Message:
    """The message in a DOWN frame with this header. Raises FrameError where its ranks are none."""
    to = frames.decode_ranks(memoryview(whole), head[7]) if head[7] else EMPTY
    return Message(head[6], whole[frames.HEADER_SIZE + head[7] :], to, whole)


@lru_cache(maxsize=256)
def order_message(whole: bytes) -> Message:
    """`message_of` for an order."""
    return message_of(whole, frames.HEADER.unpack_from(whole))


@lru_cache(maxsize=256)
def decode_order(payload: bytes) -> dict[str, Any]:
    """What an order says; not to be changed. Raises FrameError for garbage."""
    order: dict[str, Any] = frames.decode_object(memoryview(_HEADER + payload))
    return order


@lru_cache(maxsize=64)
def decode_spec(payload: bytes) -> StreamSpec:
    """The stream that an order opens. Raises what StreamSpec.from_wire does."""
    return StreamSpec.from_wire(decode_order(payload)["spec"])


@lru_cache(maxsize=1024)
def join(dead: RankSet, more: RankSet) -> RankSet:
    """The union of two sets that every node knows."""
    return dead | more
