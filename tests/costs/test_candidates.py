"""Which trees are compared, and which of them comes first."""

from __future__ import annotations

import math
import tomllib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_parameters import SOME

from harness.costs.advice import Wish, rank, reasons
from harness.costs.candidates import MOST_BACK_ENDS, candidates, knomials
from harness.costs.model import Load
from harness.costs.shape import shape_of
from harness.registry import Category, load


def build(spec):
    return load().make(Category.TOPOLOGY, spec).build()


@given(back_ends=st.integers(1, 200), budget=st.none() | st.integers(0, 60))
def test_candidates_are_the_trees_that_their_lines_build_and_within_the_budget(back_ends, budget):
    found = candidates(back_ends, budget)
    assert found[0].name == f"flat back_ends={found[0].spec['back_ends']}"
    for candidate in found:
        built = shape_of(build(tomllib.loads(candidate.toml)["topology"]))
        assert built.signature == candidate.shape.signature
        assert built.back_ends == back_ends
        assert budget is None or built.communication <= budget
    assert len({c.name for c in found}) == len(found)


@given(back_ends=st.integers(1, 300), budget=st.none() | st.integers(0, 200))
def test_knomial_trees_have_the_back_ends_asked_for_and_are_the_smallest(back_ends, budget):
    for k, nodes in ((c.k, c.nodes) for c in knomials(back_ends, budget)):
        assert len(build({"kind": "knomial", "k": k, "nodes": nodes}).back_ends) == back_ends
        assert len(build({"kind": "knomial", "k": k, "nodes": nodes - 1}).back_ends) < back_ends
        assert budget is None or 0 < nodes - back_ends - 1 <= budget


def test_all_ordered_factorizations_are_there():
    names = {c.name for c in candidates(12)}
    assert names >= {"flat back_ends=12", "2:6", "6:2", "3:4", "4:3", "2:2:3", "2:3:2", "3:2:2"}
    assert "5:2x3,3x2" in names


def test_no_tree_is_deeper_than_five():
    assert {c.shape.depth for c in candidates(256)} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("back_ends", [0, -1, MOST_BACK_ENDS + 1])
def test_a_number_of_back_ends_that_cannot_be_is_refused(back_ends):
    with pytest.raises(ValueError, match=f"back_ends = {back_ends} must be between 1 and 100,000"):
        candidates(back_ends)


def test_a_negative_budget_is_refused():
    with pytest.raises(ValueError, match="budget = -1 must not be negative"):
        candidates(4, -1)


def ranked(back_ends, cores, wish, size=8, budget=None):
    return rank(candidates(back_ends, budget), Load(size, 16), SOME, cores, wish)


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_on_one_core_the_flat_tree_comes_first(objective):
    found = ranked(64, 1, Wish(objective))
    assert found[0].candidate.spec["kind"] == "flat"
    (why,) = reasons(found, 1, Wish(objective))
    assert why.startswith(f"{found[0].candidate.name} wins over {found[1].candidate.name}: ")


def test_with_a_core_for_each_a_large_tree_is_deep_and_the_reason_names_the_flat_one():
    found = ranked(1024, 2000, Wish())
    assert found[0].candidate.shape.depth > 1
    assert any("wins over flat" in why and "1024 children" in why for why in reasons(found, 2000, Wish()))


def test_trees_are_ordered_by_the_objective_up_to_what_counts_as_equal():
    scores = [r.latency_s for r in ranked(48, 8, Wish("latency"))]
    assert all(b > a * 0.96 for a, b in pairwise(scores))
    scores = [r.throughput_waves_s for r in ranked(48, 8, Wish("throughput"), 1 << 20)]
    assert all(b < a * 1.04 for a, b in pairwise(scores))
    assert max(scores) / min(scores) > 1.5


def test_a_tree_that_does_not_carry_the_rate_comes_after_all_that_do():
    by_rate = sorted(r.throughput_waves_s for r in ranked(64, 64, Wish(), 1 << 20))
    wish = Wish(rate_waves_s=math.sqrt(by_rate[0] * by_rate[-1]))
    found = ranked(64, 64, wish, 1 << 20)
    carried = [r.throughput_waves_s >= wish.rate_waves_s for r in found]
    assert carried == sorted(carried, reverse=True)
    assert carried[0]
    assert not carried[-1]
    assert "waves/s" in found[-1].unmet[0]


def test_a_wish_for_undisturbed_waves_prefers_fewer_processes():
    without = ranked(256, 400, Wish(failures_per_node_hour=1.0))
    fewest = min(r.reliability.disturbed_fraction for r in without)
    assert without[0].reliability.disturbed_fraction > fewest
    wish = Wish(failures_per_node_hour=1.0, undisturbed=1 - fewest * 1.0001)
    found = ranked(256, 400, wish)
    assert found[0].reliability.disturbed_fraction <= fewest * 1.0001
    assert "undisturbed" in found[-1].unmet[0]


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_trees_that_do_nothing_but_recover_are_ranked_too(objective):
    found = ranked(64, 8, Wish(objective, rate_waves_s=1.0, failures_per_node_hour=1e9))
    assert all(r.unmet and r.throughput_waves_s < 1e-6 for r in found)
    assert reasons(found, 8, Wish(objective))


def test_nothing_to_compare_with_is_said():
    assert reasons(ranked(16, 2, Wish(), budget=0), 2, Wish()) == ["flat back_ends=16 is the only tree within the budget."]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"objective": "speed"}, "objective = 'speed': there are latency and throughput"),
        ({"rate_waves_s": -1.0}, "rate_waves_s = -1.0 must be a finite number"),
        ({"failures_per_node_hour": math.nan}, "failures_per_node_hour = nan must be"),
        ({"undisturbed": 1.0}, "undisturbed = 1.0 must be at least 0 and below 1"),
    ],
)
def test_wishes_that_cannot_be_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        Wish(**keys)
