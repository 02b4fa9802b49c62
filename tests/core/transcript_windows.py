"""Golden transcripts of what bounds memory and what is sent again: credits, batches, chunks and opaque items."""

from __future__ import annotations

from small import Back, Rig, reduce, spec
from transcript import EVEN, SMALL, THREE, TWINS, Written, scenario


@scenario
def credit_exhausted_and_granted() -> tuple[Rig, Written]:
    """Nine waves through windows of 4. The back-ends have all of them ready and send four. Their parent grants
    more as soon as it has merged those; but a back-end is at most one window ahead of what has been delivered (replay), and
    waits for that mark to come down."""
    run = reduce(spec(members=[0, 1], window_waves=4), 9, parents=SMALL, **EVEN)
    return run, Written(run, several=True)


@scenario
def slow_parent_and_a_batch() -> tuple[Rig, Written]:
    """The link from node 1 to the front-end takes nothing for 45 ms. What comes in meanwhile is not made into frames that
    would pile up: it waits, unmerged, in the queues of the two children, and then goes up in one frame of four units."""
    run = reduce(spec(members=[0, 1]), 6, parents=SMALL, back=lambda r: Back(r, 6, every_s=0.01, batch=1, begin_s=0.02), **EVEN)
    run.at(0.025, lambda: run.net.stall(1, 0.045))
    return run, Written(run, several=True)


@scenario
def two_failures_in_a_row() -> tuple[Rig, Written]:
    """Replay over two epochs. Node 1 dies, its child moves to node 2; node 2 dies with both, which move to node 3. Each time
    all that the adopter does not know to be delivered is sent again, once for both orphans (it is told every third wave:
    CREDIT). The front-end drops by number what it had, and delivers each wave once."""
    back = {"back": lambda r: Back(r, 4, every_s=0.01, batch=1, begin_s=0.02)}
    run = reduce(spec(members=[0, 1, 2], window_waves=8), 4, parents=THREE, **back, **EVEN)
    run.at(0.0235, lambda: run.net.crash(1))
    run.at(0.0335, lambda: run.net.crash(2))
    return run, Written(run, several=True)


@scenario
def crash_between_two_chunks() -> tuple[Rig, Written]:
    """A wave of 5 numbers in chunks of 2, units 0 to 2. The window has room for two units, so the third waits for credit. Node
    1 dies when the front-end has merged the first two chunks. It forgets them: the wave begins anew, and all of its chunks
    come in the new epoch, with both ranks in each."""
    what = spec(members=[0, 1], item_shape=(5,), chunk_bytes=16, window_bytes=32)
    run = reduce(what, 1, parents=TWINS, back=lambda r: Back(r, 1, begin_s=0.02), **EVEN)
    run.at(0.0225, lambda: run.net.crash(1))
    return run, Written(run, several=True)


@scenario
def opaque_items() -> tuple[Rig, Written]:
    """Equivalence classes are opaque to the node: an item has the size that it has, and a frame ends where it would get longer
    than chunk_bytes, here 100. Three waves that are ready together fit one frame with the classes of one rank, and take two
    with those of both."""
    run = reduce(spec("classes", [0, 1], chunk_bytes=100), 3, parents=SMALL, **EVEN)
    return run, Written(run, several=True)
