"""The workload `mixed`, on whole trees in virtual time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api.records import Check, TrialRecord
from harness.api.testbed import DeploymentSpec
from harness.core.filters import Filter
from harness.core.ranks import RankSet
from harness.core.spec import Accept, Recovery
from harness.registry import load
from harness.run.journal import dump_json
from harness.run.plan import TrialPlan, load_plan
from harness.run.record import load_trial
from harness_plugins.filters import FILTERS
from harness_workloads.mixed_back import MixedBackEnd

SEEDS = 30
SUITE = """
[suite]
name = "mixed"
seed = {seed}

[testbed]
kind = "sim"

[[case]]
name = "mixed"
workload = {{ kind = "mixed"{workload} }}
topology = {{ kind = "kary", fanout = 2, depth = 2 }}
sync = "do-not-wait"
{more}
"""
FAULTS = {
    "crash": 'kind = "crash"\ntarget = "any 1 of role:internal"',
    "crashes": 'kind = "crash"\ntarget = "any 2 of role:internal, role:back-end"\nspread_s = 0.2',
    "hang": 'kind = "hang"\ntarget = "any 1 of role:internal, role:back-end"\nresume_after_s = 2.6',
    "cut": 'kind = "cut"\ntarget = "any 2 of role:internal, role:back-end"',
    "restart": 'kind = "crash"\ntarget = "any 1 of role:back-end"\nrestart_after_s = 0.1',
}
SMALL = ", streams = 3, waves = 60"


@pytest.fixture(scope="module")
def registry():
    return load()


@dataclass
class Trial:
    """One trial of a suite, and what was recorded of it."""

    plan: TrialPlan
    record: TrialRecord

    def check(self, **changes: Any) -> Check:
        """The workload's judgement of the record, with some of its parts replaced."""
        plan = self.plan
        return plan.workload.check(replace(self.record, **changes), plan.context, plan.expect.recovery or "")

    @property
    def filters(self) -> dict[int, str]:
        """The filter of each stream, by its id."""
        plans = {p.index: p for p in self.plan.workload.plans(self.plan.context)}
        return {n["stream"]: plans[n["index"]].spec.filter for n in self.notes("stream")}

    def notes(self, name: str) -> list[dict[str, Any]]:
        return [e["fields"] for e in self.record.of_kind("note") if e["name"] == name]

    def altered(self, name: str, change: Callable[[dict[str, Any]], Any]) -> Check:
        """The judgement after `change` was made to the notes of that name."""
        events = json.loads(json.dumps(list(self.record.events)))
        for e in events:
            if e["kind"] == "note" and e["name"] == name:
                change(e["fields"])
        return self.check(events=events)


@pytest.fixture
def run(tmp_path: Path, registry) -> Callable[..., Trial]:
    """run(seed, workload=", streams = 2", fault="crash", filters={...}) runs a trial to its end."""

    def run_it(seed: int, workload: str = SMALL, fault: str = "", filters: Mapping[str, Filter] | None = None):
        more = f"[[case.fault]]\n{FAULTS[fault]}\nat_s = {0.02 + seed % 7 * 0.3}" if fault else ""
        suite = tmp_path / "suite.toml"
        suite.write_text(SUITE.format(seed=seed, workload=workload, more=more))
        plan = load_plan(suite, registry)
        trial = plan.trials[0]
        spec = DeploymentSpec(
            trial=trial.id,
            secret=b"",
            tree=trial.tree,
            transport=trial.transport,
            workload=trial.workload,
            context=trial.context,
            filters={**trial.filters, **(filters or {})},
            down_filters=trial.down_filters,
            settings=trial.settings,
            injections=trial.injections,
        )
        with plan.testbed.value.deploy(spec) as deployment:
            deployment.start()
            events = deployment.poll(1.0)
            while not any(e["kind"] == "finished" for e in events):
                events += deployment.poll(1.0)
            events += deployment.stop(10.0)
            deployment.collect(tmp_path / f"{seed}")
        record, notes = load_trial(tmp_path / f"{seed}", trial.to_json(), json.loads(dump_json(events)))
        assert not notes
        return Trial(trial, record)

    return run_it


def said(check: Check) -> str:
    assert check.passed is False, "nothing wrong was found"
    return "\n".join(v.message for v in check.violations)


# -- whole trials ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["", *FAULTS])
def test_trials_pass(run, fault):
    waves = 0
    for seed in range(SEEDS):
        trial = run(seed, fault=fault)
        check = trial.check()
        assert check.passed, f"seed {seed}: {check.summary}"
        assert len(trial.record.of_kind("fault")) >= (1 if fault else 0)
        waves += check.counts["waves"]
    assert waves > 1000


def test_the_same_seed_is_the_same_trial(run):
    first, again = run(5, fault="crash"), run(5, fault="crash")
    assert list(first.record.events) == list(again.record.events)
    assert np.array_equal(first.record.observed, again.record.observed)


def test_where_all_die_the_trial_ends_well(run, monkeypatch):
    monkeypatch.setitem(FAULTS, "all", 'kind = "crash"\ntarget = "role:back-end"')
    trial = run(1, fault="all")
    assert trial.check().passed, trial.check().summary
    assert not trial.notes("barrier")


def test_only_the_streams_that_are_asked_for_are_opened(run):
    trial = run(6, ", streams = 5, waves = 20, only = [1, 3]")
    assert sorted(n["index"] for n in trial.notes("stream")) == [1, 3]
    assert trial.check().passed


def test_without_lazy_back_ends_and_messages_and_with_one_stream(run):
    trial = run(3, ", streams = 1, waves = 1, messages = 0, lazy = 0.0, comes_and_goes = false, duration_s = 0.0")
    assert trial.check().passed
    assert trial.record.samples["count"].sum() >= 1


# -- saboteurs: a part of the system makes one mistake -----------------------------------------------------------------------


class Spoilt:
    """A filter that makes one mistake, in its n-th merge."""

    def __init__(self, filter_: Filter, spoil: Callable[[Any, list[Any], list[RankSet]], Any], n: int = 3) -> None:
        self._filter, self._spoil, self._left = filter_, spoil, n

    def __getattr__(self, name: str) -> Any:
        return getattr(self._filter, name)

    def combine(self, parts: list[Any], ranks: list[RankSet]) -> Any:
        self._left -= len(parts) > 1
        if self._left == 0:
            self._left = -1
            return self._spoil(self._filter, parts, ranks)
        return self._filter.combine(parts, ranks)


SPOIL = {
    "dropped": lambda f, parts, ranks: f.combine(parts[1:], ranks[1:]),
    "doubled": lambda f, parts, ranks: f.combine([*parts, parts[0]], [*ranks, ranks[0]]),
}


@pytest.mark.parametrize(
    ("name", "spoil"),
    [(name, "dropped") for name in ("sum", "average", "count", "max", "union", "classes")]
    + [(name, "doubled") for name in ("sum", "average", "count")],
)
def test_a_contribution_that_is_dropped_or_doubled_is_found(run, name, spoil):
    workload = f', streams = 1, waves = 40, filter_kinds = ["{name}"], recovery_kinds = ["replay"], comes_and_goes = false'
    for seed in range(40):  # the first with enough merges of several ranks, none of which is a least or greatest one by chance
        trial = run(seed, workload, filters={name: Spoilt(FILTERS[name](), SPOIL[spoil])})
        check = trial.check()
        if check.passed is False:
            assert any(v.what in ("mixed", "lost") for v in check.violations)
            return
    raise AssertionError("it was never found")


@pytest.mark.parametrize("mistake", ["dropped", "doubled", "swapped", "astray"])
def test_a_message_that_is_dropped_doubled_or_swapped_is_found(run, monkeypatch, mistake):
    taken: list[tuple[int, bytes]] = []
    real = MixedBackEnd.on_message

    def on_message(self: MixedBackEnd, be: Any, stream: int, payload: bytes) -> None:
        nth = len(taken)
        taken.append((stream, payload))
        if mistake == "swapped" and nth == 4:
            return
        if nth != 4:
            real(self, be, stream, payload)
        if mistake == "swapped" and nth == 5:
            real(self, be, *taken[4])
        if nth == 4 and mistake == "doubled":
            real(self, be, stream, payload)
            real(self, be, stream, payload)
        if nth == 4 and mistake == "astray":
            real(self, be, stream, payload)
            real(self, be, stream, b"0.99")

    monkeypatch.setattr(MixedBackEnd, "on_message", on_message)
    text = said(run(4, ", streams = 2, waves = 5, messages = 40, comes_and_goes = false").check())
    assert "message" in text and len(taken) > 5


def test_a_wave_that_is_asked_for_again_is_told_at_the_barrier(run, monkeypatch):
    real = MixedBackEnd.produce
    asked = []

    def produce(self: MixedBackEnd, be: Any, stream: int, first: int, at_most: int) -> Any:
        asked.append(stream)
        if len(asked) == 9:
            real(self, be, stream, first + 1, at_most)
        return real(self, be, stream, first, at_most)

    monkeypatch.setattr(MixedBackEnd, "produce", produce)
    assert "was next" in said(run(2).check())


# -- records that were tampered with -----------------------------------------------------------------------------------------


@pytest.fixture
def good(run) -> Trial:
    """A trial with a stream that composes, one that replays and messages."""
    for seed in range(100):
        trial = run(seed, ", streams = 4, waves = 60, comes_and_goes = false")
        plans = {p.index: p for p in trial.plan.workload.plans(trial.plan.context)}
        kinds = {p.spec.recovery for p in plans.values() if p.waits and p.spec.accept is Accept.COMPLETE and p.waves > 5}
        if Recovery.COMPOSE in kinds and Recovery.REPLAY in kinds and any(len(p.messages) > 3 for p in plans.values()):
            assert trial.check().passed
            return trial
    raise AssertionError("no such trial")


def rows_of(trial: Trial, recovery: Recovery) -> list[int]:
    """The rows of streams that wait and recover like that."""
    by_index = {p.index: p for p in trial.plan.workload.plans(trial.plan.context)}
    streams = {n["stream"] for n in trial.notes("stream") if by_index[n["index"]].spec.recovery is recovery}
    streams &= {n["stream"] for n in trial.notes("stream") if by_index[n["index"]].waits}
    return [i for i, row in enumerate(trial.record.samples) if row["stream"] in streams]


@pytest.mark.parametrize("recovery", [Recovery.REPLAY, Recovery.COMPOSE])
def test_a_wave_that_is_missing_from_the_record_is_found(good, recovery):
    row = rows_of(good, recovery)[1]
    starts = np.concatenate([[0], np.cumsum(good.record.samples["count"])]).astype(int)
    observed = np.delete(good.record.observed, range(starts[row], starts[row + 1]))
    text = said(good.check(samples=np.delete(good.record.samples, row), observed=observed))
    assert "ended in nothing" in text


@pytest.mark.parametrize("recovery", [Recovery.REPLAY, Recovery.COMPOSE])
def test_a_wave_that_is_twice_in_the_record_is_found(good, recovery):
    row = rows_of(good, recovery)[1]
    starts = np.concatenate([[0], np.cumsum(good.record.samples["count"])]).astype(int)
    mine = slice(starts[row], starts[row + 1])
    samples = np.insert(good.record.samples, row, good.record.samples[row])
    observed = np.insert(good.record.observed, starts[row], good.record.observed[mine])
    assert "ended twice" in said(good.check(samples=samples, observed=observed))


def test_a_contributor_that_is_taken_from_the_record_is_found(good):
    samples = good.record.samples.copy()
    row = rows_of(good, Recovery.REPLAY)[0]
    ranks = list(good.record.contributor_sets[samples[row]["contributors"]])
    fewer = RankSet.of(ranks[1:]) if len(ranks) > 1 else RankSet.of([ranks[0] + 1])
    samples[row]["contributors"] = len(good.record.contributor_sets)
    text = said(good.check(samples=samples, contributor_sets=[*good.record.contributor_sets, fewer]))
    assert "complete: True" in text or "came out" in text


def test_a_number_that_is_changed_is_found(good):
    observed = good.record.observed.copy()
    observed[0] += 1
    assert "is not what ranks" in said(good.check(observed=observed))


def test_a_message_less_at_the_barrier_is_found(good):
    def less(fields: dict[str, Any]) -> None:
        entry = next(e for e in fields["told"] if len(e) == 5 and e[4] > 0)
        entry[4] -= 1

    text = said(good.altered("barrier", less))
    assert "messages" in text and "is not what was recorded" in text


def test_a_back_end_that_was_not_heard_is_found(good):
    def silent(fields: dict[str, Any]) -> None:
        fields["told"] = [e for e in fields["told"] if e[0] != 1]

    text = said(good.altered("barrier", silent))
    assert "what ranks 1 said at the barrier is not there" in text


def test_a_barrier_that_was_not_reached_is_found(good):
    events = [e for e in good.record.events if e.get("name") != "barrier"]
    assert "the barrier was reached 0 times" in said(good.check(events=events))


def test_a_state_that_lacks_or_invents_something_is_found(good):
    def lacks(fields: dict[str, Any]) -> None:
        fields["value"] = None

    assert "the final state is not there" in said(good.altered("final-state", lacks))


def test_an_early_end_is_found(good):
    events = [{**e, "ok": False, "reason": "tired"} if e["kind"] == "finished" else e for e in good.record.events]
    assert "tired" in said(good.check(events=events))


def test_a_death_without_a_fault_is_found(good):
    dead = {"t_s": 1.0, "node": 0, "kind": "dead", "member": 3, "ranks": [0]}
    assert "no fault was done" in said(good.check(events=[*good.record.events, dead]))


def test_nothing_is_said_of_a_trial_that_never_began(good):
    assert good.check(events=[], samples=good.record.samples[:0], observed=good.record.observed[:0]).passed is None
