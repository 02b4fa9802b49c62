"""The example package, installed as a user installs it: found, sound, and at work in a suite. docs/plugins.md shows the same
code, and its sketches run as well."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.testing.filters import run_checks

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "examples" / "harness-example-plugins"
PAGE = (ROOT / "docs" / "plugins.md").read_text()
DISTRIBUTION = "harness-example-plugins"

SKETCHES = """
from harness.hookspecs import hookimpl

@hookimpl
def harness_topologies():
    return {"caterpillar": Caterpillar}

@hookimpl
def harness_adopters():
    return {"deepest": Deepest}

@hookimpl
def harness_faults():
    return {"rolling": Rolling}

@hookimpl
def harness_workloads():
    return {"roll-call": RollCall}
"""
SKETCHED_CASE = """
[[case]]
name = "sketches"
workload = { kind = "roll-call", waves = 1_000_000 }
topology = { kind = "caterpillar", length = 3, leaves = 2 }

[[case.fault]]
kind = "rolling"
target = "node:1, node:4"
at_s = 0.0
every_s = 0.02
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the package installed into it, without a network; put it on the path and harness finds the plugins."""
    if importlib.util.find_spec("hatchling") is None or importlib.util.find_spec("pip") is None:
        pytest.skip("pip and hatchling are needed to install the example package; `make setup` installs them")
    source, target = tmp_path_factory.mktemp("source") / "example", tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--target", target, source],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def harness(site: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a command with `--json` where the package is installed, in an empty directory; returns its document."""

    def run(*args: str, path: Path | None = None) -> dict[str, Any]:
        paths = os.pathsep.join(str(p) for p in (site, path) if p)
        done = subprocess.run(
            [sys.executable, "-m", "harness", *args, "--json"],
            capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    return run


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package can be imported here."""
    monkeypatch.syspath_prepend(str(site))
    for name in [n for n in sys.modules if n.partition(".")[0] == "harness_example"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("name", ["range_filter.py", "paced_tcp.py"])
def test_each_plugin_is_one_short_file(name: str) -> None:
    assert len((EXAMPLE / "harness_example" / name).read_text().splitlines()) < 60


def test_both_are_found_through_their_entry_points(harness: Callable[..., dict[str, Any]]) -> None:
    plugins = [p for p in harness("plugin", "list")["plugins"] if p["distribution"] == DISTRIBUTION]
    assert [p["broken"] for p in plugins] == [None, None]
    kinds = {(k["category"], k["kind"]) for p in plugins for k in p["kinds"]}
    assert kinds == {("filter", "range"), ("transport", "paced-tcp")}


@pytest.mark.parametrize("what", [("filter", "range"), ("transport", "paced-tcp", "rate_mbit=200")], ids=lambda w: w[1])
def test_both_conform(harness: Callable[..., dict[str, Any]], what: tuple[str, ...]) -> None:
    found = harness("plugin", "check", *what)
    assert found["passed"] is True
    assert len([c for c in found["checks"] if c["passed"]]) > 10


def test_the_range_is_that_of_all_contributions(installed: None) -> None:
    from harness_example.range_filter import Range

    def reference(offers: Any, ranks: Any) -> Any:
        return np.stack([np.min(offers, axis=0), np.max(offers, axis=0)], axis=-1)

    outcomes = run_checks(Range(), reference=reference)
    assert [o for o in outcomes if o.passed is False] == []
    nan = Range().combine([Range().lift(np.array([[1.0, np.nan]]), 0), Range().lift(np.array([[2.0, 3.0]]), 1)], [])
    assert np.array_equal(nan, [[[1.0, 2.0], [np.nan, np.nan]]], equal_nan=True)


def test_every_connection_is_paced(installed: None) -> None:
    from harness_example.paced_tcp import SO_MAX_PACING_RATE, PacedTcp

    transport = PacedTcp(rate_mbit=100)
    assert transport.unavailable() is None
    with socket.socket() as sock:
        transport.configure(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE) == 12_500_000  # bytes a second
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    for rate in (0.5, 20_000.0):
        with pytest.raises(ValueError, match="rate_mbit"):
            PacedTcp(rate_mbit=rate)
    with pytest.raises(ValueError, match="keepalive_s"):
        PacedTcp(keepalive_s=0)


def test_the_page_shows_the_files_as_they_are() -> None:
    shown = dict(re.findall(r"<!-- ([\w/.]+\.(?:py|toml)) -->\n```\w+\n(.*?\n)```\n", PAGE, re.DOTALL))
    files = ["pyproject.toml", "suite.toml", "harness_example/range_filter.py", "harness_example/paced_tcp.py"]
    assert sorted(shown) == sorted(files)
    for name in files:
        assert shown[name] == (EXAMPLE / name).read_text(), name


def test_a_suite_uses_them_and_so_do_the_sketches_of_the_page(
    harness: Callable[..., dict[str, Any]], install: Callable[..., Any], tmp_path: Path
) -> None:
    blocks = re.findall(r"<!-- sketch -->\n```python\n(.*?)```\n", PAGE, re.DOTALL)
    assert len(blocks) == 4
    future = "from __future__ import annotations\n\n"
    install("sketches", {"sketches": future + "\n\n".join(blocks) + SKETCHES}, {"sketches": "sketches"})
    site = tmp_path / "site" / "sketches"
    checked = harness("plugin", "check", "topology", "caterpillar", "length=3", "leaves=2", path=site)
    assert checked["passed"] is True
    assert harness("plugin", "check", "adopter", "deepest", path=site)["passed"] is True

    suite = tmp_path / "suite.toml"
    suite.write_text((EXAMPLE / "suite.toml").read_text() + SKETCHED_CASE)
    found = harness("run", str(suite), path=site)
    assert found["verdict"] == "passed"
    ranges, sketches = found["cases"]
    assert ranges["counts"]["delivered"] > 0
    assert ranges["expect"]["recovery"] == "equivalent", "an idempotent filter is composed"
    assert sketches["counts"]["delivered"] == 1_000_000
    trials = json.loads((Path(found["run"]) / "plan.json").read_text())["trials"]
    assert trials[0]["transport"]["kind"] == "paced-tcp"
    assert [(i["node"], i["kind"]) for i in trials[1]["injections"]] in (
        [(1, "rolling"), (4, "rolling")],
        [(4, "rolling"), (1, "rolling")],
    )
