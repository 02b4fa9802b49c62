"""Tidy tables of a run, one observation a row, as pandas frames, Parquet and CSV. Every column is described in COLUMNS, with
its unit in its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.run.journal import dump_json
from harness.run.record import RunRecord, read_run
from harness_results.cases import Judged, judged_again
from harness_results.throughput import BIN_S, LATENCIES, Deliveries
from harness_results.verdict import COUNTED

if TYPE_CHECKING:
    import pandas as pd

#: Columns of a table by name: lists or arrays of one length.
Columns = dict[str, Any]

_TRIAL = {"trial": "the trial's id"}
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "trials": {
        **_TRIAL,
        "case": "the case's id",
        "name": "the case's name",
        "index": "number of the trial within its case, from 0",
        "seed": "what every random choice of the trial follows from",
        "outcome": "measured, infrastructure, interrupted, skipped, unfinished or not-run",
        "verdict": "passed, failed, invalid, infrastructure, interrupted, skipped or not-run",
        "summary": "the verdict in one line",
        "waves": "distinct waves that were delivered",
        "lost": "waves or contributions that never came out",
        "duplicated": "waves or contributions that came out more than once",
        "mixed": "waves whose content belongs to other waves",
        "partial": "waves without every member of the communicator",
        "missing_ranks": "ranks that any wave lacked",
        "dead_ranks": "ranks that a fault killed",
        "duration_s": "first to last delivery",
        "steady_waves_per_s": "throughput before the first fault, without warm-up",
        **{f"latency_{k.replace('.', '_')}_ms": f"{k} of the latency before the first fault, by waves" for k in LATENCIES},
    },
    "faults": {
        **_TRIAL,
        "fault": "number of the suite's fault entry, from 0",
        "kind": "its kind",
        "node": "the node that it struck",
        "action": "what was done: kill, stop, cut, part, ...",
        "planned_s": "when it was to be done, since the trial's start; none for a fault at a wave or a moment",
        "done_s": "when it was done, since the trial's start",
        "late_ms": "done_s - planned_s",
        "confirmed_s": "when its effect was seen",
        "undone_s": "when it was taken back",
        "recovery_ms": "from the fault to the first complete wave",
        "recovery_needed": "false where nobody was lost because of it: then there was no recovery",
        "rebuilt_by": "replay, compose, decompose, several or nothing",
        "orphans": "children that lost their parent",
        "before_waves_per_s": "throughput in the steady window before the fault",
        "during_waves_per_s": "throughput from the fault to the first complete wave",
        "after_waves_per_s": "throughput from then on to the next fault or the end",
        "ratio_after": "after / before",
        "back_s": "from the fault until the throughput was back",
        "lost_waves": "steady throughput less what came out, until it was back",
    },
    "phases": {
        **_TRIAL,
        "fault": "number of the suite's fault entry, from 0",
        "node": "the node that was struck",
        "phase": "detect, choose, connect, rebuild, first-wave or first-complete-wave",
        "end_ms": "when the last step of the phase was over, since the fault",
        "length_ms": "what the phase added to what was over before",
    },
    "orphans": {
        **_TRIAL,
        "fault": "number of the suite's fault entry, from 0",
        "lost": "the node that was struck",
        "node": "the orphan",
        "adopter": "its new parent",
        "attempts": "candidates that it tried",
        "refused": "candidates that did not answer or said no",
        "chosen_ms": "when it picked its last candidate, since the fault",
        "connected_ms": "when its new link was up",
        "reattached_ms": "when the adopter had taken it in",
    },
    "samples": {
        **_TRIAL,
        "t_s": "when a run of waves was delivered, since the trial's start",
        "granted_s": "when the window opened for the first of them",
        "latency_ms": "t_s - granted_s",
        "stream": "the stream's id",
        "first": "the first wave of the run",
        "count": "the number of waves",
        "complete": "every member of the communicator was in them",
        "contributors": "index of the contributor set in the trial's contributors.jsonl",
    },
    "throughput": {
        **_TRIAL,
        "start_s": f"start of a bin of {BIN_S:g} s, since the trial's start",
        "waves": "waves delivered in the bin",
        "waves_per_s": "the same by second",
        "latency_max_ms": "the largest latency in the bin, NaN where nothing came out",
    },
    "events": {
        **_TRIAL,
        "t_s": "when it happened, since the trial's start",
        "kind": "its kind, see harness.api.records.EVENT_KINDS",
        "node": "the node that told, -1 where none did",
        "fields": "its other fields, as JSON",
    },
}


def load(run_dir: Path | str) -> dict[str, pd.DataFrame]:
    """The tables of a run as pandas frames, by the names in COLUMNS. Raises InfrastructureError where `run_dir` is no run."""
    import pandas as pd

    run = read_run(Path(run_dir))
    return {name: pd.DataFrame(columns) for name, columns in tables(run, [judged_again(t) for t in run.trials]).items()}


def write(run: RunRecord, trials: Sequence[Judged]) -> None:
    """Write the tables into the run's `frames/`, each as Parquet and as CSV. Raises OSError where that cannot be done."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    directory = run.run_dir / "frames"
    directory.mkdir(exist_ok=True)
    for name, columns in tables(run, trials).items():
        arrays = {column: pa.array(values) for column, values in columns.items()}
        # A column in which nothing is known still has its type, so that tables of several runs fit together.
        table = pa.table(
            {
                c: a.cast(pa.float64() if _is_number(c) else pa.string()) if a.null_count == len(a) else a
                for c, a in arrays.items()
            }
        )
        for suffix, put in ((".parquet", parquet.write_table), (".csv", csv.write_csv)):
            beside = directory / f"{name}{suffix}.part"
            try:
                put(table, beside)
                beside.replace(directory / f"{name}{suffix}")
            finally:
                beside.unlink(missing_ok=True)


def _is_number(column: str) -> bool:
    return column.endswith(("_s", "_ms")) or column in ("ratio_after", "lost_waves", "adopter", "waves", *COUNTED)


def tables(run: RunRecord, trials: Sequence[Judged]) -> dict[str, Columns]:
    """The tables as columns, in the order of COLUMNS."""
    measured = [t for t in trials if t.figures is not None]
    rows = {
        "trials": [_trial_row(t) for t in trials],
        "faults": [_fault_row(t, f) for t in measured for f in _faults(t)],
        "phases": [
            {"trial": t.trial.id, "fault": f["fault"], "node": f["node"], **step}
            for t in measured
            for f in _faults(t)
            for step in f.get("phases", ())
        ],
        "orphans": [
            {"trial": t.trial.id, "fault": f["fault"], "lost": f["node"], **orphan}
            for t in measured
            for f in _faults(t)
            for orphan in f.get("orphans", ())
        ],
        "events": [_event_row(t, e) for t in measured for e in t.trial.record.events],
    }
    found = {name: _columns(name, found) for name, found in rows.items()}
    found["samples"] = _stacked("samples", [_samples(t) for t in measured])
    found["throughput"] = _stacked("throughput", [_throughput(t) for t in measured])
    return {name: found[name] for name in COLUMNS}


def _columns(name: str, rows: Sequence[Mapping[str, Any]]) -> Columns:
    return {column: [row.get(column) for row in rows] for column in COLUMNS[name]}


def _faults(t: Judged) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = (t.figures or {}).get("faults", ())
    return found


def _trial_row(t: Judged) -> dict[str, Any]:
    plan, figures = t.trial.plan, t.figures or {}
    steady, whole = figures.get("steady") or {}, figures.get("whole") or {}
    counts = figures.get("counts", {})
    return {
        **{key: plan[key] for key in ("trial", "case", "name", "index", "seed")},
        "outcome": t.trial.outcome,
        "verdict": t.verdict,
        "summary": t.summary,
        "waves": figures.get("waves"),
        **{key: counts.get(key) for key in COUNTED},
        "missing_ranks": figures.get("missing_ranks"),
        "dead_ranks": figures.get("dead_ranks"),
        "duration_s": whole["end_s"] - whole["start_s"] if whole else None,
        "steady_waves_per_s": steady.get("waves_per_s"),
        **{f"latency_{k.replace('.', '_')}_ms": v for k, v in steady.get("latency_ms", {}).items()},
    }


def _fault_row(t: Judged, fault: Mapping[str, Any]) -> dict[str, Any]:
    windows = {f"{w}_waves_per_s": (fault.get(w) or {}).get("waves_per_s") for w in ("before", "during", "after")}
    return {**fault, "trial": t.trial.id, "orphans": len(fault.get("orphans", ())), **windows}


def _event_row(t: Judged, event: Mapping[str, Any]) -> dict[str, Any]:
    fields = {k: v for k, v in event.items() if k not in ("t_s", "kind", "node")}
    row = {"trial": t.trial.id, "t_s": float(event["t_s"]), "kind": event["kind"]}
    return {**row, "node": int(event.get("node", -1)), "fields": dump_json(fields)}


def _samples(t: Judged) -> Columns:
    rows = t.trial.record.samples
    names = ("t_s", "granted_s", "stream", "first", "count", "contributors")
    found: Columns = {name: np.ascontiguousarray(rows[name]) for name in names}
    found["latency_ms"] = (rows["t_s"] - rows["granted_s"]) * 1e3
    found["complete"] = rows["complete"] != 0
    found["trial"] = np.full(len(rows), t.trial.id, dtype=object)
    return found


def _throughput(t: Judged) -> Columns:
    deliveries = Deliveries(t.trial.record.samples)
    last = deliveries.span[1]
    edges = BIN_S * np.arange(int(np.floor(last / BIN_S)) + 2 if len(deliveries.t_s) else 1)
    starts = edges[:-1]
    waves = deliveries.waves(starts, edges[1:])
    latency = np.full(len(starts), np.nan)
    at = np.searchsorted(edges, deliveries.t_s, side="right") - 1
    np.fmax.at(latency, at, deliveries.latency_ms)
    return {
        "trial": np.full(len(starts), t.trial.id, dtype=object),
        "start_s": starts,
        "waves": waves,
        "waves_per_s": waves / BIN_S,
        "latency_max_ms": latency,
    }


def _stacked(name: str, parts: Sequence[Columns]) -> Columns:
    return {c: np.concatenate([p[c] for p in parts]) if parts else np.empty(0) for c in COLUMNS[name]}
