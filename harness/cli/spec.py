"""A kind and its keys as they are typed on a command line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

from harness.api.errors import UsageError


def spec_of(kind: str, words: Sequence[str]) -> dict[str, Any]:
    """The table for a kind's name (or a whole inline table) and the words behind it: `key=value`, `--key value`,
    `--key=value`. Values are TOML; anything that is none is a string. Raises UsageError for words that are neither."""
    table = _table(kind) if kind.lstrip().startswith("{") else {"kind": kind}
    for key, value in _pairs(words):
        table[key] = _value(value)
    return table


def _table(text: str) -> dict[str, Any]:
    try:
        table: dict[str, Any] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        example = '{ kind = "kary", fanout = 4, depth = 2 }'
        raise UsageError(f"'{text}' is no table: {error}; write for example '{example}'") from None
    return table


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    left = list(words)
    while left:
        word = left.pop(0)
        match = re.fullmatch(r"(--)?([A-Za-z][\w-]*)(?:=(.*))?", word, re.DOTALL)
        if match is None or (match[3] is None and not match[1]):
            raise UsageError(f"'{word}' is no key of the kind; write key=value, for example fanout=4")
        value = match[3]
        if value is None:
            if not left:
                raise UsageError(f"'{word}' needs a value; write {word} VALUE")
            value = left.pop(0)
        yield match[2].replace("-", "_"), value


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
