"""The testbed `local`: logical hosts on this machine, all of them on the loopback address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.testbeds.ray_adapter import RayNode, parse_address
from harness.testbeds.testbed import RayTestbed, Session

_LOOPBACK = "127.0.0.1"
#: More of them on one machine are a mistake rather than a wish.
MOST_HOSTS = 256


@dataclass(frozen=True)
class Local(RayTestbed):
    """This machine as several logical hosts, under a Ray that the run starts or joins.

    hosts: how many, each with an agent of its own. num_cpus: what Ray may hand out to tasks (agents take none). ray_address:
    host:port of a Ray on this machine to join; "" starts one that ends with the run. start_timeout_s: how long Ray, and then
    the agents, may take to come up. bind: "subtree" keeps each subtree below the front-end on processors of its own (less
    latency, and less of it by chance; a neighbour who computes on one of them is felt more); "none" leaves that to the kernel.
    """

    hosts: int = 4
    num_cpus: int = 2
    ray_address: str = ""
    start_timeout_s: float = 60.0
    bind: Literal["subtree", "none"] = "subtree"

    def __post_init__(self) -> None:
        if self.hosts < 1:
            raise ValueError(f"hosts = {self.hosts}: a testbed needs at least one host")
        if self.hosts > MOST_HOSTS:
            raise ValueError(f"hosts = {self.hosts}: each is a process of Ray's; at most {MOST_HOSTS}")
        if self.num_cpus < 1:
            raise ValueError(f"num_cpus = {self.num_cpus}: Ray needs at least one")
        if self.start_timeout_s <= 0:
            raise ValueError(f"start_timeout_s = {self.start_timeout_s} must be positive")
        if self.ray_address:
            parse_address(self.ray_address)

    def binds(self) -> bool:
        """See RayTestbed.binds."""
        return self.bind == "subtree"

    def _connect(self, session: Session) -> Sequence[tuple[RayNode, str, str]]:
        if self.ray_address:
            session.client.join(self.ray_address, None, session.mark, self.start_timeout_s)
        else:
            session.client.start(session.base, self.num_cpus, session.mark, self.start_timeout_s)
        here = session.client.nodes(self.start_timeout_s)[0]
        return [(here, _LOOPBACK, str(session.base))] * self.hosts
