"""One trial: deployed, driven to its end, taken down, recorded and checked. Whatever happens, it ends in an outcome."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.api.errors import HarnessError, InfrastructureError
from harness.api.records import Check
from harness.api.testbed import Deployment, Testbed
from harness.registry import plain
from harness.run.interrupts import Interrupted, Interrupts
from harness.run.journal import Journal
from harness.run.plan import TrialPlan
from harness.run.progress import InOrder
from harness.run.record import read_trial, trial_directory

POLL_S = 0.2
STOP_S = 10.0
#: A trial without any new wave for its stream's deadline and so much longer has broken its promise never to hang.
STALL_MARGIN_S = 30.0
#: So many violations go into the journal; their number is written down beside them.
MOST_VIOLATIONS = 100
#: Events that must be on the disk before anything else happens: they are the ground truth.
TRUTH = frozenset({"fault", "fault-confirmed", "fault-undone"})
#: Events that say nothing about progress.
IDLE = frozenset({"progress", "usage", "view", "node-exited"})


@dataclass(frozen=True)
class Ended:
    """How a trial ended: measured, infrastructure or interrupted, why, and the plain form of the workload's Check if it was
    made."""

    outcome: str
    reason: str = ""
    check: Mapping[str, Any] | None = None

    def spoilt(self, reason: str) -> Ended:
        """The same trial after something failed while it was taken down."""
        if self.outcome == "measured":
            return Ended("infrastructure", reason)
        return replace(self, reason=f"{self.reason}; then, while the trial was taken down: {reason}")


class JournalFailedError(InfrastructureError):
    """Nothing more can be written down, so that nothing more can be run."""


@dataclass
class TrialRun:
    """Runs one trial. It is in the journal as started, from `position` on."""

    plan: TrialPlan
    testbed: Testbed
    secret: bytes
    run_dir: Path
    journal: Journal
    position: tuple[int, int]
    interrupts: Interrupts
    tell: InOrder

    @property
    def directory(self) -> Path:
        """Where the trial's samples go."""
        return trial_directory(self.run_dir, self.plan.id)

    def run(self) -> Ended:
        """Run it. Raises nothing but what nobody can foresee, and JournalFailedError, both after the trial was taken down."""
        try:
            self.directory.mkdir(parents=True)
            ended = self._measure()
        except JournalFailedError:
            raise
        except Exception as e:  # whatever the testbed or a plugin raises says nothing about the system under test
            ended = Ended("infrastructure", explain(e))
        finally:
            self.tell.flush()
        if ended.outcome != "measured":
            return ended
        try:
            with self.interrupts.interruptible():
                return replace(ended, check=self._check())
        except Interrupted as e:
            return Ended("interrupted", str(e))
        except Exception as e:  # a check that fails to judge has not judged
            return Ended("infrastructure", f"the check of the workload failed: {explain(e)}")

    def _measure(self) -> Ended:
        with self.testbed.deploy(self.plan.deployment(self.secret)) as deployment:
            try:
                deployment.start()
                ended = self._drive(deployment)
            except Interrupted as e:
                ended = Ended("interrupted", str(e))
            except JournalFailedError:
                raise
            except Exception as e:  # see run
                ended = Ended("infrastructure", explain(e))
            self.tell.flush()  # to stop may take its time
            for step in (self._stop, self._collect):
                try:
                    step(deployment)
                except JournalFailedError:
                    raise
                except Exception as e:  # a trial that was not measured before keeps its first reason
                    ended = ended.spoilt(explain(e))
        return ended

    def _stop(self, deployment: Deployment) -> None:
        self._write(deployment.stop(STOP_S))

    def _collect(self, deployment: Deployment) -> None:
        deployment.collect(self.directory)

    def _drive(self, deployment: Deployment) -> Ended:
        """Carry events to the journal until the workload has finished, somebody interrupts, or nothing comes any more."""
        patience_s = self.plan.context.deadline_s + STALL_MARGIN_S
        clock: Callable[[], float] = getattr(deployment, "clock", time.monotonic)
        waves, last_sign, t_s = -1, clock(), 0.0
        while True:
            self.interrupts.check()
            events = deployment.poll(POLL_S)
            self._write(events)
            if any(e["kind"] == "finished" for e in events):
                return Ended("measured")
            grown = max((int(e.get("waves", -1)) for e in events if e["kind"] == "progress"), default=-1)
            t_s = max([t_s, *(float(e["t_s"]) for e in events)])
            now = clock()
            if grown > waves or any(e["kind"] not in IDLE for e in events):
                waves, last_sign = max(waves, grown), now
            elif now - last_sign > patience_s:
                reason = f"nothing came out for {now - last_sign:.0f} s, though every request must end within its deadline"
                self._write([{"t_s": t_s, "kind": "finished", "ok": False, "reason": reason}])
                return Ended("measured")

    def _write(self, events: Sequence[Mapping[str, Any]]) -> None:
        for event in events:
            if not isinstance(event.get("kind"), str) or not isinstance(event.get("t_s"), int | float):
                raise InfrastructureError(f"the testbed reported an event without kind or t_s: {event!r}")
        entries = [{"what": "event", "trial": self.plan.id, "event": e} for e in events]
        try:
            if entries:
                self.journal.append(*entries, sync=any(e["kind"] in TRUTH for e in events))
        except InfrastructureError as e:
            raise JournalFailedError(str(e)) from e
        self.tell.take(events)

    def _check(self) -> dict[str, Any]:
        """The workload's own judgement, from what is on the disk."""
        record = read_trial(self.run_dir, self.plan.to_json(), self.position).record
        expect = self.plan.expect.recovery or "exact"
        return plain_check(self.plan.workload.check(record, self.plan.context, expect))


def plain_check(check: Check) -> dict[str, Any]:
    """A Check as it goes into the journal: the first MOST_VIOLATIONS violations and how many there were."""
    return {
        "passed": check.passed,
        "summary": check.summary,
        "counts": {str(k): int(v) for k, v in check.counts.items()},
        "violations": [plain(v) for v in check.violations[:MOST_VIOLATIONS]],
        "violations_found": len(check.violations),
    }


def explain(error: BaseException) -> str:
    """What went wrong, for a person: our own errors speak for themselves, of others type and place are named."""
    if isinstance(error, HarnessError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
