"""The reference programs and the arithmetic of the benchmarks."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.bare_tree import KINDS, Load, run
from benchmarks.common import interleave, medians, number, percentiles, ratio, table, tree_of
from benchmarks.curves import curves
from benchmarks.loopback import memory_gb_per_s, round_trip_us, stream_gb_per_s
from benchmarks.ours import waves_per_s
from benchmarks.recovery_curves import DEPTHS, FANOUTS, LOST, Row, of_depth, of_fanout, one, plot, read, report, shapes, write
from harness.api.records import SAMPLE_DTYPE
from harness.registry import Category, load


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


@pytest.mark.parametrize("nodes", [100, 1000, 10_000])
def test_the_trees_of_the_recovery_curves_are_as_large_and_deep_as_asked(nodes):
    for tree in shapes(nodes, FANOUTS):
        built = load().make(Category.TOPOLOGY, {"kind": "generic", "spec": tree.spec}).build()
        assert (len(built.nodes), len(built.back_ends), built.depth) == (tree.nodes, tree.levels[-1], tree.depth)
        assert max(len(n.children) for n in built.nodes) <= tree.fanout
        assert abs(tree.nodes - nodes) <= 0.05 * nodes
    for depth in DEPTHS:
        tree = of_depth(nodes, depth)
        assert tree is None or tree.depth == depth
        assert tree is None or tree.fanout == 2 or of_fanout(nodes, tree.fanout - 1).depth > depth


@pytest.mark.parametrize("lost", LOST)
def test_a_recovery_in_the_simulator_is_timed_in_order(lost):
    tree = of_fanout(30, 3)
    row = one(30, tree, lost, 1)
    assert (row.nodes, row.depth, row.orphans >= 2) == (tree.nodes, tree.depth, True)
    assert 0 < row.detect_ms <= row.reconnect_ms <= row.complete_ms
    assert one(30, tree, lost, 1) == row


def test_the_rows_of_the_recovery_curves_are_read_as_they_were_written(tmp_path):
    rows = [Row(100, 101, 75, 4, 4, lost, seed, 4, 0.25, 1.5, 8.0 + seed) for lost in LOST for seed in (1, 2)]
    write(tmp_path / "rows.csv", rows)
    assert sorted(read(tmp_path / "rows.csv"), key=lambda row: row.key) == sorted(rows, key=lambda row: row.key)
    assert read(tmp_path / "none.csv") == []
    svg = plot(rows)
    assert svg.count("<polyline") == 2  # the curves by fan-out: no tree of this fan-out is the least of its depth
    assert ET.fromstring(svg).tag.endswith("svg")
    assert " 9.50 |" in report(rows)


def test_a_value_that_no_logarithm_has_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        curves({"panel": {"curve": [(4, [0.0])]}}, "ms")
