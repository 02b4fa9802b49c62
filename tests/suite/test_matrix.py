"""What a right suite expands into."""

from __future__ import annotations

import json

import pytest

from harness.api.errors import UsageError
from harness.api.fault import Action, Moment
from harness.core.spec import Accept, Recovery, Sync
from harness.registry import Category
from harness.run.plan import context_of, derived_seed, load_plan, place, tree_of

HEAD = """
[suite]
name = "s"
seed = 7
trials = 2
[testbed]
kind = "local"
hosts = 4
"""
CASE = """
[[case]]
name = "Crash, mid-stream"
workload = { kind = "load", waves = 10 }
topology = { kind = "kary", fanout = 2, depth = 2 }
"""


def names(plan):
    return [case.name for case in plan.cases]


def test_a_case_without_axes_is_one_case_with_the_documented_defaults(planned):
    plan = planned(HEAD + CASE)
    (case,) = plan.cases
    assert (case.name, case.id, case.axes) == ("Crash, mid-stream", "crash-mid-stream", ())
    assert (case.transport.kind, case.down_filter, case.filter) == ("tcp", "null", "")
    assert list(case.filters) == ["sum"]
    assert (case.recovery, case.sync, case.accept, case.deadline_s) == (
        Recovery.REPLAY,
        Sync.WAIT_FOR_ALL,
        Accept.COMPLETE,
        30.0,
    )
    assert case.expect.recovery == "exact"
    assert [t.id for t in plan.trials] == ["crash-mid-stream-t0", "crash-mid-stream-t1"]
    assert (plan.hosts, plan.hosts_known) == (4, True)
    assert plan.settings.lease_s == 2.0


def test_lists_are_axes_in_the_order_of_the_file_and_the_last_turns_fastest(planned):
    plan = planned(HEAD + CASE + 'transport = ["tcp", "memory"]\nrecovery = ["replay", "resume"]\n')
    assert names(plan) == [
        "Crash, mid-stream [transport=tcp, recovery=replay]",
        "Crash, mid-stream [transport=tcp, recovery=resume]",
        "Crash, mid-stream [transport=memory, recovery=replay]",
        "Crash, mid-stream [transport=memory, recovery=resume]",
    ]
    assert plan.cases[3].id == "crash-mid-stream,transport=memory,recovery=resume"
    assert plan.cases[3].transport.kind == "memory"
    assert [c.expect.recovery for c in plan.cases] == ["exact", "bounded-loss"] * 2


def test_values_inside_a_table_are_axes_too(planned):
    plan = planned(HEAD + CASE.replace("fanout = 2, depth = 2", "fanout = [2, 3], depth = [1, 2]"))
    assert [len(c.tree.nodes) for c in plan.cases] == [3, 7, 4, 13]
    assert plan.cases[1].axes == (("topology.fanout", "2"), ("topology.depth", "2"))


def test_a_list_of_tables_mixes_kinds(planned):
    line = 'topology = ["flat", { kind = "kary", fanout = 2, depth = [1, 2] }, { kind = "levels", fanouts = [3, 2] }]'
    plan = planned(HEAD + CASE.replace('topology = { kind = "kary", fanout = 2, depth = 2 }', line))
    assert [c.axes for c in plan.cases] == [
        (("topology", "flat"),),
        (("topology", "kary"), ("topology.depth", "1")),
        (("topology", "kary"), ("topology.depth", "2")),
        (("topology", "levels"),),
    ]


def test_tables_of_one_kind_are_told_apart_by_their_keys(planned):
    line = 'topology = [{ kind = "kary", fanout = 2, depth = 3 }, { kind = "kary", fanout = 3, depth = 2 }]'
    plan = planned(HEAD + CASE.replace('topology = { kind = "kary", fanout = 2, depth = 2 }', line))
    assert [c.id for c in plan.cases] == [
        "crash-mid-stream,topology=kary-fanout-2-depth-3",
        "crash-mid-stream,topology=kary-fanout-3-depth-2",
    ]


@pytest.mark.parametrize(
    ("values", "ks", "labels"),
    [
        ('["rounded", { kind = "rounded", bits = 2 }]', [7, 2], ["rounded", "rounded(bits=2)"]),
        ('[{ kind = "rounded", bits = 2 }, "rounded"]', [2, 7], ["rounded(bits=2)", "rounded"]),
        ('[{ kind = "rounded", bits = 3 }, { kind = "rounded" }]', [3, 7], ["rounded(bits=3)", "rounded()"]),
        ('["null", { kind = "rounded", bits = 2 }]', [None, 2], ["null", "rounded"]),
    ],
)
def test_a_name_and_a_table_with_other_keys_are_two_values(planned, values, ks, labels):
    cases = planned(HEAD + CASE + f"down_filter = {values}\n").cases
    assert [getattr(c.down_filters[c.down_filter].value, "bits", None) for c in cases] == ks
    assert [dict(c.axes)["down_filter"] for c in cases] == labels
    assert len({c.id for c in cases}) == 2


def test_a_key_that_is_a_list_by_nature_is_an_axis_only_as_a_list_of_lists(planned):
    one = planned(HEAD + CASE.replace("waves = 10", "waves = 10, shape = [2, 3]"))
    assert [c.workload.value.shape for c in one.cases] == [(2, 3)]
    two = planned(HEAD + CASE.replace("waves = 10", "waves = 10, shape = [[2, 3], [4], []]"))
    assert [c.workload.value.shape for c in two.cases] == [(2, 3), (4,), ()]
    assert [dict(c.axes)["workload.shape"] for c in two.cases] == ["[2 3]", "[4]", "[]"]


def test_kinds_and_triggers_of_faults_are_axes(planned):
    fault = '[[case.fault]]\nkind = "crash"\ntarget = ["node:1", "node:2"]\nmoment = ["mid-flush", "mid-load"]\nat_wave = 3\n'
    plan = planned(HEAD + CASE + fault)
    assert len(plan.cases) == 4
    (act,) = plan.trials[-1].injections
    assert (act.node, act.action, act.trigger.moment, act.trigger.at_wave) == (2, Action.KILL, Moment.MID_LOAD, 3)
    assert dict(plan.cases[0].axes) == {"fault[0].target": "node:1", "fault[0].moment": "mid-flush"}


def test_types_are_strict_but_an_integer_will_do_for_a_number(planned):
    text = CASE.replace("waves = 10", 'waves = 10, rate = 3, item = "f64", order = "down", eager = true, weights = { a = 1 }')
    load = planned(HEAD + text).cases[0].workload.value
    assert isinstance(load.rate, float)
    assert (load.rate, load.item.value, load.order, load.eager, load.weights, load.note) == (
        3.0,
        "f64",
        "down",
        True,
        {"a": 1.0},
        None,
    )


@pytest.mark.parametrize(
    ("lines", "recovery", "expected"),
    [
        ('filter = "max"', Recovery.COMPOSE, "equivalent"),
        ('filter = "sum"', Recovery.REPLAY, "exact"),
        ('filter = "sum"\nsync = "do-not-wait"', Recovery.RESUME, "bounded-loss"),
        ('filter = "max"\nsync = { kind = "time-out", after_s = 0.5 }', Recovery.COMPOSE, "equivalent"),
        ('filter = "max"\nrecovery = "replay"', Recovery.REPLAY, "exact"),
        ('filter = "max"\nrecovery = "auto"', Recovery.COMPOSE, "equivalent"),
        ('filter = "sum"\nrecovery = "decompose"', Recovery.DECOMPOSE, "equivalent"),
    ],
)
def test_recovery_follows_the_algebra_where_the_suite_does_not_say(planned, lines, recovery, expected):
    case = planned(HEAD + CASE + lines + "\n").cases[0]
    assert (case.recovery, case.expect.recovery) == (recovery, expected)


def test_policies_reach_the_context(planned):
    text = 'sync = { kind = "time-out", after_s = 0.5 }\nfilter = { kind = "top-k", k = 3 }\ndeadline_s = 5\n'
    for accept, want in (
        ('{ kind = "quorum", n = 3 }', (Accept.QUORUM, 3, 0.0)),
        ('{ kind = "deadline", after_s = 2 }', (Accept.DEADLINE, 0, 2.0)),
    ):
        trial = planned(HEAD + CASE + text + f"accept = {accept}\n").trials[1]
        context = trial.context
        assert (context.sync, context.sync_timeout_s, context.deadline_s) == (Sync.TIME_OUT, 0.5, 5.0)
        assert (context.accept, context.quorum, context.accept_after_s) == want
        assert (context.filter, context.seed, context.tree) == ("top-k", trial.seed, trial.tree)
        assert trial.filters["top-k"].k == 3


def test_expectations_are_kept_and_may_be_given_without_a_fault(planned):
    expect = (
        "[case.expect]\nrecovery_ms = { p99 = 500, max = 1000 }\nthroughput = { min_ratio_to_steady = 0.95, within_s = 2 }\n"
    )
    trial = planned(HEAD + CASE + expect).trials[0]
    assert trial.to_json()["expect"] == {
        "recovery": "exact",
        "recovery_ms": {"p99": 500.0, "max": 1000.0},
        "throughput": {"min_ratio_to_steady": 0.95, "within_s": 2.0},
    }


def test_resume_may_be_exact_where_nothing_is_broken(planned):
    text = 'recovery = "resume"\n[case.expect]\nrecovery = "exact"\n'
    assert planned(HEAD + CASE + text).cases[0].expect.recovery == "exact"


def test_node_settings_are_the_suites(planned):
    plan = planned(HEAD + CASE + "[node]\nlease_s = 2\nheartbeat_s = 0.1\n")
    assert (plan.trials[0].settings.lease_s, plan.trials[0].settings.heartbeat_s) == (2.0, 0.1)


FAULT = '[[case.fault]]\nkind = "hang"\ntarget = "any 1 of role:back-end"\nat_s = 1.0\nfor_s = 2\n'


def test_a_fault_may_strike_at_any_time_before_the_workload_is_over(planned):
    for load, at in (
        ("duration_s = 3.0", "at_s = 2.9"),
        ("duration_s = 0.0", "at_s = 100.0"),
        ("duration_s = 3.0", "at_wave = 9"),
    ):
        fault = FAULT.replace("at_s = 1.0", at)
        assert len(planned(HEAD + CASE.replace("waves = 10", f"waves = 10, {load}") + fault).trials) == 2


def test_the_plan_is_a_function_of_the_seed_and_of_nothing_else(planned):
    first, again = planned(HEAD + CASE + FAULT), planned(HEAD + CASE + FAULT)
    assert first.to_json() == again.to_json()
    assert first.trials[0].seed == derived_seed(7, "crash-mid-stream", 0)
    other = planned(HEAD + CASE + FAULT, seed=8)
    assert [t.seed for t in other.trials] != [t.seed for t in first.trials]


def test_seeds_do_not_drift():
    """Recorded on purpose: a plan made by an earlier version must be made again by this one."""
    assert derived_seed(7, "crash-mid-stream", 0) == 270_797_783_278_247


def test_seeds_of_trials_and_cases_differ(planned):
    plan = planned(HEAD + CASE + 'transport = ["tcp", "memory"]\n', trials=20)
    assert len({t.seed for t in plan.trials}) == len(plan.trials) == 40


def test_one_more_fault_does_not_change_what_the_others_strike(planned):
    one = planned(HEAD + CASE + FAULT, trials=8)
    two = planned(
        HEAD + CASE + FAULT + '[[case.fault]]\nkind = "crash"\ntarget = "any 2 of role:internal"\nat_s = 2\n', trials=8
    )
    for a, b in zip(one.trials, two.trials, strict=True):
        assert a.injections == b.injections[:1]
        assert [i.fault for i in b.injections] == [0, 1, 1]
    assert len({t.injections[0].node for t in one.trials}) > 1


def test_only_keeps_matching_cases_and_their_seeds(planned):
    text = HEAD + CASE + 'transport = ["tcp", "memory"]\n'
    everything, some = planned(text), planned(text, only="*transport=memory*")
    assert [c.id for c in some.cases] == ["crash-mid-stream,transport=memory"]
    assert [t.seed for t in some.trials] == [t.seed for t in everything.trials[2:]]
    assert len(planned(text, only="crash, MID*").cases) == 2
    with pytest.raises(UsageError, match=r"--only: no case matches 'x\*'; the cases are 'crash-mid-stream,transport=tcp'"):
        planned(text, only="x*")


def test_impossible_overrides_are_refused(planned):
    with pytest.raises(UsageError, match=r"--seed or --trials: trials = 0 must lie in"):
        planned(HEAD + CASE, trials=0)
    with pytest.raises(UsageError, match=r"suite.trials: 2 cases of 60000 trials each are more than 100000 trials"):
        planned(HEAD + CASE + 'transport = ["tcp", "memory"]\n', trials=60_000)


def test_long_names_stay_fit_for_a_file_name(planned):
    plan = planned(HEAD + CASE.replace("Crash, mid-stream", "x" * 300))
    assert len(plan.cases[0].id) == 100
    assert plan.cases[0].name == "x" * 300


def test_the_plain_form_survives_json_and_makes_everything_again(planned, registry):
    plan = planned(HEAD + CASE + 'filter = { kind = "top-k", k = 2 }\n' + FAULT)
    document = json.loads(json.dumps(plan.to_json(), allow_nan=False))
    assert document["hosts"] == 4
    for trial, plain in zip(plan.trials, document["trials"], strict=True):
        assert plain["trial"] == trial.id
        assert tree_of(plain) == trial.tree
        assert context_of(plain) == trial.context
        assert registry.make(Category.WORKLOAD, plain["workload"]) == trial.workload
        assert registry.make(Category.FILTER, plain["filters"]["top-k"]) == trial.filters["top-k"]
        (act,) = plain["injections"]
        assert (act["node"], act["action"], act["undo_after_s"]) == (trial.injections[0].node, "stop", 2.0)
        assert plain["faults"] == [{"kind": "hang", "for_s": 2.0, "target": "any 1 of role:back-end", "at_s": 1.0}]
        assert plain["needs"] == ["hang"]


def test_hosts_that_only_the_testbed_knows(planned, registry, tmp_path):
    text = HEAD.replace("hosts = 4", "hosts = 0") + CASE + '[[case.fault]]\nkind = "crash"\ntarget = "host:2"\nat_s = 1\n'
    plan = planned(text)
    assert (plan.hosts, plan.hosts_known, plan.to_json()["hosts"]) == (3, False, None)
    placed = plan.on_hosts(7)
    assert placed.hosts_known
    assert [n.host for n in placed.trials[0].tree.nodes if n.id in {i.node for i in placed.trials[0].injections}] == [2]
    assert placed.on_hosts(7) is placed
    assert [t.seed for t in placed.trials] == [t.seed for t in plan.trials]
    with pytest.raises(UsageError, match=r"case\[0\].fault\[0\].target \(case 'Crash, mid-stream'\): 'host:2' selects nothing"):
        plan.on_hosts(2)
    assert load_plan(tmp_path / "suite.toml", registry, hosts=5).hosts == 5


@pytest.mark.parametrize("fanout", [2, 4])
@pytest.mark.parametrize("hosts", [1, 2, 4, 8, 100])
def test_placement_fills_hosts_evenly_and_keeps_subtrees_together(planned, fanout, hosts):
    tree = planned(HEAD + CASE.replace("fanout = 2, depth = 2", f"fanout = {fanout}, depth = 2")).cases[0].tree
    placed = place(tree, hosts)
    assert placed.nodes[0].host == 0
    shares = [sum(n.host == h for n in placed.nodes) for h in range(hosts)]
    assert max(shares) - min(shares) <= 1
    if fanout % hosts == 0:
        for n in placed.nodes[1:]:
            if n.parent:
                assert n.host == placed.nodes[n.parent].host
