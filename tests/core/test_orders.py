"""Orders are decoded once and shared, and garbage is still garbage."""

from __future__ import annotations

import msgpack
import pytest

from harness.core import frames, orders
from harness.core.frames import FrameError
from harness.core.ranks import RankSet
from harness.core.spec import StreamSpec


def test_nodes_share_what_an_order_is_made_of() -> None:
    """Two frames with the same bytes are one message, and one stream."""
    spec = StreamSpec(name="s", members=RankSet([(0, 4)]), filter="sum")
    payload = msgpack.packb({"op": "open", "id": 1, "spec": spec.to_wire()})
    frame = frames.control_frame(frames.DOWN, 0, 7, payload)
    first, second = (orders.order_message(bytes(bytearray(frame))) for _ in range(2))
    assert first is second
    assert (first.seq, first.payload, first.frame, len(first.to)) == (7, payload, frame, 0)
    assert orders.decode_order(payload)["op"] == "open"
    assert orders.decode_spec(payload) == spec
    assert orders.decode_spec(payload) is orders.decode_spec(bytes(bytearray(payload)))


def test_a_message_to_some_keeps_whom_it_is_for() -> None:
    """The ranks in the frame are those of the message."""
    to = RankSet([(2, 3), (5, 9)])
    frame = frames.control_frame(frames.DOWN, 3, 1, b"payload", meta=to.encoded)
    message = orders.message_of(frame, frames.parse_header(memoryview(frame)))
    assert (message.to, message.payload) == (to, b"payload")


def test_garbage_is_refused_each_time() -> None:
    """What is no msgpack, and what is no stream."""
    for _ in range(2):
        with pytest.raises(FrameError):
            orders.decode_order(b"\xc1")
        with pytest.raises((KeyError, TypeError)):
            orders.decode_spec(msgpack.packb({"op": "open", "spec": {"members": b""}}))
