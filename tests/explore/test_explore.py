"""Explorations: what is found, made small, written down and gone on with."""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.explore.campaign import QUICK, Campaign, Quest
from harness.explore.judge import run_scenario
from harness.explore.paths import PATHS, paths_taken
from harness.explore.shrink import shrink
from harness.explore.space import Space, scenario, toml_text
from harness.registry import load
from harness.sim.invariants import INVARIANTS

SPACE = Space(workloads=("reduce-stream", "round-trip"), nodes=20)
#: Seeds that once found a bug, and which.
FOUND = {
    16: "the state of a compose stream was not judged where every rank had been struck",
    133: "a silent back-end was declared dead before it could try a second parent",
    149: "the answers of a restarted back-end were taken for those of the process before",
    556: "an orphan with no parent in reach took in orphans",
}


def quest(**space: Any) -> Quest:
    bounds = {"workloads": ("reduce-stream", "round-trip"), "nodes": 20, **space}
    return Quest("x", '[suite]\nname = "x"\n', Space(**bounds), QUICK)


@pytest.mark.parametrize("seed", [*range(12), *FOUND])
def test_seeds_pass(seed: int) -> None:
    space = Space(workloads=("reduce-stream", "round-trip"))
    assert run_scenario(scenario(space, "explore", QUICK, seed), load(), 30.0).violations == ()


HERE = Path(__file__).parent


@pytest.mark.parametrize("suite", sorted((HERE / "found").glob("*.toml")), ids=lambda path: path.stem)
def test_what_was_found_is_mended(suite: Path) -> None:
    """Small scenarios that once failed, each called by what was wrong."""
    assert run_scenario(tomllib.loads(suite.read_text()), load(), 30.0).violations == ()


OPEN = sorted((HERE / "open").glob("*.toml"))


@pytest.mark.skipif(not OPEN, reason="not applicable: nothing that was found is open")
@pytest.mark.xfail(reason="found, and not mended yet")
@pytest.mark.parametrize("suite", OPEN or [HERE], ids=lambda path: path.stem)
def test_what_is_still_open(suite: Path) -> None:
    """Small scenarios that fail. Whoever mends one moves it to `found`: a pass is an error here."""
    assert run_scenario(tomllib.loads(suite.read_text()), load(), 30.0).violations == ()


def test_a_scenario_runs_the_same_each_time() -> None:
    first, second = (run_scenario(scenario(SPACE, "x", QUICK, 3), load(), 30.0) for _ in range(2))
    assert first == second and first.events > 100


def broken(tables: dict[str, Any]) -> bool:
    """A stand-in for a run that fails: a crash of somebody in the second level, and three waves or more."""
    case = tables["case"][0]
    wide = case["topology"]["spec"].count(":") >= 1
    return wide and case["workload"].get("waves", 0) >= 3 and any(f["kind"] == "crash" for f in case.get("fault", []))


def test_what_fails_is_made_small() -> None:
    whole = next(t for s in range(200) if broken(t := scenario(SPACE, "x", QUICK, s)) and len(t["case"][0]["fault"]) > 2)
    before = copy.deepcopy(whole)
    small, tried = shrink(whole, broken)
    assert whole == before and broken(small) and tried <= 400
    (case,) = small["case"]
    assert case["topology"]["spec"] == "1:1"
    assert case["workload"]["waves"] == 3
    (fault,) = case["fault"]
    assert fault["kind"] == "crash" and fault["target"] in ("node:1", "node:2")
    assert list(small["testbed"]) == ["kind", "hosts"]


def test_a_smaller_tree_keeps_faults_with_their_nodes() -> None:
    """Wherever a node is numbered afterwards, the fault is still about it."""
    tables = scenario(SPACE, "x", QUICK, 0)
    tables["case"][0]["topology"]["spec"] = "2:1,2:0,1,0"
    tables["case"][0]["fault"] = [{"kind": "crash", "target": "node:4", "at_s": 1.0}]

    def fails(t: dict[str, Any]) -> bool:
        case = t["case"][0]
        return bool(case.get("fault")) and case["topology"]["spec"].count(":") == 2

    small, _ = shrink(tables, fails)
    spec, (fault,) = small["case"][0]["topology"]["spec"], small["case"][0]["fault"]
    assert (spec, fault["target"]) == ("1:1:1", "node:2")


def test_a_planted_bug_is_found_and_made_small(sabotage: None, tmp_path: Path) -> None:
    campaign = Campaign(quest(fault_kinds=("crash",)), tmp_path / "x", range(200), 1)
    campaign.begin()
    campaign.run(lambda tally: not tally.failures)
    assert campaign.tally.failures
    where, outcome, tried = campaign.keep(min(campaign.tally.failures))
    assert outcome.violations and tried > 1
    again = tomllib.loads(where.read_text())
    assert run_scenario(again, load(), 30.0).names & outcome.names
    whole = tomllib.loads(where.with_name(where.stem + "-whole.toml").read_text())
    assert len(toml_text(again)) < len(toml_text(whole))


def invoke(*words: str) -> Any:
    return CliRunner().invoke(app, ["explore", *words])


def test_the_command_explores_and_goes_on(tmp_path: Path) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text('[suite]\nname = "small"\n[explore]\nnodes = 8\nworkloads = ["round-trip"]\nwaves = 20\n')
    first = invoke(str(suite), "--seeds", "20", "--jobs", "1", "--results", str(tmp_path), "--json")
    assert first.exit_code == 0, first.output
    document = json.loads(first.stdout)
    assert document["verdict"] == "passed" and document["seeds"] == 20 and document["failed_seeds"] == []
    assert set(document["paths"]) == set(PATHS)
    place = Path(document["directory"])
    log = (place / "explore.jsonl").read_text()
    assert json.loads(log)["first"] == 0
    (place / "explore.jsonl").write_text(log + '{"first": 20, "seeds": 2')  # torn by a kill
    more = invoke(str(suite), "--seeds", "40", "--jobs", "2", "--resume", str(place), "--json")
    assert json.loads(more.stdout)["seeds"] == 40
    other = tmp_path / "other.toml"
    other.write_text('[suite]\nname = "other"\n')
    refused = invoke(str(other), "--resume", str(place), "--json")
    assert refused.exit_code == 2 and "explores another suite" in json.loads(refused.stdout)["error"]


def test_mistakes_of_an_exploration_are_told_at_once(tmp_path: Path) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text('[suite]\nnam = "x"\n[explore]\ndepht = 3\n[testbed]\nkind = "sim"\n')
    done = invoke(str(suite), "--json")
    assert done.exit_code == 2
    mistakes = "\n".join(json.loads(done.stdout)["mistakes"])
    assert all(part in mistakes for part in ("suite.nam", "explore.depht", "testbed"))


def test_paths_are_read_from_events() -> None:
    tree = load_tree()
    events = [
        {"kind": "fault", "t_s": 1.0, "node": 1, "fault": 0, "action": "kill"},
        {"kind": "link-lost", "t_s": 1.0, "node": 0, "peer": 1},
        {"kind": "adopter-chosen", "t_s": 1.0, "node": 3, "lost": 1, "adopter": 2},
        {"kind": "adopter-refused", "t_s": 1.1, "node": 3, "adopter": 2},
        {"kind": "adopter-chosen", "t_s": 1.1, "node": 3, "lost": 1, "adopter": 0},
        {"kind": "reattached", "t_s": 1.2, "node": 0, "child": 3, "parent": 0, "lost": 1},
    ]
    found = paths_taken(events, tree)
    assert dict(found) == {"front-end-child-lost": 1, "orphan-adopted": 1, "second-choice": 1}


def load_tree() -> Any:
    from harness.core.tree import Tree

    return Tree.from_parents([None, 0, 0, 1, 2])


def test_every_path_and_invariant_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "exploring.md").read_text()
    assert [name for name in (*PATHS, *INVARIANTS) if f"| `{name}` | " not in text] == []
