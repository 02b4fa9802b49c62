"""The workloads on the real node protocol, in virtual time, with crashes and hangs: every trial must pass its own check."""

from __future__ import annotations

import importlib.util
import json
import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from harness.api.records import SAMPLE_DTYPE, TrialRecord
from harness.api.workload import TrialContext
from harness.core.settings import NodeSettings
from harness.core.spec import Recovery
from harness.core.tree import Tree
from harness.run.journal import dump_json
from harness_plugins.filters import DOWN_FILTERS, FILTERS
from harness_workloads.host_metrics import HostMetrics
from harness_workloads.reduce_stream import ReduceStream
from harness_workloads.round_trip import RoundTrip
from harness_workloads.trace_classes import TraceClasses

NET = Path(__file__).parents[1] / "core" / "net.py"
SAMPLES = Path(__file__).parents[2] / "suites" / "data"
TREE = Tree.from_parents([None, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
INTERNAL, LEAF = 2, 8

CASES = {
    "sum": (ReduceStream(waves=2000, window_waves=64), "sum", Recovery.REPLAY, "exact"),
    "concat": (ReduceStream(waves=600, shape=(4,), window_waves=64), "concat", Recovery.REPLAY, "exact"),
    "chunks": (ReduceStream(waves=80, item_bytes=40_000, chunk_bytes=8192), "sum", Recovery.REPLAY, "exact"),
    "max": (ReduceStream(waves=2000, window_waves=64), "max", Recovery.COMPOSE, "equivalent"),
    "large max": (ReduceStream(waves=80, item_bytes=40_000, chunk_bytes=8192), "max", Recovery.COMPOSE, "equivalent"),
    "cut min": (ReduceStream(waves=400, shape=(40,), chunk_bytes=64), "min", Recovery.COMPOSE, "equivalent"),
    "top-k": (ReduceStream(waves=600, window_waves=64), "top-k", Recovery.COMPOSE, "equivalent"),
    "sum of parts": (ReduceStream(waves=2000, window_waves=64), "sum", Recovery.DECOMPOSE, "equivalent"),
    "cut sum of parts": (ReduceStream(waves=400, shape=(40,), chunk_bytes=64), "sum", Recovery.DECOMPOSE, "equivalent"),
    "large parts": (
        ReduceStream(waves=80, item_bytes=40_000, chunk_bytes=8192),
        "sum",
        Recovery.DECOMPOSE,
        "equivalent",
    ),
    "mean of parts": (ReduceStream(waves=600, item="f64", window_waves=64), "average", Recovery.DECOMPOSE, "equivalent"),
    "small floats": (ReduceStream(waves=600, item="f32", shape=(3,)), "sum", Recovery.DECOMPOSE, "equivalent"),
    "count of parts": (ReduceStream(waves=600, window_waves=64), "count", Recovery.DECOMPOSE, "equivalent"),
    "bins of parts": (ReduceStream(waves=300, shape=(7,), item="f64"), "histogram", Recovery.DECOMPOSE, "equivalent"),
    "resume": (ReduceStream(waves=2000, window_waves=64), "sum", Recovery.RESUME, "bounded-loss"),
    "requests": (RoundTrip(requests=60, warm_up=5, outstanding=2), "sum", Recovery.REPLAY, "exact"),
    "classes": (TraceClasses(files=(str(SAMPLES / "*.log"),), batch_lines=20), "classes", Recovery.COMPOSE, "equivalent"),
    "classes, sent again": (TraceClasses(files=(str(SAMPLES / "*.log"),), batch_lines=20), "classes", Recovery.REPLAY, "exact"),
}


@pytest.fixture(scope="module")
def sim_net():
    """Nodes in the simulator, with applications that the test gives, as the tests of the node protocol have them."""
    spec = importlib.util.spec_from_file_location("net_of_core", NET)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Net


def run(sim_net, workload, filter_, recovery, expect, seed, fault=None, node=0, at_s=0.0, until=120.0, spoil=None):
    """Run a trial to its end and return its check, and the net."""
    context = TrialContext(seed, TREE, filter_, recovery)
    filters = {name: FILTERS[name]() for name in workload.filters(filter_)}
    down = {"null": DOWN_FILTERS["null"]()}
    front = workload.front_end(context)
    make = partial(workload.back_end, context)
    net = sim_net(TREE, NodeSettings(), filters, down, front, make, seed, latency_s=0.001)
    if fault == "crash":
        net.at(at_s, lambda: net.crash(node))
    elif fault == "hang":
        net.at(at_s, lambda: net.hang(node, 3.0))
    net.run(until)
    samples, sets, observed = net.nodes[0].context.samples, [], [np.zeros(0, np.int64)]
    rows = np.zeros(len(samples), SAMPLE_DTYPE)
    for i, s in enumerate(samples):
        if s.contributors not in sets:
            sets.append(s.contributors)
        index = sets.index(s.contributors)
        rows[i] = (s.t_s, s.granted_s, s.stream, index, s.first, len(s.observed), s.complete, b"")
        observed.append(s.observed)
    events = json.loads(dump_json(net.events))  # as the check reads them
    if spoil is not None:
        spoil(next(e["fields"] for e in events if e.get("name") == "final-state"))
    if samples and samples[0].observed.dtype.kind == "f":
        observed = observed[1:]
    record = TrialRecord({}, TREE, events, rows, np.concatenate(observed), sets)
    return workload.check(record, context, expect), net


@pytest.mark.parametrize("name", CASES)
def test_without_a_fault(sim_net, name):
    check, _ = run(sim_net, *CASES[name], seed=1)
    assert check.passed, check
    assert check.counts["partial"] == check.counts["lost"] == 0


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("fault", ["crash", "hang"])
@pytest.mark.parametrize("node", [INTERNAL, LEAF])
@pytest.mark.parametrize("seed", range(2))
def test_with_a_fault(sim_net, name, fault, node, seed):
    at_s = 0.02 + 0.04 * random.Random(f"{name} {fault} {node} {seed}").random()
    check, net = run(sim_net, *CASES[name], seed=seed, fault=fault, node=node, at_s=at_s)
    assert check.passed, (check, net.now)


def raised(told):
    told["value"] += 1


def halved(told):
    told["units"] //= 2


def lacking(told):
    told["absent"].append([0, [[5, 6]], 3, 4])


def awaited(told):
    told["pending"].append([0, [[0, 2]], 100, 200])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (raised, {"is not the fold of what it says it holds"}),
        (halved, {"is about 1000 of 2000 waves", "is not the fold"}),
        (lacking, {"lacks waves 3 to 3 of ranks 5, though alive", "of ranks 5, which were delivered", "is not the fold"}),
        (awaited, {"lacks waves 100 to 199 of ranks 0-1, though alive", "ranks 0-1, which were", "is not the fold"}),
    ],
)
def test_a_wrong_state_of_parts_is_noticed(sim_net, spoil, says):
    name = "sum of parts"
    check, _ = run(sim_net, *CASES[name], seed=1, spoil=spoil)
    assert not check.passed
    found = [v.message for v in check.violations]
    assert [s for s in says if not any(s in message for message in found)] == [] and len(found) == len(says)


def test_live_metrics(sim_net):
    if not Path("/proc/stat").exists():
        pytest.skip("this machine has no /proc")
    check, net = run(sim_net, HostMetrics(samples=6, interval_s=0.1), "", Recovery.REPLAY, "exact", 3, "crash", INTERNAL, 0.25)
    assert check.passed, check
    assert len([e for e in net.events if e.get("name") == "metrics"]) == 6
