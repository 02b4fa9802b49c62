"""Fixtures of the testbeds' tests."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # node processes import the parts of the tests by name

from testbed_helpers import Hosts

from harness.core.tree import Tree
from harness.testbeds import procs


def _hosts(scratch: Path) -> Iterator[Hosts]:
    made = Hosts(f"test-{os.getpid()}-{time.monotonic_ns()}", scratch)
    try:
        yield made
    finally:
        made.close()
        left = made.processes()
        procs.end_marked(made.mark, 0.0)
    assert left == []
    assert list(scratch.glob("harness-*")) == []


@pytest.fixture(scope="module")
def shared_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    yield from _hosts(tmp_path_factory.mktemp("hosts"))


@pytest.fixture
def hosts(shared_hosts: Hosts) -> Iterator[Hosts]:
    """Two hosts that the trials of a module share; a trial leaves only their fork servers."""
    yield shared_hosts
    assert sorted(shared_hosts.processes()) == sorted(shared_hosts.servers())


@pytest.fixture
def fresh_hosts(tmp_path: Path) -> Iterator[Hosts]:
    """Two hosts for a test that breaks them."""
    yield from _hosts(tmp_path)


@pytest.fixture
def tree() -> Tree:
    """A front-end, two communication processes, four back-ends."""
    return Tree.from_parents([None, 0, 0, 1, 1, 2, 2])
