"""What all tests share: what happens to skips, and how hypothesis runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Mapping
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path

import hypothesis
import pytest

#: Set by .ci/run: a machine that was set up for the tests must run them all.
REQUIRE_ALL = bool(os.environ.get("HARNESS_REQUIRE_ALL"))
#: A skip whose reason starts so is right everywhere: the test has no meaning here, nothing is missing.
ALLOWED = "not applicable"

# How fast a shared machine is today is no property of the code under test. New examples are looked for wherever somebody can
# look at what they find; a verdict on a change is about the change alone.
hypothesis.settings.register_profile("harness", deadline=None, derandomize=REQUIRE_ALL)
hypothesis.settings.load_profile("harness")


def pytest_configure(config: pytest.Config) -> None:
    """A compiled module that is older than its source would be tested in its place."""
    root = config.rootpath
    for library in [*root.glob("harness/*/*.so"), *root.glob("plugins/*/*/*.so"), *root.glob("workloads/*/*.so")]:
        source = library.with_name(library.name.split(".")[0] + ".py")
        if source.exists() and source.stat().st_mtime > library.stat().st_mtime:
            pytest.exit(f"{library.name} is older than its source: run `make setup` (or tools/compile_hot.py --clean)", 4)


@pytest.fixture
def require() -> Callable[[bool, str], None]:
    """`require(condition, reason)` skips the test where the machine lacks something, saying what."""

    def check(condition: bool, reason: str) -> None:
        if not condition:
            pytest.skip(reason)

    return check


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not REQUIRE_ALL or report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(ALLOWED):
        report.outcome = "failed"
        report.longrepr = f"skipped, although HARNESS_REQUIRE_ALL is set: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn skips into failures where everything is required."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for modules that skip themselves while they are collected."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[EntryPoint]]:
    """`install(distribution, {module: source}, {entry point: target})` puts a distribution on the path for one test, as an
    installer would, and returns its entry points in the group `harness`."""

    def put(distribution: str, modules: Mapping[str, str], points: Mapping[str, str], version: str = "1.0") -> list[EntryPoint]:
        site = tmp_path / "site" / distribution
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        for module, source in modules.items():
            (site / f"{module}.py").write_text(source)
            monkeypatch.delitem(sys.modules, module, raising=False)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = "".join(f"{name} = {target}\n" for name, target in points.items())
        (info / "entry_points.txt").write_text(f"[harness]\n{lines}")
        monkeypatch.syspath_prepend(str(site))
        found = next(iter(Distribution.discover(name=distribution, path=[str(site)])))
        return list(found.entry_points)

    return put
