"""The tests of the core share a simulated network and its scenarios, which are plain modules beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Golden transcripts are made anew on demand only."""
    parser.addoption("--record-transcripts", action="store_true", help="record the golden transcripts of the core anew")
