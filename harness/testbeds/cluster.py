"""The testbed `cluster`: the same on an existing Ray cluster, one host a Ray node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.api.errors import InfrastructureError
from harness.testbeds.ray_adapter import RayNode, parse_address
from harness.testbeds.shipping import packages_to_ship
from harness.testbeds.testbed import RayTestbed, Session


@dataclass(frozen=True)
class Cluster(RayTestbed):
    """The nodes of a Ray cluster that is there, one host each.

    address: host:port of the cluster's head; this machine must be part of the cluster. hosts: how many of its nodes are
    used, this machine's own first, then by address (0: all). start_timeout_s: how long each of probing, connecting and
    starting the agents may take. host_addresses: where the node processes of each host listen, in the order of the hosts, if
    not on the address under which Ray knows it (for a data network apart from the management network).
    """

    address: str = field(metadata={"form": "host:port of the head of a Ray cluster", "example": "10.0.0.1:6379"})
    hosts: int = 0
    start_timeout_s: float = 60.0
    host_addresses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parse_address(self.address)
        if self.start_timeout_s <= 0:
            raise ValueError(f"start_timeout_s = {self.start_timeout_s} must be positive")
        if self.hosts < 0:
            raise ValueError(f"hosts = {self.hosts}: 0 uses all nodes of the cluster, a positive number so many of them")
        if self.host_addresses and self.hosts != len(self.host_addresses):
            raise ValueError(f"host_addresses has {len(self.host_addresses)} entries; hosts must say the same number")

    def _connect(self, session: Session) -> Sequence[tuple[RayNode, str, str]]:
        session.client.join(self.address, packages_to_ship(), session.mark, self.start_timeout_s)
        nodes = session.client.nodes(self.start_timeout_s)
        if self.hosts > len(nodes):
            raise InfrastructureError(
                f"hosts = {self.hosts}, but the Ray cluster at {self.address} has {len(nodes)} living nodes; ask for fewer,"
                f" or add nodes with `ray start --address={self.address}`"
            )
        chosen = nodes[: self.hosts or len(nodes)]
        addresses = self.host_addresses or tuple(n.address for n in chosen)
        return [(node, address, "") for node, address in zip(chosen, addresses, strict=True)]
