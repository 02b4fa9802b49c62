"""What one conformance check found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckOutcome:
    """One check of a plugin. passed: None where it was skipped. message: why it failed or was skipped, or what was shown.
    took_s: wall-clock seconds."""

    name: str
    passed: bool | None
    message: str
    took_s: float
