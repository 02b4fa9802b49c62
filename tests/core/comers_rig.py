"""Back-ends that come late, leave and come back, in the network of `small.rig`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from small import Back, Rig, rig, spec
from transcript import EVEN, SETTINGS, SMALL


def begin_late(run: Rig, *late: int) -> Rig:
    """These nodes are not there at the start."""
    run.net.begin_late(*late)
    return run


def streaming(last: int, back: Callable[[int], Back], **fields: Any) -> Rig:
    """One stream with a window of two waves over the two back-ends of a small tree, until wave `last` is delivered."""
    how = {key: fields.pop(key) for key in ("settings", "parents") if key in fields}

    def begin(fe: Any) -> None:
        fe.expect(fe.open_stream(spec(members=[0, 1], window_waves=2, **fields)), last + 1)

    def then(fe: Any, kind: str, what: Any) -> None:
        if kind == "error" or (kind == "result" and what.first + what.count > last):
            fe.finish()

    return rig(begin, then, back=back, **{**EVEN, "settings": SETTINGS, "parents": SMALL, **how})
