"""Explored scenarios in which back-ends come and go, and what excuses their typed errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.api.records import Check, TrialRecord, Violation
from harness.core.tree import Tree
from harness.explore import excuse
from harness.explore.campaign import QUICK
from harness.explore.comings import KINDS, comings
from harness.explore.space import Space, scenario

TREE = Tree.from_parents((None, 0, 0, 0))
LOAD = {"workload": {"kind": "reduce-stream"}, "recovery": "replay"}
OPENED = {"kind": "stream-opened", "t_s": 0.1, "stream": 1}
#: (when, how many waves were there then) of stream 1.
ROWS = ((0.5, 5), (1.0, 10))


def record(*events: dict[str, Any]) -> TrialRecord:
    rows = np.zeros(len(ROWS), [("stream", "u4"), ("t_s", "f8"), ("first", "u8"), ("count", "u4")])
    for row, (t_s, end) in zip(rows, ROWS, strict=True):
        row["stream"], row["t_s"], row["first"], row["count"] = 1, t_s, end - 5, 5
    return TrialRecord(plan={}, tree=TREE, events=[OPENED, *events], samples=rows, observed=np.zeros(0), contributor_sets=[])


def out(kind: str, t_s: float, *ranks: int) -> dict[str, Any]:
    return {"kind": kind, "t_s": t_s, "ranks": list(ranks), "first": {}}


def let_in(t_s: float, rank: int, first: int) -> dict[str, Any]:
    return {"kind": "admitted", "t_s": t_s, "ranks": [rank], "first": {"1": first}}


@pytest.mark.parametrize(
    ("events", "nobody"),
    [
        ([], False),
        ([out("dead", 0.6, 0), out("left", 0.7, 1)], False),
        ([out("dead", 0.6, 0), out("left", 0.7, 1), out("dead", 0.8, 2)], True),
        ([out("absent", 0.0, 0), out("left", 0.7, 1), let_in(0.75, 0, 8), out("dead", 0.8, 2)], True),  # 8 is to come
        ([out("absent", 0.0, 0), out("left", 0.7, 1), let_in(0.75, 0, 8), out("dead", 1.1, 2)], False),
        ([out("left", 0.6, 0, 1), out("dead", 0.7, 2), let_in(0.7, 2, 3)], False),  # one moment
        ([out("left", 0.6, 0, 1), out("dead", 0.7, 2), let_in(0.7, 2, 8)], True),
    ],
)
def test_nobody_was_left(events: list[dict[str, Any]], nobody: bool) -> None:
    assert excuse.nobody_left(record(*events)) is nobody


def test_only_what_follows_from_the_end_is_excused() -> None:
    wrong = [
        Violation("missing", "waves 10 to 99 were never delivered", None, 10),
        Violation("lost", "rank 1: not in waves 10 to 99", 1, 10),
        Violation("lost", "rank 1: not in wave 3", 1, 3),
        Violation("mixed", "wave 4", None, 4),
    ]
    rest = excuse.without_the_end(Check(False, "", {}, tuple(wrong)), record())
    assert [v.message for v in rest.violations] == ["rank 1: not in wave 3", "wave 4"] and rest.passed is False
    assert excuse.without_the_end(Check(False, "", {}, tuple(wrong[:2])), record()).passed is True


def test_which_ends_may_be_excused() -> None:
    def ended(reason: str, ok: bool = False) -> list[dict[str, Any]]:
        return [{"kind": "finished", "t_s": 1.0, "ok": ok, "reason": reason}]

    assert excuse.ended_so(ended("QuorumLost: ...")) and excuse.ended_so(ended("WavesLost: ..."))
    assert not excuse.ended_so(ended("DeadlineExceeded: ...")) and not excuse.ended_so(ended("", ok=True))


def test_a_load_of_requests_is_short() -> None:
    """It is over long before the faults are: who comes and goes does so early."""
    found = [c for seed in range(100) for c in comings(seed, 1.0, 30.0, TREE, {"workload": {"kind": "round-trip"}})]
    assert found and max(c.get("at_s", 0.0) for c in found) <= 0.3


def test_what_is_drawn() -> None:
    found = [c for seed in range(300) for c in comings(seed, 1.0, 3.0, TREE, LOAD)]
    kinds = {"crash": "rejoin", "join": "join", "leave": "leave"}
    assert {kinds[c["kind"]] for c in found} | {"leave-and-rejoin" for c in found if "rejoin_after_s" in c} == set(KINDS)
    for seed in range(300):
        late = [c["target"] for c in comings(seed, 1.0, 3.0, TREE, LOAD) if c["kind"] == "join"]
        assert len(set(late)) == len(late) < len(TREE.back_ends)


@pytest.mark.parametrize(
    "case",
    [
        {**LOAD, "recovery": "decompose"},
        {**LOAD, "standby": "node:1"},
        {"workload": {"kind": "mixed"}},
    ],
)
def test_where_nobody_comes_or_goes(case: dict[str, Any]) -> None:
    assert not any(comings(seed, 1.0, 3.0, TREE, case) for seed in range(50))


def test_a_seed_is_what_it_was_without_them() -> None:
    """Their numbers are drawn apart."""
    for seed in range(40):
        with_, without = (scenario(Space(members=m), "s", QUICK, seed) for m in (1.0, 0.0))
        faults = without["case"][0].get("fault", [])
        assert with_["case"][0].get("fault", [])[: len(faults)] == faults
        assert {**with_["case"][0], "fault": None} == {**without["case"][0], "fault": None}
        assert with_["testbed"] == without["testbed"]
