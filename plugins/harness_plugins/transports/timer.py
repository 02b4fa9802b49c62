"""A deadline that epoll can see: Linux's timerfd (the standard library has it only from Python 3.13 on)."""

from __future__ import annotations

import contextlib
import ctypes
import os
from functools import cache

_CLOCK_MONOTONIC = 1
_NANO = 1_000_000_000


class _Spec(ctypes.Structure):
    """struct itimerspec: interval and first expiry, each seconds and nanoseconds."""

    _fields_ = [("interval", ctypes.c_long * 2), ("value", ctypes.c_long * 2)]


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def available() -> bool:
    """Whether this system has timerfd."""
    return hasattr(_libc(), "timerfd_create")


class Timer:
    """One shot at a time; `fd` is readable from the moment of expiry until `clear`."""

    def __init__(self) -> None:
        """Raises OSError where no descriptor can be had."""
        self.fd: int = _libc().timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def set(self, after_s: float) -> None:
        """Expire `after_s` seconds from now (0: at once), and not at the time that was set before."""
        # All zero would switch it off instead.
        nanoseconds = max(1, int(after_s * _NANO))
        spec = _Spec((0, 0), divmod(nanoseconds, _NANO))
        if _libc().timerfd_settime(self.fd, 0, ctypes.byref(spec), None) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def clear(self) -> None:
        """Take the expiry back, if there was one."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 8)

    def close(self) -> None:
        """Give the descriptor back. Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
