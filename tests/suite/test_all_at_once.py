"""One mistake of a suite hides no other: what is sound beside it is looked at all the same, and nothing is guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.api.errors import UsageError
from harness.registry import load
from harness.run.plan import load_plan

HEAD = '[suite]\nname = "s"\n'
SIM = '[testbed]\nkind = "sim"\nhosts = 2\n'
LOCAL = SIM.replace("sim", "local")
CASE = '[[case]]\nname = "{name}"\nworkload = {{ kind = "reduce-stream", {load} }}\n{more}\n'
KARY = 'topology = { kind = "kary", fanout = 2, depth = 2 }\n'
FAULT = '[[case.fault]]\nkind = "{kind}"\ntarget = "{target}"\n{when}\n'


def case(name: str = "c", load_: str = "duration_s = 5.0", more: str = KARY) -> str:
    return CASE.format(name=name, load=load_, more=more)


def fault(kind: str = "crash", target: str = "node:1", when: str = "at_s = 1.0") -> str:
    return FAULT.format(kind=kind, target=target, when=when)


def mistakes(text: str, **options: str) -> list[str]:
    with pytest.raises(UsageError) as found:
        load_plan(Path("s.toml"), load(), text=text, **options)  # type: ignore[arg-type]
    return list(found.value.mistakes)


TOO_LATE = "case[0].fault[{}].at_s (case 'c'): 7 is too late"
NOTHING = "case[0].fault[{}].target (case 'c'): 'node:99' selects nothing"

#: A suite, and what is told of it: a mistake of reading beside others of what was read.
BESIDE = {
    "a table of the suite": (
        "[suite]\nname = 's'\nsed = 3\n" + SIM + case() + fault(target="node:99"),
        ["suite.sed: ", NOTHING.format(0)],
    ),
    "the settings of the nodes": (
        HEAD + SIM + "[node]\nlease_s = -1\n" + case() + fault(target="node:99"),
        ["node: ", NOTHING.format(0)],
    ),
    "a testbed that lacks a key": (
        HEAD + '[testbed]\nkind = "cluster"\n' + case(more='transport = "memory"\n' + KARY) + fault("partition"),
        [
            'testbed.address: is missing; give host:port of the head of a Ray cluster, for example "10.0.0.1:6379"',
            "case[0].transport (case 'c'): 'memory' links nodes of one process, and testbed 'cluster' gives each its own",
            "case[0].fault[0].kind (case 'c'): testbed 'cluster' cannot do 'partition' (it needs partition); use testbed 'sim'",
        ],
    ),
    "a testbed that nobody knows": (
        HEAD
        + '[testbed]\nkind = "simm"\n'
        + case(load_="duration_s = 5.0, wavs = 1")
        + fault(target="node:99", when="at_s = 7"),
        ["testbed.kind: ", "case[0].workload.wavs (case 'c'): ", NOTHING.format(0)],
    ),
    "another case": (
        HEAD + LOCAL + case("a", "wavs = 1") + case() + fault("partition", "rank:0"),
        [
            "case[0].workload.wavs (case 'a'): ",
            "case[1].fault[0].kind (case 'c'): testbed 'local' cannot do 'partition' (it needs partition); use testbed 'sim', ",
        ],
    ),
    "an unknown key of the case": (
        HEAD + SIM + case(more="colour = 3\n" + KARY) + fault(when="at_s = 7"),
        ["case[0].colour (case 'c'): ", TOO_LATE.format(0)],
    ),
    "a workload that is none": (
        HEAD + SIM + case(load_="wavs = 1").replace("reduce-stream", "redoce") + fault(target="node:99"),
        ["case[0].workload.kind (case 'c'): ", NOTHING.format(0)],
    ),
    "a tree that cannot be": (
        HEAD + SIM + case(more='topology = { kind = "flat", back_ends = 0 }\nrecovery = "compose"\n') + fault(when="at_s = 7"),
        [
            "case[0].topology (case 'c'): ",
            "case[0].recovery (case 'c'): compose cannot recover filter 'sum'",
            TOO_LATE.format(0),
        ],
    ),
    "a filter that is none": (
        HEAD + SIM + case(load_="waves = -5", more='filter = "summ"\nsync = "do-not-wait"\nrecovery = "replay"\n' + KARY),
        [
            "case[0].filter (case 'c'): ",
            "case[0].workload.waves (case 'c'): -5 is negative",
            "case[0].recovery (case 'c'): replay needs sync = 'wait-for-all', not 'do-not-wait'",
        ],
    ),
    "a transport that is none": (
        HEAD + SIM + case(load_="duration_s = 5.0, members = [9]", more='transport = "tpc"\n' + KARY),
        ["case[0].transport (case 'c'): ", "case[0].workload.members (case 'c'): "],
    ),
    "a recovery that is none": (
        HEAD + SIM + case(more='recovery = "rewind"\naccept = { kind = "quorum", n = 7 }\n' + KARY) + fault("join", "rank:0"),
        [
            "case[0].recovery (case 'c'): ",
            "case[0].accept (case 'c'): n = 7, but the tree has 4 back-ends",
            "case[0].accept (case 'c'): accept 'quorum' has no back-ends that come and go, as node 3 does by 'join'",
        ],
    ),
    "what is expected": (
        HEAD + SIM + case() + fault(target="node:99") + '[case.expect]\nrecovery = "exactly"\n',
        ["case[0].expect.recovery (case 'c'): ", NOTHING.format(0)],
    ),
    "a fault of no kind": (
        HEAD + SIM + case() + fault("crush", "node:99", "at_s = 7"),
        ["case[0].fault[0].kind (case 'c'): ", TOO_LATE.format(0), NOTHING.format(0)],
    ),
    "a fault whose kind is no word": (
        HEAD + SIM + case() + fault(target="node:99").replace('"crash"', '{ kind = "crash" }'),
        ["case[0].fault[0].kind (case 'c'): must be a string, not a table", NOTHING.format(0)],
    ),
    "a fault without a target": (
        HEAD + LOCAL + case() + fault("partition", "nod:1", "at_s = 7"),
        [
            "case[0].fault[0].target (case 'c'): ",
            TOO_LATE.format(0),
            "case[0].fault[0].kind (case 'c'): testbed 'local' cannot do",
        ],
    ),
    "a fault without a time": (
        HEAD + SIM + case() + fault(when="", target="node:99") + fault(when="at_s = 7"),
        ["case[0].fault[0] (case 'c'): does not say when", TOO_LATE.format(1), NOTHING.format(0)],
    ),
    "a standby that is none": (
        HEAD + SIM + case(more='standby = "node:9"\n' + KARY) + fault(target="node:99"),
        ["case[0].standby (case 'c'): ", NOTHING.format(0)],
    ),
    "a matrix out of hand": (
        HEAD + SIM + case(more=f"deadline_s = {[float(i) for i in range(1, 5002)]}\n" + KARY) + fault(target="node:99"),
        ["case: the matrix has 5001 cases", NOTHING.format(0)],
    ),
    "trials out of hand": (
        HEAD + "trials = 90_000\n" + SIM + case(more='filter = ["sum", "count"]\n' + KARY) + fault(target="node:99"),
        ["suite.trials: 2 cases of 90000 trials each", NOTHING.format(0)],
    ),
    "the same name": (
        HEAD + SIM + case(more="colour = 3\n" + KARY) + case(),
        ["case[0].colour (case 'c'): ", "case[1].name (case 'c'): two cases are called 'c'"],
    ),
    "two keys of one table": (
        HEAD + SIM + "[node]\nheartbeat_s = -1\nleaf_grace_s = -2\norphan_grace_s = -3\nlease_s = 9\n" + case(),
        ["node: heartbeat_s = -1.0 must be", "node: leaf_grace_s = -2.0 must not", "node: orphan_grace_s = -3.0 must not"],
    ),
    "a type and a value of one table": (
        HEAD + SIM + '[node]\nlease_s = "9"\nleaf_grace_s = -2\n' + case(),
        ["node.lease_s: must be a number", "node: leaf_grace_s = -2.0 must not be negative"],
    ),
}


@pytest.mark.parametrize("what", BESIDE)
def test_a_mistake_hides_no_other(what: str) -> None:
    text, told = BESIDE[what]
    found = mistakes(text)
    assert len(found) == len(told), found
    for line, begin in zip(found, told, strict=True):
        assert line.startswith(begin), (begin, found)


#: What cannot be known beside a mistake, since it depends on what should stand there.
UNKNOWN = {
    "the times of a workload that is none": HEAD + SIM + case(load_="duration = 5.0") + fault(when="at_s = 7"),
    "the recovery of a filter that is none": HEAD + SIM + case(more='filter = "summ"\nrecovery = "compose"\n' + KARY),
    "the recovery of a filter whose key is misspelt": HEAD + SIM + case(more='filters = "max"\nrecovery = "compose"\n' + KARY),
    "a sync whose key is misspelt": HEAD + SIM + case(more='synk = "do-not-wait"\n' + KARY) + fault("join", "rank:0"),
    "a quorum of a tree that is none": HEAD + SIM + case(more='topology = "kari"\naccept = { kind = "quorum", n = 7 }\n'),
    "what a testbed that is none can do": HEAD + '[testbed]\nkind = "simm"\n' + case() + fault("partition"),
    "a lease that is misspelt": HEAD + SIM + "[node]\nlease = 30\nheartbeat_s = 5\n" + case(),
    "a lease of the wrong type": HEAD + SIM + '[node]\nlease_s = "30"\nheartbeat_s = 5\n' + case(),
    "two numbers of which one is negative": HEAD + SIM + case(load_="waves = -5"),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_nothing_is_guessed(what: str) -> None:
    assert len(mistakes(UNKNOWN[what])) == 1


def test_mistakes_stand_case_by_case() -> None:
    text = HEAD + LOCAL + case("a") + fault("partition") + case("b", "wavs = 1", KARY + "colour = 1\n") + "[[node]]\n"
    where = [line.partition(": ")[0] for line in mistakes(text)]
    assert where == [
        "node",
        "case[0].fault[0].kind (case 'a')",
        "case[1].colour (case 'b')",
        "case[1].workload.wavs (case 'b')",
    ]


def test_a_wrong_suite_is_told_before_a_pattern_without_cases() -> None:
    assert mistakes(HEAD + SIM + case(load_="wavs = 1"), only="c")[0].startswith("case[0].workload.wavs")
    assert mistakes(HEAD + SIM + case(), only="d")[0].startswith("--only: no case matches 'd'")
