"""How long a recovery takes: crashes and hangs of a random communication process of a 4x4 tree under full load.

From the fault to the first complete wave, by trial: p50, p99, the most; and the throughput from one second after the first
complete wave on, as a share of the one before the fault. Every trial must pass its own audit of every wave, so that lost,
duplicated and mixed waves are 0 or the benchmark stops. Run `python -m benchmarks.recovery`.
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import dataclass

from benchmarks.common import environment, number, percentiles, table, tree_of
from benchmarks.ours import Bench, Trial, as_program, opened, waves_per_s
from harness.api.fault import Action, Injection, Trigger
from harness.core.settings import NodeSettings
from harness.core.spec import Recovery
from harness.core.tree import Tree
from harness.registry import plain
from harness.run.single import TrialFailed
from harness_results.phases import PHASES, recovery_phases
from harness_results.truth import deaths, fault_truths
from harness_workloads.reduce_stream import ReduceStream

#: A stopped process that is never resumed would be left behind.
RESUME_AFTER_S = 4.0
#: The throughput is looked at over so long, so long after the fault.
LOOK_S, BACK_AFTER_S = 1.0, 1.0


@dataclass(frozen=True)
class Kind:
    """A series of trials: its name, what is done, the filter and its recovery, what the audit expects."""

    name: str
    action: Action
    filter: str
    recovery: Recovery
    expect: str


KINDS = (
    Kind("crash, replay", Action.KILL, "sum", Recovery.REPLAY, "exact"),
    Kind("crash, compose", Action.KILL, "max", Recovery.COMPOSE, "equivalent"),
    Kind("hang, replay", Action.STOP, "sum", Recovery.REPLAY, "exact"),
    Kind("hang, compose", Action.STOP, "max", Recovery.COMPOSE, "equivalent"),
)


@dataclass(frozen=True)
class Outcome:
    """One trial: recovery and its phases in ms, throughput after as a share of the one before."""

    total_ms: float
    phases_ms: dict[str, float | None]
    back: float


def one(bench: Bench, tree: Tree, kind: Kind, rng: random.Random) -> Outcome:
    """One trial with one fault."""
    at_s = rng.uniform(1.2, 1.6)
    wait_s = 0.0 if kind.action is Action.KILL else NodeSettings().lease_s
    node = rng.choice(tree.communication).id
    undo_s = None if kind.action is Action.KILL else RESUME_AFTER_S
    injection = Injection(0, "bench", node, kind.action, Trigger(at_s=at_s), undo_s)
    workload = ReduceStream(duration_s=at_s + wait_s + BACK_AFTER_S + LOOK_S + 0.3)
    trial = bench.run(
        tree,
        workload,
        kind.filter,
        expect=kind.expect,
        recovery=kind.recovery,
        injections=[injection],
        seed=rng.randrange(1 << 32),
    )
    bench.forget()
    return judge(trial)


def judge(trial: Trial) -> Outcome:
    """The figures of a trial. Raises TrialFailed where the fault or the recovery was not seen."""
    record = trial.record
    truths = fault_truths([plain(i) for i in trial.injections], record.events)
    found = recovery_phases(record, truths[0], deaths(record, truths))
    if found is None or found.total_ms is None:
        raise TrialFailed(f"{truths[0].name}: no complete wave came out afterwards")
    start, fault_s = float(record.samples["t_s"][0]), found.done_s
    before = waves_per_s(record.samples, max(start + 0.3, fault_s - LOOK_S), fault_s)
    back_s = fault_s + found.total_ms / 1e3 + BACK_AFTER_S
    after = waves_per_s(record.samples, back_s, back_s + LOOK_S)
    return Outcome(found.total_ms, found.lengths_ms(), after / before if before else 0.0)


def series(bench: Bench, kind: Kind, trials: int, seed: int) -> list[Outcome]:
    """Many trials of one kind."""
    tree, rng = tree_of([4, 4]), random.Random(f"{seed} {kind.name}")
    found = []
    for i in range(trials):
        found.append(one(bench, tree, kind, rng))
        print(f"{kind.name}: {i + 1}/{trials}, {found[-1].total_ms:.0f} ms, back {found[-1].back:.2f}", file=sys.stderr)
    return found


def rows_of(kind: Kind, found: list[Outcome]) -> list[str]:
    """A row of the table."""
    p50, p99, most = percentiles([o.total_ms for o in found], 50, 99, 100)
    back, least = percentiles([o.back for o in found], 50, 5)
    wanted = "p99 < 300" if kind.action is Action.KILL else f"< {3e3 * NodeSettings().lease_s:g}"
    return [kind.name, str(len(found)), number(p50), number(p99), number(most), wanted, f"{back:.3f}", f"{least:.3f}"]


def phase_rows(series_of: dict[str, list[Outcome]]) -> list[list[str]]:
    """Median length of each phase, by kind."""
    rows = []
    for name, found in series_of.items():
        cells = []
        for phase in PHASES:
            seen = [length for o in found if (length := o.phases_ms[phase]) is not None]
            cells.append(number(percentiles(seen, 50)[0]) if seen else "-")
        rows.append([name, *cells])
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--crashes", type=int, default=0, help="trials with SIGKILL for each recovery (default 100, quick 3)")
    parser.add_argument("--hangs", type=int, default=0, help="trials with SIGSTOP for each recovery (default 20, quick 1)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a few trials only")
    args = parser.parse_args()
    many = {
        Action.KILL: args.crashes or (3 if args.quick else 100),
        Action.STOP: args.hangs or (1 if args.quick else 20),
    }
    print(environment())
    with opened() as bench:
        found = {kind.name: series(bench, kind, many[kind.action], args.seed) for kind in KINDS}
    head = ["4x4 tree, full load", "trials", "p50 ms", "p99 ms", "max ms", "wanted", "throughput after", "5th percentile"]
    print(table(head, [rows_of(kind, found[kind.name]) for kind in KINDS]))
    print("\nEvery wave of every trial was audited: none lost, duplicated or mixed.\n")
    print(table(["median ms in phase", *PHASES], phase_rows(found)))


if __name__ == "__main__":
    as_program(main)
