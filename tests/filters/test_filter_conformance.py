"""The built-in filters obey the laws that they declare, and agree with references written without them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pluggy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api.filters import DownFilter, Filter, RankSet
from harness.hookspecs import GROUP, Hooks
from harness.testing.filters import run_checks, run_down_checks
from harness_plugins import filters as plugin
from harness_plugins.filters import (
    DOWN_FILTERS,
    FILTERS,
    Clamp,
    Histogram,
    Null,
    Quantize,
    TopK,
)


def failures(filter_: Filter, **options: Any) -> dict[str, str]:
    return {o.name: o.message for o in run_checks(filter_, **options) if o.passed is False}


# -- references: what each filter should make of some offers, written down without partial aggregates ----------------------


def stacked(function: Any, dtype: Any = None) -> Any:
    return lambda offers, ranks: function(np.stack(offers), axis=0).astype(dtype or offers[0].dtype)


def reference_histogram(low: float, high: float, bins: int) -> Any:
    def reference(offers: Sequence[Any], ranks: Sequence[int]) -> Any:
        edges = [-np.inf, *np.linspace(low, high, bins + 1), np.inf]
        rows = []
        for w in range(len(offers[0])):
            samples = [float(x) for o in offers for x in np.asarray(o[w]).ravel()]
            rows.append([sum(a <= x < b for x in samples) for a, b in pairwise(edges)])
        return np.array(rows, dtype=np.int64)

    return reference


def reference_top(k: int, pairs: bool) -> Any:
    def reference(offers: Sequence[Any], ranks: Sequence[int]) -> Any:
        rows = []
        for w in range(len(offers[0])):
            best: dict[float, float] = {}
            for offer, rank in zip(offers, ranks, strict=True):
                for row in offer[w]:
                    value, key = row if pairs else (row, rank)
                    best[key] = max(value, best.get(key, -np.inf))
            top = sorted(((v, key) for key, v in best.items()), key=lambda e: (-e[0], e[1]))[:k]
            rows.append(top + [(-np.inf, -1.0)] * (k - len(top)))
        return np.array(rows, dtype=np.float64)

    return reference


def type_then_value(member: Any) -> Any:
    if isinstance(member, list):
        return (6, [type_then_value(m) for m in member])
    return ({int: 2, str: 4, bytes: 5}[type(member)], member)


def reference_union(offers: Sequence[Any], ranks: Sequence[int]) -> Any:
    results = []
    for w in range(len(offers[0])):
        members: list[Any] = []
        for offer in offers:
            members += [m for m in offer[w] if m not in members]
        unique = [m for i, m in enumerate(members) if m not in members[:i]]
        results.append(sorted(unique, key=type_then_value))
    return results


def reference_classes(offers: Sequence[Any], ranks: Sequence[int]) -> Any:
    results = []
    for w in range(len(offers[0])):
        keys = sorted({key for offer in offers for key in offer[w]})
        results.append([[k, [[r, o[w][k]] for o, r in zip(offers, ranks, strict=True) if k in o[w]]] for k in keys])
    return results


CASES: dict[str, tuple[Filter, Any]] = {
    "sum": (FILTERS["sum"](), stacked(lambda a, axis: a.sum(axis=axis, dtype=a.dtype))),
    "count": (FILTERS["count"](), lambda offers, ranks: np.full(len(offers[0]), len(offers))),
    "average": (FILTERS["average"](), stacked(lambda a, axis: a.mean(axis=axis, dtype=np.float64), np.float64)),
    "min": (FILTERS["min"](), stacked(np.min)),
    "max": (FILTERS["max"](), stacked(np.max)),
    "concat": (FILTERS["concat"](), lambda offers, ranks: np.stack(offers, axis=1)),
    "union": (FILTERS["union"](), reference_union),
    "classes": (FILTERS["classes"](), reference_classes),
    "top-k": (TopK(3), reference_top(3, False)),
    "top-k of pairs": (TopK(5, pairs=True), reference_top(5, True)),
    "top-k, more than there are": (TopK(20), reference_top(20, False)),
    "top-k of pairs, more than there are": (TopK(40, pairs=True), reference_top(40, True)),
    "histogram": (FILTERS["histogram"](), reference_histogram(0.0, 1.0, 10)),
    "histogram, wide": (Histogram(-7.5, 8, 7), reference_histogram(-7.5, 8, 7)),
    "null": (Null(), None),
    "null of arrays": (Null("array"), None),
    "null of objects": (Null("msgpack"), None),
}


@pytest.mark.parametrize("name", CASES)
def test_built_in_filters_obey_their_laws(name: str) -> None:
    filter_, reference = CASES[name]
    assert failures(filter_, seed=3, examples=40, reference=reference) == {}


def test_every_built_in_kind_is_checked() -> None:
    assert set(FILTERS) <= set(CASES)


def test_declared_laws_are_not_skipped() -> None:
    for filter_, _ in CASES.values():
        outcomes = {o.name: o for o in run_checks(filter_, examples=5)}
        for law in ("idempotent", "invertible", "keyed", "ordered", "decomposable"):
            if getattr(filter_.algebra, law):
                assert outcomes[law].passed is True, (filter_, law, outcomes[law].message)


def test_the_hooks_offer_the_kinds() -> None:
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    manager.register(plugin)
    manager.check_pending()
    assert manager.hook.harness_filters() == [FILTERS]
    assert manager.hook.harness_down_filters() == [DOWN_FILTERS]


# -- top-k with free places -------------------------------------------------------------------------------------------------

#: What each back-end offers, wave by wave: few different numbers, so that some are alike.
OFFERS = st.integers(1, 5).flatmap(
    lambda waves: st.lists(st.lists(st.integers(-3, 3), min_size=waves, max_size=waves), min_size=1, max_size=6)
)


@given(offers=OFFERS, k=st.integers(1, 12), data=st.data())
@settings(max_examples=200, deadline=None)
def test_states_of_top_k_form_a_semilattice_also_with_free_places(offers: list[list[int]], k: int, data: st.DataObject) -> None:
    """Whatever is folded, combined, repeated and regrouped on the way, the state is the top of what was offered."""
    filter_ = TopK(k)
    ranks = RankSet.of(range(len(offers)))
    lifted = [np.asarray(filter_.lift(np.array(offer), rank)) for rank, offer in enumerate(offers)]

    def join(*parts: Any) -> Any:
        return filter_.combine(parts, [ranks] * len(parts))

    best = sorted(((max(offer), rank) for rank, offer in enumerate(offers)), key=lambda e: (-e[0], e[1]))[:k]
    wanted = np.array([best + [(-np.inf, -1.0)] * (k - len(best))])
    cut = data.draw(st.integers(0, len(offers[0])))
    halves = [part for items in lifted for part in (items[:cut], items[cut:]) if len(part)]
    pieces = data.draw(st.permutations([filter_.fold(part) for part in halves] * 2))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole = join(whole, piece)
    assert np.array_equal(whole, wanted)
    assert np.array_equal(filter_.fold(join(*lifted)), wanted)
    assert np.array_equal(join(whole, whole), whole)
    a, b, c = (data.draw(st.sampled_from(pieces)) for _ in range(3))
    assert np.array_equal(join(a, b), join(b, a))
    assert np.array_equal(join(join(a, b), c), join(a, join(b, c)))
    assert all(np.array_equal(join(whole, piece), whole) for piece in pieces)


# -- downstream -------------------------------------------------------------------------------------------------------------

DOWN: dict[str, DownFilter] = {
    **{name: kind() for name, kind in DOWN_FILTERS.items()},
    "clamp to a range": Clamp(-1, 1),
    "clamp whole numbers": Clamp(-1.5, 3, "<i8"),
    "quantize to 3 bits": Quantize(3),
    "quantize float32": Quantize(7, "<f4"),
}


@pytest.mark.parametrize("name", DOWN)
def test_built_in_down_filters_obey_their_laws(name: str) -> None:
    outcomes = run_down_checks(DOWN[name], seed=5, examples=100)
    assert [o.name for o in outcomes if o.passed] == ["applies", "repeatable", "idempotent"], outcomes


def test_down_saboteurs_are_caught() -> None:
    class Doubles:
        def apply(self, payload: bytes) -> bytes:
            return payload + payload

    class Counts:
        calls = 0

        def apply(self, payload: bytes) -> bytes:
            self.calls += 1
            return str(self.calls).encode()

    class GivesText:
        def apply(self, payload: bytes) -> Any:
            return payload.hex()

    class Refuses:
        def apply(self, payload: bytes) -> bytes:
            raise ValueError("never")

    def failed(filter_: Any) -> list[str]:
        return [o.name for o in run_down_checks(filter_) if o.passed is False]

    assert failed(Doubles()) == ["idempotent"]
    assert failed(Counts()) == ["repeatable", "idempotent"]
    assert failed(GivesText()) == failed(Refuses()) == failed(object()) == ["applies"]
