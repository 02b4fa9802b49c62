"""One scenario: run in the simulator as `harness run` would, judged by the same checks and by the invariants."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core.tree import Tree
from harness.explore import excuse
from harness.explore.paths import paths_taken
from harness.explore.space import Tables, toml_text
from harness.registry import Registry
from harness.run.plan import TrialPlan, load_plan
from harness.run.record import load_trial
from harness.run.trial import explain, plain_check
from harness.sim.invariants import Invariants
from harness.testbeds.sim import Sim
from harness.testbeds.sim_deployment import SimDeployment

#: The end of a scenario that hangs, in virtual seconds after its last fault; its requests have deadlines of their own.
_GIVE_UP_S = 400.0
_STOP_S = 10.0
_NAME = Path("scenario.toml")


@dataclass(frozen=True)
class Outcome:
    """What became of a scenario. violations: (name of the invariant or check, what was wrong), none for a good run. paths: how
    often each rare path was taken. events: how much happened; virtual_s: how long it took in virtual time."""

    violations: tuple[tuple[str, str], ...]
    paths: Mapping[str, int] = field(default_factory=Counter)
    events: int = 0
    virtual_s: float = 0.0

    @property
    def names(self) -> frozenset[str]:
        """The names of what was violated."""
        return frozenset(name for name, _ in self.violations)


def run_scenario(tables: Tables, registry: Registry, heal_s: float) -> Outcome:
    """Run and judge one scenario. Raises UsageError where its tables are no suite."""
    plan = load_plan(_NAME, registry, text=toml_text(tables))
    trial = plan.trials[0]
    testbed = plan.testbed.value
    assert isinstance(testbed, Sim)  # every scenario says so
    deployment = testbed.deploy(trial.deployment(b""))
    try:
        events, wrong = _run(deployment, trial, heal_s)
        wrong += _judged(deployment, trial, events, registry)
    except Exception as error:  # whatever a node, an application or a check raises is a finding
        events, wrong = [], [("raises", explain(error))]
    world = deployment.world
    return Outcome(tuple(wrong), paths_taken(events, trial.tree), world.happened, world.now)


def _run(deployment: SimDeployment, trial: TrialPlan, heal_s: float) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """The events, and what the invariants say."""
    invariants = Invariants(deployment.world)
    with deployment:
        deployment.start()
        events: list[dict[str, Any]] = []
        finished = False
        while not finished:
            new = deployment.poll(0.0)
            events += new
            finished = any(e["kind"] == "finished" for e in new)
            if not finished and deployment.clock() > _GIVE_UP_S:
                return events, [("every-request-ends", f"the workload had not ended after {deployment.clock():.0f} s")]
        # Who was away while the tree closed looks for a parent for so long.
        events += deployment.stop(2 * trial.settings.start_timeout_s + _STOP_S)
    return events, [*invariants.violations, *invariants.at_the_end(events, heal_s)]


def _no_root(events: Sequence[Mapping[str, Any]], tree: Tree) -> bool:
    """Whether the run ended early since nobody was left to be its root: faults struck the front-end and the standby, if there
    is one; or either of them and so many nodes that there were no votes for the other; or the front-end before its standby
    had anything to go on with."""
    if any(e["kind"] == "finished" and e["ok"] for e in events):
        return False
    struck = {int(n) for e in events if e["kind"] == "fault" for n in (e["node"], *e.get("nodes", ()))}
    lost_s = min((float(e["t_s"]) for e in events if e["kind"] == "fault" and e["node"] == 0), default=0.0)
    there = any(e["kind"] == "standing-by" and e["t_s"] < lost_s for e in events)
    roots = {0} if tree.standby < 0 else {0, tree.standby}
    return roots <= struck or (0 in struck and not there) or (bool(roots & struck) and 2 * len(struck) >= len(tree.nodes))


def _judged(
    deployment: SimDeployment, trial: TrialPlan, events: Sequence[Mapping[str, Any]], registry: Registry
) -> list[tuple[str, str]]:
    """What the workload's check and the judge say, as of a trial that was recorded. Faults that found nothing to strike, or
    came after the end, and back-ends that came too late to be let in, are not held against it."""
    with tempfile.TemporaryDirectory(prefix="harness-explore-") as place:
        directory = Path(place)
        deployment.collect(directory)
        plan = trial.to_json()
        let_in = {e["member"] for e in events if e["kind"] == "admitted"}
        acts = [e for e in events if e["kind"] == "fault" and (e["action"] != "join" or e["node"] in let_in)]
        done = {(e["fault"], e["node"]) for e in acts}
        plan["injections"] = [i for i in plan["injections"] if (i["fault"], i["node"]) in done]
        record, missing = load_trial(directory, plan, events)
        expect = trial.expect.recovery or "exact"
        said = trial.workload.check(record, trial.context, expect)
        if _no_root(events, trial.tree):
            return []
        dead = {rank for e in events if e["kind"] == "dead" for rank in e["ranks"]}
        excused = False
        if excuse.changes(events):
            excused = excuse.ended_so(events) and excuse.nobody_left(record)
            said = excuse.without_the_end(said, record) if excused else said
        elif len(dead) == len(trial.tree.back_ends):
            return []  # nobody was left: a typed error is the right answer
        check = plain_check(said)
        found = {**plan, "outcome": "measured", "reason": "", "check": check, "record_notes": list(missing)}
        verdict = registry.judge(record, found)
    follows = excuse.what_follows(events) if excused else ()
    reasons = [r for r in verdict["reasons"] if not r.startswith(tuple(follows))]
    if verdict["verdict"] == "passed" or not reasons:
        return []
    return [(str(verdict["verdict"]), reason) for reason in reasons]
