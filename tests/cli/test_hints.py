"""What a newcomer is told before and while a run goes on: kinds of trees with examples, hints of a dry run, plain words."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from harness.api.testbed import STOPPED
from harness.cli.events import describe_event
from harness.registry import Category, load

SUITE = """
[suite]
name = "s"
[testbed]
kind = "sim"
hosts = 2
[[case]]
name = "c"
workload = {{ kind = "reduce-stream", duration_s = 5.0 }}
topology = {{ {tree} }}
{more}
[[case.fault]]
at_s = 1.0
{fault}
"""
KARY = 'kind = "kary", fanout = 2, depth = 2'
FLAT = 'kind = "flat", back_ends = 2'
CRASH = 'kind = "crash"\ntarget = "node:0"'


def dry(harness, tmp_path, fault: str, more: str = "", tree: str = KARY) -> list[str]:
    (tmp_path / "s.toml").write_text(SUITE.format(tree=tree, more=more, fault=fault))
    done = harness("run", "s.toml", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


# -- the kinds of trees ------------------------------------------------------------------------------------------------------


def test_all_kinds_of_trees_with_an_example_that_can_be_typed(harness):
    done = harness("topology", "show")
    assert (done.returncode, done.stderr) == (0, "")
    commands = [line.partition("  # ")[0].strip() for line in done.stdout.splitlines() if "  # " in line]
    shown = {shlex.split(command)[3]: shlex.split(command)[1:] for command in commands}
    assert shown.keys() == load().kinds(Category.TOPOLOGY).keys()
    del shown["file"]  # its example is a file that is not here
    for words in shown.values():
        drawn = harness(*words)
        assert drawn.returncode == 0 and "1 front-end" in drawn.stdout, (words, drawn.stderr)


def test_all_kinds_of_trees_as_json(harness):
    document = json.loads(harness("topology", "show", "--json").stdout)
    kary = next(k for k in document["kinds"] if k["kind"] == "kary")
    assert (kary["required"], kary["example"]) == (["fanout", "depth"], {"fanout": 4, "depth": 2})


def test_every_name_of_the_advice_can_be_drawn(harness):
    done = harness("topology", "advise", "--back-ends", "64", "--cores", "2", "--top", "99")
    table = done.stdout.split("\n\n")[1].splitlines()
    heads = re.split(r"  +", table[0])
    assert len(set(heads)) == len(heads)
    names = [re.split(r"  +", row)[0] for row in table[1:]]
    assert {n.partition(" ")[0] for n in names} >= {"flat", "knomial", "5:4x13,12"}
    for name in ("flat back_ends=64", "5:4x13,12", next(n for n in names if n.startswith("knomial"))):
        assert name in names
        drawn = harness("topology", "show", *name.split())
        assert drawn.returncode == 0 and ", 64 back-ends" in drawn.stdout, drawn.stderr


# -- a dry run ---------------------------------------------------------------------------------------------------------------


def test_a_dry_run_names_the_standby(harness, tmp_path):
    lines = dry(harness, tmp_path, CRASH, 'standby = "node:2"')
    assert "  standby   node 2 takes the place of a front-end that is lost" in lines
    assert not any(line.startswith("  hint") for line in lines)


@pytest.mark.parametrize(
    ("fault", "tree", "hint"),
    [
        (CRASH, KARY, "'crash' ends the front-end, and the trial with it, as failed; standby = \"node:1\""),
        (CRASH, FLAT, "'crash' ends the front-end, and the trial with it, as failed; and this tree has no node"),
        ('kind = "hang"\ntarget = "node:0"', KARY, "'hang' ends the front-end"),
        ('kind = "host-loss"\ntarget = "node:0"', KARY, "'host-loss' ends the front-end"),
    ],
)
def test_a_hint_where_a_fault_ends_the_front_end(harness, tmp_path, fault, tree, hint):
    (line,) = [line for line in dry(harness, tmp_path, fault, tree=tree) if line.startswith("  hint")]
    assert hint in line


@pytest.mark.parametrize("fault", [CRASH.replace("node:0", "node:1"), 'kind = "hang"\nresume_after_s = 0.5\ntarget = "node:0"'])
def test_no_hint_where_the_front_end_goes_on(harness, tmp_path, fault):
    assert not any(line.startswith("  hint") for line in dry(harness, tmp_path, fault))


# -- words -------------------------------------------------------------------------------------------------------------------


def test_one_node_and_several_that_are_not_there_yet():
    event = {"kind": "absent", "t_s": 0.0, "ranks": [3]}
    assert describe_event({**event, "members": [6]}) == "node 6 is not there yet"
    assert describe_event({**event, "members": [6, 7]}) == "nodes 6, 7 are not there yet"


def test_a_workload_that_was_stopped_has_not_failed():
    event = {"kind": "finished", "t_s": 1.0, "ok": False}
    assert describe_event({**event, "reason": STOPPED}) == "workload stopped before its end"
    assert describe_event({**event, "reason": "it is broken"}) == "workload failed: it is broken"
