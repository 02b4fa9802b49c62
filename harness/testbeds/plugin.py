"""The built-in testbeds, registered as any plugin's are."""

from __future__ import annotations

from collections.abc import Mapping

from harness.api.testbed import Testbed
from harness.hookspecs import hookimpl
from harness.testbeds.cluster import Cluster
from harness.testbeds.local import Local
from harness.testbeds.sim import Sim


@hookimpl
def harness_testbeds() -> Mapping[str, type[Testbed]]:
    """local: Ray on this machine; cluster: an existing Ray cluster; sim: virtual time in one process."""
    return {"local": Local, "cluster": Cluster, "sim": Sim}
