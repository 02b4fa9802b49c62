"""The kit catches transports that are broken on purpose, each by the check that is meant for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from harness.api.transport import Buffer, Endpoint, Link, Sink
from harness.testing import transports
from harness_plugins.transports import Memory


class Filtered:
    """A sink between the endpoint and the real one, that counts what gets through. Saboteurs override what they spoil."""

    def __init__(self, saboteur: Any, sink: Sink) -> None:
        self.saboteur = saboteur
        self.sink = sink
        self.calls = 0

    def on_link(self, link: Link, initiated: bool) -> None:
        self.calls += 1
        self.sink.on_link(self.saboteur.dress(link), initiated)

    def on_frame(self, link: Link, frame: memoryview) -> None:
        for changed in self.saboteur.spoil(link, frame):
            self.calls += 1
            self.sink.on_frame(self.saboteur.dress(link), changed)

    def on_lost(self, link: Link, reason: str) -> None:
        for _ in range(self.saboteur.losses):
            self.calls += 1
            self.sink.on_lost(self.saboteur.dress(link), reason)

    def on_writable(self, link: Link) -> None:
        self.calls += 1
        self.sink.on_writable(self.saboteur.dress(link))

    def on_refused(self, peer: int, reason: str) -> None:
        self.calls += 1
        self.sink.on_refused(peer, reason)


class SpoiltEndpoint:
    """Forwards to a sound endpoint, with the saboteur in between."""

    def __init__(self, saboteur: Any, inner: Endpoint) -> None:
        self.saboteur = saboteur
        self.inner = inner
        self.address = inner.address

    def connect(self, peer: int, address: str, timeout_s: float) -> None:
        self.inner.connect(peer, address, timeout_s)

    def poll(self, timeout_s: float | None, sink: Sink) -> int:
        while True:
            between = Filtered(self.saboteur, sink)
            made = self.inner.poll(timeout_s, between)
            if between.calls or not made or timeout_s == 0:
                return between.calls

    def fileno(self) -> int:
        return self.inner.fileno()

    def close(self) -> None:
        self.inner.close()


@dataclass
class Saboteur:
    """A transport over memory that is sound until a subclass spoils something."""

    one_process = True
    losses = 1
    frames: int = field(default=0, init=False)

    def unavailable(self) -> str | None:
        return None

    def endpoint(self, **how: Any) -> Endpoint:
        return SpoiltEndpoint(self, Memory().endpoint(**how))

    def spoil(self, link: Link, frame: memoryview) -> Sequence[memoryview]:
        self.frames += 1
        return [frame]

    def dress(self, link: Link) -> Link:
        return link


class Drops(Saboteur):
    def spoil(self, link: Link, frame: memoryview) -> Sequence[memoryview]:
        super().spoil(link, frame)
        return [] if self.frames % 1000 == 0 else [frame]


class Repeats(Saboteur):
    def spoil(self, link: Link, frame: memoryview) -> Sequence[memoryview]:
        super().spoil(link, frame)
        return [frame, frame] if self.frames % 1000 == 0 else [frame]


class Reorders(Saboteur):
    """Holds every thousandth frame of a link back until after the next."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[Link, memoryview] = {}

    def spoil(self, link: Link, frame: memoryview) -> Sequence[memoryview]:
        super().spoil(link, frame)
        if self.frames % 1000 == 0 and link not in self.held:
            self.held[link] = frame
            return []
        return [frame, self.held.pop(link)] if link in self.held else [frame]


class ReusesItsBuffer(Saboteur):
    def __init__(self) -> None:
        super().__init__()
        self.buffer = bytearray(16 << 20)

    def spoil(self, link: Link, frame: memoryview) -> Sequence[memoryview]:
        self.buffer[: len(frame)] = frame
        return [memoryview(self.buffer)[: len(frame)]]


class FlipsABit(Saboteur):
    """In big frames only, near the end."""

    def spoil(self, link: Link, frame: memoryview) -> Sequence[memoryview]:
        if len(frame) > 100_000:
            frame[-7] ^= 4
        return [frame]


class LosesTwice(Saboteur):
    losses = 2


class NeverLoses(Saboteur):
    losses = 0


class KnowsNoSecret(Saboteur):
    def endpoint(self, **how: Any) -> Endpoint:
        return super().endpoint(**{**how, "secret": b"the same for all"})


class Deaf(Saboteur):
    """Its descriptor is never readable."""

    def __init__(self) -> None:
        super().__init__()
        self.pipes: list[int] = []

    def endpoint(self, **how: Any) -> Endpoint:
        made = super().endpoint(**how)
        pipe = os.pipe()
        self.pipes += pipe
        made.fileno = lambda: pipe[0]
        return made


class TakesEverything(Saboteur):
    """`send` never says False."""

    def __init__(self) -> None:
        super().__init__()
        self.dressed: dict[Link, Eager] = {}

    def dress(self, link: Link) -> Link:
        return self.dressed.setdefault(link, Eager(link))


class Eager:
    backlog_bytes = 0

    def __init__(self, link: Link) -> None:
        self.link = link
        self.peer = link.peer

    def send(self, parts: Sequence[Buffer]) -> bool:
        self.link.send(parts)
        return True

    def close(self) -> None:
        self.link.close()


def _failed(saboteur: Saboteur, *names: str) -> dict[str, str]:
    found = {}
    for check in transports.CHECKS:
        if check.name in names:
            outcome = transports.run_check(check, saboteur, patience_s=0.3)
            if outcome.passed is False:
                found[check.name] = outcome.message
    return found


@pytest.mark.parametrize(
    ("saboteur", "caught_by", "message"),
    [
        (Drops(), "order-under-load", "came when"),
        (Repeats(), "order-under-load", "came when"),
        (Reorders(), "order-under-load", "came when"),
        (ReusesItsBuffer(), "views-stay", "had changed after later traffic"),
        (FlipsABit(), "round-trip", "arrived changed"),
        (LosesTwice(), "lost-once", "on_lost after on_lost"),
        (NeverLoses(), "close-delivers", "until the loss is noticed"),
        (KnowsNoSecret(), "wrong-secret", "until on_refused"),
        (KnowsNoSecret(), "runs-apart", "in vain"),
        (Deaf(), "readiness", "no descriptor was readable"),
        (TakesEverything(), "back-pressure", "still says True"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Saboteur) else None,
)
def test_caught(saboteur: Saboteur, caught_by: str, message: str) -> None:
    failed = _failed(saboteur, caught_by)
    assert message in failed.get(caught_by, "nothing was found")
    for fd in getattr(saboteur, "pipes", ()):
        os.close(fd)


def test_the_disguise_itself_is_sound() -> None:
    """What the saboteurs build on passes, so what fails is the sabotage."""
    names = ("order-under-load", "views-stay", "round-trip", "lost-once", "wrong-secret", "runs-apart", "back-pressure")
    assert _failed(Saboteur(), *names) == {}


def test_a_transport_that_hangs_has_failed() -> None:
    wake = threading.Event()

    class Hangs(Saboteur):
        def endpoint(self, **how: Any) -> Endpoint:
            wake.wait()
            return super().endpoint(**how)

    outcome = transports.run_check(transports.CHECKS[0], Hangs(), limit_s=0.1)
    wake.set()
    assert outcome.passed is False
    assert "it hangs" in outcome.message


def test_a_transport_that_raises_has_failed_and_the_line_is_named() -> None:
    class Raises(Saboteur):
        def endpoint(self, **how: Any) -> Endpoint:
            raise KeyError("no such thing")

    outcome = transports.run_check(transports.CHECKS[0], Raises())
    assert outcome.passed is False
    assert "KeyError" in outcome.message
    assert "test_transport_saboteurs.py" in outcome.message
