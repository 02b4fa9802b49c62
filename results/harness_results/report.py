"""The report on a run: document, text and tables, all from its directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.run.record import read_run
from harness_results.cases import judged_again
from harness_results.document import run_document
from harness_results.frames import write
from harness_results.terminal import render


def report(run_dir: Path, width: int) -> tuple[dict[str, Any], str]:
    """The document on the run, and its text for `width` columns. The tables in `frames/` are written anew; where they cannot
    be (a full disk, a directory that may only be read), the document's `notes` say so. Raises InfrastructureError where the
    directory is no run or its record is damaged."""
    run = read_run(run_dir)
    trials = [judged_again(t) for t in run.trials]
    document = run_document(run, trials)
    try:
        write(run, trials)
    except OSError as e:
        document["notes"].append(f"the tables in frames/ could not be written: {e.strerror or e}")
        document["files"].pop("frames")
    return document, render(document, width)
