"""What the applications at the two ends of the tree look like to the node, and the node to them.

Everything here is a callback that gets its time from the node, so that the same workload runs over sockets and in virtual
time. A callback must not block.
"""

from __future__ import annotations

from typing import Any, Protocol

from harness.core.filters import Array, Items
from harness.core.ledger import Extent
from harness.core.ranks import RankSet
from harness.core.spec import Result, StreamError, StreamSpec
from harness.core.tree import Tree


class PluginError(RuntimeError):
    """An application or a filter raised inside a callback; the cause is chained. Not the fault of a neighbour's frame."""


class FrontEndHandle(Protocol):
    """What a front-end application may do. Valid during its callbacks only."""

    @property
    def now(self) -> float:
        """Seconds on this node's monotonic clock."""
        ...

    @property
    def tree(self) -> Tree: ...

    @property
    def alive(self) -> RankSet:
        """The back-ends that are members now: not known to be dead, not gone in order, not still to come."""
        ...

    def open_stream(self, spec: StreamSpec) -> int:
        """Announce a stream to its communicator and return its id. Raises ValueError for an impossible one."""
        ...

    def send(self, stream: int, payload: bytes, to: RankSet | None = None) -> bool:
        """Multicast `payload` to the communicator, or to some of it (single-cast: one rank). False where the window is
        full: `on_writable` is called when it opens. Delivered once and in order at each back-end."""
        ...

    def expect(self, stream: int, waves: int) -> None:
        """Say that results up to wave `waves` - 1 are outstanding: from now on the next one is due within the stream's
        deadline, or a typed error takes its place."""
        ...

    def state(self, stream: int) -> Items | None:
        """The filter state of a `compose` or `decompose` stream, lowered, shape (1, *item): everything that any back-end ever
        contributed, as far as it has arrived. None where nothing has, or for other recoveries."""
        ...

    def extent(self, stream: int) -> Extent | None:
        """Which contributions that state holds, each once, for a `decompose` stream; None for other recoveries."""
        ...

    def close_stream(self, stream: int) -> None: ...

    def call_at(self, when_s: float) -> None:
        """Ask for one `on_timer` at or after `when_s`; a new request replaces the earlier one."""
        ...

    def record(self, stream: int, first: int, observed: Array, contributors: RankSet, complete: bool, granted_s: float) -> None:
        """Put waves [first, first + len(observed)) into the trial's samples; `observed` is one number a wave, from which
        `Workload.check` can tell afterwards what was in it."""
        ...

    def note(self, kind: str, **fields: Any) -> None:
        """Put an event of the workload's own into the journal (plain values only)."""
        ...

    def finish(self, ok: bool = True, reason: str = "") -> None:
        """End the run: streams are closed, the tree is torn down in order. Results that were on their way may still come."""
        ...


class FrontEndApp(Protocol):
    """The front-end's side of a workload. See ResumableApp for what a standby needs."""

    def start(self, fe: FrontEndHandle) -> None:
        """Called once, when every node of the tree is attached."""
        ...

    def on_result(self, fe: FrontEndHandle, result: Result) -> None: ...

    def on_error(self, fe: FrontEndHandle, error: StreamError) -> None: ...

    def on_writable(self, fe: FrontEndHandle, stream: int) -> None: ...

    def on_membership(self, fe: FrontEndHandle, dead: RankSet) -> None:
        """The set of back-ends that are no members now has changed to `dead`: it grows by those that died or left in order,
        and shrinks by those that were let in."""
        ...

    def on_timer(self, fe: FrontEndHandle) -> None: ...


class ResumableApp(FrontEndApp, Protocol):
    """A front-end application with which a standby can go on where the front-end is lost."""

    def checkpoint(self) -> bytes:
        """What the application has come to, as bytes. Asked after its callbacks, often: it should be small. Times are those of
        the handle's `now`."""
        ...

    def vet(self, state: bytes) -> None:
        """Look at what `checkpoint` has made elsewhere. Raises ValueError, TypeError or KeyError where it cannot be that."""
        ...

    def resume(self, fe: FrontEndHandle, state: bytes, shift_s: float) -> None:
        """Called once, instead of `start`, at the node that goes on: take the state in. Its streams are open. `shift_s`
        (seconds) added to a time in the state makes it one of this handle's `now`. The timer that was asked for stays so."""
        ...


class BackEndHandle(Protocol):
    """What a back-end application may do. Valid during its callbacks only."""

    @property
    def now(self) -> float: ...

    @property
    def rank(self) -> int: ...

    def call_at(self, when_s: float) -> None:
        """Ask to be asked again (`produce` on every open stream) at or after `when_s`."""
        ...

    def note(self, kind: str, **fields: Any) -> None: ...


class BackEndApp(Protocol):
    """A back-end's side of a workload."""

    def on_open(self, be: BackEndHandle, stream: int, spec: StreamSpec) -> None: ...

    def on_message(self, be: BackEndHandle, stream: int, payload: bytes) -> None:
        """A multicast or single-cast message, in order. `produce` is asked afterwards."""
        ...

    def produce(self, be: BackEndHandle, stream: int, first: int, at_most: int) -> Items | None:
        """Up to `at_most` consecutive waves from `first` on, shape (n, *item), or None where there is nothing now. The
        array belongs to the node from then on. Asked whenever credit is there and something happened."""
        ...

    def on_close(self, be: BackEndHandle, stream: int) -> None: ...
