"""The standby of a case: what is accepted, and what is said about the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.api.errors import UsageError
from harness.registry import load
from harness.run.plan import Plan, load_plan, tree_of
from harness.testbeds.local import Local

SUITE = """
[suite]
name = "s"
[testbed]
kind = "{testbed}"
hosts = 2
[[case]]
name = "c"
workload = {{ kind = "{load}"{more} }}
topology = {{ kind = "kary", fanout = 2, depth = 3 }}
standby = {standby}
"""


def planned(standby: str, testbed: str = "sim", load_: str = "reduce-stream", more: str = ", waves = 3") -> Plan:
    text = SUITE.format(testbed=testbed, load=load_, more=more, standby=standby)
    return load_plan(Path("s.toml"), load(), text=text)


def test_a_standby_is_part_of_the_tree() -> None:
    trial = planned('"node:2"').trials[0]
    assert trial.tree.standby == trial.context.tree.standby == 2
    assert tree_of(trial.to_json()).standby == 2


def test_with_and_without_are_two_cases() -> None:
    plan = planned('["", "node:1", "node:2"]')
    assert [t.tree.standby for t in plan.trials] == [-1, 1, 2]
    assert tree_of(plan.trials[0].to_json()).standby == -1


CHILDREN = "is no communication process right below the front-end; those are 1, 2"


@pytest.mark.parametrize(
    ("standby", "what"),
    [
        ('"node:0"', f"node 0 {CHILDREN}"),
        ('"node:3"', f"node 3 {CHILDREN}"),
        ('"rank:0"', f"node 7 {CHILDREN}"),
        ('"node:99"', "'node:99' selects nothing; the tree has 15 nodes"),
        ('"depth:1"', "'depth:1' selects 2 nodes; name exactly one"),
        ('"any 1 of depth:1"', "says not which node it is"),
        ('"host:0"', "says not which node it is"),
        ('"node"', "'node' is no target"),
        ("3", "must be a string, not the integer 3"),
    ],
)
def test_a_standby_that_cannot_be(standby: str, what: str) -> None:
    with pytest.raises(UsageError) as found:
        planned(standby)
    assert len(found.value.mistakes) == 1
    assert found.value.mistakes[0].startswith("case[0].standby (case 'c'): ")
    assert what in found.value.mistakes[0]


@pytest.mark.parametrize("testbed", ["local", "sim"])
def test_testbeds_that_have_them(testbed: str) -> None:
    assert planned('"node:1"', testbed=testbed).trials[0].tree.standby == 1


def test_a_testbed_that_does_not_say_so_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Local, "standbys", False)
    with pytest.raises(
        UsageError, match=r"standby \(case 'c'\): testbed 'local' has no standby front-ends; use testbed 'local'"
    ):
        planned('"node:1"', testbed="local")
    assert planned('""', testbed="local").trials[0].tree.standby == -1


def test_a_workload_that_hands_nothing_over_is_refused() -> None:
    with pytest.raises(UsageError, match=r"case\[0\].standby \(case 'c'\): 'trace-classes' cannot go on at a standby"):
        planned('"node:1"', load_="trace-classes", more=f", files = ['{__file__}']")
