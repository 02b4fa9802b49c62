"""Wrong suites, and exactly what is said about them: axes, policies, trees, faults and expectations."""

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
CRASH = GOOD + '[[case.fault]]\nkind = "crash"\n'


def with_key(line: str) -> str:
    return GOOD + line + "\n"


def without(key: str, text: str = GOOD) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith(key))


def replaced(key: str, line: str, text: str = GOOD) -> str:
    return without(key, text) + "\n" + line + "\n"


WHEN = "give exactly one of at_s, at_wave, moment and at_event (a moment may have an at_wave as well)"

ROUNDED = '["rounded", { kind = "rounded" }, { kind = "rounded", bits = 7 }, { kind = "rounded", bits = 8 }]'

WRONG = {
    # axes
    "an axis without values": (
        with_key("transport = []"),
        ["case[0].transport: is an empty list; an axis of the matrix needs at least one value"],
    ),
    "the same value twice": (
        with_key('transport = ["tcp", "memory", "tcp"]'),
        ["case[0].transport[2]: is the same value as case[0].transport[0]; remove one of the two"],
    ),
    "the same kind twice, in several spellings": (
        with_key(f"down_filter = {ROUNDED}"),
        [f"case[0].down_filter[{i}]: is the same value as case[0].down_filter[0]; remove one of the two" for i in (1, 2)],
    ),
    "a required key that a name cannot give": (
        with_key('filter = ["top-k", { kind = "top-k", k = 2 }]'),
        ["case[0].filter[0]: k = 0 must be at least 1"],
    ),
    "one wrong value of an axis": (
        with_key('transport = ["tcp", "tpc"]'),
        ["case[0].transport[1]: unknown transport 'tpc'; did you mean 'tcp'?"],
    ),
    "one wrong value of an axis inside a table": (
        replaced("topology", 'topology = { kind = "kary", fanout = [2, "4"], depth = [1, 2] }'),
        ["case[0].topology.fanout[1]: must be an integer, not the string '4'"],
    ),
    "a matrix out of hand": (
        with_key(f"deadline_s = {[float(i) for i in range(1, 5002)]}"),
        ["case: the matrix has 5001 cases, more than 5000; remove values from some of its lists"],
    ),
    # recovery, sync, accept
    "an unknown recovery": (
        with_key('recovery = "composed"'),
        ["case[0].recovery: unknown value 'composed'; did you mean 'compose'?"],
    ),
    "compose without idempotence": (
        with_key('recovery = "compose"'),
        [
            "case[0].recovery: compose cannot recover filter 'sum', which is not idempotent (merged twice, it counts twice)"
            "; use 'replay', or an idempotent filter such as min, max or union"
        ],
    ),
    "one of the recoveries is impossible": (
        with_key('recovery = ["replay", "compose"]'),
        [
            "case[0].recovery[1]: compose cannot recover filter 'sum', which is not idempotent (merged twice, it counts twice)"
            "; use 'replay', or an idempotent filter such as min, max or union"
        ],
    ),
    "decompose of an idempotent filter": (
        replaced("filter", 'filter = "max"\nrecovery = "decompose"'),
        ["case[0].recovery: decompose cannot recover filter 'max', which is idempotent; use 'compose'"],
    ),
    "decompose of a filter without a fold": (
        replaced("filter", 'filter = "rows"\nrecovery = "decompose"'),
        [
            "case[0].recovery: decompose cannot recover filter 'rows', which is not decomposable (its fold is not there)"
            "; use 'replay', or a decomposable filter such as sum, count or average"
        ],
    ),
    "decompose without waiting": (
        with_key('recovery = "decompose"\nsync = "do-not-wait"'),
        [
            "case[0].recovery: decompose needs sync = 'wait-for-all', not 'do-not-wait': who is late would be asked for every "
            "wave; use 'resume', or wait for all"
        ],
    ),
    "replay without waiting": (
        with_key('recovery = "replay"\nsync = "do-not-wait"'),
        [
            "case[0].recovery: replay needs sync = 'wait-for-all', not 'do-not-wait': only whole waves can be sent again; "
            "use 'resume' (or 'compose' with an idempotent filter), or wait for all"
        ],
    ),
    "an unknown sync": (
        with_key('sync = "wait-for-al"'),
        ["case[0].sync: unknown sync 'wait-for-al'; did you mean 'wait-for-all'?"],
    ),
    "a time-out without a time": (
        with_key('sync = "time-out"'),
        ["case[0].sync.after_s: is missing; give a number"],
    ),
    "a time-out of nothing": (
        with_key('sync = { kind = "time-out", after_s = 0 }'),
        ["case[0].sync: after_s = 0 must be positive"],
    ),
    "a quorum of nobody": (
        with_key('accept = { kind = "quorum", n = 0 }'),
        ["case[0].accept: n = 0 must be at least 1"],
    ),
    "a quorum of more than there are": (
        with_key('accept = { kind = "quorum", n = 5 }'),
        ["case[0].accept: n = 5, but the tree has 4 back-ends; no wave could ever be accepted"],
    ),
    "a deadline of nothing": (with_key("deadline_s = 0"), ["case[0].deadline_s: 0 must be positive"]),
    # the tree, the workload
    "an impossible tree": (
        replaced("topology", 'topology = { kind = "kary", fanout = [2, 0], depth = 2 }'),
        ["case[0].topology: fanout = 0 must be at least 1"],
    ),
    "a tree without back-ends": (
        replaced("topology", 'topology = { kind = "kary", fanout = 2, depth = 0 }'),
        ["case[0].topology: a tree needs a front-end and at least one back-end"],
    ),
    "a tree out of hand": (
        replaced("topology", 'topology = { kind = "flat", back_ends = 10_000 }'),
        ["case[0].topology: the tree has 10001 nodes, each a process of its own, more than 10000; make it smaller"],
    ),
    "what the workload finds, at its own key": (
        replaced("workload", 'workload = { kind = "load", waves = 0 }'),
        ["case[0].workload.waves: 0 must be positive"],
    ),
    "what the workload finds, at a key of the case": (
        replaced("workload", 'workload = { kind = "load", waves = 1, item = "f64" }\nfilter = { kind = "top-k", k = 2 }'),
        ["case[0].filter: top-k takes whole numbers only; use item = 'i64'"],
    ),
    "items that the filter does not take": (
        replaced("workload", 'workload = { kind = "load", waves = 1, shape = [4, 2] }\nfilter = { kind = "top-k", k = 2 }'),
        [
            "case[0].filter: cannot take what 'load' offers: items are numbers or rows of them, and have no shape (4, 2);"
            " change the workload's items, or the filter or its keys"
        ],
    ),
    "a filter with a mistake of its own": (
        replaced("workload", 'workload = { kind = "load", waves = 1, note = "no array" }\nfilter = { kind = "top-k", k = 2 }'),
        ["case[0].filter: raised AttributeError: 'list' object has no attribute 'ndim'; this is a mistake in the plugin"],
    ),
    "a workload that shows what no filter gets": (
        replaced("workload", 'workload = { kind = "load", waves = 1, note = "for another filter" }'),
        ["case[0].workload: raised KeyError: 'unknown'; this is a mistake in the plugin"],
    ),
    "what the workload finds, at no key": (
        replaced("workload", 'workload = { kind = "load", waves = 1, rate = -1 }'),
        ["case[0].workload: a negative rate is none"],
    ),
    "what the workload finds in view of the tree": (
        replaced("workload", 'workload = { kind = "load", waves = 9999 }'),
        ["case[0].workload.waves: 9999 are too many for 4 back-ends", "case[0].workload: get a larger tree"],
    ),
    # faults
    "a fault in single brackets": (
        GOOD + '[case.fault]\nkind = "crash"\n',
        ["case[0].fault: must be a list of tables; write [[case.fault]] above each fault, with two brackets"],
    ),
    "an unknown fault": (
        CRASH.replace("crash", "crush") + 'target = "node:1"\nat_s = 1.0\n',
        ["case[0].fault[0].kind: unknown fault 'crush'; did you mean 'crash'?"],
    ),
    "a misspelt key of a fault": (
        CRASH + 'target = "node:1"\nat = 1.0\n',
        [
            "case[0].fault[0].at: unknown key; did you mean 'at_s'?",
            f"case[0].fault[0]: does not say when; {WHEN}",
        ],
    ),
    "a fault without a target": (
        CRASH + "at_s = 1.0\n",
        ['case[0].fault[0].target: is missing; for example "role:internal" or "any 1 of role:internal"'],
    ),
    "a fault without a time": (
        CRASH + 'target = "node:1"\n',
        [f"case[0].fault[0]: does not say when; {WHEN}"],
    ),
    "a fault with two times": (
        CRASH + 'target = "node:1"\nat_s = 1.0\nat_wave = 5\n',
        [f"case[0].fault[0]: says at_s and at_wave; {WHEN}"],
    ),
    "a fault in the past": (
        CRASH + 'target = "node:1"\nat_s = [1.0, -1.0]\n',
        ["case[0].fault[0].at_s[1]: -1 must not be negative"],
    ),
    "an unknown moment": (
        CRASH + 'target = "node:1"\nmoment = "mid-flash"\n',
        ["case[0].fault[0].moment: unknown value 'mid-flash'; did you mean 'mid-flush'?"],
    ),
    "a fault that lacks a key": (
        GOOD + '[[case.fault]]\nkind = "hang"\ntarget = "node:1"\nat_s = 1\n',
        ["case[0].fault[0].for_s: is missing; give a number"],
    ),
    "what the fault itself refuses": (
        CRASH + 'target = "role:front-end"\nat_s = 1\n',
        ["case[0].fault[0]: the front-end is not to be killed; choose another target"],
    ),
    "faults when the workload is over": (
        CRASH.replace("waves = 10", "waves = 10, duration_s = 3") + 'target = "node:1"\nat_s = [2.9, 3, 10]\n',
        [
            f"case[0].fault[0].at_s: {at} is too late: the workload is over after duration_s = 3; strike earlier, or let the "
            "workload last longer"
            for at in (3, 10)
        ],
    ),
    "a target that does not parse": (
        CRASH + 'target = "nodes:1"\nat_s = 1\n',
        ["case[0].fault[0].target: unknown target 'nodes:'; did you mean 'node'?"],
    ),
    "a target that selects nothing": (
        replaced("topology", 'topology = ["flat", { kind = "kary", fanout = 2, depth = 2 }]', CRASH).replace(
            '[[case.fault]]\nkind = "crash"\n', ""
        )
        + '[[case.fault]]\nkind = "crash"\ntarget = "role:internal"\nat_s = 1\n',
        [
            "case[0].fault[0].target: 'role:internal' selects nothing; the tree has 4 nodes (0 internal, 3 back-ends), "
            "depth 1, on 4 hosts"
        ],
    ),
    "a host that is not there": (
        CRASH + 'target = "host:4"\nat_s = 1\n',
        [
            "case[0].fault[0].target: 'host:4' selects nothing; the tree has 7 nodes (2 internal, 4 back-ends), depth 2, on 4 "
            "hosts"
        ],
    ),
    # expect
    "a misspelt expectation": (
        GOOD + "[case.expect]\nrecovery_m = { p99 = 500 }\n",
        ["case[0].expect.recovery_m: unknown key; did you mean 'recovery_ms'?"],
    ),
    "an unknown quantile": (
        GOOD + "[case.expect]\nrecovery_ms = { p95 = 500 }\n",
        ["case[0].expect.recovery_ms.p95: unknown key; did you mean 'p99'?"],
    ),
    "an axis where none can be": (
        GOOD + "[case.expect]\nrecovery_ms = { p99 = [500, 600] }\n",
        ["case[0].expect.recovery_ms.p99: must be a number, not a list"],
    ),
    "a ratio above one": (
        GOOD + "[case.expect]\nthroughput = { min_ratio_to_steady = 95, within_s = 1 }\n",
        ["case[0].expect.throughput: min_ratio_to_steady = 95.0 must lie above 0 and be at most 1"],
    ),
    "more than resume can keep": (
        CRASH.replace("topology =", 'recovery = "resume"\ntopology =')
        + 'target = "node:1"\nat_s = 1\n[case.expect]\nrecovery = "exact"\n',
        [
            "case[0].expect.recovery: 'exact' cannot be expected of recovery 'resume', which gives up what was in flight; "
            "expect 'bounded-loss', or use 'replay'"
        ],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_says_exactly_what_is_wrong(name, mistakes, called):
    text, expected = WRONG[name]
    assert mistakes(text) == [called(line, "c" if 'name = "c"' in text else "") for line in expected]
