"""Lists in a suite are axes of its matrix: every value stands for a case of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from harness.registry.mistakes import Mistakes

T = TypeVar("T")
U = TypeVar("U")

#: (axis, label of the value): `("topology.fanout", "4")`.
Axes = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Choice(Generic[T]):
    """One alternative for a key of a case, the axes that it is a point of, and where it stands in the suite."""

    value: T
    path: str
    axes: Axes = ()

    def with_value(self, value: U) -> Choice[U]:
        """The same place on the same axes, holding something else."""
        return Choice(value, self.path, self.axes)


def spread(
    raw: Any,
    path: str,
    axis: str,
    mistakes: Mistakes,
    listed: bool = False,
    meant: Callable[[Any], Any] | None = None,
) -> list[Choice[Any]]:
    """The alternatives for one value. `listed`: the value is itself a list, so that only a list of lists is an axis. `meant`:
    what a value stands for, where two spellings may stand for the same."""
    is_axis = isinstance(raw, list) and (not listed or (bool(raw) and all(isinstance(v, list) for v in raw)))
    if not is_axis:
        return [Choice(raw, path)]
    if not raw:
        mistakes.add(path, "is an empty list", "an axis of the matrix needs at least one value")
        return []
    names = labels(raw)
    meanings = names if meant is None else [meant(value) for value in raw]
    for i, meaning in enumerate(meanings):
        if meaning in meanings[:i]:
            mistakes.add(f"{path}[{i}]", f"is the same value as {path}[{meanings.index(meaning)}]", "remove one of the two")
    return [Choice(v, f"{path}[{i}]", ((axis, name),)) for i, (v, name) in enumerate(zip(raw, names, strict=True))]


def spread_table(
    table: Mapping[str, Any], path: str, axis: str, listed: Callable[[str], bool], mistakes: Mistakes
) -> Iterator[tuple[dict[str, Any], dict[str, str], Axes]]:
    """All points of a table whose values may be axes: the point's table, the path of each of its keys, and its axes."""
    columns = [spread(raw, f"{path}.{key}", f"{axis}.{key}", mistakes, listed(key)) for key, raw in table.items()]
    for point in itertools.product(*columns):
        chosen = dict(zip(table, point, strict=True))
        values = {key: choice.value for key, choice in chosen.items()}
        yield values, {key: choice.path for key, choice in chosen.items()}, merged(list(point))


def merged(choices: Sequence[Choice[Any]]) -> Axes:
    """The axes of several choices, one after the other."""
    return tuple(pair for choice in choices for pair in choice.axes)


def labels(values: Sequence[Any]) -> list[str]:
    """A short name for each value of an axis: a table is named by its kind, and by its keys where kinds repeat. A lone name is
    a kind, too."""
    kinds = [v.get("kind") if isinstance(v, Mapping) else v for v in values]
    return [label(v, brief=isinstance(v, Mapping) and kinds.count(v.get("kind")) == 1) for v in values]


def label(value: Any, brief: bool = False) -> str:
    """A plain value as part of a case's name."""
    match value:
        case bool():
            return str(value).lower()
        case Mapping() if brief:
            return str(value.get("kind"))
        case Mapping():
            inner = " ".join(f"{k}={label(v)}" for k, v in value.items() if k != "kind")
            return f"{value.get('kind', '')}({inner})"
        case list():
            return "[" + " ".join(label(v) for v in value) + "]"
        case _:
            return str(value)
