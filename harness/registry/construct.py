"""Typed construction: a TOML table becomes a frozen dataclass whose fields are the table's keys, and back again.

Strict on purpose: a boolean is no integer, an integer is taken for a number but not the other way round, a number is
finite, and nothing is converted from a string but an enumeration.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from harness.registry.mistakes import Mistakes, described, nearest

T = TypeVar("T")
V = TypeVar("V", covariant=True)


class _Invalid(Enum):
    """What stands for a value that could not be had; its mistake is noted already."""

    INVALID = 0


INVALID: Final = _Invalid.INVALID


@dataclasses.dataclass(frozen=True)
class FieldInfo:
    """One key of a table: whether it must be there, and its default. form, example: what a value looks like, where the class
    says so by `field(metadata={"form": ..., "example": ...})`; else empty and None."""

    name: str
    required: bool
    default: Any
    form: str = ""
    example: Any = None


class FieldTypeError(Exception):
    """A dataclass has a field whose type no suite file can hold."""


@functools.cache
def fields_of(cls: type) -> Mapping[str, FieldInfo]:
    """The keys of `cls`, a dataclass, in order."""
    found = {}
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        default, factory = field.default, field.default_factory
        required = default is dataclasses.MISSING and factory is dataclasses.MISSING
        value = factory() if factory is not dataclasses.MISSING else default
        about = (str(field.metadata.get("form", "")), field.metadata.get("example"))
        found[field.name] = FieldInfo(field.name, required, None if required else value, *about)
    return found


@functools.cache
def hints_of(cls: type) -> Mapping[str, Any]:
    """The types of the keys of `cls`, a dataclass. Raises FieldTypeError where its annotations cannot be resolved."""
    try:
        return get_type_hints(cls)
    except (NameError, TypeError, AttributeError) as error:
        raise FieldTypeError(f"the annotations of {cls.__qualname__} cannot be resolved: {error}") from error


def construct(
    cls: type[T], table: Mapping[str, Any], path: str, mistakes: Mistakes, where: Mapping[str, str] | None = None
) -> T | None:
    """Make a `cls` from `table`, or note every mistake and return None.

    `path` is where the table stands in the suite; `where` gives the path of a key where that is not `path.key`.
    """
    shape: type = cls
    try:
        fields, hints = fields_of(shape), hints_of(shape)
    except FieldTypeError as error:
        mistakes.add(path, str(error), "this is a mistake in the plugin")
        return None
    found = Mistakes()  # of its own: the same mistake may have been noted for another point of the matrix
    values: dict[str, Any] = {}
    at = where or {}
    for key, raw in table.items():
        place = at.get(key, join(path, key))
        if key not in fields:
            found.add(place, "unknown key", nearest(key, fields, "keys"))
            continue
        values[key] = convert(raw, hints[key], place, found)
    for field in fields.values():
        if field.required and field.name not in table:
            example = f", for example {json.dumps(field.example)}" if field.form and field.example is not None else ""
            found.add(join(path, field.name), "is missing", f"give {field.form or type_text(hints[field.name])}{example}")
    mistakes.extend(found)
    sound = {key: value for key, value in values.items() if value is not INVALID}
    if found:
        _refused(cls, sound, set(table) - set(sound), path, mistakes)
        return None
    try:
        return cls(**values)
    except ValueError as error:
        text = " ".join(str(error).split())
        mistakes.add(path, text)
        _refused(cls, sound, {text.partition(" = ")[0]}, path, mistakes)
    except Exception as error:  # a plugin's own code: whatever it raises is reported as its mistake
        mistakes.add(path, f"{cls.__name__} raised {type(error).__name__}: {error}", "this is a mistake in the plugin")
    return None


def _refused(cls: type, sound: Mapping[str, Any], wrong: set[str], path: str, mistakes: Mistakes) -> None:
    """Note what the class itself refuses of a table beside the keys that are `wrong` already: they are left out, one after the
    other. Counted is only what begins with another key that was given (`key = value ...`) and mentions none that was left
    out, or that an unknown key may have been meant for: their defaults are nobody's mistake."""
    left, known = dict(sound), set(fields_of(cls))
    meant = set() if wrong <= known else known - set(sound)
    while True:
        left = {key: value for key, value in left.items() if key not in wrong}
        try:
            cls(**left)
        except ValueError as error:
            text = " ".join(str(error).split())
            key = text.partition(" = ")[0]
            if key not in left or any(re.search(rf"\b{re.escape(w)}\b", text) for w in wrong | meant):
                return
            mistakes.add(path, text)
            wrong = wrong | {key}
        except Exception:  # a required key is missing, or the class cannot do without one that was left out
            return
        else:
            return


@dataclasses.dataclass(frozen=True)
class Chosen(Generic[V]):
    """An instance of a kind, with the kind's name, which the instance itself does not know."""

    kind: str
    value: V

    @property
    def table(self) -> dict[str, Any]:
        """The table that would make it again: all keys but those that no TOML file can hold, which are defaults."""
        keys = plain(self.value)
        return {"kind": self.kind, **{k: v for k, v in keys.items() if v is not None and not _endless(v)}}


def kind_name(spec: str | Mapping[str, Any], path: str, what: str, known: Mapping[str, Any], mistakes: Mistakes) -> str | None:
    """The kind that `spec`, a bare name or a table with the key `kind`, asks for; None, and a mistake, where it says none."""
    if isinstance(spec, str):
        return spec
    kinds = f"known {what} kinds: {', '.join(sorted(known))}"
    if not isinstance(spec, Mapping):
        mistakes.add(path, f"must be the name of a {what} or a table, not {described(spec)}", kinds)
        return None
    name = spec.get("kind")
    if isinstance(name, str):
        return name
    mistakes.add(f"{path}.kind", "is missing" if name is None else f"must be a string, not {described(name)}", kinds)
    return None


def meaning(spec: Any, classes: Mapping[str, type]) -> Any:
    """What a bare name or a table stands for, to be compared: a table with all keys of the kind, left out or not. Anything
    else, and what is of no known kind, stands for itself."""
    table = {"kind": spec} if isinstance(spec, str) else spec
    name = table.get("kind") if isinstance(table, Mapping) else None
    cls = classes.get(name) if isinstance(name, str) else None
    if cls is None:
        return table
    return {field.name: plain(field.default) for field in fields_of(cls).values() if not field.required} | dict(table)


def choose_class(
    name: str,
    cls: type[T],
    spec: str | Mapping[str, Any],
    path: str,
    mistakes: Mistakes,
    where: Mapping[str, str] | None = None,
) -> Chosen[T] | None:
    """Make a `cls`, which is the kind `name`, from a bare name or a table."""
    table = {} if isinstance(spec, str) else {k: v for k, v in spec.items() if k != "kind"}
    value = construct(cls, table, path, mistakes, where)
    return None if value is None else Chosen(name, value)


def convert(value: Any, hint: Any, path: str, mistakes: Mistakes) -> Any:
    """`value` as the type `hint`; INVALID where it is none (the mistake is noted under `path`)."""
    members = _members(hint)
    if len(members) > 1:
        return _one_of(value, members, path, mistakes)
    hint = members[0]
    origin = get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            return _wrong(value, hint, path, mistakes)
        made = construct(hint, value, path, mistakes)
        return INVALID if made is None else made
    if origin is tuple or origin is Sequence or origin is list or origin is frozenset:
        return _sequence(value, hint, path, mistakes)
    if origin in (dict, Mapping):
        return _mapping(value, hint, path, mistakes)
    if origin is Literal:
        return _named(value, [(a, a) for a in get_args(hint)], hint, path, mistakes)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _named(value, [(m.value, m) for m in hint], hint, path, mistakes)
    return _scalar(value, hint, path, mistakes)


def _scalar(value: Any, hint: Any, path: str, mistakes: Mistakes) -> Any:
    if hint is Any or (hint is None and value is None):
        return value
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is str and isinstance(value, str):
        return value
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value)
        mistakes.add(path, "must be a finite number", f"found {value}")
        return INVALID
    return _wrong(value, hint, path, mistakes)


def _sequence(value: Any, hint: Any, path: str, mistakes: Mistakes) -> Any:
    if not isinstance(value, (list, tuple)):
        return _wrong(value, hint, path, mistakes)
    args = get_args(hint)
    make = {list: list, frozenset: frozenset}.get(get_origin(hint) or tuple, tuple)
    if get_origin(hint) is tuple and args[-1:] != (Ellipsis,):
        if len(args) != len(value):
            mistakes.add(path, f"must be a list of {len(args)} values, not of {len(value)}")
            return INVALID
        hints: Sequence[Any] = args
    else:
        hints = (args[0] if args else Any,) * len(value)
    items = [convert(v, h, f"{path}[{i}]", mistakes) for i, (v, h) in enumerate(zip(value, hints, strict=True))]
    return INVALID if INVALID in items else make(items)


def _mapping(value: Any, hint: Any, path: str, mistakes: Mistakes) -> Any:
    if not isinstance(value, Mapping):
        return _wrong(value, hint, path, mistakes)
    inner = (get_args(hint) or (str, Any))[1]
    items = {str(k): convert(v, inner, join(path, str(k)), mistakes) for k, v in value.items()}
    return INVALID if INVALID in items.values() else items


def _named(value: Any, names: Sequence[tuple[Any, Any]], hint: Any, path: str, mistakes: Mistakes) -> Any:
    for raw, meant in names:
        if type(value) is type(raw) and value == raw:
            return meant
    if not any(type(value) is type(raw) for raw, _ in names):
        return _wrong(value, hint, path, mistakes)
    mistakes.add(path, f"unknown value '{value}'", nearest(str(value), [str(raw) for raw, _ in names], "values"))
    return INVALID


def _one_of(value: Any, members: Sequence[Any], path: str, mistakes: Mistakes) -> Any:
    for member in members:
        attempt = Mistakes()
        found = convert(value, member, path, attempt)
        if not attempt:
            return found
    mistakes.add(path, f"must be {' or '.join(type_text(m) for m in members)}, not {described(value)}")
    return INVALID


def _wrong(value: Any, hint: Any, path: str, mistakes: Mistakes) -> _Invalid:
    mistakes.add(path, f"must be {type_text(hint)}, not {described(value)}")
    return INVALID


def _members(hint: Any) -> tuple[Any, ...]:
    """The members of a union without None (a TOML file has no None); a lone type for anything else."""
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(a for a in get_args(hint) if a is not types.NoneType) or (hint,)
    return (hint,)


def is_list(hint: Any) -> bool:
    """Whether a value of this type is itself written as a list, so that only a list of lists is an axis of the matrix."""
    return any(get_origin(m) in (tuple, list, Sequence, frozenset) for m in _members(hint))


def lists_of(cls: type) -> frozenset[str]:
    """The keys of `cls` that are lists by nature; none where its annotations cannot be resolved (see `construct`)."""
    try:
        return frozenset(name for name, hint in hints_of(cls).items() if is_list(hint))
    except FieldTypeError:
        return frozenset()


def type_text(hint: Any) -> str:
    """A type as a message names it."""
    members = _members(hint)
    if len(members) > 1:
        return " or ".join(type_text(m) for m in members)
    hint = members[0]
    simple: dict[Any, str] = {int: "an integer", float: "a number", str: "a string", bool: "a boolean (true or false)"}
    if isinstance(hint, type) and hint in simple:
        return simple[hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(f"'{a}'" for a in args)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "one of " + ", ".join(f"'{m.value}'" for m in hint)
    if is_list(hint):
        plural: dict[Any, str] = {int: "integers", float: "numbers", str: "strings"}
        return f"a list of {plural.get(args[0] if args else None, 'values')}"
    if origin in (dict, Mapping) or dataclasses.is_dataclass(hint):
        return "a table"
    return f"a value of type {getattr(hint, '__name__', hint)}"


def join(path: str, key: str) -> str:
    """The path of `key` inside the table at `path`."""
    return f"{path}.{key}" if path else key


def plain(value: Any) -> Any:
    """The inverse of `construct`: the plain values (dict, list, str, int, float, bool, None) of a dataclass or a field."""
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _endless(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
