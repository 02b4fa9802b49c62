"""What the parts of a node (its streams, its uplink) see of the node that they belong to."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any, Protocol

from harness.core.actions import Neighbour, Outputs
from harness.core.apps import BackEndApp, BackEndHandle, FrontEndApp, FrontEndHandle
from harness.core.below import Below
from harness.core.comers import Lives
from harness.core.downstream import DownStream, Message
from harness.core.filters import DownFilter, Filter
from harness.core.membership import Membership
from harness.core.ranks import EMPTY, RankSet
from harness.core.settings import NodeSettings
from harness.core.spec import StreamError
from harness.core.tree import Tree, TreeNode
from harness.core.upstream import UpStream


class Port:
    """Any node. A base class and no protocol, since compiled code gets at the attributes of a class without a search."""

    id: int
    me: TreeNode
    tree: Tree
    settings: NodeSettings
    filters: Mapping[str, Filter]
    down_filters: Mapping[str, DownFilter]
    now: float
    out: Outputs
    links: dict[Hashable, Neighbour]
    children: dict[Hashable, Neighbour]
    control: DownStream
    below: Below
    dead: set[int]
    dead_ranks: RankSet
    deaths: int
    deaths_digest: str
    closing: bool
    #: Set where a timer may have become due earlier; the loop asks for `deadline` again and clears it.
    rearm: bool
    life: int
    lives: Lives
    #: Whether this back-end was told to leave: it produces nothing more.
    leaving: bool = False

    @property
    @abstractmethod
    def parent(self) -> Neighbour | None:
        """The parent, once it has welcomed this node."""
        ...

    @abstractmethod
    def ranks(self) -> RankSet: ...

    @abstractmethod
    def message(self, stream: int, seq: int, payload: bytes, to: RankSet = EMPTY) -> Message: ...

    @abstractmethod
    def send_down(self, child: Neighbour, stream: int, m: Message) -> None: ...

    def on_opened(self, stream: UpStream) -> None:
        """A stream was announced."""

    def on_closed(self, stream: UpStream) -> None:
        """A stream was closed."""

    def why_not(self, node: int, body: Mapping[str, Any]) -> str:
        """Why a node that attaches with this body is not taken in; empty where it is."""
        return ""

    def credentials(self) -> dict[str, int]:
        """What an ATTACH says beside the streams where the tree has a standby (harness.core.ballot)."""
        return {}

    def on_late(self, late: set[int]) -> None:
        """These back-ends are not awaited at the start."""

    def counted(self) -> None:
        """More votes are known than before."""

    @abstractmethod
    def report(self) -> dict[int, list[int]]:
        """Where the streams stand, for an ATTACH."""
        ...

    @abstractmethod
    def welcomed(self, parent: Neighbour, terms: dict[int, list[int]], again: bool) -> None:
        """A parent has taken this node in; `again`: it had another one before."""
        ...

    @abstractmethod
    def retell(self, parent: Neighbour) -> None: ...

    @abstractmethod
    def drop(self, link: Neighbour, cause: str) -> None: ...

    @abstractmethod
    def close_below(self) -> None: ...


class FrontPort(Protocol):
    """What is at the front-end only."""

    app: FrontEndApp
    membership: Membership
    recovering: bool

    @property
    def handle(self) -> FrontEndHandle: ...

    def recovery_progress(self, stream: int, wave: int, complete: bool) -> None: ...

    def fail(self, error: StreamError) -> None: ...


class BackPort(Protocol):
    """What is at a back-end only."""

    app: BackEndApp

    @property
    def handle(self) -> BackEndHandle: ...
