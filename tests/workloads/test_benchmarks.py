"""The reference programs and the arithmetic of the benchmarks."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.bare_tree import KINDS, Load, run
from benchmarks.common import interleave, medians, number, percentiles, ratio, table, tree_of
from benchmarks.loopback import memory_gb_per_s, round_trip_us, stream_gb_per_s
from benchmarks.ours import waves_per_s
from harness.api.records import SAMPLE_DTYPE


@pytest.mark.parametrize("fanouts", [[3], [2, 2], [2, 1, 2]])
@pytest.mark.parametrize(
    ("load", "figure"),
    [
        (Load("round-trip", 20, 5), "p99_us"),
        (Load("reductions", 200, 20), "per_s"),
        (Load("array", 3, 1, elements=50_000), "mb_per_s"),
    ],
)
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.skipif(sys.platform != "linux", reason="the bare tree forks processes as Linux does")
def test_the_bare_tree_adds_up(fanouts, load, figure, kind):
    """Every sum is checked by its front-end; a wrong one would end the trial with an error."""
    assert run(tree_of(fanouts), replace(load, kind=kind))[figure] > 0


def test_a_bare_tree_that_fails_says_so(monkeypatch, capfd):
    monkeypatch.setattr("benchmarks.bare_tree.back_end", lambda node: None)
    with pytest.raises(RuntimeError, match="processes of the bare tree failed"):
        run(tree_of([2]), Load("reductions", 5, 0))
    assert "closed the connection" in capfd.readouterr().err


def test_the_loopback_can_be_measured():
    assert stream_gb_per_s(4 << 20) > 0
    p50, p99 = round_trip_us(50)
    assert 0 < p50 <= p99
    assert min(memory_gb_per_s(10_000, 2)) > 0


def test_a_balanced_tree():
    tree = tree_of([4, 4])
    assert (len(tree.nodes), len(tree.communication), len(tree.back_ends), tree.depth) == (21, 4, 16, 2)


def test_trials_are_interleaved_forth_and_back():
    order = []
    sides = {name: lambda name=name: order.append(name) or {"x": float(len(order))} for name in "abc"}
    found = interleave(3, sides)
    assert "".join(order) == "abccbaabc"
    assert found["a"] == [{"x": 1.0}, {"x": 6.0}, {"x": 7.0}]
    assert medians(found["a"]) == {"x": 6.0}
    assert ratio(found["b"], found["a"], "x") == pytest.approx(8 / 7)


def test_percentiles_are_values_that_were_seen():
    assert percentiles([5, 1, 4, 2, 3], 50, 99, 100) == [3.0, 5.0, 5.0]


def test_a_table_is_markdown():
    assert table(["what", "n"], [["a", "1"], ["long", "1,000"]]).split("\n") == [
        "| what |     n |",
        "| ---- | ----: |",
        "| a    |     1 |",
        "| long | 1,000 |",
    ]
    assert [number(v) for v in (0.1234, 12.3456, 123.456, 12345.6)] == ["0.12", "12.35", "123.5", "12,346"]


def test_throughput_is_between_the_first_and_the_last_delivery():
    samples = np.zeros(5, SAMPLE_DTYPE)
    samples["t_s"] = [0.0, 1.0, 2.0, 3.0, 4.0]
    samples["count"] = 10
    assert waves_per_s(samples, 0.0, 10.0) == 10.0
    assert waves_per_s(samples, 1.0, 3.5) == 10.0
    assert waves_per_s(samples, 5.0, 9.0) == 0.0
