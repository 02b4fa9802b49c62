"""What is shown while a run goes on."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from harness.api.errors import ExitCode
from harness.api.records import EVENT_KINDS
from harness.cli.events import STYLES, Pace, describe_event, short, verdict_line
from harness.cli.lines import LineProgress
from harness.cli.live import LiveProgress
from harness.registry import load
from harness.run.plan import load_plan
from harness.run.progress import RunOutcome

EVENTS = [
    {"kind": "tree-ready", "t_s": 0.5, "nodes": 7, "took_s": 0.5},
    {"kind": "workload-started", "t_s": 0.6},
    {"kind": "progress", "t_s": 1.0, "waves": 1000, "alive": 7},
    {"kind": "progress", "t_s": 6.0, "waves": 501_000, "alive": 7},
    {
        "kind": "fault",
        "t_s": 6.1,
        "fault": 0,
        "action": "kill",
        "node": 1,
        "trigger": {"at_s": 5.5, "at_wave": None, "moment": None},
    },
    {"kind": "fault-confirmed", "t_s": 6.1, "fault": 0, "node": 1, "effect": "exited by signal 9"},
    {"kind": "link-lost", "t_s": 6.11, "node": 3, "peer": 1, "cause": "end of file"},
    {"kind": "reattached", "t_s": 6.12, "node": 2, "child": 3, "parent": 2, "lost": 1},
    {"kind": "first-complete-wave", "t_s": 6.13, "stream": 1, "wave": 501_009},
    {"kind": "usage", "t_s": 7.0, "node": 3, "rss_bytes": 1, "pss_bytes": 1, "cpu_s": 1.0},
    {"kind": "finished", "t_s": 7.0, "ok": True, "reason": ""},
]


@pytest.fixture
def plan(suite):
    return load_plan(suite, load())


def play(progress, plan):
    progress.run_started(plan, Path("runs/demo"))
    for trial in plan.trials[:1]:
        progress.trial_started(trial)
        for event in EVENTS:
            progress.event(trial, event)
        progress.trial_finished(trial, {"verdict": "passed", "passed": True, "summary": "501,010 waves"})
    progress.message("a word [not markup] on the side")
    progress.reporting()
    progress.run_finished(RunOutcome(Path("runs/demo"), ExitCode.PASSED, {}, ""))


def test_plain_lines(plan):
    out = io.StringIO()
    play(LineProgress(out), plan)
    assert out.getvalue().splitlines() == [
        "demo: 2 cases, 4 trials, on local; writing to runs/demo",
        "[1/4] crash [topology.depth=2], trial 0",
        "     0.500 s  tree of 7 nodes is up after 0.50 s",
        "     6.000 s  501.0k waves, 100.0k/s, 7 nodes alive",
        "     6.100 s  FAULT kill on node 1 (at_s = 5.5)",
        "     6.100 s  fault on node 1 confirmed: exited by signal 9",
        "     6.110 s  node 3 lost its link to node 1: end of file",
        "     6.120 s  node 3 is adopted by node 2 in place of node 1",
        "     6.130 s  stream 1 is complete again at wave 501009",
        "     7.000 s  workload finished",
        "  passed: 501,010 waves",
        "a word [not markup] on the side",
        "run ended: passed",
    ]


def test_the_live_display_keeps_the_events_and_draws_the_pace(plan):
    out = io.StringIO()
    with LiveProgress(Console(file=out, force_terminal=True, width=100, color_system=None)) as live:
        play(live, plan)
    text = out.getvalue()
    for line in (
        "FAULT kill on node 1",
        "passed: 501,010 waves",
        "a word [not markup] on the side",
        "[topology.depth=2], trial 0",
    ):
        assert line in text


def test_the_live_display_gives_standard_output_back_for_the_report(plan, monkeypatch):
    ours = io.StringIO()
    monkeypatch.setattr(sys, "stdout", ours)
    with LiveProgress(Console(file=io.StringIO(), force_terminal=True, width=100)) as live:
        live.run_started(plan, Path("runs/demo"))
        assert sys.stdout is not ours
        live.reporting()
        assert sys.stdout is ours


def test_the_live_display_shows_waves_and_who_is_alive(plan):
    out = io.StringIO()
    console = Console(file=out, width=100, color_system=None)
    live = LiveProgress(console)
    live.run_started(plan, Path("runs/demo"))
    live.trial_started(plan.trials[0])
    for event in EVENTS[:4]:
        live.event(plan.trials[0], event)
    console.print(live.drawing())
    shown = [line.split() for line in out.getvalue().splitlines()[-4:]]
    assert shown == [
        ["trial", "1", "of", "4"],
        ["state", "running,", "6.0", "s"],
        ["alive", "7", "of", "7", "nodes"],
        ["waves", "501,000,", "100,000/s"],
    ]


@pytest.mark.parametrize("kind", EVENT_KINDS)
def test_every_kind_of_event_can_be_told_and_has_a_style_if_it_is(kind):
    text = describe_event({"kind": kind, "t_s": 1.0})
    assert (text is not None) == (kind in STYLES)


def test_figures_are_short():
    assert [short(n) for n in (0, 950, 9_999, 12_345, 4.5e6, 2e9)] == ["0", "950", "9999", "12.3k", "4.5M", "2.0G"]


def test_a_rate_needs_time_to_pass():
    pace = Pace()
    for t_s, waves in ((1.0, 100), (1.0, 200), (2.0, 300)):
        pace.update({"kind": "progress", "t_s": t_s, "waves": waves, "alive": 1})
    assert pace.rate == 100.0


@pytest.mark.parametrize(
    ("verdict", "line"),
    [
        ({"verdict": "failed", "passed": False, "summary": "2 waves lost"}, ("failed: 2 waves lost", False)),
        (
            {"verdict": "infrastructure", "passed": None, "summary": "infrastructure: no host"},
            ("infrastructure: no host", None),
        ),
        ({}, ("not judged", None)),
    ],
)
def test_verdicts_are_one_line(verdict, line):
    assert verdict_line(verdict) == line
