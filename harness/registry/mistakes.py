"""Mistakes in what a user wrote: collected, so that all of them are reported at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from harness.api.errors import UsageError

T = TypeVar("T")


class Mistakes:
    """Collects lines of the form `path: what; hint`. The same line counts once."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def lines(self) -> list[str]:
        """The mistakes, in the order in which they were found."""
        return list(self._lines)

    def add(self, path: str, what: str, hint: str = "") -> None:
        """Note that `what` is wrong at `path`, and what to do about it."""
        self._lines[f"{path}: {what}" + (f"; {hint}" if hint else "")] = None

    def extend(self, other: Mistakes) -> None:
        """Take over the mistakes that somebody else collected."""
        self._lines.update(other._lines)

    def raise_if_any(self) -> None:
        """Raises UsageError with all lines where there are any."""
        if self._lines:
            raise UsageError(self.lines)


def asked(question: Callable[[], T], path: str, mistakes: Mistakes) -> T | None:
    """The answer of a plugin's method; None, and a mistake at `path`, where it raises. UsageError passes."""
    try:
        return question()
    except UsageError:
        raise
    except ValueError as error:
        mistakes.add(path, " ".join(str(error).split()))
    except Exception as error:  # a plugin's own code: whatever it raises is reported as its mistake
        mistakes.add(path, f"raised {type(error).__name__}: {error}", "this is a mistake in the plugin")
    return None


def nearest(word: str, known: Iterable[str], what: str) -> str:
    """The hint for a misspelt word: the nearest known one, or all of them where none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known {what}: {', '.join(names)}" if names else f"there are no {what}"


def described(value: Any) -> str:
    """A TOML value as a message shows it: its type and, where it is short, itself."""
    match value:
        case bool():
            return f"the boolean {str(value).lower()}"
        case int():
            return f"the integer {value}"
        case float():
            return f"the number {value}"
        case str():
            return f"the string '{value}'" if len(value) <= 60 else "a long string"
        case Mapping():
            return "a table"
        case list() | tuple():
            return "a list" if value else "an empty list"
        case _:
            return f"a {type(value).__name__}"
