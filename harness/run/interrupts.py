"""Ctrl-C, SIGTERM and a closed terminal, turned into a flag, and into an exception only where the program said that it can
take one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """Somebody asked the run to end."""


class Interrupts:
    """Context manager that owns SIGNALS while it is open. Without effect outside the main thread, which alone
    gets signals.

    `asked` tells that a signal came. Inside `interruptible` it is raised at once as Interrupted, elsewhere it waits for the
    next `check`: neither what starts processes nor what takes them down may be left half done, however often somebody presses
    the key. Such steps have time-outs of their own, so that the wait is bounded; a line on standard error says that it is on.

    `lasting`: for a program that ends once it was asked to. What comes after that is ignored for good, so that it ends with its
    report and with its own exit code, and not by a signal that says again what has been done already.
    """

    def __init__(self, lasting: bool = False) -> None:
        self._lasting = lasting
        self.asked = False
        self.reason = ""
        self._open = False
        self._mine: list[signal.Signals] = []
        self._earlier: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        # Under nohup the closed terminal is nobody's wish.
        self._mine = [n for n in SIGNALS if n is not signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN]
        self._earlier = self.install()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, signal.SIG_IGN if self._lasting and self.asked else handler)

    def install(self) -> dict[signal.Signals, Any]:
        """Take the signals, again where a library has taken them since; returns whose they were."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {number: signal.signal(number, self._handle) or signal.SIG_DFL for number in self._mine}

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        first, self.asked = not self.asked, True
        if first:
            self.reason = f"interrupted by {signal.Signals(number).name}"
        if self._open:
            self._open = False
            raise Interrupted(self.reason)
        # Written past all buffers: the program may be in the middle of writing something else.
        with suppress(OSError):
            os.write(2, f"\n{self.reason}: the current step is finished, then everything is taken down\n".encode())

    def check(self) -> None:
        """Raise Interrupted where a signal came."""
        if self.asked:
            raise Interrupted(self.reason)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A stretch in which Interrupted may be raised anywhere. Must not be nested."""
        self._open = True
        try:
            self.check()
            yield
        finally:
            self._open = False
