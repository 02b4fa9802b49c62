"""Trials that do not start: each ends in one clear error and leaves no process."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest
import testbed_parts
from testbed_helpers import Hosts, kinds

from harness.api.errors import InfrastructureError
from harness.core.tree import Tree
from harness.testbeds.deployment import TreeDeployment


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"transport": testbed_parts.Transport(refuses=4)},
            r"node 4 \(back-end, host 0\) did not come up: no port on 127.0.0.1 for node 4$",
        ),
        ({"transport": testbed_parts.Transport(missing="no such device")}, "cannot be used on this host: no such device"),
        ({"transport": testbed_parts.Unloadable()}, "plugins cannot be loaded .*(?s:.*)raises when it is loaded"),
        ({"transport": lambda: None}, "a plugin cannot be pickled"),
        (
            {"workload": testbed_parts.Workload({2: "raise"}, starts=False)},
            r"node 2 .* failed before the tree was ready: (?s:.*)feel",
        ),
        (
            {"workload": testbed_parts.Workload({0: "give_up"}, starts=False)},
            "the tree was not ready when the front-end gave up: nobody came",
        ),
    ],
)
def test_what_is_wrong_is_said(hosts: Hosts, tree: Tree, parts: dict[str, Any], message: str) -> None:
    deployment = hosts.deploy(tree, **parts)
    with pytest.raises(InfrastructureError, match=message):
        deployment.start()
    deployment.stop(1.0)
    assert [p for p in hosts.processes() if p not in hosts.servers()] == []
    with hosts.deploy(tree) as after:  # the hosts are as good as before
        after.start()


def test_nodes_that_do_not_come_up_in_time_are_named(hosts: Hosts, tree: Tree) -> None:
    deployment = hosts.deploy(tree, transport=testbed_parts.Transport(mute=3), start_timeout_s=3.0)
    with pytest.raises(
        InfrastructureError, match=r"1 of 7 node processes did not come up within 3 s: node 3 \(back-end, host 1\)$"
    ):
        deployment.start()
    last = deployment.stop(1.0)
    assert kinds(last).count("node-started") == kinds(last).count("node-exited") == 7
    assert [p for p in hosts.processes() if p not in hosts.servers()] == []


def test_a_tree_that_is_never_ready_names_who_is_missing(hosts: Hosts, tree: Tree) -> None:
    workload = testbed_parts.Workload({3: "hide"}, starts=False)
    deployment = hosts.deploy(tree, workload=workload, start_timeout_s=2.0)
    with pytest.raises(
        InfrastructureError, match=r"the tree was not ready within 4 s; not attached: node 3 \(back-end, host 1\)$"
    ):
        deployment.start()


def test_a_fault_that_keeps_the_tree_from_starting_is_no_failure_of_the_infrastructure(
    hosts: Hosts, tree: Tree, tmp_path: Path
) -> None:
    workload = testbed_parts.Workload({2: "kill_itself", 0: "give_up_later"}, starts=False, sign=str(tmp_path / "sign"))
    with hosts.deploy(tree, workload=workload) as deployment:
        deployment.start()
        events = deployment.poll(0.0)
    assert [e["ok"] for e in events if e["kind"] == "finished"] == [False]


def test_too_few_descriptors(fresh_hosts: Hosts, tree: Tree) -> None:
    for server in fresh_hosts.servers():
        resource.prlimit(server, resource.RLIMIT_NOFILE, (60, 60))
    with pytest.raises(InfrastructureError, match=r"too few file descriptors: .* needs 68, the limit is 60; raise it"):
        fresh_hosts.deploy(tree).start()


def test_a_node_on_a_host_that_is_not_there(hosts: Hosts, tree: Tree) -> None:
    spec = testbed_parts.make_spec(tree.placed([0, 1, 2, 0, 1, 0, 1]))
    with pytest.raises(InfrastructureError, match="node 2 is placed on host 2, but there are 2 hosts"):
        TreeDeployment(spec, hosts.hosts, testbed_parts.ENTRY)


def test_a_host_without_nodes_is_left_alone(hosts: Hosts) -> None:
    small = Tree.from_parents([None, 0]).placed([1, 1])
    with TreeDeployment(testbed_parts.make_spec(small), hosts.hosts, testbed_parts.ENTRY) as deployment:
        deployment.start()
        assert {e["host"] for e in deployment.poll(0.0) if e["kind"] == "node-started"} == {1}


def test_stop_before_start(hosts: Hosts, tree: Tree) -> None:
    with hosts.deploy(tree) as deployment:
        assert deployment.stop(1.0) == []
