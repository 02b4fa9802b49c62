"""`harness explore`."""

from __future__ import annotations

import re
import secrets
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.api.errors import ExitCode, UsageError
from harness.cli.common import print_json, tell
from harness.explore.campaign import LONG, SUITE_NAME, Campaign, Tally, read_quest
from harness.explore.paths import PATHS

_EVERY_S = 5.0


def explore(
    suite: Path, seeds: int, first: int, jobs: int, results: Path, keep_going: bool, resume: Path | None, as_json: bool
) -> ExitCode:
    """Explore a suite's bounds, seed after seed; what fails is made small and written down."""
    quest = read_quest(resume / SUITE_NAME if resume else suite)
    if resume and quest.text != read_quest(suite).text:
        raise UsageError(f"--resume: {resume} explores another suite than {suite}; start a new exploration")
    place = resume or _place(results, quest.name)
    campaign = Campaign(quest, place, range(first, first + seeds), jobs)
    if resume:
        campaign.resume()
    else:
        campaign.begin()
    tell(f"exploring '{quest.name}', seeds {first} to {first + seeds - 1}, in {place}\n")
    interrupted = _run(campaign, keep_going)
    kept = [] if interrupted else _kept(campaign, keep_going)
    never = campaign.tally.never(quest.space) if campaign.tally.seeds >= LONG else []
    return _end(campaign, kept, never, interrupted, as_json)


def _place(results: Path, name: str) -> Path:
    slug = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-")[:60] or "suite"
    return results / "explorations" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{slug}-{secrets.token_hex(3)}"


def _run(campaign: Campaign, keep_going: bool) -> bool:
    """Run the seeds that are left; whether somebody interrupted."""
    begun, last = time.monotonic(), 0.0
    before = campaign.tally.seeds

    def heard(tally: Tally) -> bool:
        nonlocal last
        now = time.monotonic()
        if now - last >= _EVERY_S or tally.seeds == len(campaign.seeds):
            last = now
            rate = (tally.seeds - before) / (now - begun)
            tell(
                f"  {tally.seeds:,} of {len(campaign.seeds):,} seeds, {rate:.1f}/s, {tally.events:,} events,"
                f" {sum(1 for p in PATHS if tally.paths[p])} of {len(PATHS)} rare paths, {len(tally.failures)} failed\n"
            )
        return keep_going or not tally.failures

    try:
        campaign.run(heard)
    except KeyboardInterrupt:
        return True
    return False


def _kept(campaign: Campaign, keep_going: bool) -> list[dict[str, Any]]:
    """The failures, each made small."""
    found = []
    seeds = sorted(campaign.tally.failures)
    for seed in seeds[: 10 if keep_going else 1]:
        tell(f"  seed {seed} failed: {campaign.tally.failures[seed][0][1]}\n  making it small ...\n")
        where, outcome, tried = campaign.keep(seed)
        found.append({"seed": seed, "suite": str(where), "tried": tried, "violations": [list(v) for v in outcome.violations]})
        tell(f"  {tried} scenarios tried; the smallest is {where}\n")
    return found


def _end(campaign: Campaign, kept: list[dict[str, Any]], never: list[str], interrupted: bool, as_json: bool) -> ExitCode:
    tally = campaign.tally
    code = ExitCode.CHECK_FAILED if tally.failures or never else ExitCode.PASSED
    if interrupted:
        code = ExitCode.INCONCLUSIVE
    words = {ExitCode.PASSED: "passed", ExitCode.CHECK_FAILED: "failed", ExitCode.INCONCLUSIVE: "interrupted"}
    if as_json:
        print_json(
            {
                "verdict": words[code],
                "exit_code": int(code),
                "directory": str(campaign.place),
                "seeds": tally.seeds,
                "events": tally.events,
                "virtual_s": round(tally.virtual_s, 3),
                "events_per_busy_s": round(tally.events / tally.busy_s) if tally.busy_s else None,
                "failed_seeds": sorted(tally.failures),
                "failures": kept,
                "paths": {path: tally.paths[path] for path in PATHS},
                "never_taken": never,
            }
        )
        return code
    lines = [f"{words[code].upper()}  {tally.seeds:,} seeds, {tally.events:,} events, {tally.virtual_s:,.0f} s of virtual time"]
    lines += [f"  {tally.paths[path]:>9,}  {path}: {PATHS[path]}" for path in PATHS]
    lines += [f"never taken, though these bounds should lead there: {path}" for path in never]
    for failure in kept:
        lines += ["", f"seed {failure['seed']}"] + [f"  {name}: {what}" for name, what in failure["violations"]]
        lines += [f"  to see it: harness run {failure['suite']}"]
    if interrupted:
        lines += ["", f"to go on: the same command with --resume {campaign.place}"]
    sys.stdout.write("\n".join(lines) + "\n")
    return code
