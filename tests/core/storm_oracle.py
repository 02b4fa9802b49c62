"""What was wrong with a storm, seen from its end."""

from __future__ import annotations

import loads
from storm_apps import Course
from storms import FILTERS, SETTINGS, Storm, run_storm

from harness.core.ranks import RankSet
from harness.core.spec import Accept, Recovery, Sync
from harness.core.units import Units

#: Events after which a stream may have to heal, and how long that may take.
MOVES = ("link-lost", "reattached", "rejoined", "dead", "cut", "stall")
HEAL_S = 2.0


def verdict(storm: Storm) -> list[str]:
    """Everything that was wrong; empty for a good run."""
    front, net = storm.front, storm.net
    wrong = [*front.wrong, *(w for b in storm.backs.values() for w in b.wrong)]
    wrong += [f"protocol error {e}" for e in net.events if e["kind"] == "protocol-error"]
    if 0 not in net.exits:
        return [*wrong, f"the front-end did not end; {[(i, c.next, c.done) for i, c in front.courses.items()]}"]
    if net.exits[0][0] == 5 and all(n in net.crashed for n in net.tree.nodes[0].children):
        return wrong  # nobody was left to begin with
    if front.finished is None:
        return [*wrong, f"the application did not end: {net.exits[0]}"]
    wrong += left_over(storm) + declared_dead(storm)
    for i, c in front.courses.items():
        spec = c.plan.spec
        wrong += [f"stream {i} ({spec.filter}, {spec.recovery}, {spec.sync}): {w}" for w in stream(storm, i, c)]
    return wrong


def left_over(storm: Storm) -> list[str]:
    """Every node that was not killed has ended: in order, or fenced."""
    net = storm.net
    hung = {n for _, kind, nodes, _ in storm.faults if kind == "hang" for n in nodes}
    wrong = []
    for n in net.nodes:
        if n in net.crashed:
            continue
        status, why = net.exits.get(n, (-1, "it did not end"))
        # Who was stopped while the tree closed, or cut off from it, finds nobody when it goes on.
        alone = status == 5 and (n in hung or any(when < 0 for when, _, _, _ in storm.faults) or storm.front.abrupt)
        if status not in (0, 4) and not alone:
            wrong.append(f"node {n} ended with {status}: {why}")
    return wrong


def declared_dead(storm: Storm) -> list[str]:
    """Suspect is not dead: only who was struck is declared dead, or who was below two that were struck and ran out of grace."""
    net = storm.net
    struck = {n for _, _, nodes, _ in storm.faults for n in nodes}
    dead = {e["member"] for e in net.events if e["kind"] == "dead"}
    long = [length for _, kind, _, length in storm.faults if kind in ("hang", "stall") and length > SETTINGS.lease_s / 2]
    if dead - struck and len(storm.faults) < 2 and not long:
        return [f"nodes {sorted(dead - struck)} were declared dead, struck were {sorted(struck)}"]
    return []


def stream(storm: Storm, i: int, c: Course) -> list[str]:
    plan, spec, net = c.plan, c.plan.spec, storm.net
    wrong = []
    dead = {net.tree.nodes[e["member"]].rank for e in net.events if e["kind"] == "dead"}
    fit = [r for r in spec.members if r not in dead and net.tree.back_ends[r].id not in net.crashed]
    whole = not c.closed and not c.over and not storm.front.abrupt and not storm.front.nobody
    if c.waits and not c.closed and not c.over and c.next < plan.waves:
        wrong.append(f"only {c.next} of {plan.waves} waves came to an end")
    for rank in spec.members:
        got = storm.backs[rank].messages.get(i, [])
        mark = b"!" if spec.down_filter == "mark" else b""
        want = [b"%d:%d" % (i, n) + mark for n, to in enumerate(plan.messages[: c.sent]) if not to or rank in to]
        if got != want[: len(got)]:
            wrong.append(f"rank {rank} got messages {got[:9]} instead of {want[:9]}")
        if whole and rank in fit and len(got) < len(want):
            wrong.append(f"rank {rank} got {len(got)} of {len(want)} messages")
    for rank, waves in c.delivered.items():
        if len(set(waves)) < len(waves):
            wrong.append(f"some waves of rank {rank} came twice: {waves[:20]}")
        # Do-not-wait: what is on its way along the old path may be overtaken by what takes the new one.
        if waves != sorted(waves) and (c.waits or not links_lost(storm)):
            wrong.append(f"the waves of rank {rank} came out of order: {waves[:20]}")
    if whole:
        wrong += losses(storm, c, fit)
    if whole and spec.recovery is Recovery.COMPOSE:
        most = {r: storm.backs[r].made.get(i, 0) for r in spec.members}
        fault = loads.state_between(spec.filter, c.state, dict.fromkeys(fit, plan.waves), most)
        if fault:
            wrong.append(fault)
    if whole and spec.recovery is Recovery.DECOMPOSE:
        wrong += decomposed(storm, i, c, RankSet.of(fit))
    return wrong


def decomposed(storm: Storm, i: int, c: Course, fit: RankSet) -> list[str]:
    """The state is the fold of what its extent names, which is everything of the living, and all that was delivered."""
    spec, waves = c.plan.spec, c.plan.waves
    units = Units.of(spec, FILTERS[spec.filter])
    assert c.extent is not None
    wrong = []
    if c.extent.units != waves * units.per_wave:
        wrong.append(f"the state is about {c.extent.units} units of {waves} waves")
    if c.extent.pending:
        wrong.append(f"the state still lacks {c.extent.pending[:3]}")
    for lack in c.extent.absent:
        if not lack.ranks.isdisjoint(fit):
            wrong.append(f"the state has given up {lack}, though {fit} live")
        came = [(r, w) for r in lack.ranks for w in c.delivered.get(r, ()) if lack.first <= w < lack.stop]
        if came:
            wrong.append(f"the state lacks {came[:3]} of (rank, wave), which were delivered")
    fault = loads.state_of(spec.filter, c.state, c.extent, spec.members, units.chunk, units.per_wave)
    return [*wrong, fault] if fault else wrong


def links_lost(storm: Storm) -> int:
    return sum(e["kind"] == "link-lost" for e in storm.net.events)


def losses(storm: Storm, c: Course, fit: list[int]) -> list[str]:
    """Contributions of living back-ends that came in no result. Under replay there are none. Otherwise whole waves are lost
    only within the windows of lost links, and nobody is missing before the first loss or for long after the last."""
    plan, spec = c.plan, c.plan.spec
    if Accept.DEADLINE is spec.accept or Sync.TIME_OUT is spec.sync or spec.deadline_s < 60:
        return []
    links = [e["t"] for e in storm.net.events if e["kind"] in MOVES]
    units = Units.of(spec, FILTERS[spec.filter])
    if spec.recovery is Recovery.REPLAY:
        if spec.accept is Accept.QUORUM:
            return []
        few = {r: len(c.delivered.get(r, ())) for r in fit if len(c.delivered.get(r, ())) < plan.waves}
        return [f"of {plan.waves} waves only these were delivered: {few}"] if few else []
    allowed = len(links) * (2 * units.link_window // units.per_wave + 2)
    wrong = []
    if c.waits:
        if sum(n for _, n in c.lost) > allowed and spec.accept is not Accept.QUORUM:
            wrong.append(f"{c.lost} were lost, at most {allowed} may be")
        healed = max(links) + HEAL_S if links else 0.0
        late = [(t, str(m)) for t, m in c.partial if not m.isdisjoint(RankSet.of(fit)) and t > healed]
        if late:
            wrong.append(f"living back-ends are missing long after the last loss (at {links[-1:]}): {late[:3]}")
        return wrong
    allowed *= max(len(n.children) for n in storm.net.tree.nodes) + 2  # a node may hold the packets of all its children
    few = {r: len(c.delivered.get(r, ())) for r in fit if len(c.delivered.get(r, ())) < plan.waves - allowed}
    return [f"of {plan.waves} waves only these were delivered: {few}, at most {allowed} may be lost"] if few else []


def judge(seed: int) -> list[str]:
    """Run the storm of a seed; what was wrong."""
    return [f"seed {seed}: {w}" for w in verdict(run_storm(seed))]
