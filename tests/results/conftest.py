"""Runs whose truth is known: written by a small generator, through the real journal, as a run would write them.

The tree is 2 x 2: front-end 0, communication processes 1 and 2, back-ends 3 to 6 with ranks 0 to 3. One stream delivers ten
waves every 10 ms from 0.1 s to 5 s. The usual fault kills node 1 at 2 s; nothing comes out until 2.25 s.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.api.records import SAMPLE_DTYPE, TrialRecord
from harness.core.ranks import RankSet
from harness.run.journal import Journal
from harness.run.record import load_trial, trial_directory

PARENTS = [None, 0, 0, 1, 1, 2, 2]
ALL = ((0, 4),)
FAULT_S, BACK_S, END_S = 2.0, 2.25, 5.0
STEP_S, BATCH = 0.01, 10


def injection(node: int = 1, action: str = "kill", at_s: float = FAULT_S, fault: int = 0, **more: Any) -> dict[str, Any]:
    trigger = {"at_s": at_s, "at_wave": None, "moment": None}
    kind = "crash" if action == "kill" else "hang"
    return {"fault": fault, "kind": kind, "node": node, "action": action, "trigger": trigger, "undo_after_s": None, **more}


@dataclass
class Trial:
    """One trial in the making. rows: (t_s, granted_s, stream, contributors, first, count, complete)."""

    plan: dict[str, Any]
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    sets: list[RankSet] = field(default_factory=lambda: [RankSet(ALL)])
    check: dict[str, Any] | None = field(
        default_factory=lambda: {"passed": True, "summary": "each in its wave once", "counts": {"mixed": 0}, "violations": []}
    )
    outcome: str = "measured"
    reason: str = ""

    def say(self, t_s: float, kind: str, **fields: Any) -> None:
        self.events.append({"t_s": t_s, "kind": kind, **fields})

    def deliver(
        self,
        start_s: float,
        end_s: float,
        contributors: tuple[tuple[int, int], ...] = ALL,
        complete: bool | None = None,
        latency_s: float = 0.002,
    ) -> None:
        """A batch every STEP_S in [start_s, end_s), with the next waves."""
        ranks = RankSet(contributors)
        if ranks not in self.sets:
            self.sets.append(ranks)
        whole = len(ranks) == 4 if complete is None else complete
        for i in range(round((end_s - start_s) / STEP_S)):
            t = start_s + i * STEP_S
            first = self.rows[-1][4] + self.rows[-1][5] if self.rows else 0
            self.rows.append((t, t - latency_s, 1, self.sets.index(ranks), first, BATCH, whole, b""))

    def kill(self, node: int, at_s: float, fault: int = 0, confirmed: bool = True) -> None:
        self.plan["injections"].append(injection(node, "kill", at_s, fault))
        self.say(at_s, "fault", fault=fault, action="kill", node=node, trigger="at_s")
        if confirmed:
            self.say(at_s + 0.004, "fault-confirmed", fault=fault, node=node, effect="exited by signal 9")
            self.say(at_s + 0.004, "node-exited", node=node, status=-9)

    def recover(self, lost: int, at_s: float, adopter: int = 2, orphans: tuple[int, ...] = (3, 4)) -> None:
        """The events of a recovery: detect 10 ms, choose 12, connect 21, replay 30 after the fault (the last orphan's)."""
        for i, orphan in enumerate(orphans):
            self.say(at_s + 0.010 + i / 1000, "link-lost", node=orphan, peer=lost, cause="closed")
            self.say(at_s + 0.011 + i / 1000, "adopter-chosen", node=orphan, lost=lost, adopter=adopter, attempt=1)
            self.say(at_s + 0.019 + i / 1000, "connected", node=orphan, parent=adopter)
            self.say(at_s + 0.020 + i / 1000, "reattached", node=adopter, child=orphan, parent=adopter, lost=lost)
            self.say(at_s + 0.029 + i / 1000, "replayed", node=orphan, stream=1, wave=1, count=5)

    def samples(self) -> np.ndarray:
        return np.array(self.rows, dtype=SAMPLE_DTYPE)

    def write(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        rows = self.samples()
        (directory / "samples.bin").write_bytes(rows.tobytes())
        (directory / "observed.i8.bin").write_bytes(np.arange(int(rows["count"].sum()), dtype="<i8").tobytes())
        lines = [json.dumps([list(r) for r in s.ranges]) + "\n" for s in self.sets]
        (directory / "contributors.jsonl").write_text("".join(lines))

    def record(self, directory: Path) -> TrialRecord:
        self.write(directory)
        return load_trial(directory, self.plan, self.events)[0]

    def for_judge(self) -> dict[str, Any]:
        return {**self.plan, "outcome": self.outcome, "reason": self.reason, "check": self.check, "record_notes": []}


def trial_plan(case: str = "crash", index: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "trial": f"{case}-t{index}",
        "case": case,
        "name": case,
        "axes": {},
        "index": index,
        "seed": 7 + index,
        "tree": {"parents": PARENTS, "hosts": [0] * len(PARENTS)},
        "workload": {"kind": "reduce-stream"},
        "sync": "wait-for-all",
        "accept": "complete",
        "recovery": "replay",
        "injections": [],
        "expect": {"recovery": "exact"},
        **copy.deepcopy(more),
    }


def calm(case: str = "crash", index: int = 0, **more: Any) -> Trial:
    """A good trial without a fault."""
    trial = Trial(trial_plan(case, index, **more))
    trial.say(0.05, "tree-ready", nodes=7, took_s=0.05)
    trial.say(0.05, "workload-started")
    trial.deliver(0.1, END_S)
    trial.say(END_S, "finished", ok=True, reason="")
    return trial


def crash(case: str = "crash", index: int = 0, back_s: float = BACK_S, **more: Any) -> Trial:
    """A good trial with the usual fault: recovered at `back_s`."""
    trial = Trial(trial_plan(case, index, **more))
    trial.say(0.05, "workload-started")
    trial.deliver(0.1, FAULT_S)
    trial.kill(1, FAULT_S)
    trial.recover(1, FAULT_S)
    trial.say(back_s, "first-wave", stream=1, wave=1900)
    trial.say(back_s, "first-complete-wave", stream=1, wave=1900)
    trial.deliver(back_s, END_S)
    trial.say(END_S, "finished", ok=True, reason="")
    return trial


def write_run(run_dir: Path, trials: list[Trial], finished: dict[str, Any] | None = None, judge: Any = None) -> Path:
    """Write a whole run; `finished` replaces the journal's last word, {} leaves it out; `judge(trial)` gives the verdicts."""
    run_dir.mkdir(parents=True)
    plan = {
        "format": 1,
        "suite": {"name": "synthetic", "seed": 7, "trials": 1, "description": ""},
        "source": "synthetic.toml",
        "testbed": {"kind": "fake"},
        "trials": [t.plan for t in trials],
    }
    (run_dir / "plan.json").write_text(json.dumps(plan))
    (run_dir / "environment.json").write_text(json.dumps({"argv": ["harness", "run", "synthetic.toml"], "started_at": "now"}))
    journal = Journal(run_dir)
    journal.append({"what": "testbed", "hosts": 1, "capabilities": {"kill": "by hand"}})
    for trial in trials:
        name = trial.plan["trial"]
        if trial.outcome == "not-run":
            continue
        if trial.outcome != "skipped":
            journal.append({"what": "trial-started", "trial": name, "at": "now"})
            journal.append(*({"what": "event", "trial": name, "event": e} for e in trial.events))
            trial.write(trial_directory(run_dir, name))
        if trial.outcome == "unfinished":
            continue
        ended = {"outcome": trial.outcome, "reason": trial.reason, "took_s": 5.0, "check": trial.check}
        journal.append({"what": "trial-ended", "trial": name, **ended})
        if judge is not None:
            journal.append({"what": "verdict", "trial": name, "verdict": judge(trial)})
    last = {"interrupted": False, "reason": ""} if finished is None else finished
    if last:
        journal.append({"what": "run-finished", **last})
    journal.close()
    return run_dir


@pytest.fixture
def synthetic() -> SimpleNamespace:
    """What tests build runs from."""
    return SimpleNamespace(calm=calm, crash=crash, plan=trial_plan, injection=injection, trial=Trial, write_run=write_run)
