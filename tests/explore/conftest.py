"""The modules beside the tests can be imported by their bare names; a bug that a test may plant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from harness.core.uplink import Uplink

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def sabotage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orphans never try anybody after the first candidate."""
    if type(Uplink.__dict__["_failed"]).__name__ != "function":
        pytest.skip("not applicable: the compiled core cannot be changed at run time")

    def failed(self: Any, reason: str) -> None:
        self.node.out.event("adopter-refused", adopter=self.target, reason=reason)
        self.target = self.link = None
        self.due = float("inf")

    monkeypatch.setattr(Uplink, "_failed", failed)
