"""What a stream must be like so that the tree can carry it."""

from __future__ import annotations

from harness.core.decompose import refusal
from harness.core.port import Port
from harness.core.spec import DECOMPOSED_WITH_STANDBY, Accept, Recovery, StreamSpec, Sync
from harness.core.units import Units


def check_spec(spec: StreamSpec, node: Port) -> None:
    """Refuse a stream that cannot work. Raises ValueError."""
    f = node.filters.get(spec.filter)
    if f is None:
        raise ValueError(f"stream {spec.name!r} wants filter {spec.filter!r}; there are {', '.join(sorted(node.filters))}")
    if spec.down_filter not in node.down_filters:
        raise ValueError(f"stream {spec.name!r} wants down filter {spec.down_filter!r}")
    everybody = node.tree.ranks_below(node.tree.root)
    if not spec.members or not spec.members.issubset(everybody):
        raise ValueError(f"stream {spec.name!r} is for ranks {spec.members}; the tree has {everybody}")
    if spec.recovery is Recovery.COMPOSE and not f.algebra.idempotent:
        raise ValueError(f"filter {spec.filter!r} is not idempotent: compose recovery would count twice; use replay")
    if spec.recovery is Recovery.DECOMPOSE and node.tree.standby >= 0:
        raise ValueError(f"stream {spec.name!r}: {DECOMPOSED_WITH_STANDBY}")
    if spec.recovery is Recovery.DECOMPOSE and (why := refusal(spec, f)):
        raise ValueError(why)
    if spec.recovery is Recovery.REPLAY and spec.sync is not Sync.WAIT_FOR_ALL:
        raise ValueError("replay recovery needs wait-for-all synchronization; use compose or resume")
    if spec.replies and spec.sync is Sync.DO_NOT_WAIT:
        raise ValueError(f"stream {spec.name!r} wants one reply to each message: it cannot have do-not-wait synchronization")
    if not getattr(f, "aggregates", True) and spec.sync is not Sync.DO_NOT_WAIT:
        raise ValueError(f"filter {spec.filter!r} merges nothing: it needs do-not-wait synchronization")
    unit = Units.of(spec, f).unit_bytes
    if unit + 4096 > node.settings.max_frame_bytes:
        most = node.settings.max_frame_bytes
        raise ValueError(f"stream {spec.name!r}: an aggregate has {unit} bytes, a frame at most {most}; raise max_frame_bytes")
    if spec.accept is Accept.QUORUM and not 0 < spec.quorum <= len(spec.members):
        raise ValueError(f"a quorum of {spec.quorum} among {len(spec.members)} members")
