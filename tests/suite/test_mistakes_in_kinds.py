"""Wrong suites, and exactly what is said about them: tables, kinds and their keys."""

from __future__ import annotations

import pytest

HEAD = """
[suite]
name = "s"
[testbed]
kind = "local"
hosts = 4
"""
CASE = """
[[case]]
name = "c"
workload = { kind = "load", waves = 10 }
topology = { kind = "kary", fanout = 2, depth = 2 }
"""
GOOD = HEAD + CASE


def with_key(line: str) -> str:
    return GOOD + line + "\n"


def without(key: str, text: str = GOOD) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith(key))


def replaced(key: str, line: str, text: str = GOOD) -> str:
    return without(key, text) + "\n" + line + "\n"


WHEN = "give exactly one of at_s, at_wave, moment and at_event (a moment may have an at_wave as well)"

WRONG = {
    # tables
    "an unknown table": ("[suit]\n" + GOOD, ["suit: unknown table; did you mean 'suite'?"]),
    "no suite table": (
        GOOD.replace('[suite]\nname = "s"\n', ""),
        ["suite.name: is missing; give a string"],
    ),
    "a suite that is no table": (
        "suite = 3\n" + GOOD.replace('[suite]\nname = "s"\n', ""),
        ["suite: must be a table, not the integer 3; write [suite]"],
    ),
    "no testbed": (HEAD.partition("[testbed]")[0] + CASE, ["testbed.kind: is missing; known testbed kinds: local"]),
    "a transport within one process": (
        with_key('transport = ["tcp", "inside"]'),
        ["case[0].transport[1]: 'inside' links nodes of one process, and testbed 'local' gives each its own; use tcp"],
    ),
    "no case": (HEAD, ["case: is missing; add at least one [[case]]"]),
    "one bracket": (
        GOOD.replace("[[case]]", "[case]"),
        ["case: must be a list of tables; write [[case]] above each case, with two brackets"],
    ),
    # suite
    "a misspelt key of the suite": (
        GOOD.replace('name = "s"', 'name = "s"\ntrails = 3'),
        ["suite.trails: unknown key; did you mean 'trials'?"],
    ),
    "no trials": (GOOD.replace('name = "s"', 'name = "s"\ntrials = 0'), ["suite: trials = 0 must lie in 1..100000"]),
    "an empty name": (GOOD.replace('name = "s"', 'name = " "'), ["suite: name is empty; give the suite a name"]),
    "a seed that is text": (
        GOOD.replace('name = "s"', 'name = "s"\nseed = "7"'),
        ["suite.seed: must be an integer, not the string '7'"],
    ),
    "a list for the trials": (
        GOOD.replace('name = "s"', 'name = "s"\ntrials = [1, 2]'),
        ["suite.trials: must be an integer, not a list"],
    ),
    # testbed and node
    "an unknown testbed": (GOOD.replace('"local"', '"locl"'), ["testbed.kind: unknown testbed 'locl'; did you mean 'local'?"]),
    "a misspelt key of the testbed": (
        GOOD.replace("hosts = 4", "host = 4"),
        ["testbed.host: unknown key; did you mean 'hosts'?"],
    ),
    "what the testbed itself refuses": (GOOD.replace("hosts = 4", "hosts = -1"), ["testbed: hosts = -1 must not be negative"]),
    "a misspelt node setting": (
        GOOD + "[node]\nleases_s = 2.0\n",
        ["node.leases_s: unknown key; did you mean 'lease_s'?"],
    ),
    "node settings that do not fit": (
        GOOD + "[node]\nlease_s = 0.5\n",
        ["node: heartbeat_s = 0.25 must be positive and at most a third of lease_s = 0.5"],
    ),
    # case
    "a misspelt key of a case": (with_key('filtr = "sum"'), ["case[0].filtr: unknown key; did you mean 'filter'?"]),
    "a key far from any": (
        with_key("colour = 3"),
        [
            "case[0].colour: unknown key; known keys: accept, deadline_s, down_filter, expect, fault, filter, name, recovery, "
            "standby, sync, topology, transport, workload"
        ],
    ),
    "a case without a name": (without('name = "c"'), ["case[0].name: is missing; name the case: reports are told apart by it"]),
    "a case without a workload": (without("workload"), ["case[0].workload: is missing; known workload kinds: load"]),
    "a case without a topology": (
        without("topology"),
        ["case[0].topology: is missing; known topology kinds: flat, kary, levels"],
    ),
    "two cases of one name": (GOOD + CASE, ["case[1].name: two cases are called 'c'; rename one of the two"]),
    # kinds
    "an unknown kind by name": (with_key('filter = "summ"'), ["case[0].filter: unknown filter 'summ'; did you mean 'sum'?"]),
    "an unknown kind in a table": (
        with_key('filter = { kind = "topk", k = 3 }'),
        ["case[0].filter.kind: unknown filter 'topk'; did you mean 'top-k'?"],
    ),
    "a table without a kind": (
        with_key("filter = { k = 3 }"),
        ["case[0].filter.kind: is missing; known filter kinds: max, rows, sum, top-k"],
    ),
    "a kind that is a number": (
        with_key("filter = { kind = 3 }"),
        ["case[0].filter.kind: must be a string, not the integer 3; known filter kinds: max, rows, sum, top-k"],
    ),
    "a filter that is a number": (
        with_key("filter = 3"),
        [
            "case[0].filter: must be the name of a filter or a table, not the integer 3; "
            "known filter kinds: max, rows, sum, top-k"
        ],
    ),
    "a kind that needs keys, by its name": (
        replaced("topology", 'topology = "kary"'),
        [
            "case[0].topology.fanout: is missing; give an integer",
            "case[0].topology.depth: is missing; give an integer",
        ],
    ),
    # keys of kinds
    "a misspelt key of a kind": (
        replaced("workload", 'workload = { kind = "load", wavs = 10 }'),
        [
            "case[0].workload.wavs: unknown key; did you mean 'waves'?",
            "case[0].workload.waves: is missing; give an integer",
        ],
    ),
    "a boolean for an integer": (
        replaced("workload", 'workload = { kind = "load", waves = true }'),
        ["case[0].workload.waves: must be an integer, not the boolean true"],
    ),
    "a number for an integer": (
        replaced("workload", 'workload = { kind = "load", waves = 1.0 }'),
        ["case[0].workload.waves: must be an integer, not the number 1.0"],
    ),
    "an integer for a boolean": (
        replaced("workload", 'workload = { kind = "load", waves = 1, eager = 1 }'),
        ["case[0].workload.eager: must be a boolean (true or false), not the integer 1"],
    ),
    "a number without end": (
        replaced("workload", 'workload = { kind = "load", waves = 1, rate = inf }'),
        ["case[0].workload.rate: must be a finite number; found inf"],
    ),
    "a value that is none of an enumeration's": (
        replaced("workload", 'workload = { kind = "load", waves = 1, item = "i46" }'),
        ["case[0].workload.item: unknown value 'i46'; did you mean 'i64'?"],
    ),
    "a value that is none of a few": (
        replaced("workload", 'workload = { kind = "load", waves = 1, order = "sideways" }'),
        ["case[0].workload.order: unknown value 'sideways'; known values: down, up"],
    ),
    "a number for an enumeration": (
        replaced("workload", 'workload = { kind = "load", waves = 1, item = 64 }'),
        ["case[0].workload.item: must be one of 'i64', 'f64', not the integer 64"],
    ),
    "a wrong element of a list": (
        replaced("workload", 'workload = { kind = "load", waves = 1, shape = [2, "3"] }'),
        ["case[0].workload.shape[1]: must be an integer, not the string '3'"],
    ),
    "no list for a list": (
        replaced("workload", 'workload = { kind = "load", waves = 1, shape = 2 }'),
        ["case[0].workload.shape: must be a list of integers, not the integer 2"],
    ),
    "a wrong value in an inner table": (
        replaced("workload", 'workload = { kind = "load", waves = 1, weights = { a = 1, b = "2" } }'),
        ["case[0].workload.weights.b: must be a number, not the string '2'"],
    ),
    "a date": (
        replaced("workload", 'workload = { kind = "load", waves = 1, note = 2026-01-01 }'),
        ["case[0].workload.note: must be a string, not a date"],
    ),
    "what the kind itself refuses": (
        with_key('filter = { kind = "top-k", k = 0 }'),
        ["case[0].filter: k = 0 must be at least 1"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_says_exactly_what_is_wrong(name, mistakes, called):
    text, expected = WRONG[name]
    assert mistakes(text) == [called(line, "c" if 'name = "c"' in text else "") for line in expected]


def test_all_mistakes_are_reported_at_once_and_once_only(mistakes):
    text = """
    sweet = 1
    [suite]
    nam = "s"
    [testbed]
    kind = "lokal"
    [[case]]
    name = "a"
    workload = { kind = "load", waves = "many" }
    topology = { kind = "kary", fanout = [2, 3, 4], depth = [1.5, 2] }
    transport = ["tcp", "udp"]
    [[case]]
    workload = { kind = "load", waves = 1 }
    [[case.fault]]
    kind = "crash"
    [[case]]
    name = "c"
    workload = { kind = "load", waves = 0 }
    topology = { kind = "kary", fanout = 0, depth = 2 }
    """
    assert mistakes(text) == [
        "sweet: unknown table; known tables: case, node, suite, testbed",
        "suite.nam: unknown key; did you mean 'name'?",
        "suite.name: is missing; give a string",
        "testbed.kind: unknown testbed 'lokal'; did you mean 'local'?",
        "case[0].workload.waves (case 'a'): must be an integer, not the string 'many'",
        "case[0].topology.depth[0] (case 'a'): must be an integer, not the number 1.5",
        "case[0].transport[1] (case 'a'): unknown transport 'udp'; known transport kinds: inside, memory, tcp",
        "case[1].name: is missing; name the case: reports are told apart by it",
        "case[1].topology: is missing; known topology kinds: flat, kary, levels",
        'case[1].fault[0].target: is missing; for example "role:internal" or "any 1 of role:internal"',
        f"case[1].fault[0]: does not say when; {WHEN}",
        "case[2].topology (case 'c'): fanout = 0 must be at least 1",
        "case[2].workload.waves (case 'c'): 0 must be positive",
    ]


def test_a_syntax_error_says_where(mistakes, tmp_path):
    assert mistakes("[suite]\nname = s\n") == [
        f"{tmp_path / 'suite.toml'}: is not valid TOML: Invalid value (at line 2, column 8)"
    ]


def test_a_key_given_twice_is_a_syntax_error(mistakes):
    assert "is not valid TOML: Cannot overwrite a value (at line 3, column" in mistakes("[suite]\nname = 's'\nname = 't'\n")[0]


def test_a_file_that_is_not_there(registry, tmp_path):
    from harness.api.errors import UsageError
    from harness.run.plan import load_plan

    with pytest.raises(UsageError, match=r"no such suite file; give the path of a TOML file"):
        load_plan(tmp_path / "none.toml", registry)
    with pytest.raises(UsageError, match=r"cannot be read: Is a directory"):
        load_plan(tmp_path, registry)
    (tmp_path / "latin.toml").write_bytes(b"[suite]\nname = '\xe9'\n")
    with pytest.raises(UsageError, match=r"is not UTF-8 text \(byte 16\); save it as UTF-8"):
        load_plan(tmp_path / "latin.toml", registry)
