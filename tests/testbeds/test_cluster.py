"""The testbed `cluster`, on a real Ray cluster of three raylets on this machine; and clusters that are none."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.api.errors import InfrastructureError
from harness.testbeds.cluster import Cluster
from harness.testbeds.ray_adapter import Found, mismatch
from harness.testbeds.shipping import locate, packages_to_ship

HERE = Path(__file__).parent
#: As a cluster of strangers is set up: with a token, and none of our code.
RAY = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # listens on loopback only
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
}


@contextmanager
def ray_cluster(raylets: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Its address, and the environment that a driver needs."""
    environment = {**os.environ, **RAY, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment.pop("PYTHONPATH", None)
    directory = tempfile.mkdtemp(prefix="hr-", dir="/tmp")  # short, for Ray's sockets
    try:
        with subprocess.Popen(
            [sys.executable, "-P", str(HERE / "ray_cluster.py"), directory, str(raylets)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd="/",
        ) as cluster:
            try:
                assert cluster.stdout is not None
                yield json.loads(cluster.stdout.readline())["address"], environment
                cluster.communicate(timeout=60.0)
            finally:
                cluster.kill()  # what it started dies with it
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def only_here(tmp_path: Path) -> Path:
    """A plugin package that is registered in this place and is on no other machine."""
    site = tmp_path / "site"
    info = site / "shipped_parts-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(HERE / "testbed_parts.py", site / "shipped_parts.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shipped-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[harness]\nparts = shipped_parts\n")
    return site


def drive(address: str, environment: dict[str, str], site: Path, *options: str) -> list[dict[str, object]]:
    path = os.pathsep.join((str(site), *(p for p in sys.path if p and Path(p) != HERE)))
    done = subprocess.run(
        [sys.executable, "-P", str(HERE / "cluster_driver.py"), address, str(site.parent), *options],
        env={**environment, "PYTHONPATH": path},
        cwd=site.parent,
        stdout=subprocess.PIPE,
        timeout=240.0,
    )
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]
    assert done.returncode == 0, said
    return said


def check_trial(said: dict[str, object], hosts: tuple[str, ...]) -> None:
    assert said["statuses"] == [0] * 7
    assert said["addresses"] == {str(n): f"{hosts[n % len(hosts)]}:{10_000 + n}" for n in (0, 1, 2)}
    assert said["samples"] == "samples"


def check_cluster(said: list[dict[str, object]]) -> None:
    hello, trial, comings, loss, after = said[:5]
    # The code was shipped: agents import it from where Ray unpacked it, not from where we are.
    assert isinstance(hello["code"], list)
    assert all("runtime_resources" in place for place in hello["code"])
    assert hello["agents"] == 3
    assert hello["capabilities"] == ["come-and-go", "hang", "kill", "restart"]
    check_trial(trial, ("127.0.0.1", "127.0.0.2", "127.0.0.3"))
    assert comings["started"] == sorted([[n, n % 3, 0] for n in range(7)] + [[5, 2, 1]])
    assert comings["exited"] == sorted([[n, 0] for n in range(7)] + [[5, -9]])
    assert str(loss["error"]).startswith("host 2 (")
    assert "the agent is gone, and all nodes of its host with it" in str(loss["error"])
    assert loss["alive"] == []
    assert loss["others"] == [0, 1, 3, 4, 6]
    assert after["left"] == []


def test_a_trial_on_three_raylets_and_the_loss_of_one(only_here: Path) -> None:
    with ray_cluster(3) as (address, environment):
        check_cluster(drive(address, environment, only_here))


@pytest.mark.long
def test_more_hosts_than_nodes_and_local_on_a_ray_that_is_there(only_here: Path) -> None:
    with ray_cluster(3) as (address, environment):
        said = drive(address, environment, only_here, "long")
    check_cluster(said)
    too_many, joined, after = said[5:]
    assert "hosts = 3, but the Ray cluster at" in str(too_many["too_many"])
    assert "has 2 living nodes" in str(too_many["too_many"])
    check_trial(joined, ("127.0.0.1",))
    assert after["left"] == []


def test_nobody_listens_there(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            InfrastructureError, match=rf"no Ray cluster can be reached at {address}: .*refused; start one with"
        ):
            Cluster(address=address).open(tmp_path)


@pytest.mark.parametrize("address", ["127.0.0.1", "host:port", ":6379", "auto", "127.0.0.1:0", "127.0.0.1:65536"])
def test_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="is no address of a Ray cluster; it must be host:port"):
        Cluster(address=address)


def test_somebody_else_listens_there(tmp_path: Path) -> None:
    # It takes the connection and says nothing, for which Ray's own client waits for minutes.
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(InfrastructureError, match=f"no Ray cluster answered at {address} within 4 s; start one with"):
            Cluster(address=address, start_timeout_s=4.0).open(tmp_path)


def test_versions_that_do_not_fit() -> None:
    assert mismatch("2.60.0", "3.11.7", Found("2.60.0", "3.11.7")) == ""
    assert mismatch("2.60.0", "3.11.7", Found()) == ""
    assert mismatch("2.60.0", "3.11.7", Found("2.40.0", "3.11.7")) == (
        "it runs Ray 2.40.0, this is Ray 2.60.0; install the cluster's here: pip install ray==2.40.0"
    )
    assert "runs Python 3.12.1, this is Python 3.11.7" in mismatch("2.60.0", "3.11.7", Found("2.60.0", "3.12.1"))


def test_what_is_shipped(only_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(only_here))
    shipped = {p.name for p in packages_to_ship()}
    assert {"harness", "harness_plugins", "harness_workloads", "harness_faults", "shipped_parts.py"} <= shipped
    assert [p.name for p in locate(["no_such_package_anywhere", "json"])] == ["json"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"hosts": -1}, "0 uses all nodes"), ({"host_addresses": ("127.0.0.1",)}, "host_addresses has 1 entries")],
)
def test_impossible_parameters(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cluster(address="127.0.0.1:6379", **fields)  # type: ignore[arg-type]
