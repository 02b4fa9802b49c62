"""Golden transcripts: what every node says in a few short scenarios (transcript_*.py), frame by frame.

A change of the protocol changes them. Record them anew with `pytest tests/core --record-transcripts` (or HARNESS_RECORD=1), and
read the difference before it is committed.
"""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest
import transcript_adoption
import transcript_basics
import transcript_comings
import transcript_decompose
import transcript_moves
import transcript_results
import transcript_standby
import transcript_windows
from loads import fault_in
from small import Rig
from transcript import SCENARIOS

from harness.core.spec import StreamSpec

PLACE = Path(__file__).parent / "transcripts"
MODULES = (
    transcript_basics,
    transcript_adoption,
    transcript_results,
    transcript_windows,
    transcript_moves,
    transcript_decompose,
    transcript_standby,
    transcript_comings,
)


def wrong_values(run: Rig) -> list[str]:
    """What a transcript does not show: results whose values are not what their contributors offered."""
    specs: dict[int, StreamSpec] = {}
    for back in run.backs.values():
        specs |= back.specs
    found = []
    for r in run.front.results:
        s = specs[r.stream]
        found += [fault_in(s.filter, r.values[k], r.contributors, r.first + k, s.item_shape) for k in range(r.count)]
    return [text for text in found if text]


@pytest.mark.parametrize("name", SCENARIOS)
def test_transcript(name: str, request: pytest.FixtureRequest) -> None:
    make = SCENARIOS[name]
    run, written = make()
    if 0 not in run.net.exits:
        run.run(20.0)
    over = run.events("took-over")
    assert run.net.exits[over[0]["node"] if over else 0][0] == 0
    assert wrong_values(run) == []
    story = " ".join((make.__doc__ or "").split())
    tree = ", ".join(f"{n.id} below {n.parent}" for n in run.net.tree.nodes[1:])
    told = textwrap.wrap(story, 100, initial_indent="# ", subsequent_indent="# ")
    text = "\n".join([*told, f"# nodes: {tree}", "# time in ms; heartbeats are left out", *written.lines, ""])
    path = PLACE / f"{name}.txt"
    if request.config.getoption("--record-transcripts", default=False) or os.environ.get("HARNESS_RECORD") == "1":
        PLACE.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text


def test_there_is_a_scenario_for_each_transcript() -> None:
    assert {p.stem for p in PLACE.glob("*.txt")} == set(SCENARIOS)
    assert {f.__module__ for f in SCENARIOS.values()} == {m.__name__ for m in MODULES}
