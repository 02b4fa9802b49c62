"""The testbed `local` on a real Ray: as few starts of Ray as possible."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import testbed_parts
from driver_in_a_process import LocalForTests
from testbed_helpers import kinds, listening_addresses, poll_until, wait_for

from harness.api import testbed as api
from harness.api.errors import InfrastructureError
from harness.core.tree import Tree
from harness.testbeds import procs
from harness.testbeds.binding import processors

TREE = Tree.from_parents([None, 0, 0, 1, 1, 2, 2]).placed([0, 1, 0, 1, 0, 1, 0])
TOKEN = Path.home() / ".ray" / "auth_token"


def variables() -> dict[str, str]:
    """The variables of this process that are Ray's or ours, but for one that importing Ray sets."""
    ours = ("RAY_", "PYTHONPATH", procs.MARK)
    return {k: v for k, v in os.environ.items() if k.startswith(ours) and k != "RAY_CLIENT_MODE"}


@pytest.fixture(scope="module")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalForTests]:
    """Two hosts on a Ray of our own, of which nothing must be left afterwards: no process, no file, no variable."""
    before = variables()
    token = TOKEN.exists()
    bed = LocalForTests(hosts=2, num_cpus=1)
    bed.open(tmp_path_factory.mktemp("run"))
    mark, base = bed.session.mark, bed.session.base
    assert procs.marked(mark) != []
    try:
        yield bed
    finally:
        bed.close()
        left = procs.marked(mark)
        procs.end_marked(mark, 0.0)
    bed.close()
    assert left == []
    assert not base.exists()
    assert TOKEN.exists() == token
    assert variables() == before
    with pytest.raises(InfrastructureError, match="not open"):
        bed.host_count()


def test_a_trial_over_ray(testbed: LocalForTests, tmp_path: Path) -> None:
    assert isinstance(testbed, api.Testbed)
    assert testbed.host_count() == 2
    assert set(testbed.capabilities()) == {"kill", "hang", "restart", "come-and-go"}
    samples = os.urandom(5 << 20)
    spec = testbed_parts.make_spec(TREE, workload=testbed_parts.Workload({0: "finish"}, front_end_samples=samples))
    with testbed.deploy(spec) as deployment:
        deployment.start()
        events = poll_until(deployment, lambda e: "finished" in kinds(e), "finished")
        events += deployment.stop(5.0)
        deployment.collect(tmp_path)
    assert {e["node"]: e["status"] for e in events if e["kind"] == "node-exited"} == dict.fromkeys(range(7), 0)
    assert (tmp_path / "samples.bin").read_bytes() == samples


def test_each_subtree_keeps_to_its_processors(testbed: LocalForTests) -> None:
    mine = sorted(os.sched_getaffinity(0))
    with testbed.deploy(testbed_parts.make_spec(TREE)) as deployment:
        deployment.start()
        started = {e["node"]: e["pid"] for e in deployment.poll(0.0) if e["kind"] == "node-started"}
        found = {node: sorted(os.sched_getaffinity(pid)) for node, pid in started.items()}
    assert found == {node: processors(TREE, node, mine) for node in range(7)}
    assert found[3] == found[4] == found[1]


def test_everything_listens_on_loopback_only(testbed: LocalForTests) -> None:
    addresses = listening_addresses([os.getpid(), *procs.marked(testbed.session.mark)])
    assert addresses
    assert {a for a in addresses if not a.startswith("127.")} == set()


def test_a_testbed_is_open_once(testbed: LocalForTests, tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="open already"):
        testbed.open(tmp_path)
    with pytest.raises(InfrastructureError, match="only one testbed with Ray"):
        LocalForTests(hosts=1).open(tmp_path)
    assert testbed.host_count() == 2


def test_a_killed_agent_ends_the_trial_and_not_the_run(testbed: LocalForTests) -> None:
    with testbed.deploy(testbed_parts.make_spec(TREE)) as deployment:
        deployment.start()
        nodes = [e["pid"] for e in deployment.poll(0.0) if e["kind"] == "node-started" and e["host"] == 1]
        victim = testbed.session.hosts[1].pid
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: not any(procs.is_running(p) for p in nodes), "the nodes of host 1 are gone")
        with pytest.raises(
            InfrastructureError, match=rf"host 1 \(.*agent {victim}\): the agent is gone, and all nodes of its host"
        ):
            poll_until(deployment, lambda e: False, "the error")
        assert {e["node"] for e in deployment.stop(2.0) if e["kind"] == "node-exited"} == {0, 2, 4, 6}
    with testbed.deploy(testbed_parts.make_spec(TREE)) as deployment:
        deployment.start()
        assert testbed.session.hosts[1].pid != victim


def test_a_killed_driver_leaves_nothing_running(tmp_path: Path) -> None:
    with driver(tmp_path) as process:
        said = json.loads(process.stdout.readline())  # type: ignore[union-attr]
        try:
            assert len(procs.marked(said["mark"])) > 12
            process.kill()
            wait_for(lambda: procs.marked(said["mark"]) == [], "everything has ended by itself")
        finally:
            process.kill()
            procs.end_marked(said["mark"], 0.0)
    wait_for(lambda: not Path(said["base"]).exists(), "its temporary files are gone")


@pytest.mark.long
def test_control_c_reaches_the_driver_alone(tmp_path: Path) -> None:
    # As a terminal does it: to the whole group. The nodes must live on until the driver has taken them down in order.
    with driver(tmp_path) as process:
        said = json.loads(process.stdout.readline())  # type: ignore[union-attr]
        try:
            os.killpg(process.pid, signal.SIGINT)
            ended = json.loads(process.stdout.readline())["ended"]  # type: ignore[union-attr]
            assert ended == {str(n): 0 for n in range(7)}
            assert json.loads(process.stdout.readline()) == {"closed": True}  # type: ignore[union-attr]
            assert process.wait(30.0) == 0
            assert procs.marked(said["mark"]) == []
            assert not Path(said["base"]).exists()
        finally:
            process.kill()
            procs.end_marked(said["mark"], 0.0)


def driver(run_dir: Path) -> subprocess.Popen[bytes]:
    script = Path(__file__).parent / "driver_in_a_process.py"
    path = os.pathsep.join(p for p in sys.path if p)
    return subprocess.Popen(
        [sys.executable, str(script), str(run_dir)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )


def test_without_ray_there_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("raise ImportError('libray.so: no such file')\n")
    code = (
        "from pathlib import Path; from harness.testbeds.local import Local; from harness.api.errors import HarnessError\n"
        "try: Local(hosts=1).open(Path('.'))\n"
        "except HarnessError as e: print(e, int(e.code))\n"
    )
    path = os.pathsep.join((str(tmp_path), *(p for p in sys.path if p)))
    said = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        check=True,
        cwd=tmp_path,
    ).stdout.decode()
    assert said.startswith("Ray cannot be imported (libray.so: no such file); install it: ")
    assert "-m pip install 'ray" in said
    assert said.endswith(" 13\n")


@pytest.mark.parametrize(("fields", "message"), [({"hosts": 0}, "at least one host"), ({"num_cpus": 0}, "at least one")])
def test_impossible_parameters(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LocalForTests(**fields)  # type: ignore[arg-type]
