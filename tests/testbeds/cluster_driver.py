"""A driver on a Ray cluster, in a directory that has none of the project's code. Prints what it saw as lines of JSON. Its
parts of a trial come from `shipped_parts`, a plugin package that only the driver has."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import shipped_parts

from harness.api.errors import InfrastructureError
from harness.api.fault import Action, Injection, Trigger
from harness.core.tree import Tree
from harness.testbeds import procs
from harness.testbeds.cluster import Cluster
from harness.testbeds.local import Local

ENTRY = "shipped_parts:run_node"
DATA_ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


class ClusterForTests(Cluster):
    node_entry = ENTRY


class LocalForTests(Local):
    node_entry = ENTRY


def say(**said: Any) -> None:
    print(json.dumps(said), flush=True)


def spec(hosts: int, **parts: Any) -> Any:
    tree = Tree.from_parents([None, 0, 0, 1, 1, 2, 2])
    return shipped_parts.make_spec(tree.placed([n % hosts for n in range(7)]), **parts)


def trial(testbed: Any, hosts: int, into: Path) -> dict[str, Any]:
    workload = shipped_parts.Workload({0: "finish"}, front_end_samples=b"samples")
    with testbed.deploy(spec(hosts, workload=workload)) as deployment:
        deployment.start()
        events: list[dict[str, Any]] = []
        while not any(e["kind"] == "finished" for e in events):
            events += deployment.poll(0.5)
        events += deployment.stop(5.0)
        deployment.collect(into)
    return {
        "statuses": sorted(e["status"] for e in events if e["kind"] == "node-exited"),
        "addresses": next(e["fields"] for e in events if e.get("name") == "addresses"),
        "samples": (into / "samples.bin").read_text(),
    }


def come_and_go(testbed: Any) -> dict[str, Any]:
    """Node 4 comes late, node 5 is killed and another process takes its place; each has a host of its own."""
    plan = (
        Injection(0, "join", 4, Action.JOIN, Trigger(at_s=0.1)),
        Injection(1, "crash", 5, Action.KILL, Trigger(at_s=0.1), undo_after_s=0.1),
    )
    with testbed.deploy(spec(3, injections=plan)) as deployment:
        deployment.start()
        events: list[dict[str, Any]] = []
        while sum(e["kind"] == "attached" for e in events) < 7:
            events += deployment.poll(0.5)
        events += deployment.stop(5.0)
    started = [(e["node"], e["host"], e.get("life", 0)) for e in events if e["kind"] == "node-started"]
    exited = [(e["node"], e["status"]) for e in events if e["kind"] == "node-exited"]
    return {"started": sorted(started), "exited": sorted(exited)}


def lose_a_raylet(testbed: Any) -> dict[str, Any]:
    with testbed.deploy(spec(3)) as deployment:
        deployment.start()
        pids = [e["pid"] for e in deployment.poll(0.0) if e["kind"] == "node-started" and e["host"] == 2]
        agent = testbed.session.hosts[2].pid
        raylet = int(Path(f"/proc/{agent}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(raylet, signal.SIGKILL)
        error = ""
        try:
            while True:
                deployment.poll(0.5)
        except InfrastructureError as lost:
            error = str(lost)
        procs.wait_until_gone([agent, *pids], 30.0)
        alive = [p for p in (agent, *pids) if procs.is_running(p)]
        last = deployment.stop(5.0)
    return {"error": error, "alive": alive, "others": sorted(e["node"] for e in last if e["kind"] == "node-exited")}


def refused(testbed: Any, into: Path) -> str:
    try:
        testbed.open(into)
    except InfrastructureError as error:
        return str(error)
    testbed.close()
    return "it opened"


def main(address: str, directory: str) -> None:
    into = Path(directory)
    testbed = ClusterForTests(address=address, hosts=3, host_addresses=DATA_ADDRESSES)
    testbed.open(into)
    mark = testbed.session.mark
    try:
        hosts = [h.handle.call("hello").result(30.0) for h in testbed.session.hosts]
        say(code=[h["code"] for h in hosts], agents=len({h["pid"] for h in hosts}), capabilities=sorted(testbed.capabilities()))
        say(**trial(testbed, 3, into / "first"))
        say(**come_and_go(testbed))
        say(**lose_a_raylet(testbed))
    finally:
        testbed.close()
    say(left=procs.marked(mark))
    if "long" in sys.argv:
        while "living nodes" not in (message := refused(ClusterForTests(address=address, hosts=3), into)):
            time.sleep(1.0)  # the cluster has not noticed yet that one of them is dead
        say(too_many=message)
        joined = LocalForTests(hosts=2, ray_address=address)
        joined.open(into)
        try:
            say(**trial(joined, 2, into / "joined"))
        finally:
            mark = joined.session.mark
            joined.close()
        time.sleep(0.5)
        say(left=procs.marked(mark))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
