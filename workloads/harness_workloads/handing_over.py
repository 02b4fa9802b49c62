"""States of front-end applications as bytes, for a standby that goes on with them (harness.core.apps.ResumableApp)."""

from __future__ import annotations

from typing import Any

import msgpack


def packed(**fields: Any) -> bytes:
    """A state of plain values."""
    return bytes(msgpack.packb(fields))


def unpacked(state: bytes, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
    """The fields of a state, each of its kind. Raises ValueError or TypeError where it is none of these."""
    try:
        fields = msgpack.unpackb(state, strict_map_key=False)
    except (msgpack.UnpackException, ValueError) as error:
        raise ValueError(f"a state that is no msgpack: {error}") from error
    if not isinstance(fields, dict) or set(fields) != set(kinds):
        raise ValueError(f"a state that does not have the fields {', '.join(kinds)}")
    for name, kind in kinds.items():
        if not isinstance(fields[name], kind):
            raise TypeError(f"{name} of a state is {type(fields[name]).__name__}")
    return fields
