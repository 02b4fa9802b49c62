"""Both ends in one process: for tests, and for whoever wants to see a tree without a network. Deterministic in one thread."""

from __future__ import annotations

import hmac
import os
import select
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count as counter
from typing import ClassVar

from harness.api.errors import InfrastructureError
from harness.api.transport import Buffer, Sink

#: What a queued frame costs beside its bytes, so that empty frames are bounded too.
_FRAME_COST_BYTES = 64

#: Guards every queue of this process. It is never held while a callback runs.
_lock = threading.Lock()
_listening: dict[str, MemoryEndpoint] = {}
_numbers = counter(1)


#: What an endpoint has yet to report of a link: a frame, the reason of a loss, whether a new link was asked for here, or None
#: for "writable".
_News = bytearray | str | bool | None


@dataclass(frozen=True)
class Memory:
    """Links between nodes that live in one process, for tests of nodes without sockets.

    capacity_bytes: what may be on its way on one link in one direction before `send` holds back.
    """

    capacity_bytes: int = 1 << 20

    #: Told to the conformance kit: both ends must live in one process.
    one_process: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 1 <= self.capacity_bytes <= 1 << 30:
            raise ValueError(f"capacity_bytes = {self.capacity_bytes} must be between 1 and {1 << 30}")

    def unavailable(self) -> str | None:
        """As harness.api.transport.Transport.unavailable: there is memory everywhere."""
        return None

    def endpoint(self, *, node: int, host: str, secret: bytes, listen: bool, max_frame_bytes: int) -> MemoryEndpoint:
        """As harness.api.transport.Transport.endpoint. `host` is part of the address, and nothing else."""
        if not secret:
            raise ValueError("the secret is empty")
        if max_frame_bytes < 1:
            raise ValueError(f"max_frame_bytes = {max_frame_bytes} must be positive")
        try:
            return MemoryEndpoint(self, node, host, secret, listen, max_frame_bytes)
        except OSError as error:
            hint = "too few file descriptors; raise `ulimit -n`"
            raise InfrastructureError(f"memory: node {node} has no endpoint: {error.strerror}; {hint}") from error


class MemoryLink:
    """harness.api.transport.Link within a process. `send` may be called in the thread of its own endpoint only."""

    __slots__ = ("_held", "_inflight", "_open", "backlog_bytes", "endpoint", "other", "peer")

    other: MemoryLink

    def __init__(self, peer: int, endpoint: MemoryEndpoint) -> None:
        self.peer = peer
        self.endpoint = endpoint
        self.backlog_bytes = 0
        self._open = True
        # Frames that wait here, and the cost of those that the peer has not fetched yet.
        self._held: deque[bytearray] = deque()
        self._inflight = 0

    def __repr__(self) -> str:
        return f"<MemoryLink to node {self.peer}, {'open' if self._open else 'closed'}>"

    def send(self, parts: Sequence[Buffer]) -> bool:
        """As harness.api.transport.Link.send."""
        frame = bytearray().join(parts)
        size = len(frame)
        if size > self.endpoint.limit:
            raise ValueError(f"a frame of {size} bytes is larger than the limit of {self.endpoint.limit}")
        with _lock:
            if not (self._open and self.other._open):
                return True
            if size > self.other.endpoint.limit:
                limit = self.other.endpoint.limit
                reason = f"protocol error: a frame of {size} bytes announced, the limit is {limit}"
                self.other.endpoint.post(self.other, reason)
                self.endpoint.post(self, "closed by peer")
                return True
            self._held.append(frame)
            self.backlog_bytes += size
            self.pump()
            return not self._held

    def pump(self) -> None:
        """Move on what there is room for. With the lock held."""
        capacity = self.endpoint.capacity_bytes
        while self._held:
            cost = len(self._held[0]) + _FRAME_COST_BYTES
            # A frame larger than the whole capacity travels alone.
            if self._inflight and self._inflight + cost > capacity:
                return
            self._inflight += cost
            frame = self._held.popleft()
            self.backlog_bytes -= len(frame)
            self.other.endpoint.post(self.other, frame)

    def fetched(self, frame: bytearray) -> None:
        """The peer has taken a frame of ours. With the lock held."""
        self._inflight -= len(frame) + _FRAME_COST_BYTES
        if self._held and self._open:
            self.pump()
            if not self._held:
                self.endpoint.post(self, None)

    def live(self, news: _News) -> bool:
        """Whether news of this link still concerns anybody. With the lock held."""
        return self._open and not (news is None and self._held)

    def end(self) -> bool:
        """Forget what waits; whether the link was open. With the lock held."""
        was_open, self._open = self._open, False
        self._held.clear()
        self.backlog_bytes = 0
        self.endpoint.links.discard(self)
        return was_open

    def close(self) -> None:
        """As harness.api.transport.Link.close."""
        with _lock:
            if self.end() and self.other._open:
                self.other.endpoint.post(self.other, "closed by peer")


class MemoryEndpoint:
    """harness.api.transport.Endpoint within a process. One thread uses it; other endpoints may live in other threads.

    A connection is made, or refused, at once: nobody has to poll for it. rejected: how many connections were refused here.
    """

    def __init__(self, options: Memory, node: int, host: str, secret: bytes, listen: bool, limit: int) -> None:
        """Raises OSError where a descriptor is not to be had."""
        self.capacity_bytes = options.capacity_bytes
        self.limit = limit
        self.rejected = 0
        self.links: set[MemoryLink] = set()
        self._node = node
        self._secret = secret
        self._closed = False
        self._polling = False
        self._events: deque[tuple[MemoryLink, _News]] = deque()
        self._refused: deque[tuple[int, str]] = deque()
        # Readable while there are events. (An eventfd would do, but not every system has it.)
        self._bell, self._ringer = os.pipe()
        os.set_blocking(self._bell, False)
        self._rung = False
        self._waiter = select.poll()
        self._waiter.register(self._bell, select.POLLIN)
        self.address = ""
        if listen:
            self.address = f"memory:{host}/{node}.{next(_numbers)}"
            with _lock:
                _listening[self.address] = self

    def fileno(self) -> int:
        """As harness.api.transport.Endpoint.fileno."""
        return -1 if self._closed else self._bell

    def connect(self, peer: int, address: str, timeout_s: float) -> None:
        """As harness.api.transport.Endpoint.connect; it takes no time."""
        with _lock:
            if self._closed:
                return
            there = _listening.get(address)
            if there is None:
                self._refuse(peer, f"refused: nobody listens at {address!r} in this process")
            elif not hmac.compare_digest(there._secret, self._secret):
                there.rejected += 1
                self._refuse(peer, "wrong secret: the peer belongs to another run")
            elif there._node != peer:
                there.rejected += 1
                self._refuse(peer, f"wrong peer: node {there._node} is there instead of node {peer}")
            else:
                mine, theirs = MemoryLink(peer, self), MemoryLink(self._node, there)
                mine.other, theirs.other = theirs, mine
                for link, initiated in ((mine, True), (theirs, False)):
                    link.endpoint.links.add(link)
                    link.endpoint.post(link, initiated)

    def poll(self, timeout_s: float | None, sink: Sink) -> int:
        """As harness.api.transport.Endpoint.poll. Raises RuntimeError when called from within itself."""
        if self._polling:
            raise RuntimeError("poll was called from one of its own callbacks")
        until = None if timeout_s is None else time.monotonic() + timeout_s
        self._polling = True
        try:
            while not self._closed:
                count = self._report(sink)
                left = None if until is None else until - time.monotonic()
                if count or (left is not None and left <= 0):
                    return count
                # Rounded up: a wait of less than a millisecond would not wait at all.
                self._waiter.poll(None if left is None else int(left * 1000) + 1)
            return 0
        finally:
            self._polling = False

    def close(self) -> None:
        """As harness.api.transport.Endpoint.close: closes every link, too. Idempotent."""
        with _lock:
            if self._closed:
                return
            self._closed = True
            _listening.pop(self.address, None)
        for link in list(self.links):
            link.close()
        with _lock:
            self._events.clear()
            self._refused.clear()
            os.close(self._bell)
            os.close(self._ringer)

    # ---------------------------------------------------------------- with the lock held

    def post(self, link: MemoryLink, news: _News) -> None:
        """Have the next poll report it. With the lock held."""
        if not self._closed:
            self._ring()
            self._events.append((link, news))

    def _refuse(self, peer: int, reason: str) -> None:
        self._ring()
        self._refused.append((peer, reason))

    def _ring(self) -> None:
        if not self._rung:
            self._rung = True
            os.write(self._ringer, b"\0")

    def _quiet(self) -> None:
        if self._rung and not self._events and not self._refused:
            self._rung = False
            os.read(self._bell, 1)

    def _report(self, sink: Sink) -> int:
        """Report what is there now; what the callbacks bring about is left to the next time."""
        count = 0
        for _ in range(len(self._refused)):
            with _lock:
                if self._closed:
                    return count
                peer, reason = self._refused.popleft()
                self._quiet()
            sink.on_refused(peer, reason)
            count += 1
        for _ in range(len(self._events)):
            with _lock:
                if self._closed:
                    return count
                link, news = self._events.popleft()
                if isinstance(news, bytearray):
                    link.other.fetched(news)
                live = link.live(news)
                if isinstance(news, str):
                    link.end()
                self._quiet()
            if live:
                count += 1
                _tell(sink, link, news)
        return count


def _tell(sink: Sink, link: MemoryLink, news: _News) -> None:
    match news:
        case bytearray():
            sink.on_frame(link, memoryview(news))
        case str():
            sink.on_lost(link, news)
        case bool():
            sink.on_link(link, news)
        case None:
            sink.on_writable(link)
