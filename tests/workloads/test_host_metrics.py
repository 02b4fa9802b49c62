"""The workload host-metrics, on made-up and on real figures of /proc."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from harness.api.errors import UsageError
from harness.api.workload import Workload
from harness.core.spec import Recovery, Sync
from harness_workloads.host_metrics import HostMetrics
from harness_workloads.proc import METRICS, Reading, read_host, sample

HAS_PROC = Path("/proc/stat").is_file() and Path("/proc/net/dev").is_file()


@pytest.fixture
def proc(tmp_path):
    """A /proc that a test can change."""
    (tmp_path / "net").mkdir()

    def show(busy=100, idle=300, available=6_000_000, load=0.5, received=1000, sent=500):
        (tmp_path / "stat").write_text(f"cpu  {busy} 0 0 {idle - 50} 50 0 0 0 0 0\ncpu0 {busy} 0 0 {idle} 0 0 0 0 0 0\n")
        (tmp_path / "meminfo").write_text(f"MemTotal: 8000000 kB\nMemFree: 1000000 kB\nMemAvailable: {available} kB\n")
        (tmp_path / "loadavg").write_text(f"{load} 0.40 0.30 1/100 12345\n")
        rows = ["    lo: 999999 1 0 0 0 0 0 0 999999 1 0 0 0 0 0 0", f"  eth0: {received} 1 0 0 0 0 0 0 {sent} 1 0 0 0 0 0 0"]
        (tmp_path / "net" / "dev").write_text("\n".join(["Inter-|", " face |", *rows]) + "\n")

    show()
    return tmp_path, show


def test_a_reading_of_the_hosts_figures(proc):
    root, _ = proc
    assert read_host(root) == Reading(100, 400, 2_000_000 * 1024, 8_000_000 * 1024, 0.5, 1000, 500)


def test_a_sample_is_the_difference_of_two_readings(proc):
    root, show = proc
    before = read_host(root)
    show(busy=130, idle=370, received=3000, sent=600, load=1.5)
    assert sample(before, read_host(root), 2.0) == pytest.approx([0.3, 0.25, 1.5, 1000.0, 50.0])


def test_counters_that_went_back_give_no_negative_rates(proc):
    root, show = proc
    before = read_host(root)
    show(busy=90, idle=200, received=0, sent=0)
    assert min(sample(before, read_host(root), 1.0)) >= 0


def test_min_mean_and_max_of_different_hosts(make_world, proc):
    """Each back-end looks at figures of its own: four processors that are idle, and busy to 20, 40 and 60 percent."""
    root, show = proc
    world = make_world(HostMetrics(samples=3, interval_s=0.01, proc=str(root)))
    world.front.start(world)
    busy = dict.fromkeys(range(4), 0)
    while world.finished is None:
        world.now += 0.001
        for rank, leaf in world.ends.items():
            show(busy=1000 + busy[rank], idle=5000 + int(world.now * 1e5) * 10 - busy[rank])
            before = leaf.app.count
            leaf.turn()
            if leaf.app.count > before:
                last = leaf.app.taken[-1]
                assert 0 <= last[0] <= 1
        busy = {r: int((world.now - 100) * 1e5) * 2 * r for r in busy}
        for stream in list(world.streams):
            world._deliver(stream)
    assert world.check().passed
    for note in world.notes("metrics"):
        rows = {metric: values for metric, *values in note["rows"]}
        assert list(rows) == list(METRICS)
        least, mean, most = rows["cpu_busy"]
        assert least < mean < most
        assert rows["memory_used"] == pytest.approx([0.25] * 3)
        assert sum(note["cpu_histogram"]) == 4


@pytest.mark.skipif(not HAS_PROC, reason="this machine has no /proc")
def test_real_figures(make_world):
    world = make_world(HostMetrics(samples=4, interval_s=0.02)).run()
    check = world.check()
    assert check.passed, check
    assert check.counts == {"waves": 16, "delivered": 64, "partial": 0, "lost": 0, "duplicated": 0, "mixed": 0}
    assert [n["wave"] for n in world.notes("metrics")] == [0, 1, 2, 3]


def world_of(make_world, proc, **more):
    return make_world(HostMetrics(samples=8, interval_s=0.01, proc=str(proc[0])), **more)


def test_samples_come_at_the_interval(make_world, proc):
    world = world_of(make_world, proc).run()
    times = sorted({row[0] for row in world.rows})
    assert np.diff(times) == pytest.approx(0.01, abs=0.002)
    assert len(times) == 8


def test_a_dead_back_end_is_missing_afterwards(make_world, proc):
    world = world_of(make_world, proc)
    world.strike(2, 3)
    check = world.run().check()
    assert check.passed and check.counts["partial"] > 0


def test_a_live_one_that_is_left_out(make_world, proc):
    def leave_out(batch):
        if batch.first >= 4:
            del batch.parts[1]
            batch.named.discard(1)

    world = world_of(make_world, proc)
    world.plant = leave_out
    check = world.run().check()
    assert {(v.what, v.rank, v.wave) for v in check.violations} == {("lost", 1, 4)}


def test_a_histogram_that_does_not_count_everybody(make_world, proc):
    def lose(batch):
        if world.streams[batch.stream].spec.filter == "histogram" and batch.first == 2:
            del batch.parts[1]

    world = world_of(make_world, proc)
    world.plant = lose
    check = world.run().check()
    assert check.passed is False and "3 of 4" in check.summary


def test_a_mean_outside_min_and_max(make_world, proc):
    def double(stream, first, values):
        return values * 5 if world.streams[stream].spec.filter == "average" else values

    world = world_of(make_world, proc)
    world.spoil = double
    check = world.run().check()
    assert {v.what for v in check.violations} == {"mixed"} and "memory_used has min 0.25, mean 1.25" in check.summary


@pytest.mark.parametrize(
    ("keys", "filter_", "part"),
    [
        ({"samples": 0}, "", "samples: 0"),
        ({"interval_s": 0.0}, "", "interval_s: 0.0"),
        ({"proc": "/nowhere"}, "", "there is no /nowhere/stat"),
        ({}, "sum", "leave 'sum' out"),
    ],
)
def test_mistakes_are_found(keys, filter_, part):
    mistakes = HostMetrics(**keys).mistakes(filter_)
    assert any(part in line for line in mistakes), mistakes


def test_it_compares_whole_samples(make_world, proc):
    with pytest.raises(UsageError, match="do-not-wait"):
        world_of(make_world, proc, sync=Sync.DO_NOT_WAIT, recovery=Recovery.RESUME)


def test_it_is_a_plain_workload(proc):
    workload = HostMetrics(proc=str(proc[0]))
    assert isinstance(workload, Workload) and workload.mistakes("histogram") == []
    assert pickle.loads(pickle.dumps(workload)) == workload
