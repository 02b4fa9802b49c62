"""Waiting on many descriptors at once, for transports that have one: level-triggered, with one timer."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Final

from harness.api.transport import Sink
from harness_plugins.transports.timer import Timer

#: Takes the event mask (EPOLLIN and so on), reports to the sink and returns the number of callbacks made.
Handler = Callable[[int, Sink], int]
#: Waits at most so many seconds for its descriptor to become readable and handles it, in one call. Where that is not worth it,
#: or nothing came within a part of the time, it returns 0, and the descriptor is waited for as any other.
Waiter = Callable[[float, Sink], int]

_EVENTS_A_TURN: Final = 128
#: With so few descriptors poll(2) wakes up faster than epoll, which pays for its second queue.
_FEW: Final = 3


class Reactor:
    """Calls a handler for each descriptor that is ready. Handlers may watch, change and retire any descriptor, their own
    included, and may close the reactor."""

    def __init__(self, on_timer: Callable[[Sink], int]) -> None:
        """Raises OSError where no descriptor can be had."""
        self.closed = False
        self._handlers: dict[int, Handler] = {}
        self._masks: dict[int, int] = {}
        self._waiters: dict[int, Waiter] = {}
        #: The waiter of the only descriptor that is watched.
        self._lone: Waiter | None = None
        self._graves: list[socket.socket] = []
        self._polling = False
        self._due = float("inf")
        self._on_timer = on_timer
        # Both always watch the same; the event masks of the two are the same numbers.
        self._few = select.poll()
        self._epoll = select.epoll()
        try:
            self._timer = Timer()
        except OSError:
            self._epoll.close()
            raise

    def fileno(self) -> int:
        """Readable while a handler or the timer waits to be called; -1 once closed."""
        return -1 if self.closed else self._epoll.fileno()

    def watch(self, fd: int, mask: int, handler: Handler) -> None:
        """Call `handler` from now on when one of the events in `mask`, an error or a hang-up is there."""
        self._epoll.register(fd, mask)
        self._few.register(fd, mask)
        self._handlers[fd] = handler
        self._masks[fd] = mask
        self._lone = None

    def change(self, fd: int, mask: int) -> None:
        """Wait for other events than before on a watched descriptor."""
        self._epoll.modify(fd, mask)
        self._few.modify(fd, mask)
        self._masks[fd] = mask
        self._find_lone()

    def replace(self, fd: int, mask: int, handler: Handler, waiter: Waiter | None = None) -> None:
        """Wait for other events and call another handler than before on a watched descriptor. A `waiter` may be called
        instead of `handler` while nothing else is watched and `mask` is EPOLLIN alone."""
        self._handlers[fd] = handler
        if waiter is not None:
            self._waiters[fd] = waiter
        self.change(fd, mask)

    def ignore(self, fd: int) -> None:
        """Watch the descriptor no more."""
        if self._handlers.pop(fd, None) is not None:
            del self._masks[fd]
            self._waiters.pop(fd, None)
            self._find_lone()
            self._epoll.unregister(fd)
            self._few.unregister(fd)

    def _find_lone(self) -> None:
        self._lone = None
        if len(self._masks) == 1:
            for fd, mask in self._masks.items():
                if mask == select.EPOLLIN:
                    self._lone = self._waiters.get(fd)

    def retire(self, sock: socket.socket) -> None:
        """Watch the socket no more, and close it.

        While events are being handled it is closed only afterwards: its number could otherwise go to a new socket, for
        which an event of the old one, already fetched, would then be taken.
        """
        self.ignore(sock.fileno())
        if self._polling:
            self._graves.append(sock)
        else:
            sock.close()

    def call_by(self, when: float) -> None:
        """Have the timer called at `when` (time.monotonic()) at the latest."""
        if when < self._due:
            if self._timer.fd not in self._handlers:
                self.watch(self._timer.fd, select.EPOLLIN, self._expired)
            self._due = when
            self._timer.set(max(0.0, when - time.monotonic()))

    def call_off(self) -> None:
        """Have the timer not called."""
        self._due = float("inf")
        self.ignore(self._timer.fd)

    def poll(self, timeout_s: float | None, sink: Sink) -> int:
        """As harness.api.transport.Endpoint.poll. Raises RuntimeError when called from within itself."""
        if self._polling:
            raise RuntimeError("poll was called from one of its own callbacks")
        if self.closed:
            return 0
        until = 0.0
        if timeout_s is not None:
            if timeout_s > 0:
                until = time.monotonic() + timeout_s
            else:
                timeout_s = 0  # the system takes less for "for ever"
        self._polling = True
        try:
            wait: float | None = timeout_s
            count = 0
            handlers = self._handlers
            if self._lone is not None and timeout_s is not None and timeout_s > 0:
                count = self._lone(timeout_s, sink)
                if count:
                    return count
                wait = max(0.0, until - time.monotonic())
            while True:
                if len(handlers) <= _FEW:
                    events = self._few.poll(wait if wait is None else wait * 1000)
                else:
                    events = self._epoll.poll(wait, _EVENTS_A_TURN)
                for fd, mask in events:
                    if fd in handlers:
                        count += handlers[fd](mask, sink)
                if count or timeout_s == 0 or self.closed:
                    return count
                # Only our own affairs so far (a handshake, part of a frame): nothing that the caller waits for.
                if timeout_s is not None:
                    wait = until - time.monotonic()
                    if wait <= 0:
                        return 0
        finally:
            self._polling = False
            if self._graves:
                self._bury()

    def close(self) -> None:
        """Give the timer and the epoll descriptor back. Idempotent."""
        self.closed = True
        self._handlers.clear()
        self._lone = None
        self._timer.close()
        self._epoll.close()
        if not self._polling:
            self._bury()

    def _bury(self) -> None:
        graves, self._graves = self._graves, []
        for sock in graves:
            sock.close()

    def _expired(self, mask: int, sink: Sink) -> int:
        self.call_off()
        self._timer.clear()
        return self._on_timer(sink)
