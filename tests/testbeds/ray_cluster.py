"""A Ray cluster of several raylets on this machine, reachable over loopback only. Prints its address as a line of JSON, and
ends when its standard input does."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ray.cluster_utils import Cluster


def main(directory: str, raylets: int) -> None:
    os.environ["RAY_TMPDIR"] = directory  # also for the file that says which cluster is the latest
    (Path(directory) / "ray").mkdir()
    cluster = Cluster()
    try:
        for _ in range(raylets):
            cluster.add_node(
                wait=False, node_ip_address="127.0.0.1", num_cpus=1, object_store_memory=80 << 20, include_dashboard=False
            )
        cluster.wait_for_nodes(90)
        print(json.dumps({"address": cluster.address}), flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
