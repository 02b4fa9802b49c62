"""What is measured with noise gives the parameters that it was made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_parameters import SOME

from harness.costs.fit import NodeTime, TripTime, fit, least_squares
from harness.costs.model import Load, Place, cpu_s, predict, work
from harness.costs.shape import shape_of, shape_of_fanouts
from harness.run.calibration import ITEM_BYTES, REQUESTS, TREES, grouped_tree

CORES = 2


def observed(noise, seed=0):
    """What the calibration's own trees and sizes would show on a machine with the parameters SOME."""
    rng = np.random.default_rng(seed)

    def noisy(value):
        return value * float(np.exp(rng.normal(0, noise)))

    nodes, trips = [], []
    loads = [(Load(request_bytes=b), True) for b, _ in REQUESTS] + [(Load(b), False) for b in ITEM_BYTES]
    for groups in TREES:
        tree = grouped_tree(groups)
        for load, request in loads:
            for place in {Place(len(n.children), n.id == 0, tree.depth > 1) for n in tree.nodes}:
                took = cpu_s(work(place, load, request), SOME)
                nodes.append(NodeTime(place, load, request, noisy(took)))
            if request:
                shape = shape_of(tree)
                trips.append(TripTime(shape, load, noisy(predict(shape, load, SOME, CORES).latency_s)))
    return nodes, trips


def test_without_noise_every_parameter_is_found():
    found = fit(*observed(0.0), SOME.filter_s_per_byte, CORES)
    for name, value in SOME.to_json().items():
        assert getattr(found.parameters, name) == pytest.approx(value, rel=1e-4, abs=1e-15), name
    assert max(found.cpu_residual, found.latency_residual) < 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_with_noise_predictions_stay_within_twice_the_noise(seed):
    noise = 0.1
    found = fit(*observed(noise, seed), SOME.filter_s_per_byte, CORES)
    for fanouts in ([8], [4, 4], [2, 4, 2], [32]):
        for load in (Load(), Load(64 << 10, 64 << 10), Load(1 << 20, 1 << 20)):
            ours = predict(shape_of_fanouts(fanouts), load, found.parameters, CORES)
            true = predict(shape_of_fanouts(fanouts), load, SOME, CORES)
            assert ours.latency_s == pytest.approx(true.latency_s, rel=2 * noise)
            assert ours.throughput_waves_s == pytest.approx(true.throughput_waves_s, rel=2 * noise)
    assert noise / 2 < found.cpu_residual < noise * 1.5


def test_too_few_trees_are_an_error_that_says_what_is_missing():
    nodes, trips = observed(0.0)
    with pytest.raises(ValueError, match="nothing measured depends on request_receive_s_per_byte"):
        fit([n for n in nodes if not n.request], trips, 0.0, CORES)
    with pytest.raises(ValueError, match="do not tell the parameters apart; measure more trees and sizes"):
        fit([n for n in nodes if n.place.children in (0, 3)], trips, 0.0, CORES)
    with pytest.raises(ValueError, match="nothing to fit"):
        fit([], trips, 0.0, CORES)


@given(seed=st.integers(0, 10**6), rows=st.integers(4, 12), columns=st.integers(1, 4))
def test_least_squares_without_negative_values_meets_its_optimality_conditions(seed, rows, columns):
    """Karush-Kuhn-Tucker: no step along the gradient is left, but where x is 0 and would become negative."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(rows, columns)), rng.normal(size=rows)
    x = least_squares(a, b)
    downhill = a.T @ (b - a @ x)
    assert (x >= 0).all()
    assert (downhill <= 1e-8).all()
    assert np.abs(downhill[x > 0]).max(initial=0.0) < 1e-8
