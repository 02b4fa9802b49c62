"""A driver that is a process of its own: opens a testbed, starts a trial with a stopped node, and follows it until it is killed
or interrupted. Prints what a test needs to know as lines of JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import testbed_parts

from harness.api.fault import Action, Injection, Trigger
from harness.core.tree import Tree
from harness.testbeds.local import Local


class LocalForTests(Local):
    """Local, with nodes that hold no tree."""

    node_entry = testbed_parts.ENTRY


def main(run_dir: str) -> None:
    testbed = LocalForTests(hosts=2, num_cpus=1)
    tree = Tree.from_parents([None, 0, 0, 1, 1, 2, 2]).placed([0, 1, 0, 1, 0, 1, 0])
    spec = testbed_parts.make_spec(tree, injections=(Injection(0, "hang", 3, Action.STOP, Trigger(at_s=0.0)),))
    try:
        testbed.open(Path(run_dir))
        with testbed.deploy(spec) as deployment:
            events = []
            try:
                deployment.start()
                while not any(e["kind"] == "fault-confirmed" for e in events):
                    events += deployment.poll(0.5)
                print(json.dumps({"mark": testbed.session.mark, "base": str(testbed.session.base)}), flush=True)
                while True:
                    deployment.poll(0.5)
            except KeyboardInterrupt:
                last = deployment.stop(10.0)
                print(json.dumps({"ended": {e["node"]: e["status"] for e in last if e["kind"] == "node-exited"}}), flush=True)
    finally:
        testbed.close()
    print(json.dumps({"closed": True}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
