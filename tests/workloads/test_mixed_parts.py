"""What `mixed` draws, what it refuses, and its parts one by one."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.api.errors import UsageError
from harness.core.ranks import RankSet
from harness.core.spec import Accept, Recovery, StreamSpec, Sync
from harness.registry import load
from harness.run.plan import load_plan
from harness_plugins.filters import FILTERS
from harness_workloads.mixed import Mixed
from harness_workloads.mixed_back import PATIENCE_S, MixedBackEnd
from harness_workloads.mixed_plan import DECOMPOSABLE, IDEMPOTENT, draw
from harness_workloads.mixed_plan import FILTERS as DRAWN
from harness_workloads.mixed_values import Contributions

SUITE = """
[suite]
name = "mixed"
seed = 1

[testbed]
kind = "sim"

[[case]]
name = "mixed"
workload = {{ kind = "mixed"{workload} }}
topology = {{ kind = "kary", fanout = 2, depth = 2 }}
sync = "do-not-wait"
{more}
"""


@pytest.fixture(scope="module")
def registry():
    return load()


# -- what is drawn -----------------------------------------------------------------------------------------------------------


def plans_of(workload: Mixed, ranks: int = 9, seed: int = 7) -> dict[int, Any]:
    tree = SimpleNamespace(back_ends=[None] * ranks, standby=-1)
    return {p.index: p for p in workload.plans(SimpleNamespace(seed=seed, tree=tree))}


def test_leaving_streams_out_changes_no_other():
    for seed in range(50):
        whole = plans_of(Mixed(streams=6), seed=seed)
        assert plans_of(Mixed(streams=6, only=(5, 2)), seed=seed) == {i: whole[i] for i in (2, 5)}
        assert plans_of(Mixed(streams=3), seed=seed) == {i: whole[i] for i in range(3)}
    assert plans_of(Mixed(), seed=1) != plans_of(Mixed(), seed=2)


def test_everything_is_drawn_and_all_of_it_is_possible():
    seen: dict[str, set[Any]] = {"filter": set(), "recovery": set(), "sync": set(), "accept": set()}
    for seed in range(60):
        for plan in plans_of(Mixed(streams=8, waves=100, messages=10), seed=seed).values():
            for key, values in seen.items():
                values.add(getattr(plan.spec, key))
            assert 1 <= plan.waves <= 100 and len(plan.messages) <= 10
            assert plan.spec.members.issubset(RankSet([(0, 9)])) and plan.spec.quorum <= len(plan.spec.members)
            assert plan.spec.recovery is not Recovery.COMPOSE or FILTERS[plan.spec.filter]().algebra.idempotent
            assert plan.spec.recovery is not Recovery.DECOMPOSE or FILTERS[plan.spec.filter]().algebra.decomposable
            assert plan.spec.recovery not in (Recovery.REPLAY, Recovery.DECOMPOSE) or plan.spec.sync is Sync.WAIT_FOR_ALL
    assert seen == {"filter": set(DRAWN), "recovery": set(Recovery), "sync": set(Sync), "accept": set(Accept)}


def test_only_what_is_asked_for_is_drawn():
    workload = Mixed(streams=40, filter_kinds=("sum", "max"), recovery_kinds=(Recovery.COMPOSE, Recovery.RESUME))
    drawn = {(p.spec.recovery, p.spec.filter) for p in plans_of(workload).values()}
    assert drawn == {(Recovery.COMPOSE, "max"), (Recovery.RESUME, "max"), (Recovery.RESUME, "sum")}
    assert workload.filters("") == ("max", "sum", "union")
    still = Mixed(streams=40, comes_and_goes=False)
    assert {(p.open_at_s, p.close_at_s, p.tidy) for p in plans_of(still).values()} == {(0.0, None, False)}


# -- bad input ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "where", "hint"),
    [
        ("streams = 0", "workload.streams", "between 1 and"),
        ("waves = 0", "workload.waves", "between 1 and"),
        ("messages = -1", "workload.messages", "between 0 and"),
        ("lazy = 1.0", "workload.lazy", "between 0 and 0.9"),
        ("only = [4]", "workload.only", "0 to 3"),
        ("only = [1, 1]", "workload.only", "different"),
        ("settle_s = -1.0", "workload.settle_s", "leave it out"),
        ('filter_kinds = ["top-k"]', "workload.filter_kinds", "use some of sum"),
        ('filter_kinds = ["sum"], recovery_kinds = ["compose"]', "workload", "compose an idempotent filter"),
        ('recovery_kinds = ["replai"]', "workload.recovery_kinds[0]", "replay"),
    ],
)
def test_mistakes_say_where_and_what_to_do(tmp_path, registry, keys, where, hint):
    suite = tmp_path / "suite.toml"
    suite.write_text(SUITE.format(workload=f", {keys}", more=""))
    with pytest.raises(UsageError) as raised:
        load_plan(suite, registry)
    assert f"case[0].{where}" in str(raised.value) and hint in str(raised.value)


@pytest.mark.parametrize(
    ("keys", "where", "hint"),
    [
        ('filter = "sum"', "case[0].filter", "filter_kinds"),
        ('sync = "wait-for-all"', "case[0].sync", "write sync = 'do-not-wait'"),
        ('down_filter = { kind = "quantize" }', "case[0].down_filter", "byte by byte"),
    ],
)
def test_what_the_case_may_not_choose(tmp_path, registry, keys, where, hint):
    suite = tmp_path / "suite.toml"
    text = SUITE.format(workload="", more="")
    suite.write_text(text.replace('sync = "do-not-wait"', keys) if "sync" in keys else text + keys)
    with pytest.raises(UsageError) as raised:
        load_plan(suite, registry)
    assert where in str(raised.value) and hint in str(raised.value)


# -- the parts ---------------------------------------------------------------------------------------------------------------


class Handle:
    """A back-end's handle."""

    def __init__(self) -> None:
        self.now, self.rank, self.asked_at = 0.0, 1, -1.0

    def call_at(self, when_s: float) -> None:
        self.asked_at = when_s


def back_end() -> tuple[MixedBackEnd, Handle, Any]:
    """Rank 1 with one stream open that has messages for it."""
    workload = Mixed(lazy=0.0, comes_and_goes=False, waves=9)
    for seed in range(1000):
        context = SimpleNamespace(seed=seed, tree=SimpleNamespace(back_ends=[None] * 4, standby=-1))
        plan = workload.plans(context)[0]
        if len(plan.meant_for(1)) >= 3 and 1 in plan.spec.members and plan.spec.accept is Accept.COMPLETE:
            app, be = MixedBackEnd(workload, context, 1), Handle()
            app.on_open(be, 5, plan.spec)
            return app, be, plan
    raise AssertionError("no such stream")


def at_the_barrier(app: MixedBackEnd, be: Handle, plan: Any) -> list[Any]:
    made = app.courses[5].made
    while made < plan.waves:
        made += len(app.produce(be, 5, made, 4))
    app.on_open(be, 6, StreamSpec("barrier", RankSet([(0, 4)]), "union"))
    told = app.produce(be, 6, 0, 1)
    if told is None:
        assert be.asked_at == PATIENCE_S
        be.now = PATIENCE_S
        told = app.produce(be, 6, 0, 1)
    return told[0]


def test_a_back_end_that_saw_nothing_wrong_says_so():
    app, be, plan = back_end()
    meant = plan.meant_for(1)
    for n in meant:
        app.on_message(be, 5, plan.payload(n))
    assert at_the_barrier(app, be, plan) == [[1, "made", 0, plan.waves, len(meant)]]


@pytest.mark.parametrize(
    ("act", "complaint"),
    [
        (lambda app, be, plan: app.on_open(be, 5, plan.spec), "opened twice"),
        (lambda app, be, plan: app.on_open(be, 9, replace(plan.spec, members=RankSet.of([0]))), "is for ranks 0"),
        (lambda app, be, plan: app.on_open(be, 9, replace(plan.spec, chunk_bytes=7)), "is not what stream 0"),
        (lambda app, be, plan: app.on_message(be, 7, b"0.0"), "not open"),
        (lambda app, be, plan: app.on_message(be, 5, b"strange"), "is not for this rank"),
        (lambda app, be, plan: app.on_message(be, 5, plan.payload(plan.meant_for(1)[1])), "was due"),
        (lambda app, be, plan: app.produce(be, 7, 0, 1), "not open"),
        (lambda app, be, plan: app.on_close(be, 7), "which is not open, was closed"),
    ],
)
def test_what_a_back_end_complains_about(act, complaint):
    app, be, plan = back_end()
    act(app, be, plan)
    told = at_the_barrier(app, be, plan)
    assert complaint in next(e for e in told if e[1] == "wrong")[2]


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("seed", range(4))
def test_what_must_come_is_what_the_filter_gives(name, seed):
    choices = [c for c in Mixed(filter_kinds=(name,))._choices() if c.filter == name]
    plan = draw(seed, 0, RankSet([(0, 9)]), choices, 50, 0, False)
    made = Contributions(seed, plan, 9)
    filter_ = FILTERS[name]()
    for ranks in ([4], [0, 3, 8]) if name != "null" else ([4],):
        lifted = [filter_.lift(made.offer(r, 2, 5), r) for r in ranks]
        got = filter_.lower(filter_.combine(lifted, [RankSet.of([r]) for r in ranks]), RankSet.of(ranks))
        want = made.reduced(ranks, 2, 5)
        assert made.first_wrong(made.plain(got), want) is None
        assert np.array_equal(made.number(made.plain(got)), made.number(want))
        if name != "count":
            assert made.first_wrong(made.plain(got), made.reduced(ranks, 3, 5)) == 0


@pytest.mark.parametrize("name", DECOMPOSABLE)
@pytest.mark.parametrize("seed", range(4))
def test_a_state_of_parts_is_their_fold(name, seed):
    choices = [c for c in Mixed(filter_kinds=(name,))._choices() if c.recovery is Recovery.DECOMPOSE]
    plan = draw(seed, 0, RankSet([(0, 4)]), choices, 50, 0, False)
    made, filter_ = Contributions(seed, plan, 4), FILTERS[name]()
    elements = made.values.elements
    held = {((0, 9),): [0, 1], ((0, 3), (5, 9)): [2], (): [3]}
    parts = [filter_.fold(filter_.lift(made.offer(r, a, b - a), r)) for s, ranks in held.items() for r in ranks for a, b in s]
    whole = filter_.combine(parts, [RankSet.of([i]) for i in range(len(parts))])
    told = np.asarray(filter_.lower_fold(whole, 25) if name == "average" else whole)[0]
    assert made.fold_fault(told.tolist(), [held], elements) == ""
    assert made.fold_fault((told + 1).tolist(), [held], elements)
    assert made.fold_fault(told.tolist(), [{((0, 9),): [0, 1], ((0, 3), (5, 8)): [2]}], elements)
    assert made.fold_fault(None, [held], elements) == "is not there"


@pytest.mark.parametrize("name", IDEMPOTENT)
def test_a_state_holds_what_must_be_in_it_and_no_more(name):
    choices = [c for c in Mixed(filter_kinds=(name,))._choices() if c.recovery is Recovery.COMPOSE and c.filter == name]
    plan = draw(3, 0, RankSet([(0, 4)]), choices, 50, 0, False)
    made, filter_ = Contributions(3, plan, 4), FILTERS[name]()

    def state(waves: dict[int, int]) -> Any:
        parts = [filter_.fold(filter_.lift(made.offer(r, 0, n), r)) for r, n in waves.items()]
        whole = filter_.combine(parts, [RankSet.of([r]) for r in waves])
        return json.loads(json.dumps(whole[0].tolist() if isinstance(whole, np.ndarray) else whole[0]))

    everything = {0: 9, 1: 9, 2: 9, 3: 9}
    assert made.state_fault(state(everything), everything, everything) == ""
    assert made.state_fault(state({0: 9, 1: 9, 2: 9, 3: 4}), {0: 9, 1: 9, 2: 9}, everything) == ""
    assert made.state_fault(None, {}, everything) == ""
    assert "is not there" in made.state_fault(None, everything, everything)
    for rank in range(4):
        fewer = {r: n for r, n in everything.items() if r != rank}
        without = state(fewer)
        if without != state(everything):
            assert made.state_fault(without, everything, everything)
            assert made.state_fault(state(everything), fewer, fewer)
