"""What seeds draw: within the bounds, the same each time, and always a suite that can be run."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.api.errors import UsageError
from harness.explore.campaign import QUICK, quest_of, read_quest
from harness.explore.comings import MOST
from harness.explore.space import ADOPTERS, Space, scenario, toml_text
from harness.registry import load
from harness.run.plan import load_plan

SPACE = Space(workloads=("reduce-stream", "round-trip"))
SUITES = Path(__file__).parents[2] / "suites"


@settings(max_examples=60, deadline=None)
@example(seed=67, depth=5, fanout=1, nodes=2)
@given(seed=st.integers(0, 10**9), depth=st.integers(1, 6), fanout=st.integers(1, 32), nodes=st.integers(2, 80))
def test_a_scenario_is_a_suite_within_the_bounds(seed: int, depth: int, fanout: int, nodes: int) -> None:
    space = Space(depth=depth, fanout=fanout, nodes=nodes, faults=3, workloads=SPACE.workloads)
    tables = scenario(space, "x", QUICK, seed)
    text = toml_text(tables, "a remark\nof two lines")
    assert tomllib.loads(text) == {k: v for k, v in tables.items() if v}
    trial = load_plan(Path("x.toml"), load(), text=text).trials[0]
    assert trial.tree.depth <= depth
    assert max(len(n.children) for n in trial.tree.nodes) <= fanout
    assert len(trial.tree.nodes) <= 1 + depth * (2 * nodes + fanout), "a full tree still has a level as wide as the last"
    assert len(tables["case"][0].get("fault", [])) <= 3 + MOST


def test_a_standby_changes_nothing_else_of_a_seed() -> None:
    bare = Space(workloads=SPACE.workloads, standbys=0.0, members=0.0, faults=9)
    full = Space(workloads=SPACE.workloads, standbys=1.0, members=0.0, faults=9)
    struck = 0
    for seed in range(60):
        without, with_ = (scenario(space, "x", QUICK, seed)["case"][0] for space in (bare, full))
        faults = with_.pop("fault", [])
        own = without.pop("fault", [])
        assert {k: v for k, v in with_.items() if k != "standby"} == without
        assert faults[len(faults) - len(own) :] == own or len(faults) == 9
        struck += any(f["target"] == "node:0" for f in faults)
    assert struck > 20


def test_uneven_links_and_machines_change_nothing_else_of_a_seed() -> None:
    keys: set[str] = set()
    for seed in range(60):
        without, with_ = (scenario(Space(uneven=share), "x", QUICK, seed) for share in (0.0, 1.0))
        own = with_["testbed"]
        assert without | {"testbed": {}} == with_ | {"testbed": {}}
        assert {k for k, v in without["testbed"].items() if own[k] != v} <= {"turn_s", "bytes_per_s", "hosts"}
        keys |= own.keys()
        load_plan(Path("x.toml"), load(), text=toml_text(with_))
    assert {"links_differ", "between_hosts", "machines_differ", "rate_varies"} < keys


def test_a_seed_is_a_scenario() -> None:
    made = [toml_text(scenario(SPACE, "x", QUICK, seed)) for seed in (5, 5, 6)]
    assert made[0] == made[1] != made[2]


def test_standbys_meet_every_policy_of_adoption() -> None:
    """Both are drawn apart from the rest of a seed; drawn from the same number, they would never meet."""
    drawn = [scenario(Space(), "x", QUICK, seed) for seed in range(300)]
    met = {t["node"].get("adopters", ADOPTERS[0]) for t in drawn if "standby" in t["case"][0]}
    assert met == set(ADOPTERS)


def test_seeds_reach_everything() -> None:
    found = [scenario(SPACE, "x", QUICK, seed) for seed in range(400)]
    faults = [fault for tables in found for fault in tables["case"][0].get("fault", [])]
    kinds = {fault["kind"] for fault in faults}
    assert kinds == {"crash", "host-loss", "hang", "cut", "partition", "late", "slow", "skew", "refuse", "join", "leave"}
    assert {"at_s", "at_event", "moment"} <= {key for fault in faults for key in fault}
    assert {t["case"][0].get("recovery") for t in found} == {"replay", "compose", "decompose", None}
    assert max(t["case"][0]["topology"]["spec"].count(":") for t in found) == 5


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ({"depth": 7}, "depth = 7 must be between 1 and 6"),
        ({"fanout": 0}, "fanout = 0 must be between 1 and 32"),
        ({"faults": -1}, "faults = -1 must be between 0 and 100"),
        ({"fault_kinds": ["crahs"]}, "'crahs' cannot be explored"),
        ({"workloads": []}, "workloads is empty"),
        ({"standbys": 1.5}, "standbys = 1.5 must be between 0 and 1"),
        ({"members": -0.1}, "members = -0.1 must be between 0 and 1"),
        ({"dept": 3}, "did you mean 'depth'?"),
    ],
)
def test_bad_bounds_are_told(table: dict[str, object], what: str) -> None:
    with pytest.raises(UsageError) as found:
        quest_of({"suite": {"name": "x"}, "explore": table}, "")
    assert what in str(found.value)


def test_cases_are_drawn_and_not_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="draws its cases itself"):
        read_quest(SUITES / "quickstart.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        read_quest(tmp_path / "none.toml")


@pytest.mark.parametrize("name", ["explore", "explore-members"])
def test_the_ready_suites_are_sound(name: str) -> None:
    assert read_quest(SUITES / f"{name}.toml").name == name
