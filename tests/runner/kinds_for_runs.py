"""A whole system small enough to watch, installed by the fixture `registry`: a testbed on which every node is a sleeping
process and waves are only counted. It can be told to fail in every way in which surroundings fail."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from small_kinds import Crash, Flat, Same, Sum, Wire

from harness.api.errors import InfrastructureError
from harness.api.filters import RankSet
from harness.api.records import SAMPLE_DTYPE, Check, TrialRecord, Violation
from harness.api.testbed import Deployment, DeploymentSpec
from harness.api.workload import BackEndApp, FrontEndApp, TrialContext
from harness.hookspecs import hookimpl

STEP_S, BATCH = 0.01, 10
#: Planning makes the applications, but no node runs any.
NO_APP: Any = object()


@dataclass(frozen=True)
class Count:
    """Every recorded number must be the wave's own. `ends` makes the check itself fail in a way."""

    ends: str = "judged"

    def filters(self, chosen: str) -> tuple[str, ...]:
        return (chosen,)

    def mistakes(self, chosen: str) -> list[str]:
        return []

    def front_end(self, context: TrialContext) -> FrontEndApp:
        return NO_APP

    def back_end(self, context: TrialContext, rank: int) -> BackEndApp:
        return NO_APP

    def check(self, record: TrialRecord, context: TrialContext, expect: str) -> Check:
        if self.ends == "raises":
            raise ZeroDivisionError("a mistake of the check's own")
        if self.ends == "slow":
            time.sleep(60)
        if self.ends == "nothing":
            return Check(None, "nobody knows")
        wrong = [int(i) for i in np.flatnonzero(record.observed != np.arange(len(record.observed)))]
        found = [Violation("mixed", f"wave {i} is wrong", wave=i) for i in wrong]
        return Check(not wrong, f"{len(wrong)} of {len(record.observed)} wrong", {"mixed": len(wrong)}, found)


@dataclass(frozen=True)
class Sleepers:
    """The testbed. `fails` names the moment at which it does (with `trial`: of that trial only); `pids` is a file to which the
    ids of all processes are added; `open_s` and `start_s` are how long these take."""

    hosts: int = 1
    fails: str = ""
    trial: str = ""
    run_s: float = 0.2
    open_s: float = 0.0
    start_s: float = 0.0
    stop_s: float = 0.0
    pids: str = ""
    _open: list[subprocess.Popen[bytes]] = field(default_factory=list, init=False, compare=False)

    def open(self, run_dir: Path) -> None:
        self._open.append(self.spawn())
        time.sleep(self.open_s)
        self.fail("open")

    def close(self) -> None:
        end(self._open)
        self.fail("close")

    def possible(self) -> frozenset[str] | None:
        return None

    def capabilities(self) -> Mapping[str, str]:
        return {} if self.fails == "probe" else {"kill": "SIGKILL by hand"}

    def host_count(self) -> int:
        return self.hosts

    def deploy(self, spec: DeploymentSpec) -> Deployment:
        self.fail("deploy", spec.trial)
        return Sleeping(self, spec)

    def fail(self, moment: str, trial: str = "") -> None:
        if self.fails == moment and self.trial in ("", trial):
            raise InfrastructureError(f"the testbed failed at {moment}")

    def spawn(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        if self.pids:
            with Path(self.pids).open("a") as f:
                f.write(f"{child.pid}\n")
        return child


def end(children: list[subprocess.Popen[bytes]]) -> None:
    while children:
        child = children[-1]
        child.kill()
        child.wait()
        children.pop()


class Sleeping:
    """One trial."""

    def __init__(self, testbed: Sleepers, spec: DeploymentSpec) -> None:
        self.testbed, self.spec = testbed, spec
        self.nodes: dict[int, subprocess.Popen[bytes]] = {}
        self.epoch = 0.0
        self.pending: list[dict[str, Any]] = []
        self.planned = list(spec.injections)
        self.done_s = testbed.run_s
        self.late: list[dict[str, Any]] = []

    def __enter__(self) -> Sleeping:
        return self

    def __exit__(self, *_: object) -> None:
        end(list(self.nodes.values()))

    @property
    def now(self) -> float:
        return time.monotonic() - self.epoch

    def say(self, kind: str, **fields: Any) -> None:
        self.pending.append({"t_s": self.now, "kind": kind, **fields})

    def start(self) -> None:
        self.epoch = time.monotonic()
        for node in self.spec.tree.nodes:
            self.nodes[node.id] = self.testbed.spawn()
            self.say("node-started", node=node.id, pid=self.nodes[node.id].pid, host="here")
        time.sleep(self.testbed.start_s)
        self.testbed.fail("start", self.spec.trial)
        self.say("workload-started")

    def poll(self, timeout_s: float) -> list[dict[str, Any]]:
        time.sleep(min(timeout_s, 0.02))
        self.testbed.fail("poll", self.spec.trial)
        if self.testbed.fails == "event":
            return [{"node": 3}]
        for act in [i for i in self.planned if self.now >= (i.trigger.at_s or 0.0)]:
            self.planned.remove(act)
            self.say("fault", fault=act.fault, action=act.action.value, node=act.node, trigger="at_s")
            child = self.nodes[act.node]
            child.kill()
            self.say("fault-confirmed", fault=act.fault, node=act.node, effect=f"exited by signal {-child.wait()}")
            self.say("node-exited", node=act.node, status=child.returncode)
            self.say("link-lost", node=0, peer=act.node, cause="closed")
            self.say("dead", node=act.node, ranks=[act.node - 1])
        waves = 0 if self.testbed.fails == "stall" else round(min(self.now, self.done_s) / STEP_S) * BATCH
        self.say("progress", waves=waves, alive=len(self.nodes) - 1)
        if self.now >= self.done_s and self.testbed.fails != "stall":
            self.say("finished", ok=True, reason="")
        events, self.pending = self.pending, []
        if self.testbed.fails == "order":  # one host's events come a poll after the others'
            late, self.late = self.late, [e for e in events if e["kind"] == "link-lost"]
            events = [e for e in events if e["kind"] != "link-lost"] + late
        return events

    def stop(self, timeout_s: float) -> list[dict[str, Any]]:
        time.sleep(self.testbed.stop_s)
        end(list(self.nodes.values()))
        self.testbed.fail("stop", self.spec.trial)
        events, self.pending = self.pending, []
        return events

    def collect(self, into: Path) -> None:
        self.testbed.fail("collect", self.spec.trial)
        killed = [i for i in self.spec.injections if i not in self.planned]
        ranks = RankSet([(0, len(self.spec.tree.back_ends))])
        sets = [ranks, ranks - RankSet.of(i.node - 1 for i in killed)]
        died = min((i.trigger.at_s or 0.0 for i in killed), default=np.inf)
        n = round(min(self.now, self.done_s) / STEP_S)
        rows = np.zeros(n, dtype=SAMPLE_DTYPE)
        rows["t_s"] = STEP_S * (1 + np.arange(n))
        rows["granted_s"] = rows["t_s"] - 0.001
        rows["first"], rows["count"] = BATCH * np.arange(n), BATCH
        # The death of a leaf is noticed a little after it.
        rows["contributors"] = rows["t_s"] > died + 0.1
        rows["complete"] = rows["contributors"] == 0
        (into / "samples.bin").write_bytes(rows.tobytes())
        observed = np.arange(n * BATCH, dtype="<i8")
        if self.testbed.fails == "mixed":
            observed[7] = 8
        (into / "observed.i8.bin").write_bytes(observed.tobytes())
        lines = [json.dumps([list(r) for r in s.ranges]) + "\n" for s in sets]
        (into / "contributors.jsonl").write_text("".join(lines))


@hookimpl
def harness_testbeds() -> Mapping[str, type]:
    return {"sleepers": Sleepers}


@hookimpl
def harness_topologies() -> Mapping[str, type]:
    return {"flat": Flat}


@hookimpl
def harness_transports() -> Mapping[str, type]:
    return {"wire": Wire}


@hookimpl
def harness_filters() -> Mapping[str, type]:
    return {"sum": Sum}


@hookimpl
def harness_down_filters() -> Mapping[str, type]:
    return {"null": Same}


@hookimpl
def harness_workloads() -> Mapping[str, type]:
    return {"count": Count}


@hookimpl
def harness_faults() -> Mapping[str, type]:
    return {"crash": Crash}


def running(pids: Path) -> list[int]:
    """Which of the processes that were started are there still."""
    found = []
    for line in pids.read_text().split():
        try:
            os.kill(int(line), 0)
        except ProcessLookupError:
            continue
        found.append(int(line))
    return found
