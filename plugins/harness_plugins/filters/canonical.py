"""A total order over the values that msgpack carries, so that equal sets have equal bytes wherever they were merged."""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain
from typing import Any

import numpy as np

_TAGS: dict[type, int] = {type(None): 0, bool: 1, int: 2, float: 3, str: 4, bytes: 5}
_LIST_TAG = 6
_PLAIN = (int, str, bytes)


def normal(value: Any) -> Any:
    """`value` as msgpack gives it back on the other side: lists for tuples, Python scalars for numpy's, 0.0 for -0.0.

    Raises TypeError for a value that is no None, bool, int, float, str, bytes or list of these, and ValueError for an integer
    beyond 64 bits and for NaN, which equals nothing and so cannot be a member of a set.
    """
    kind = type(value)
    if kind is int:
        if not -(1 << 63) <= value < 1 << 64:
            raise ValueError(f"{value} does not fit 64 bits; offer it as a string")
        return value
    if kind is float:
        if value != value:
            raise ValueError("NaN cannot be a member of a set; leave it out")
        return value + 0.0
    if kind in _TAGS:
        return value
    if isinstance(value, (list, tuple)):
        return [normal(v) for v in value]
    if isinstance(value, np.generic):
        return normal(value.item())
    raise TypeError(f"{kind.__name__} cannot be a member; use None, bool, int, float, str, bytes or lists of these")


def order_key(value: Any) -> tuple[int, Any]:
    """A sort key: first the type (None, bool, int, float, str, bytes, list), then the value. Distinct for values that are
    distinct in msgpack, such as 1, 1.0 and true. `value` is normal."""
    tag = _TAGS.get(type(value), _LIST_TAG)
    return (tag, tuple(map(order_key, value))) if tag == _LIST_TAG else (tag, 0 if value is None else value)


def plain(values: Collection[Any]) -> bool:
    """Whether all values are of one type that Python itself orders and compares as `order_key` does."""
    kinds = set(map(type, values))
    return not kinds or (len(kinds) == 1 and kinds.pop() in _PLAIN)


def distinct(lists: Collection[list[Any]]) -> list[Any]:
    """The distinct normal values of all lists, in order."""
    everything = list(chain.from_iterable(lists))
    if plain(everything):
        return sorted(set(everything))
    by_key = {order_key(v): v for v in everything}
    return [by_key[k] for k in sorted(by_key)]


def frozen(value: Any) -> Any:
    """A hashable form of a normal value: tuples for lists."""
    return tuple(map(frozen, value)) if isinstance(value, list) else value
