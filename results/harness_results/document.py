"""The document on a run: everything that `--json` prints and the terminal report shows, made from the run's directory alone."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from harness.api.errors import ExitCode
from harness.run.journal import FILE_NAME
from harness.run.record import ENVIRONMENT_NAME, PLAN_NAME, SUITE_NAME, TRIALS_NAME, RunRecord
from harness_results.cases import ORDER, Judged, case_document
from harness_results.verdict import FAILED, INFRASTRUCTURE, INTERRUPTED, PASSED, SKIPPED

#: The version of the document's form.
SCHEMA = 1
EXIT_CODES: Mapping[str, ExitCode] = {
    PASSED: ExitCode.PASSED,
    FAILED: ExitCode.CHECK_FAILED,
    INFRASTRUCTURE: ExitCode.INFRASTRUCTURE,
    INTERRUPTED: ExitCode.INCONCLUSIVE,
    "inconclusive": ExitCode.INCONCLUSIVE,
}


def run_document(run: RunRecord, trials: Sequence[Judged]) -> dict[str, Any]:
    """The document: verdict and exit code first, then the figures of each case; plain values only.

    A failed check decides before everything else: it was found, whatever else went wrong. Then comes an interruption, then the
    infrastructure, then what could not be told. A run in which everything was skipped has said nothing: infrastructure.
    """
    interrupted = run.finished is None or bool(run.finished["interrupted"])
    by_case: dict[str, list[Judged]] = {}
    for trial in trials:
        by_case.setdefault(trial.trial.plan["case"], []).append(trial)
    cases = [case_document(group[0].trial.plan, group, interrupted) for group in by_case.values()]
    verdict, reasons = _verdict(run, cases)
    return {
        "schema": SCHEMA,
        "verdict": verdict,
        "exit_code": int(EXIT_CODES[verdict]),
        "reasons": reasons,
        "notes": [*run.notes, *_notes(trials), *_garbage(trials), *_disagreements(trials)],
        "run": str(run.run_dir.resolve()),
        "suite": run.plan["suite"]["name"],
        "seed": run.plan["suite"]["seed"],
        "testbed": {"kind": run.plan["testbed"]["kind"], "hosts": run.testbed.get("hosts")},
        "started_at": run.environment.get("started_at"),
        "command": command_of(run.environment.get("argv") or (), run),
        "cases": cases,
        "skipped": [
            {"case": c["case"], "name": c["name"], "trials": c["trials"][SKIPPED], "reason": c["reasons"][0]}
            for c in cases
            if c["verdict"] == SKIPPED
        ],
        "environment": run.environment,
        "files": files_of(run),
    }


def _verdict(run: RunRecord, cases: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """The word and its reasons. Those of cases that ended with another word come last and say which."""
    words = {c["verdict"] for c in cases}
    first: list[str] = []
    if run.finished is None:
        words.add(INTERRUPTED)
        first.append("the program ended before the run did: the journal has no last word")
    elif run.finished["reason"]:
        words.add(INTERRUPTED if run.finished["interrupted"] else INFRASTRUCTURE)
        first.append(str(run.finished["reason"]))
    verdict = next(word for word in ORDER if word in words)
    deciding = [f"{c['name']}: {r}" for c in cases if c["verdict"] == verdict for r in c["reasons"]]
    others = [c for c in cases if c["verdict"] not in (verdict, SKIPPED)]
    reasons = first + deciding + [f"{c['name']} ({c['verdict']}): {r}" for c in others for r in c["reasons"]]
    if verdict == SKIPPED:
        return INFRASTRUCTURE, [
            "every case was skipped, so nothing is said",
            *(f"{c['name']}: {c['reasons'][0]}" for c in cases),
        ]
    return verdict, reasons


def _notes(trials: Sequence[Judged]) -> list[str]:
    """What is missing from records of trials that were to be judged."""
    return [f"{t.trial.id}: {n}" for t in trials if t.trial.outcome == "measured" for n in t.trial.notes]


def _garbage(trials: Sequence[Judged]) -> list[str]:
    """Who sent whom what was no frame: the tree may have lived through it, but somebody is broken."""
    notes = []
    for t in trials:
        told: dict[tuple[Any, Any], list[str]] = {}
        for e in t.trial.record.of_kind("protocol-error") if t.figures is not None else ():
            told.setdefault((e.get("node"), e.get("peer")), []).append(str(e.get("message")))
        for (node, peer), messages in told.items():
            often = f" (the first of {len(messages)} times)" if len(messages) > 1 else ""
            notes.append(f"{t.trial.id}: node {node} was sent garbage by node {peer}: {messages[0]}{often}")
    return notes


def _disagreements(trials: Sequence[Judged]) -> list[str]:
    """Trials whose recorded verdict is not the one made anew: another judge, or another version of this one, gave it."""
    return [
        f"{t.trial.id}: the verdict was '{was}' when the trial ran and is '{t.verdict}' now"
        for t in trials
        if t.trial.verdict is not None and (was := t.trial.verdict.get("verdict")) != t.verdict
    ]


def command_of(argv: Sequence[str], run: RunRecord) -> str:
    """The command that runs the same suite again, as it was typed."""
    if not argv:
        return f"harness run {shlex.quote(str(run.run_dir.resolve() / SUITE_NAME))}"
    words = list(argv)
    return shlex.join(["harness", *words[words.index("run") if "run" in words else 0 :]])


def files_of(run: RunRecord) -> dict[str, str]:
    """What lies where in the run's directory, relative to it."""
    return {
        "plan": PLAN_NAME,
        "suite": SUITE_NAME,
        "environment": ENVIRONMENT_NAME,
        "journal": FILE_NAME,
        "samples": f"{TRIALS_NAME}/",
        "frames": "frames/",
    }
