"""Reading a run's directory back: the one source of everything that judges or reports."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.api.errors import InfrastructureError
from harness.api.records import SAMPLE_DTYPE, TrialRecord
from harness.core.ranks import RankSet
from harness.run.journal import FILE_NAME, read_journal
from harness.run.plan import FORMAT, tree_of

PLAN_NAME = "plan.json"
ENVIRONMENT_NAME = "environment.json"
SUITE_NAME = "suite.toml"
TRIALS_NAME = "trials"
SAMPLES_NAME = "samples.bin"
CONTRIBUTORS_NAME = "contributors.jsonl"
#: The recorded numbers of all waves, by type: int64 or float64.
OBSERVED_NAMES: Mapping[str, str] = {"observed.i8.bin": "<i8", "observed.f8.bin": "<f8"}

#: What can become of a trial beside being judged.
NOT_RUN, UNFINISHED, SKIPPED = "not-run", "unfinished", "skipped"


@dataclass(frozen=True)
class RecordedTrial:
    """One planned trial and what the journal says of it.

    outcome: measured, infrastructure, interrupted, skipped (with the reason), unfinished (the journal ends in the middle of it)
    or not-run. plan: the plain form of the trial. check: the plain form of the workload's Check, None where it was not made.
    verdict: as it was recorded, None where it was not.
    """

    directory: Path
    plan: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]
    outcome: str
    reason: str
    check: Mapping[str, Any] | None
    verdict: Mapping[str, Any] | None

    @property
    def id(self) -> str:
        """The trial's name, fit for a file name."""
        return str(self.plan["trial"])

    @cached_property
    def _loaded(self) -> tuple[TrialRecord, tuple[str, ...]]:
        return load_trial(self.directory, self.plan, self.events)

    @property
    def record(self) -> TrialRecord:
        """The trial as it was observed. Large arrays are mapped, not read."""
        return self._loaded[0]

    @property
    def notes(self) -> tuple[str, ...]:
        """What is missing from the record, one sentence each; nothing where it is whole."""
        return self._loaded[1]

    def for_judge(self) -> dict[str, Any]:
        """The plan with what was found beside it: what the hook harness_judge takes as `trial`."""
        return {
            **self.plan,
            "outcome": self.outcome,
            "reason": self.reason,
            "check": self.check,
            "record_notes": list(self.notes),
        }


@dataclass(frozen=True)
class RunRecord:
    """A whole run. `finished` is the journal's last word on the run (interrupted, reason), None where the program ended without
    one; `verdict` the recorded verdict on the run; `testbed` what the testbed was found to be; notes: what is missing."""

    run_dir: Path
    plan: Mapping[str, Any]
    environment: Mapping[str, Any]
    trials: tuple[RecordedTrial, ...]
    testbed: Mapping[str, Any] = field(default_factory=dict)
    finished: Mapping[str, Any] | None = None
    verdict: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()


def read_run(run_dir: Path) -> RunRecord:
    """Read a run's directory. Samples are read when a trial's `record` is first asked for.

    Raises InfrastructureError where the directory is no run, or its journal is damaged elsewhere than in its last line.
    """
    plan = _read_json(run_dir / PLAN_NAME)
    if plan.get("format") != FORMAT:
        raise InfrastructureError(
            f"{run_dir / PLAN_NAME} has format {plan.get('format')!r}; this program reads format {FORMAT}."
            " Read the run with the version of harness that wrote it"
        )
    text = read_journal(run_dir / FILE_NAME)
    whole: dict[str, Mapping[str, Any]] = {}
    by_trial: dict[str, dict[str, Any]] = {}
    for entry in text.entries:
        if "trial" in entry:
            _sort_in(by_trial.setdefault(entry["trial"], {"events": []}), entry)
        elif "what" in entry:
            whole[entry["what"]] = entry
    try:
        trials = tuple(_trial(run_dir, p, by_trial.get(p["trial"])) for p in plan["trials"])
    except (KeyError, TypeError) as e:
        raise InfrastructureError(
            f"{run_dir / PLAN_NAME} is damaged: it does not say which trials there are. Restore it from a copy, or run the"
            " suite again"
        ) from e
    return RunRecord(
        run_dir=run_dir,
        plan=plan,
        environment=_read_json(run_dir / ENVIRONMENT_NAME),
        trials=trials,
        testbed=whole.get("testbed", {}),
        finished=whole.get("run-finished"),
        verdict=whole.get("run-verdict"),
        notes=() if text.torn is None else (f"journal: {text.torn}",),
    )


def read_trial(run_dir: Path, plan: Mapping[str, Any], position: tuple[int, int]) -> RecordedTrial:
    """One trial of a run that is still going on; `position` is where its first line is in the journal. Raises as `read_run`."""
    found: dict[str, Any] = {"events": []}
    for entry in read_journal(run_dir / FILE_NAME, *position).entries:
        if entry.get("trial") == plan["trial"]:
            _sort_in(found, entry)
    return _trial(run_dir, plan, found)


def trial_directory(run_dir: Path, trial: str) -> Path:
    """Where a trial's files are."""
    return run_dir / TRIALS_NAME / trial


def load_trial(
    directory: Path, plan: Mapping[str, Any], events: Iterable[Mapping[str, Any]]
) -> tuple[TrialRecord, tuple[str, ...]]:
    """A trial's record from its files and events, and what is missing from it. What is not whole is cut to what is: rows to
    whole rows, and rows to those whose numbers and contributors are there."""
    notes: list[str] = []
    sets = _contributors(directory / CONTRIBUTORS_NAME, notes)
    samples = _array(directory / SAMPLES_NAME, SAMPLE_DTYPE, notes)
    samples = _known_contributors(samples, len(sets), notes)
    name = next((n for n in OBSERVED_NAMES if (directory / n).exists()), "observed.i8.bin")
    # A front-end that ended in order and has recorded nothing never began the file: nothing came out, and all of that is known.
    nothing = not len(samples) and not notes and not (directory / name).exists() and _ended_in_order(events := list(events))
    observed = np.empty(0, OBSERVED_NAMES[name]) if nothing else _array(directory / name, np.dtype(OBSERVED_NAMES[name]), notes)
    ends = np.cumsum(samples["count"], dtype=np.int64)
    rows = int(np.searchsorted(ends, len(observed), side="right"))
    waves = int(ends[rows - 1]) if rows else 0
    if rows < len(samples):
        notes.append(f"{name} holds {len(observed)} of {int(ends[-1])} numbers; {len(samples) - rows} rows are left out")
    elif waves < len(observed):
        notes.append(f"{name} holds {len(observed)} numbers where the rows have {waves}; the others are left out")
    record = TrialRecord(
        plan=plan,
        tree=tree_of(plan),
        events=sorted(events, key=lambda e: float(e["t_s"])),
        samples=samples[:rows],
        observed=observed[:waves],
        contributor_sets=sets,
    )
    return record, tuple(notes)


def _ended_in_order(events: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the front-end, or the standby that took its place, did."""
    told = list(events)
    root = next((e.get("node", 0) for e in reversed(told) if e["kind"] == "finished"), 0)
    return any(e["kind"] == "node-exited" and e.get("node") == root and e.get("status") == 0 for e in told)


def _sort_in(found: dict[str, Any], entry: Mapping[str, Any]) -> None:
    if entry["what"] == "event":
        found["events"].append(entry["event"])
    else:
        found[entry["what"]] = entry


def _trial(run_dir: Path, plan: Mapping[str, Any], found: Mapping[str, Any] | None) -> RecordedTrial:
    found = found or {"events": []}
    ended = found.get("trial-ended")
    if ended is None and "trial-started" in found:
        ended = {"outcome": UNFINISHED, "reason": "the journal ends in the middle of this trial"}
    if ended is None:
        ended = {"outcome": NOT_RUN, "reason": "the run ended before this trial"}
    verdict = found.get("verdict")
    return RecordedTrial(
        directory=trial_directory(run_dir, plan["trial"]),
        plan=plan,
        events=found["events"],
        outcome=str(ended["outcome"]),
        reason=str(ended["reason"]),
        check=ended.get("check"),
        verdict=None if verdict is None else verdict["verdict"],
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except OSError as e:
        raise InfrastructureError(f"{path} cannot be read: {e.strerror or e}. Name the directory of a run") from e
    except ValueError as e:
        raise InfrastructureError(f"{path} is damaged: {e}. Restore it from a copy, or run the suite again") from e
    if not isinstance(found, dict):
        raise InfrastructureError(f"{path} is damaged: it holds no JSON object. Restore it from a copy, or run the suite again")
    return found


def _array(path: Path, dtype: np.dtype[Any], notes: list[str]) -> NDArray[Any]:
    """A file of raw items as an array, mapped into memory; a piece of an item at its end is left out."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        notes.append(f"{path.name} is missing")
        return np.empty(0, dtype)
    items, rest = divmod(size, dtype.itemsize)
    if rest:
        notes.append(f"{path.name} ends in the middle of an item; {rest} bytes are left out")
    if not items:
        return np.empty(0, dtype)
    return np.memmap(path, dtype, mode="r", shape=(items,))


def _contributors(path: Path, notes: list[str]) -> list[RankSet]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        notes.append(f"{path.name} is missing")
        return []
    found = []
    for line in lines:
        if not line:
            continue
        try:
            found.append(RankSet((int(a), int(b)) for a, b in json.loads(line)))
        except (ValueError, TypeError):
            notes.append(f"{path.name}: line {len(found) + 1} is damaged; it and the lines after it are left out")
            break
    return found


def _known_contributors(samples: NDArray[Any], known: int, notes: list[str]) -> NDArray[Any]:
    unknown = np.flatnonzero(samples["contributors"] >= known)
    if not len(unknown):
        return samples
    first = int(unknown[0])
    notes.append(f"row {first} of {SAMPLES_NAME} names an unknown contributor set; it and the rows after it are left out")
    return samples[:first]
