"""`harness topology calibrate` and `harness topology advise`."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.api.errors import ExitCode, UsageError
from harness.cli.common import print_json, print_last, tell, warn
from harness.costs.advice import Ranked, Wish, rank, reasons
from harness.costs.candidates import Candidate, candidates, knomials
from harness.costs.fit import Fit
from harness.costs.model import Load
from harness.costs.parameters import DEFAULTS, Parameters
from harness.costs.shape import shape_of
from harness.registry import Category, load
from harness.run.calibration import DEFAULT_PATH, calibrate, read_parameters, usable_cores, write_parameters

#: A residual above this is told as a warning: the machine was busy, or is none that the model describes.
POOR_RESIDUAL = 0.5


def measure(path: Path | None, as_json: bool) -> ExitCode:
    """Calibrate, write the file, print the parameters."""
    path = path or DEFAULT_PATH
    found = calibrate(lambda line: tell(f"{line}\n"))
    write_parameters(path, found)
    if as_json:
        print_json({**found.to_json(), "file": str(path), "exit_code": int(ExitCode.PASSED)})
        return ExitCode.PASSED
    lines = [*_parameter_lines(found.fit.parameters), *_residual_lines(found.fit)]
    lines.append(f"written to {path} after {found.took_s:.0f} s; `harness topology advise` reads it from there")
    if path != DEFAULT_PATH:
        lines[-1] = f"written to {path} after {found.took_s:.0f} s; say `harness topology advise --parameters {path}`"
    print_last("\n".join(lines) + "\n")
    if max(found.fit.cpu_residual, found.fit.latency_residual) > POOR_RESIDUAL:
        warn("the parameters fit poorly; measure again when the machine does nothing else")
    return ExitCode.PASSED


def _parameter_lines(parameters: Parameters) -> list[str]:
    lines = []
    for name, value in parameters.to_json().items():
        per_byte = name.endswith("_per_byte")
        lines.append(f"{name:<28} {value * (1e9 if per_byte else 1e6):9.3f} {'ns' if per_byte else 'us'}")
    return lines


def _residual_lines(fit: Fit) -> list[str]:
    return [
        f"root mean square of the relative error: CPU times {fit.cpu_residual:.0%} ({fit.node_times} of them), "
        f"round trips {fit.latency_residual:.0%} ({fit.trip_times})"
    ]


def advise(
    back_ends: int,
    budget: int | None,
    sizes: tuple[int, int],
    wishes: dict[str, Any],
    cores: int | None,
    filter_ns_per_byte: float | None,
    parameters_path: Path | None,
    top: int,
    as_json: bool,
) -> ExitCode:
    """Rank the trees and say why. Raises UsageError for what cannot be advised on. sizes: bytes of an item, and of a
    request."""
    if filter_ns_per_byte is not None and not (math.isfinite(filter_ns_per_byte) and filter_ns_per_byte >= 0):
        raise UsageError(f"--filter-ns-per-byte = {filter_ns_per_byte} must be a finite number, not below 0")
    parameters, source = _parameters(parameters_path)
    cores = usable_cores() if cores is None else cores
    try:
        if filter_ns_per_byte is not None:
            parameters = parameters.with_filter(filter_ns_per_byte / 1e9)
        asked, wish = Load(*sizes), Wish(**wishes)
        ranked = rank(_all_candidates(back_ends, budget), asked, parameters, cores, wish)
    except ValueError as e:
        raise UsageError(_as_option(str(e))) from e
    why = reasons(ranked, cores, wish)
    if as_json:
        head = {"back_ends": back_ends, "budget": budget, "cores": cores, "load": asdict(asked), "wish": asdict(wish)}
        trees = [_document(r) for r in ranked[:top]]
        compared = {"parameters_from": source, "parameters": parameters.to_json(), "compared": len(ranked)}
        print_json({**head, **compared, "trees": trees, "reasons": why, "exit_code": int(ExitCode.PASSED)})
        return ExitCode.PASSED
    tell(f"parameters: {source}\n")
    counted = f"{len(ranked)} trees compared for {back_ends:,} back-ends on {cores} core{'s' * (cores > 1)}"
    sizes_text = f"items of {asked.item_bytes:,} bytes, requests of {asked.request_bytes:,}; best {wish.objective} first"
    unmet = [f"wishes not met by the first: {'; '.join(ranked[0].unmet)}"] if ranked[0].unmet else []
    table = _table(ranked[:top], wish)
    lines = [f"{counted}: {sizes_text}", "", *table, "", *why, *unmet, ranked[0].candidate.toml]
    sys.stdout.write("\n".join(lines) + "\n")
    return ExitCode.PASSED


def _parameters(path: Path | None) -> tuple[Parameters, str]:
    if path is not None or DEFAULT_PATH.exists():
        path = path or DEFAULT_PATH
        return read_parameters(path), f"measured, from {path}"
    what = "those of the machine in docs/topologies.md; `harness topology calibrate` measures this one"
    return DEFAULTS, what


def _all_candidates(back_ends: int, budget: int | None) -> list[Candidate]:
    """All trees; of those that are alike (a k-nomial tree may be a balanced one) the first."""
    found = candidates(back_ends, budget)
    registry = load()
    for k, nodes in ((c.k, c.nodes) for c in knomials(back_ends, budget)):
        spec = {"kind": "knomial", "k": k, "nodes": nodes}
        found.append(Candidate(f"knomial k={k} nodes={nodes}", spec, shape_of(registry.make(Category.TOPOLOGY, spec).build())))
    return list({c.shape.signature: c for c in reversed(found)}.values())[::-1]


#: What the model calls its inputs, and the options that set them.
_OPTIONS = {
    "back_ends": "--back-ends",
    "budget": "--budget",
    "item_bytes": "--item-bytes",
    "request_bytes": "--request-bytes",
    "rate_waves_s": "--rate",
    "objective": "--objective",
    "failures_per_node_hour": "--failures-per-node-hour",
    "undisturbed": "--undisturbed",
    "cores": "--cores",
}


def _as_option(message: str) -> str:
    name, _, rest = message.partition(" ")
    return f"{_OPTIONS.get(name, name)} {rest}"


def _table(ranked: list[Ranked], wish: Wish) -> list[str]:
    head = ["tree", "extra nodes", "depth", "latency us", "latency bound by", "waves/s", "MB/s", "waves/s bound by"]
    failing = wish.failures_per_node_hour > 0
    if failing:
        head += ["disturbed", "recovery ms"]
    if wish.rate_waves_s:
        head.append("load")
    rows = [head]
    for r in ranked:
        p, shape = r.prediction, r.candidate.shape
        row = [r.candidate.name, str(shape.communication), str(shape.depth), f"{r.latency_s * 1e6:,.0f}", p.latency_bound]
        row += [f"{r.throughput_waves_s:,.0f}", f"{p.throughput_mb_s:,.1f}", p.throughput_bound]
        if failing:
            row += [f"{r.reliability.disturbed_fraction:.2e}", f"{r.reliability.recovery_s * 1e3:,.1f}"]
        if wish.rate_waves_s:
            row.append(f"{wish.rate_waves_s / r.throughput_waves_s:.0%}")
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]) for row in rows
    ]


def _document(r: Ranked) -> dict[str, Any]:
    shape = r.candidate.shape
    return {
        "name": r.candidate.name,
        "topology": r.candidate.spec,
        "toml": r.candidate.toml,
        "communication": shape.communication,
        "depth": shape.depth,
        "latency_s": r.latency_s,
        "throughput_waves_s": r.throughput_waves_s,
        "unmet": list(r.unmet),
        "prediction": asdict(r.prediction),
        "reliability": asdict(r.reliability),
    }
