"""One run whose trees meet strangers, liars, taken ports and narrow limits. Each case ends as it should, and all of it is told.

It is one run since Ray takes longer to start than all of these trees together.
"""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
DESCRIPTORS = 256

HEAD = """
[suite]
name = "hostile"
[testbed]
kind = "local"
hosts = 2
start_timeout_s = 80
[node]
start_timeout_s = 5.0
"""
CASE = """
[[case]]
name = "{name}"
workload = {{ kind = "reduce-stream", duration_s = {seconds}, rate = 400.0 }}
topology = {topology}
transport = {transport}
filter = "sum"
"""
SMALL_TREE = '{ kind = "kary", fanout = 2, depth = 2 }'


def case(name: str, transport: str, topology: str = SMALL_TREE, seconds: float = 0.4) -> str:
    return CASE.format(name=name, transport=transport, topology=topology, seconds=seconds)


def liar(name: str, node: int, does: str) -> str:
    return case(name, f'{{ kind = "hostile", node = {node}, does = "{does}" }}')


@dataclass(frozen=True)
class Hostile:
    """What came of the run."""

    code: int
    document: Mapping[str, Any]
    told: str
    events: Mapping[str, list[dict[str, Any]]]
    taken: int
    strangers: int
    during: str

    def case(self, name: str) -> dict[str, Any]:
        (found,) = [c for c in self.document["cases"] if c["case"] == name]
        return dict(found)

    def of_kind(self, name: str, *kinds: str) -> list[dict[str, Any]]:
        return [e for e in self.events[name] if e["kind"] in kinds]


@pytest.fixture(scope="module")
def hostile(make: Any) -> Hostile:
    """The run, which has left nothing behind."""
    scene = make()
    with socket.create_server(("127.0.0.1", 0)) as owner:
        taken = owner.getsockname()[1]
        suite = scene.suite(
            HEAD
            + case("strangers", '"tcp"', seconds=4.0)
            + case("taken-port", f'{{ kind = "tcp", first_port = {taken}, last_port = {taken} }}')
            + liar("frame", 3, "frame")
            + liar("secret", 3, "secret")
            + liar("bytes", 3, "bytes")
            + case("descriptors", '"tcp"', topology='{ kind = "flat", back_ends = 120 }')
            + liar("oversized", 3, "oversized")
            + liar("internal", 1, "frame")
            + liar("raises", 3, "raises")
        )
        path = os.pathsep.join([scene.install("hostile", "hostile_plugin", "from hostile_kinds import *"), str(HERE)])
        with subprocess.Popen(
            [sys.executable, str(HERE / "stranger.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as stranger:
            limits = {resource.RLIMIT_NOFILE: DESCRIPTORS}
            running = scene.start("run", suite, "--json", PYTHONPATH=path, limits=limits)
            running.wait_for_entry("workload-started")
            nodes = scene.nodes()
            ports = [port for name in ("n0", "n1") for port in scene.ports(nodes[name])]
            scene.look_at_sockets()
            answer, _ = stranger.communicate(" ".join(map(str, ports)) + "\n", timeout=60)
            during = scene.journal
        done = running.done()
        # A port that was asked for is still its owner's.
        with socket.create_connection(owner.getsockname(), timeout=10.0):
            pass
    assert scene.listening and len(ports) == 2
    scene.assert_clean()
    scene.report_says(done.document)
    events: dict[str, list[dict[str, Any]]] = {}
    for line in scene.journal.splitlines():
        entry = json.loads(line)
        if entry.get("what") == "event":
            events.setdefault(entry["trial"].removesuffix("-t0"), []).append(entry["event"])
    return Hostile(done.code, done.document, done.err, events, taken, int(answer), during)


def test_strangers_change_nothing(hostile: Hostile) -> None:
    assert hostile.strangers > 100
    assert '"kind":"finished"' not in hostile.during, "they came too late to be a trial for it"
    case = hostile.case("strangers")
    assert (case["verdict"], case["reasons"]) == ("passed", [])
    assert case["counts"]["lost"] == case["counts"]["duplicated"] == case["counts"]["mixed"] == 0
    assert case["counts"]["delivered"] > 100
    assert hostile.of_kind("strangers", "link-lost", "suspect", "protocol-error", "dead", "stream-error") == []


@pytest.mark.parametrize(
    ("name", "liar", "victim"),
    [("frame", 3, 1), ("bytes", 3, 1), ("oversized", 3, 1), ("internal", 1, 0)],
)
def test_a_node_that_sends_garbage_loses_its_link_and_nothing_is_lost(
    hostile: Hostile, name: str, liar: int, victim: int
) -> None:
    lost = [e for e in hostile.of_kind(name, "link-lost") if (e["node"], e["peer"]) == (victim, liar)]
    assert len(lost) == 1 and lost[0]["cause"].startswith("protocol error: ")
    (error,) = hostile.of_kind(name, "protocol-error")
    below = {"bytes": "begins no frame of this transport", "oversized": "bytes announced, the limit is"}
    assert (error["node"], error["peer"]) == (victim, liar) and below.get(name, "frame version 255") in error["message"]
    assert f"{name}-t0: node {victim} was sent garbage by node {liar}: {error['message']}" in hostile.document["notes"]
    assert [e["member"] for e in hostile.of_kind(name, "rejoined")].count(liar) == 1
    case = hostile.case(name)
    assert (case["verdict"], case["reasons"]) == ("passed", [])
    assert case["counts"]["lost"] == case["counts"]["duplicated"] == case["counts"]["mixed"] == 0


def test_a_node_that_raises_fails_the_trial_by_name(hostile: Hostile) -> None:
    case = hostile.case("raises")
    assert (case["verdict"], case["reasons"][0]) == ("failed", "trial 0: node 3 failed: MemoryError: no room for 8 TiB")
    assert "  node 3 failed: MemoryError: no room for 8 TiB" in hostile.told


def test_a_node_with_a_wrong_secret_is_not_let_in(hostile: Hostile) -> None:
    case = hostile.case("secret")
    assert case["verdict"] == "infrastructure"
    (reason,) = case["reasons"]
    assert "not attached: node 3 (back-end, host 0): wrong secret: the peer belongs to another run" in reason
    assert [e for e in hostile.of_kind("secret", "attached") if e["node"] == 3] == []


def test_a_port_that_is_taken(hostile: Hostile) -> None:
    case = hostile.case("taken-port")
    assert case["verdict"] == "infrastructure"
    (reason,) = case["reasons"]
    # Whichever node is looked at first; all of them want that port.
    assert re.search(r"node (\d+) \([a-z-]+, host \d\) did not come up: tcp: node \1 cannot use", reason)
    assert f"the port is taken (ports tried: {hostile.taken}..{hostile.taken})" in reason
    assert "end its owner, or set first_port and last_port wider" in reason


def test_too_few_descriptors_for_the_tree(hostile: Hostile) -> None:
    case = hostile.case("descriptors")
    assert case["verdict"] == "infrastructure"
    (reason,) = case["reasons"]
    assert "too few file descriptors: a tree with" in reason and f"the limit is {DESCRIPTORS}; raise it (ulimit -Hn" in reason
    assert hostile.events.get("descriptors", []) == []


def test_the_run_ends_truthfully(hostile: Hostile) -> None:
    # A failed check says something about the system under test, whatever happened to the other cases.
    assert (hostile.code, hostile.document["exit_code"], hostile.document["verdict"]) == (12, 12, "failed")
    blamed = {reason.partition(":")[0] for reason in hostile.document["reasons"]}
    # Reasons that are not what the run failed for are marked with the word of their case.
    assert blamed == {"raises", *(f"{name} (infrastructure)" for name in ("taken-port", "secret", "descriptors"))}
    assert "Traceback" not in hostile.told
    assert "node 1 was sent garbage by node 3" in hostile.told
