"""Messages that a downward filter changes on their way."""

from __future__ import annotations

from typing import Any

import pytest
from small import Back, rig, spec


@pytest.mark.parametrize("seed", range(6))
def test_each_message_is_filtered_and_comes_once_also_to_who_moves(seed: int) -> None:
    """Every node on the way applies the filter; an adopter sends what it has kept, filtered already."""

    def begin(fe: Any) -> None:
        fe.open_stream(spec(down_filter="mark"))
        fe.call_at(fe.now)

    sent: list[bytes] = []

    def then(fe: Any, kind: str, came: Any) -> None:
        if kind == "timer" and len(sent) < 60 and fe.send(1, b"%d" % len(sent)):
            sent.append(b"%d" % len(sent))
            fe.call_at(fe.now + 0.002)

    run = rig(begin, then, back=lambda rank: Back(rank), seed=seed)
    run.at(0.06, lambda: run.net.crash(1))
    run.at(0.09, lambda: run.net.cut(5, 2))
    run.run(5.0)
    assert len(sent) == 60 and {e["child"] for e in run.events("reattached")} == {3, 4, 5}
    assert [back.messages for back in run.backs.values()] == [[m + b"!" for m in sent]] * 4
