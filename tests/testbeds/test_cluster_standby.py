"""A front-end on a real Ray cluster of three raylets is lost in mid-stream, alone and with its raylet: the standby on another
raylet takes its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_cluster import HERE, ray_cluster

WAVES = 2400
BACK_ENDS = 4


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the driver saw: of the process's death, and of the raylet's."""
    directory = tmp_path_factory.mktemp("driver")
    path = os.pathsep.join(p for p in sys.path if p and Path(p) != HERE)
    with ray_cluster(3) as (address, environment):
        done = subprocess.run(
            [sys.executable, "-P", str(HERE / "cluster_standby_driver.py"), address, str(directory)],
            env={**environment, "PYTHONPATH": path},
            cwd=directory,
            stdout=subprocess.PIPE,
            timeout=240.0,
        )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]
    assert done.returncode == 0, found
    return found


def test_a_killed_front_end_is_replaced_from_another_raylet(said: list[dict[str, Any]]) -> None:
    killed = said[0]
    assert killed["hosts"]["0"] != killed["hosts"]["2"]
    assert killed["took_over"] == [2] and killed["finished"] == [[2, True]]
    assert killed["ends"] == {"0": -9} | dict.fromkeys("123456", 0) and killed["forced"] == []
    assert killed["check"]["passed"], killed["check"]
    assert killed["check"]["counts"] == {
        "waves": WAVES, "delivered": WAVES * BACK_ENDS, "partial": 0, "lost": 0, "duplicated": 0, "mixed": 0,
    }  # fmt: skip
    assert (killed["exit_code"], killed["notes"]) == (0, [])


def test_a_front_end_s_host_is_lost_and_the_tree_goes_on(said: list[dict[str, Any]]) -> None:
    gone = said[1]
    host = gone["hosts"]["0"]
    assert gone["lost"] == [0, 1, 3] == [int(n) for n in sorted(gone["hosts"]) if gone["hosts"][n] == host]
    (error,) = gone["errors"]
    assert error.startswith(f"host {host} (") and "the agent is gone, and all nodes of its host with it" in error
    assert gone["took_over"] == [2] and gone["finished"] == [[2, True]]
    assert gone["ends"] == dict.fromkeys("2456", 0) and gone["forced"] == [] and gone["notes"] == []
    check, counts = gone["check"], gone["check"]["counts"]
    assert check["passed"], check
    assert counts["waves"] == WAVES and counts["duplicated"] == counts["mixed"] == 0
    assert 0 < counts["partial"] < WAVES, "one of its back-ends was on that host"
    assert counts["delivered"] == WAVES * BACK_ENDS - counts["partial"]
