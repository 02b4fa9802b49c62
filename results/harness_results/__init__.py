"""Judging and reporting: pure functions of a run's directory. `load` gives its tables as pandas frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.hookspecs import hookimpl

if TYPE_CHECKING:
    import pandas as pd

    from harness.api.records import TrialRecord

__all__ = ["harness_judge", "harness_report", "load"]


@hookimpl
def harness_judge(record: TrialRecord, trial: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict on a trial, from its record alone."""
    from harness_results.verdict import judge_trial

    return judge_trial(record, trial)


@hookimpl
def harness_report(run_dir: Path, width: int) -> tuple[dict[str, Any], str] | None:
    """The document and the text on a run; writes its tables into `frames/` on the way. None where `run_dir` is no run."""
    from harness.run.record import PLAN_NAME
    from harness_results.report import report

    return report(run_dir, width) if (run_dir / PLAN_NAME).exists() else None


def load(run_dir: Path | str) -> dict[str, pd.DataFrame]:
    """The tables of a run as pandas frames; see harness_results.frames.COLUMNS for what is in them."""
    from harness_results.frames import load

    return load(run_dir)
