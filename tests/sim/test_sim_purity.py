"""A simulated trial asks nothing of the machine that it runs on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from runs import plan_of, suite

from harness.api.errors import UsageError

TRIAL = """
import builtins, os, random, socket, sys, threading, time
from pathlib import Path
from runs import deployment, plan_of
from harness.testbeds.sim_deployment import samples_of

plan = plan_of(Path(sys.argv[1]), Path(sys.argv[1], "text").read_text())
asked = []

def forbidden(where, name):
    def ask(*args, **kwargs):
        asked.append(name)
        raise AssertionError(f"a simulation asked for {name}")
    original = getattr(where, name)
    for module in [m for n, m in sys.modules.items() if n.startswith("harness")]:
        for key, value in list(vars(module).items()):  # `from time import monotonic` has a name of its own
            if value is original:
                setattr(module, key, ask)
    setattr(where, name, ask)

for where, names in (
    (time, "time monotonic monotonic_ns perf_counter perf_counter_ns process_time sleep"),
    (os, "urandom getrandom fork kill"),
    (random, "random randint getrandbits choice"),
    (socket, "socket socketpair"),
    (threading.Thread, "start"),
    (builtins, "open"),
):
    for name in names.split():
        forbidden(where, name)

events = []
with deployment(plan) as trial:
    trial.start()
    while not any(e["kind"] == "finished" for e in events):
        events += trial.poll(0.2)
    events += trial.stop(10.0)
waves = sum(len(s.observed) for s in samples_of(trial.world.seats[0].node))
kinds = [e["kind"] for e in events]
print(asked, waves, kinds.count("fault-confirmed"), kinds.count("fault-undone"), kinds.count("node-exited"), trial.clock())
"""
FAULTS = """
kind = "crash"
target = "any 1 of role:internal"
at_s = 0.5
---
kind = "hang"
target = "any 1 of role:back-end"
moment = "mid-load"
resume_after_s = 0.1
---
kind = "cut"
target = "role:back-end"
at_event = 3000
"""

WORKLOADS = '[{ kind = "round-trip", duration_s = 1.0 }, "host-metrics"]'


def test_no_clock_no_chance_no_socket_no_thread_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "text").write_text(suite(fault=FAULTS, duration_s=2.0))
    path = os.pathsep.join([str(Path(__file__).parent), *(p for p in sys.path if p)])
    done = subprocess.run(
        [sys.executable, "-c", TRIAL, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    asked, waves, confirmed, undone, exited, ended_s = done.stdout.split()
    assert asked == "[]" and int(waves) >= 200
    assert (confirmed, undone, exited) == ("10", "1", "15")
    assert 2.0 < float(ended_s) < 2.2


def test_a_workload_that_reads_the_machine_itself_is_refused(tmp_path: Path) -> None:
    text = suite().replace('{ kind = "reduce-stream", rate = 100, duration_s = 2.0 }', WORKLOADS)
    text = text.replace('filter = "sum"', "")
    with pytest.raises(UsageError) as caught:
        plan_of(tmp_path, text)
    assert caught.value.mistakes == [
        "case[0].workload[1] (case 'first'): 'host-metrics' reads the machine itself, and testbed 'sim' simulates its machines;"
        " use local or cluster, or another workload"
    ]
    local = text.replace('kind = "sim"', 'kind = "local"')
    assert len(plan_of(tmp_path, local).cases) == 2
