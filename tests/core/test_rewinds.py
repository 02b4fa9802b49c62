"""How often a stream is rewound where several children come or go at about the same time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from small import Back, reduce, spec
from transcript import EVEN

from harness.core import frames

NAMES = {frames.DATA: "DATA", frames.REWIND: "REWIND"}


def frames_of(orphans: int, **how: Any) -> Counter[str]:
    """So many back-ends lose their parent amid a stream of which nothing is acknowledged yet; the only other communication
    process has as many already, and takes them all in. What is sent from the loss on, by kind."""
    parents = (None, 0, 0, *([1] * orphans), *([2] * orphans))
    run = reduce(
        spec(members=range(2 * orphans), window_waves=64),
        6,
        parents=parents,
        back=lambda rank: Back(rank, 6, every_s=0.01, batch=1, begin_s=0.03),
        **how,
    )
    sent: Counter[str] = Counter()

    def count(a: int, b: int, frame: memoryview) -> None:
        if run.net.now >= 0.065:
            sent[NAMES.get(frame[1], "other")] += 1

    run.net.on_send = count
    run.at(0.065, lambda: run.net.crash(1))
    run.run()
    assert [w for w, _, _ in run.front.waves()] == list(range(6))
    assert {c for _, c, _ in run.front.waves()} == {f"0-{2 * orphans - 1}"}
    assert {e["parent"] for e in run.events("reattached")} == {2}
    assert len(run.events("reattached")) == orphans
    return sent


@pytest.mark.parametrize("orphans", [4, 8, 32])
def test_orphans_that_come_at_the_same_moment_cost_one_rewind(orphans: int) -> None:
    """The adopter asks the children that it has and the first of the orphans; each sends once what is not acknowledged."""
    sent = frames_of(orphans, **EVEN)
    assert sent["REWIND"] == orphans + 1
    assert sent["DATA"] < 16 * orphans


@pytest.mark.parametrize("seed", range(4))
def test_orphans_that_come_one_after_the_other_cost_frames_in_proportion_to_their_number(seed: int) -> None:
    """Not with its square. The adopter is rewound again only where it has merged something meanwhile."""
    for orphans in (8, 32):
        sent = frames_of(orphans, seed=seed)
        assert orphans < sent["REWIND"] < 4 * orphans
        assert sent["DATA"] < 32 * orphans
