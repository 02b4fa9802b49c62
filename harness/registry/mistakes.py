"""Mistakes in what a user wrote: collected, so that all of them are reported at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from harness.api.errors import UsageError

T = TypeVar("T")


class Mistakes:
    """Collects lines of the form `path: what; hint`. The same line counts once. told: how often anything was added, the same
    line again as well: whoever wants to know whether something was wrong compares it before and after."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], None] = {}
        self._names: dict[str, str] = {}
        self.told = 0

    def __len__(self) -> int:
        return len(self._found)

    @property
    def lines(self) -> list[str]:
        """The mistakes: those of no case first, then case by case, each in the order in which they were found. Where a case
        has a name, it stands behind the path."""
        return [self._line(path, text) for path, text in sorted(self._found, key=lambda found: _case_of(found[0])[1])]

    def call(self, case: str, name: str) -> None:
        """From now on, mistakes below the path `case` (`case[0]`) tell its name."""
        self._names[case] = name

    def add(self, path: str, what: str, hint: str = "") -> None:
        """Note that `what` is wrong at `path`, and what to do about it."""
        self._found[path, what + (f"; {hint}" if hint else "")] = None
        self.told += 1

    def extend(self, other: Mistakes) -> None:
        """Take over the mistakes that somebody else collected."""
        self._found.update(other._found)
        self.told += other.told

    def raise_if_any(self) -> None:
        """Raises UsageError with all lines where there are any."""
        if self._found:
            raise UsageError(self.lines)

    def _line(self, path: str, text: str) -> str:
        name = self._names.get(_case_of(path)[0])
        return f"{path} (case '{name}'): {text}" if name else f"{path}: {text}"


def _case_of(path: str) -> tuple[str, int]:
    """The case in which a path lies, and its number; -1 where it lies in none."""
    match = re.match(r"case\[(\d+)\]", path)
    return (match[0], int(match[1])) if match else ("", -1)


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


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that a misspelt one was probably meant to be; empty where none is near."""
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)), "")


def nearest(word: str, known: Iterable[str], what: str) -> str:
    """The hint for a misspelt word: the nearest known one, or all of them where none is near."""
    names = sorted(known)
    if close := closest(word, names):
        return f"did you mean '{close}'?"
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
