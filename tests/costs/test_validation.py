"""The comparison of predictions with measurements: its statistics, its plot, and its independence of the calibration."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.scatter import scatter
from benchmarks.topology_advice import SIZES, TREES, Point, built, correlations, overall, plot, report, spearman
from harness.costs.shape import shape_of
from harness.run.calibration import TREES as CALIBRATED
from harness.run.calibration import grouped_tree

SVG = "{http://www.w3.org/2000/svg}"


def some_points(measured):
    """A point for each tree and size, predictions 1, 2, 3, ...; `measured` makes of each what was measured."""
    keys = [(spec, figure, size) for spec in TREES for figure in ("latency", "throughput") for size in SIZES]
    back_ends = {spec: len(built(spec).back_ends) for spec in TREES}
    return [
        Point(spec, back_ends[spec], f, size, i + 1.0, measured(i + 1.0), measured(i + 1.0))
        for i, (spec, f, size) in enumerate(keys)
    ]


def test_enough_trees_are_compared_and_none_is_one_of_the_calibration():
    compared = [shape_of(built(spec)).signature for spec in TREES]
    assert len(set(compared)) == len(TREES) >= 12
    assert not set(compared) & {shape_of(grouped_tree(groups)).signature for groups in CALIBRATED}


def test_rank_correlation_is_that_of_spearman():
    assert spearman([1, 2, 3, 4], [10, 20, 30, 1000]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    # Without ties it is 1 - 6 * sum(d^2) / (n * (n^2 - 1)); here the differences of ranks are 0, 1, 1, 1, 1.
    assert spearman([1, 2, 3, 4, 5], [1, 3, 2, 5, 4]) == pytest.approx(1 - 6 * 4 / (5 * 24))
    # Equal values share their mean rank: Pearson's coefficient of (1, 2.5, 2.5, 4) and (1, 2, 3, 4).
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(np.corrcoef([1, 2.5, 2.5, 4], [1, 2, 3, 4])[0, 1])
    assert math.isnan(spearman([1, 1], [1, 2]))


def test_a_prediction_that_orders_right_has_correlation_1_and_no_regret():
    found = some_points(lambda value: value**1.5)
    assert [row[1:] for row in correlations(found)] == [pytest.approx((1, 1, 1, 0))] * 6
    assert overall(found, "latency") == pytest.approx(1)


def test_a_prediction_that_orders_wrong_is_found_out():
    for _, everything, best, alike, regret in correlations(some_points(lambda value: 1 / value)):
        assert (everything, best, alike) == pytest.approx((-1, -1, -1))
        assert regret > 0.2


def test_the_report_has_every_tree_and_size():
    text = report(some_points(lambda value: 2 * value))
    assert all(f"| `{spec}` " in text.replace("`  ", "` ") for spec in TREES)
    assert text.count("| 1.000 |") + text.count(" 1.000 |") >= 20


def test_the_plot_has_a_mark_for_every_point_and_agreement_lies_on_the_diagonal():
    svg = ElementTree.fromstring(plot(some_points(lambda value: value)))
    assert len(svg.findall(f"{SVG}g")) == 2
    for panel in svg.findall(f"{SVG}g"):
        marks = [c for c in panel.findall(f"{SVG}circle") if c.get("fill-opacity")]
        assert len(marks) == len(TREES) * len(SIZES)
        for mark in marks:
            assert float(mark.get("cx", "nan")) + float(mark.get("cy", "nan")) == pytest.approx(300, abs=0.2)


def test_what_cannot_be_on_a_logarithmic_axis_is_refused():
    for points in ([], [(0.0, 1.0)], [(1.0, math.nan)]):
        with pytest.raises(ValueError, match="title: a logarithmic plot needs points"):
            scatter({"title": {"a": points}}, "x", "y")
