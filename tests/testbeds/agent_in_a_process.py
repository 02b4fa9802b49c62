"""An agent that is a process of its own, with a trial whose third node is stopped: to be killed by a test."""

from __future__ import annotations

import pickle
import sys
import time

import testbed_parts

from harness.api.fault import Action, Injection, Trigger
from harness.core.tree import Tree
from harness.testbeds.agent import Agent, AgentConfig
from harness.testbeds.wire import Launch


def main(mark: str, scratch: str) -> None:
    agent = Agent(AgentConfig(mark, scratch))
    agent.open()
    tree = Tree.from_parents([None, 0, 0, 1, 1, 2, 2])
    spec = testbed_parts.make_spec(tree, injections=(Injection(0, "hang", 3, Action.STOP, Trigger(at_s=0.0)),))
    agent.launch(Launch(pickle.dumps(spec), tuple(range(7)), 0, "127.0.0.1", time.monotonic(), testbed_parts.ENTRY))
    agent.command({"cmd": "go", "addresses": {}})
    agent.arm(0.0)
    while not any(e["kind"] == "fault-confirmed" for e in agent.poll(1.0)):
        pass
    print("one of 7 is stopped", flush=True)
    while True:
        agent.poll(1.0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
