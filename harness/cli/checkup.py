"""`harness doctor`: what this machine can and cannot do, found by trying."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from harness.api.errors import ExitCode
from harness.cli.common import print_json
from harness.cli.probes import Finding, Status, examine

MARKS = {Status.OK: "ok", Status.LIMITED: "limited", Status.MISSING: "MISSING", Status.INFO: "info"}


def show(as_json: bool) -> ExitCode:
    """Print all findings. Exit code 13 where something is missing that every run needs."""
    findings = examine()
    able = all(f.status is not Status.MISSING for f in findings)
    code = ExitCode.PASSED if able else ExitCode.INFRASTRUCTURE
    if as_json:
        print_json({"able": able, "exit_code": int(code), "checks": [_json(f) for f in findings]})
    else:
        sys.stdout.write("\n".join(_lines(findings)) + "\n")
    return code


def _json(finding: Finding) -> dict[str, Any]:
    return {"name": finding.name, "status": finding.status.value, "found": finding.found, "change": finding.change}


def _lines(findings: Sequence[Finding]) -> list[str]:
    width = max(len(f.name) for f in findings)
    lines = []
    for f in findings:
        lines.append(f"{MARKS[f.status]:<8} {f.name:<{width}}  {f.found}")
        if f.change:
            lines.append(f"{'':<8} {'':<{width}}  to change it: {f.change}")
    missing = [f.name for f in findings if f.status is Status.MISSING]
    lines.append("")
    lines.append(f"cannot run suites here: {', '.join(missing)}" if missing else "this machine can run suites")
    return lines
