"""Errors with exit codes. Every message says what is wrong, where, and what to do."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process's exit status means (1 is never used on purpose)."""

    PASSED = 0
    USAGE = 2
    REGRESSION = 10
    INCONCLUSIVE = 11
    CHECK_FAILED = 12
    INFRASTRUCTURE = 13


class HarnessError(Exception):
    """Base of every error that a user should see as one clear message."""

    code = ExitCode.INFRASTRUCTURE


class UsageError(HarnessError):
    """The suite or the command line is wrong. `mistakes` holds one line each: path, what is wrong, a hint."""

    code = ExitCode.USAGE

    def __init__(self, mistakes: list[str] | str) -> None:
        self.mistakes = [mistakes] if isinstance(mistakes, str) else list(mistakes)
        super().__init__("\n".join(self.mistakes))


class InfrastructureError(HarnessError):
    """The surroundings failed; nothing is said about the system under test."""

    code = ExitCode.INFRASTRUCTURE
