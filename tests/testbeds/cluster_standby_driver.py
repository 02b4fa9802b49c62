"""A driver on a Ray cluster of three raylets whose trials lose their front-end while a standby is on another raylet. Prints
what it saw as lines of JSON."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.api.errors import InfrastructureError
from harness.cli.lines import LineProgress
from harness.registry import Registry, load
from harness.run.plan import Plan, TrialPlan, load_plan
from harness.run.record import load_trial, read_run
from harness.run.runner import run_suite
from harness.run.trial import plain_check
from harness.testbeds import procs

#: Depth first on three hosts: nodes 0, 1 and 3 are on the first, the standby is on the second.
SUITE = """
[suite]
name = "standby"
seed = 3
[testbed]
kind = "cluster"
address = "{address}"
hosts = 3
host_addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
[node]
lease_s = 1.0
heartbeat_s = 0.2
connect_timeout_s = 0.4
orphan_grace_s = 1.5
start_timeout_s = 15.0
[[case]]
name = "lost"
workload = {{ kind = "reduce-stream", waves = 2400, rate = 300.0 }}
topology = {{ kind = "kary", fanout = 2, depth = 2 }}
filter = "sum"
recovery = "replay"
standby = "node:2"
"""
CRASH = '[[case.fault]]\nkind = "crash"\ntarget = "node:0"\nat_wave = 200\n'
#: The raylet is killed once so many waves have come out, as far as is told.
WAVES = 200


def planned(address: str, registry: Registry, fault: str = "") -> Plan:
    return load_plan(Path("suite.toml"), registry, text=SUITE.format(address=address) + fault)


def story(events: list[Mapping[str, Any]], check: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """What a test wants to know of a trial."""
    return {
        "hosts": {str(e["node"]): e["host"] for e in events if e["kind"] == "node-started"},
        "took_over": [e["node"] for e in events if e["kind"] == "took-over"],
        "finished": [(e.get("node"), e["ok"]) for e in events if e["kind"] == "finished"],
        "ends": {str(e["node"]): e["status"] for e in events if e["kind"] == "node-exited"},
        "forced": [e["node"] for e in events if e["kind"] == "node-exited" and e.get("forced")],
        "check": dict(check),
        **more,
    }


def killed(address: str, registry: Registry, into: Path) -> dict[str, Any]:
    """A whole run, whose fault kills the front-end's process in mid-stream."""
    progress = LineProgress(io.StringIO())
    outcome = run_suite(planned(address, registry, CRASH), results=into, progress=progress, argv=["run"], registry=registry)
    (trial,) = read_run(outcome.run_dir).trials
    assert trial.check is not None, outcome.text
    return story(trial.events, trial.check, exit_code=int(outcome.exit_code), notes=list(trial.notes))


def raylet_of(agent: int) -> int:
    return int(Path(f"/proc/{agent}/stat").read_text().rpartition(")")[2].split()[1])


def host_lost(address: str, registry: Registry, into: Path) -> dict[str, Any]:
    """A trial whose front-end's raylet is killed, and with it the whole host. The front-end is not on the first, which is the
    driver's own."""
    plan = planned(address, registry)
    trial = plan.trials[0]
    moved = replace(trial, tree=trial.tree.placed([(n.host + 2) % 3 for n in trial.tree.nodes]))
    testbed: Any = plan.testbed.value
    testbed.open(into)
    mark = testbed.session.mark
    try:
        return lose_it(testbed, moved, into / "lost")
    finally:
        testbed.close()
        assert not procs.marked(mark)


def lose_it(testbed: Any, trial: TrialPlan, into: Path) -> dict[str, Any]:
    host = trial.tree.nodes[0].host
    raylet = raylet_of(testbed.session.hosts[host].pid)
    lost = [n.id for n in trial.tree.nodes if n.host == host]
    fault: dict[str, Any] = {}
    events: list[dict[str, Any]] = []
    errors: list[str] = []
    with testbed.deploy(trial.deployment(os.urandom(32))) as deployment:
        deployment.start()
        while not any(e["kind"] == "finished" for e in events):
            try:
                events += deployment.poll(0.5)
            except InfrastructureError as error:
                errors.append(str(error))
            if not fault and max((e["waves"] for e in events if e["kind"] == "progress"), default=0) >= WAVES:
                fault = {
                    "t_s": max(e["t_s"] for e in events),
                    "kind": "fault",
                    "fault": 0,
                    "node": 0,
                    "nodes": lost,
                    "action": "kill",
                }
                os.kill(raylet, signal.SIGKILL)
        events += deployment.stop(10.0)
        deployment.collect(into)
    plan = trial.to_json()
    # A run would call this a failure of the infrastructure, and not ask. The check is told of it as of a fault.
    record, notes = load_trial(into, plan, [*events, fault])
    check = plain_check(trial.workload.check(record, trial.context, "exact"))
    return story(events, check, errors=errors, notes=list(notes), lost=lost)


def main(address: str, directory: str) -> None:
    registry = load()
    for act in (killed, host_lost):
        print(json.dumps(act(address, registry, Path(directory) / act.__name__)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
