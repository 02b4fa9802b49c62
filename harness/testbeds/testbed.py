"""What `local` and `cluster` have in common: agents on Ray nodes, trials through them, and nothing left behind afterwards."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import wait
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from harness.api.errors import InfrastructureError
from harness.api.testbed import DeploymentSpec
from harness.testbeds import procs
from harness.testbeds.agent import AgentConfig
from harness.testbeds.deployment import NODE_ENTRY, TreeDeployment
from harness.testbeds.hosts import ANSWER_WITHIN_S, Host, ask, settle
from harness.testbeds.janitor import Janitor
from harness.testbeds.ray_adapter import RayAgent, RayClient, RayNode

_PREFIX = "harness-ray-"
#: Ray puts sockets below its directory, and the path of a socket may have 107 bytes.
_LONGEST_BASE = 32
_CLOSE_WITHIN_S = 15.0


class Session:
    """An open testbed: the connection to Ray, the hosts with their agents, and the directory that goes away at the end."""

    def __init__(self, start_timeout_s: float) -> None:
        self.mark = secrets.token_hex(8)
        self.base = make_base()
        self._janitor = Janitor(self.mark, self.base)
        self.client = RayClient()
        self.hosts: list[Host] = []
        self._start_timeout_s = start_timeout_s
        self._agents: list[RayAgent] = []
        self._placed: list[tuple[RayNode, str, str]] = []
        self._spawned = 0

    def spawn(self, placed: Sequence[tuple[RayNode, str, str]]) -> None:
        """One agent for each (Ray node, data address, directory for scratch or ""). Raises InfrastructureError."""
        self._placed = list(placed)
        self.hosts = self._open_agents(range(len(placed)))

    def repair(self) -> None:
        """Replace the agents that are gone or have lost their fork server. Raises InfrastructureError where that fails."""
        futures = [h.handle.call("hello") for h in self.hosts]
        wait(futures, timeout=ANSWER_WITHIN_S)
        lost = [i for i, f in enumerate(futures) if not f.done() or f.exception() is not None]
        for i in lost:
            with contextlib.suppress(Exception):  # it is replaced whatever it says
                self._agents[i].kill()
        for host in self._open_agents(lost) if lost else ():
            self.hosts[host.number] = host

    def _open_agents(self, numbers: Sequence[int]) -> list[Host]:
        agents = []
        for number in numbers:
            node, _, scratch = self._placed[number]
            self._spawned += 1
            config = AgentConfig(self.mark, scratch, start_timeout_s=self._start_timeout_s)
            agents.append(self.client.spawn(f"harness-{self.mark}-{number}-{self._spawned}", config, node))
            self._agents[number : number + 1] = [agents[-1]]
        futures = [a.call("open") for a in agents]
        awaited = [Host(n, a, self._placed[n][1], self._place(n), "", 0) for n, a in zip(numbers, agents, strict=True)]
        answers = settle(awaited, futures, "open", self._start_timeout_s)
        return [
            Host(h.number, h.handle, h.address, h.place, str(a["boot_id"]), int(a["pid"]))
            for h, a in zip(awaited, answers, strict=True)
        ]

    def _place(self, number: int) -> str:
        node = self._placed[number][0]
        return f"{node.hostname}, {node.address}"

    def close(self) -> None:
        """End the agents, leave Ray, end what is left, remove the directory. All is tried; the first problem is raised."""
        problems: list[Exception] = []
        wait([a.call("close") for a in self._agents], timeout=_CLOSE_WITHIN_S)
        for step in (*(a.kill for a in self._agents), self.client.leave, self._end_processes, self._remove_base):
            try:
                step()
            except Exception as error:  # the other steps must be tried
                problems.append(error)
        if problems:
            raise InfrastructureError(f"closing the testbed: {problems[0]}") from problems[0]

    def _end_processes(self) -> None:
        procs.end_marked(self.mark, grace_s=5.0)
        here = [h.pid for h in self.hosts if h.boot_id and h.boot_id == procs.boot_id()]
        procs.wait_until_gone(here, timeout_s=10.0)

    def _remove_base(self) -> None:
        shutil.rmtree(self.base, ignore_errors=True)
        self._janitor.dismiss(_CLOSE_WITHIN_S)


class RayTestbed(ABC):
    """The methods of harness.api.testbed.Testbed for a frozen dataclass that says in `_connect` where its hosts are."""

    hosts: int
    start_timeout_s: float
    #: The main function of node processes; tests of the testbeds put something simpler here.
    node_entry: ClassVar[str] = NODE_ENTRY
    #: For the runner: trials go on where a standby takes the front-end's place.
    standbys: ClassVar[bool] = True

    @abstractmethod
    def _connect(self, session: Session) -> Sequence[tuple[RayNode, str, str]]:
        """Start or join Ray; the Ray node, the data address and the scratch directory of each host."""

    @cached_property
    def _state(self) -> dict[str, Session]:
        # A frozen dataclass holds no changing fields, and this is no key of the suite.
        return {}

    def open(self, run_dir: Path) -> None:
        """Connect to Ray and start one agent a host. Nothing is written to `run_dir`: samples are kept with their host until
        they are collected. Raises InfrastructureError, with everything taken back, where that fails or takes too long."""
        if self._state:
            raise InfrastructureError("the testbed is open already")
        self._state["session"] = session = Session(self.start_timeout_s)
        try:
            session.spawn(self._connect(session))
        except BaseException:
            with contextlib.suppress(InfrastructureError):  # the first error tells more
                self.close()
            raise

    def close(self) -> None:
        """End everything that `open` started. Idempotent. Raises InfrastructureError where something could not be ended."""
        session = self._state.pop("session", None)
        if session is not None:
            session.close()

    @property
    def session(self) -> Session:
        """What is open. Raises InfrastructureError where nothing is."""
        session = self._state.get("session")
        if session is None:
            raise InfrastructureError("the testbed is not open")
        return session

    def host_count(self) -> int:
        """How many hosts there are."""
        return len(self.session.hosts)

    def possible(self) -> frozenset[str]:
        """What a fork server can do to the processes that it started, where the kernel lets it."""
        return frozenset({"kill", "hang", "restart", "come-and-go"})

    def capabilities(self) -> Mapping[str, str]:
        """What every host can do to its node processes, found by trying."""
        able: list[dict[str, Any]] = ask(self.session.hosts, "probe")
        return {name: how for name, how in able[0].items() if all(name in other for other in able)}

    def deploy(self, spec: DeploymentSpec) -> TreeDeployment:
        """A trial, not started yet. Agents that a trial before has lost are replaced first."""
        session = self.session
        session.repair()
        return TreeDeployment(spec, session.hosts, self.node_entry, self.binds())

    def binds(self) -> bool:
        """Whether each subtree keeps to processors of its own (harness.testbeds.binding)."""
        return False


def make_base() -> Path:
    """A new directory with a short path. Raises InfrastructureError where there is no place for one."""
    longest = _LONGEST_BASE - len(_PREFIX) - 8
    for place in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):
        if len(place) <= longest and os.access(place, os.W_OK):
            return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    raise InfrastructureError(
        f"no directory for temporary files with a path of at most {longest} characters can be written"
        f" ({tempfile.gettempdir()} cannot, or is longer): Ray's sockets need a short one; set TMPDIR"
    )
