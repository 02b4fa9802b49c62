"""Nobody is left behind: whichever process is killed, those that depend on it end by themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from testbed_helpers import BOUND_S, Hosts, InProcess, kinds, poll_until, wait_for

from harness.api.errors import InfrastructureError
from harness.api.fault import Action, Injection, Trigger
from harness.core.tree import Tree
from harness.testbeds import procs
from harness.testbeds.agent import AgentConfig

STOP_ONE = (Injection(0, "hang", 3, Action.STOP, Trigger(at_s=0.0)),)


def test_a_killed_fork_server_takes_its_nodes_along_even_stopped_ones(fresh_hosts: Hosts, tree: Tree) -> None:
    hosts = fresh_hosts
    with hosts.deploy(tree, injections=STOP_ONE) as deployment:
        deployment.start()
        events = poll_until(deployment, lambda e: "fault-confirmed" in kinds(e), "the stop")
        pids = [e["pid"] for e in events if e["kind"] == "node-started" and e["host"] == 1]
        server = hosts.servers()[1]
        os.kill(server, signal.SIGKILL)
        wait_for(lambda: not any(procs.is_running(p) for p in pids), "the nodes of host 1 are gone")
        with pytest.raises(InfrastructureError, match=rf"host 1 .*the fork server \(pid {server}\) ended by signal 9"):
            poll_until(deployment, lambda e: False, "the error")
        last = deployment.stop(2.0)
    assert {e["node"] for e in last if e["kind"] == "node-exited"} == {0, 2, 4, 6}
    with pytest.raises(InfrastructureError, match="ended by signal 9"):
        hosts.handles[1].call("hello").result(BOUND_S)


def test_a_killed_agent_takes_everything_along(tree: Tree, tmp_path: Path) -> None:
    mark = f"test-agent-{os.getpid()}"
    script = Path(__file__).parent / "agent_in_a_process.py"
    path = os.pathsep.join(p for p in sys.path if p)
    with subprocess.Popen(
        [sys.executable, str(script), mark, str(tmp_path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    ) as agent:
        try:
            assert agent.stdout is not None
            assert agent.stdout.readline() == b"one of 7 is stopped\n"
            assert len(procs.marked(mark)) == 8
            assert list(tmp_path.glob("harness-*")) != []
            agent.kill()
            wait_for(lambda: procs.marked(mark) == [], "nothing of the agent's is left")
        finally:
            agent.kill()
            procs.end_marked(mark, 0.0)
    wait_for(lambda: list(tmp_path.glob("harness-*")) == [], "its scratch directory is gone")


def test_a_silent_driver_is_taken_for_dead(tree: Tree, tmp_path: Path) -> None:
    hosts = Hosts("test-silence", tmp_path, driver_lease_s=1.0)
    try:
        deployment = hosts.deploy(tree)
        deployment.start()
        deployment.poll(0.0)
        wait_for(lambda: len(hosts.processes()) == 2, "only the fork servers are left")
        with pytest.raises(InfrastructureError, match="the driver was silent for 1 s"):
            poll_until(deployment, lambda e: False, "the error")
        deployment.stop(1.0)
        with hosts.deploy(tree) as after:
            after.start()
    finally:
        hosts.close()


def test_a_fork_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    handle = InProcess(AgentConfig("test-no-scratch", str(tmp_path / "nowhere")))
    try:
        with pytest.raises(InfrastructureError, match=r"could not start: (?s:.*)nowhere"):
            handle.call("open").result(BOUND_S)
    finally:
        handle.close()
    assert procs.marked("test-no-scratch") == []


def test_what_is_marked_is_found_and_ended_even_stopped(tmp_path: Path) -> None:
    mark = f"test-mark-{os.getpid()}"
    with subprocess.Popen(["sleep", "60"], env={**os.environ, procs.MARK: mark}) as child:
        try:
            wait_for(lambda: procs.marked(mark) == [child.pid], "it is found")
            child.send_signal(signal.SIGSTOP)
            assert procs.end_marked(mark, 0.1) == [child.pid]
        finally:
            child.kill()
    assert procs.marked(mark) == []
