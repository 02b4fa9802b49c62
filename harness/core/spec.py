"""What a stream is asked to be, what comes out of it, and how it can fail."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from harness.core.filters import Items
from harness.core.ranks import RankSet


class Sync(StrEnum):
    """When a node may reduce a wave: all children are there; a time-out ran out; or at once, each packet alone."""

    WAIT_FOR_ALL = "wait-for-all"
    TIME_OUT = "time-out"
    DO_NOT_WAIT = "do-not-wait"


#: Why the two do not go together.
DECOMPOSED_WITH_STANDBY = (
    "a standby front-end does not know what the state of a decompose stream holds; leave one of the two out"
)


class Recovery(StrEnum):
    """How a stream survives a lost node.

    replay: unacknowledged waves are kept and sent again; exactly once for every filter. compose: nothing is kept; the
    children's filter states rebuild the parent's; needs an idempotent filter. resume: the stream goes on, what was in
    flight is lost (bounded by the credit window) and named. decompose: the front-end keeps account of the contributions in its
    state and asks the back-ends for those that it lacks; needs a decomposable filter.
    """

    REPLAY = "replay"
    COMPOSE = "compose"
    RESUME = "resume"
    DECOMPOSE = "decompose"


class Accept(StrEnum):
    """Which waves the front-end delivers: those with every live back-end, with at least `quorum`, or what is there in time."""

    COMPLETE = "complete"
    QUORUM = "quorum"
    DEADLINE = "deadline"


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One stream over a communicator. `members` are the ranks of its back-ends."""

    name: str
    members: RankSet
    filter: str
    sync: Sync = Sync.WAIT_FOR_ALL
    sync_timeout_s: float = 0.0
    recovery: Recovery = Recovery.REPLAY
    accept: Accept = Accept.COMPLETE
    quorum: int = 0
    accept_after_s: float = 0.0
    #: The longest time for which the next result may be outstanding before a typed error takes its place.
    deadline_s: float = 30.0
    #: numpy dtype string and shape of one item as the back-end offers it; ignored where the filter's codec is opaque.
    dtype: str = "<i8"
    item_shape: tuple[int, ...] = ()
    #: At most so many waves and (beyond one chunk) bytes of a stream are unacknowledged or queued on one link.
    window_waves: int = 8192
    window_bytes: int = 4 << 20
    chunk_bytes: int = 1 << 20
    down_filter: str = "null"
    #: Request and reply: wave w answers message w + 1 of the stream, and no back-end is asked for it before that has come. A
    #: back-end that comes while the stream runs so answers every request that is sent after it was let in.
    replies: bool = False
    #: For the applications at both ends; the node does not look at it.
    params: tuple[tuple[str, Any], ...] = ()

    def to_wire(self) -> dict[str, Any]:
        """Plain values for msgpack."""
        d = asdict(self)
        if not self.replies:  # as most: it is not sent
            del d["replies"]
        d["members"] = self.members.encoded
        return d

    @classmethod
    def from_wire(cls, d: dict[str, Any]) -> StreamSpec:
        """The inverse of `to_wire`. Raises ValueError, KeyError or TypeError for anything else."""
        d = dict(d)
        d["members"] = RankSet.decode(d["members"])
        d["sync"], d["recovery"], d["accept"] = Sync(d["sync"]), Recovery(d["recovery"]), Accept(d["accept"])
        d["item_shape"] = tuple(d["item_shape"])
        d["replies"] = bool(d.get("replies", False))
        d["params"] = tuple((str(k), v) for k, v in d["params"])
        return cls(**d)


@dataclass(slots=True)  # not frozen: one is made for every wave, and freezing triples its price
class Result:
    """Consecutive waves of one stream, reduced, as the front-end delivers them.

    values: after `lower`: shape (count, *item) or a list of `count` objects. contributors: the ranks inside every one of
    these waves. complete: every member of the communicator contributed; who had not come yet, or had left in order, was no
    member for these waves. missing: the members that did not.
    granted_s: when the window was opened for the first of these waves (closed-loop latency is now - granted_s).
    """

    stream: int
    first: int
    count: int
    values: Items
    contributors: RankSet
    missing: RankSet
    complete: bool
    granted_s: float


class StreamError(Exception):
    """A request on a stream that ends without a result."""

    def __init__(self, stream: int, wave: int, message: str) -> None:
        super().__init__(message)
        self.stream = stream
        self.wave = wave


class DeadlineExceeded(StreamError):
    """The next wave was outstanding for longer than the stream's deadline."""


class QuorumLost(StreamError):
    """Too few back-ends are alive for the stream's policy ever to be met."""


class WavesLost(StreamError):
    """Waves [wave, wave + count) went down with a node (never under replay). The stream goes on behind them."""

    def __init__(self, stream: int, wave: int, count: int) -> None:
        super().__init__(stream, wave, f"waves {wave} to {wave + count - 1} of stream {stream} were lost with a node")
        self.count = count


class StreamClosed(StreamError):
    """The stream was closed while the request was outstanding."""
