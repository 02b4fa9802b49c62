"""A kind and its keys as they are typed on a command line."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.api.errors import UsageError
from harness.registry import Kind, Mistakes
from harness.registry.construct import INVALID, convert, hints_of


def spec_of(kind: str, words: Sequence[str], kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """The table for a kind's name (or a whole inline table) and the words behind it: `key=value`, `--key value`,
    `--key=value`. Values are TOML; anything that is none is a string. Raises UsageError for words that are neither; its
    examples are taken from the keys of the kind, where it is one of `kinds`."""
    table = _table(kind) if kind.lstrip().startswith("{") else {"kind": kind}
    name = table.get("kind")
    for key, value in _pairs(words, kinds.get(name) if isinstance(name, str) else None):
        table[key] = _value(value)
    return table


def _table(text: str) -> dict[str, Any]:
    try:
        table: dict[str, Any] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        example = '{ kind = "kary", fanout = 4, depth = 2 }'
        raise UsageError(f"'{text}' is no table: {error}; write for example '{example}'") from None
    return table


def _pairs(words: Sequence[str], kind: Kind | None) -> Iterator[tuple[str, str]]:
    left = list(words)
    while left:
        word = left.pop(0)
        match = re.fullmatch(r"(--)?([A-Za-z][\w-]*)(?:=(.*))?", word, re.DOTALL)
        if match is None or (match[3] is None and not match[1]):
            raise UsageError(_lone(word, kind))
        value = match[3]
        if value is None:
            if not left:
                raise UsageError(f"'{word}' needs a value; write {word} VALUE")
            value = left.pop(0)
        yield match[2].replace("-", "_"), value


def _lone(word: str, kind: Kind | None) -> str:
    """What is wrong with a word by itself. As likely as not it is the value of the key that must be given."""
    if kind is not None and word in kind.keys:
        return f"'{word}' needs a value; write {word}=VALUE"
    wrong = f"'{word}' is no key of the kind; "
    if kind is None:
        return wrong + "write key=value"
    if not kind.keys:
        return wrong + f"'{kind.name}' has no keys"
    key = (*kind.required, *kind.keys)[0]
    fits = convert(_value(word), hints_of(kind.cls)[key], key, Mistakes()) is not INVALID
    pair = f"{key}={word}" if fits else f"{key}=VALUE"
    return wrong + f"write key=value, for example {kind.name} {shlex.quote(pair)}"


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
