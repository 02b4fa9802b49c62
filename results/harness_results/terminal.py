"""The document of a run as text for people: the verdict first, then each case, then where everything is."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness_results.comings import text_of
from harness_results.standbys import lines_of
from harness_results.throughput import LATENCIES

COLOURS: Mapping[str, str] = {
    "passed": "green",
    "failed": "bold red",
    "infrastructure": "magenta",
    "interrupted": "yellow",
    "inconclusive": "yellow",
    "invalid": "yellow",
    "skipped": "cyan",
}
#: Columns of the bars of a recovery, and how many trials that did not pass are told one by one.
BAR, TOLD = 40, 8
MOST_REASONS = 6


def render(document: Mapping[str, Any], width: int) -> str:
    """The text for a terminal of `width` columns: coloured where standard output is one, plain elsewhere; nothing but ASCII
    where standard output takes no more."""
    console = Console(file=io.StringIO(), width=width, force_terminal=sys.stdout.isatty(), highlight=False, emoji=False)
    for part in _parts(document):
        # What people copy, paths and commands, is text alone and never broken.
        console.print(part, soft_wrap=isinstance(part, str), markup=False)
    text = console.file.getvalue() if isinstance(console.file, io.StringIO) else ""
    lines = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    encoding = sys.stdout.encoding or "ascii"
    return lines.replace("█", "#").encode(encoding, "replace").decode(encoding) if not _takes_bars(encoding) else lines


def _takes_bars(encoding: str) -> bool:
    return encoding.lower().replace("-", "").startswith("utf")


def _parts(document: Mapping[str, Any]) -> Iterator[RenderableType]:
    cases = document["cases"]
    planned = sum(c["trials"]["planned"] for c in cases)
    passed = sum(c["trials"]["passed"] for c in cases)
    yield _word(document["verdict"]).append(
        f"  {document['suite']}: {len(cases)} case{_s(len(cases))}, {passed} of {planned} trial{_s(planned)} passed"
    )
    for reason in document["reasons"][:MOST_REASONS]:
        yield _line(reason)
    if (more := len(document["reasons"]) - MOST_REASONS) > 0:
        yield _line(f"and {more} reasons more")
    for note in document["notes"]:
        yield _line(f"note: {note}")
    for case in cases:
        if case["verdict"] != "skipped":
            yield Text("")
            yield from _case(case)
    if document["skipped"]:
        yield Text("")
        yield Text("skipped", style="bold")
        for skipped in document["skipped"]:
            yield _line(f"{skipped['name']} ({skipped['trials']} trial{_s(skipped['trials'])}): {skipped['reason']}")
    yield Text("")
    yield Text("files", style="bold")
    yield f"  in {document['run']}"
    yield _line(", ".join(f"{path} ({what})" for what, path in document["files"].items()))
    yield Text("again", style="bold")
    yield f"  {document['command']}"


def _case(case: Mapping[str, Any]) -> Iterator[RenderableType]:
    yield _word(case["verdict"]).append(f"  {case['name']}", style="bold").append(f"  {_tally(case['trials'])}")
    if case["figures_from"] is None:
        yield _line("nothing was measured")
        yield from _troubles(case)
        return
    if case["figures_from"] == "unfinished trials":
        yield _line("no trial was judged; these figures are of what was measured until then")
    yield _audit(case)
    yield from _losses(case["each"])
    yield from _comings(case["each"])
    yield from _standbys(case["each"])
    if late := case["fault_late_ms"]:
        times = f"median {_number(late['median'])}, max {_number(late['max'])}"
        yield _line(f"{late['n']} fault{_s(late['n'])} by the clock, ms later than planned: {times}")
    if case["phases"]:
        yield from _waterfall(case)
    yield from _throughput(case["throughput"])
    if any(case["latency_ms"].values()):
        yield _latency(case["latency_ms"])
    for e in case["expectations"]:
        yield _line(Text("expected: ").append(e["verdict"], style=COLOURS[e["verdict"]]).append(f": {e['reason']}"))
    yield from _troubles(case)


def _losses(trials: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """Who was declared dead in each trial, and how many nodes say so."""
    told = [t for t in trials if t["agreement"] and any(t["agreement"][k] for k in ("lost", "disagreeing", "suspects"))]
    for t in told[:TOLD]:
        yield _line(f"lost in trial {t['index']}: {t['agreement']['text']}")
    if len(told) > TOLD:
        yield _line(f"and {len(told) - TOLD} trials more that lost or miss nodes")


def _comings(trials: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """Which back-ends came and went in each trial."""
    told = [(t["index"], text) for t in trials if (text := text_of(t["comings"]))]
    for index, text in told[:TOLD]:
        yield _line(f"came and went in trial {index}: {text}")
    if len(told) > TOLD:
        yield _line(f"and {len(told) - TOLD} trials more")


def _standbys(trials: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """Who took over from whom in each trial, and how long no wave came out."""
    told = [lines for t in trials if (lines := lines_of(t["standby"], f"in trial {t['index']}"))]
    for lines in told[:TOLD]:
        yield from map(_line, lines)
    if len(told) > TOLD:
        yield _line(f"and {len(told) - TOLD} trials more")


def _troubles(case: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The trials that did not pass."""
    bad = [t for t in case["each"] if t["verdict"] != "passed"]
    for trial in bad[:TOLD]:
        word = trial["verdict"]
        yield _line(Text(f"trial {trial['index']}: ").append(word, style=COLOURS.get(word, "")).append(f": {trial['summary']}"))
    if len(bad) > TOLD:
        yield _line(f"and {len(bad) - TOLD} trials more that did not pass")


def _tally(trials: Mapping[str, int]) -> str:
    told = [f"{n} {what}" for what, n in trials.items() if n and what not in ("planned", "passed")]
    passed = f"{trials['passed']} of {trials['planned']} trials passed"
    return f"({', '.join([passed, *told])})"


def _audit(case: Mapping[str, Any]) -> Table:
    table = _table("audit", *case["counts"], "missing ranks")
    table.add_row(
        f"  {case['expect'].get('recovery', '')}", *(f"{n:,}" for n in case["counts"].values()), case["missing_ranks"]
    )
    return table


def _waterfall(case: Mapping[str, Any]) -> Iterator[RenderableType]:
    phases, recovery = case["phases"], case["recovery_ms"]
    steps = [s for s in phases["steps"] if s["end_ms"] is not None]
    total = max(s["end_ms"] for s in steps) or 1.0
    table = _table(
        "recovery", "length ms", "end ms", "worst ms", f"a typical one of {phases['recoveries']}: node {phases['node']}"
    )
    reached = 0.0
    for step in phases["steps"]:
        name = f"{step['phase']} ({phases['rebuilt_by']})" if step["phase"] == "rebuild" else step["phase"]
        if step["end_ms"] is None:
            table.add_row(f"  {name}", "-", "-", _number(step["worst_end_ms"]), "")
            continue
        start, end = (round(BAR * min(t, total) / total) for t in (reached, max(reached, step["end_ms"])))
        bar = Text(" " * min(start, BAR - 1) + "█" * max(1, end - start), style="cyan")
        table.add_row(f"  {name}", _number(step["length_ms"]), _number(step["end_ms"]), _number(step["worst_end_ms"]), bar)
        reached = max(reached, step["end_ms"])
    yield table
    if recovery:
        figures = ", ".join(f"{k} {_number(recovery[k])}" for k in ("p50", "p90", "p99", "max"))
        yield _line(f"fault to first complete wave over {recovery['n']} trial{_s(recovery['n'])}, ms: {figures}")


def _throughput(t: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The rates are medians over the trials. Each share is that of the rates shown: the median of the trials' own ratios, which
    the document has, is another figure and would not fit them."""
    if t["steady_waves_per_s"] is None:
        return
    steady = t["steady_waves_per_s"]["median"]
    parts = [f"steady {_number(steady)}"]
    for window in ("during", "after"):
        if rate := t[f"{window}_waves_per_s"]:
            parts.append(f"{window} {_number(rate['median'])}" + (f" ({rate['median'] / steady:.0%})" if steady else ""))
    if t["back_s"]:
        parts.append(f"back after {t['back_s']['median']:.2f} s, {t['lost_waves']['median']:,.0f} waves late")
    elif t["during_waves_per_s"]:
        parts.append("not seen to come back")
    yield _line(f"throughput, waves/s: {'; '.join(parts)}")


def _latency(latency: Mapping[str, Any]) -> Table:
    table = _table("latency ms", *LATENCIES)
    for window, percentiles in latency.items():
        if percentiles:
            table.add_row(f"  {window}", *(_number(percentiles[k]) for k in LATENCIES))
    return table


def _table(*heads: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
    for i, head in enumerate(heads):
        right = i > 0 and not head.startswith(("a typical", "missing"))
        table.add_column(f"  {head}" if i == 0 else head, justify="right" if right else "left", no_wrap=True)
    return table


def _number(value: float | None) -> str:
    """Three or four digits that matter."""
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _line(text: str | Text) -> Padding:
    """A paragraph of a section, indented as a whole."""
    return Padding(text if isinstance(text, Text) else Text(text), (0, 0, 0, 2))


def _word(verdict: str) -> Text:
    return Text().append(verdict.upper(), style=COLOURS.get(verdict, "bold"))


def _s(count: int) -> str:
    return "" if count == 1 else "s"
