"""What is particular to the memory transport: room, determinism, threads."""

from __future__ import annotations

import resource
import threading
from typing import Any

import pytest

from harness.api.errors import InfrastructureError
from harness.testing.transport_rig import SECRET, End, Rig, payload
from harness_plugins.transports import Memory


def test_parameters_are_checked() -> None:
    for wrong in (0, -1, 1 << 40):
        with pytest.raises(ValueError, match="capacity_bytes"):
            Memory(capacity_bytes=wrong)
    for how in ({"secret": b""}, {"max_frame_bytes": 0}):
        arguments: dict[str, Any] = {"node": 0, "host": "x", "secret": SECRET, "listen": True, "max_frame_bytes": 10, **how}
        with pytest.raises(ValueError):
            Memory().endpoint(**arguments)


def test_room_is_bounded_and_freed_by_the_receiver() -> None:
    with Rig(Memory(capacity_bytes=1000)) as rig:
        leaf, root = rig.pair()
        sent = [leaf.link.send((payload(i, 100),)) for i in range(20)]
        assert sent == [True] * 6 + [False] * 14
        assert leaf.link.backlog_bytes == 1400
        assert root.poll(0) == 6, "what came in place of the fetched frames is for the next poll"
        assert leaf.link.backlog_bytes == 800
        rig.pump("all have arrived", lambda: len(root.frames) == 20, root)
        assert leaf.poll(0) == 1
        assert leaf.sink.writable == [leaf.link]
        leaf.link.send((payload(0, 5000),))
        assert leaf.link.backlog_bytes == 0, "a frame larger than all the room travels alone"


def test_two_times_the_same() -> None:
    def history() -> list[tuple[str, int]]:
        told: list[tuple[str, int]] = []
        with Rig(Memory(capacity_bytes=500)) as rig:
            leaf, root = rig.pair()
            for end, name in ((leaf, "leaf"), (root, "root")):
                end.sink.on["on_frame"] = lambda link, frame, name=name: told.append((name, len(frame)))
                end.sink.on["on_writable"] = lambda link, name=name: told.append((f"{name} writable", 0))
            for i in range(50):
                leaf.link.send((bytes(i),))
                root.link.send((bytes(2 * i),))
                if i % 5 == 0:
                    leaf.poll(0)
                    root.poll(0)
            rig.settle(leaf, root, for_s=0.02)
        return told

    first = history()
    assert len(first) > 100
    assert history() == first


def test_between_threads() -> None:
    """Two endpoints, each polled by its own thread, exchange thousands of frames under back-pressure."""
    with Rig(Memory(capacity_bytes=4000)) as rig:
        leaf, root = rig.pair()
        count, failures = 3000, list[BaseException]()

        def run(end: End) -> None:
            sent = got = 0
            blocked = False

            def take(link: Any, frame: memoryview) -> None:
                nonlocal got
                assert frame == payload(got, got % 500)
                got += 1

            def free(link: Any) -> None:
                nonlocal blocked
                blocked = False

            end.sink.on.update(on_frame=take, on_writable=free)
            try:
                while sent < count or got < count:
                    while sent < count and not blocked:
                        blocked = not end.link.send((payload(sent, sent % 500),))
                        sent += 1
                    if got < count or blocked:
                        end.poll(None if got < count else 5.0)
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=run, args=(end,), daemon=True) for end in (leaf, root)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failures == []
        assert not any(thread.is_alive() for thread in threads)


def test_refusals_say_why_and_are_counted() -> None:
    with Rig(Memory()) as rig:
        root, leaf = rig.endpoint(0), rig.endpoint(1, listen=False)
        other = rig.endpoint(2, listen=False, secret=b"another")
        leaf.endpoint.connect(0, "memory:nowhere", 1.0)
        leaf.endpoint.connect(9, root.address, 1.0)
        other.endpoint.connect(0, root.address, 1.0)
        assert leaf.poll(None) == 2
        assert other.poll(None) == 1
        assert [reason.partition(":")[0] for _, reason in leaf.sink.refused + other.sink.refused] == [
            "refused", "wrong peer", "wrong secret"
        ]  # fmt: skip
        assert root.endpoint.rejected == 2
        assert root.poll(0) == 0


def test_closing_in_a_callback_ends_the_report() -> None:
    with Rig(Memory()) as rig:
        leaf = rig.endpoint(1, listen=False)
        leaf.sink.on["on_refused"] = lambda peer, reason: leaf.endpoint.close()
        leaf.endpoint.connect(0, "memory:nowhere", 1.0)
        leaf.endpoint.connect(0, "memory:nowhere", 1.0)
        assert leaf.poll(None) == 1
        assert leaf.poll(None) == 0
        assert leaf.endpoint.fileno() == -1


def test_nothing_is_left_open(wire: Any) -> None:
    before = wire.descriptors()
    with Rig(Memory()) as rig:
        rig.pair()
    assert wire.descriptors() == before


def test_too_few_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(InfrastructureError, match="ulimit -n"):
            Memory().endpoint(node=0, host="x", secret=SECRET, listen=True, max_frame_bytes=10)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
