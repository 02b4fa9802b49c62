"""Back-ends that come and go in a case, and what that does not go together with."""

from __future__ import annotations

from collections.abc import Sequence

from harness.api.fault import Action, Injection, late
from harness.core.spec import Accept, Recovery, Sync
from harness.core.tree import Tree
from harness.registry import Mistakes
from harness.run.cases import Case
from harness.run.drafts import Draft

_OUT = "leave the faults out by which back-ends come and go"


def try_comings(case: Case | Draft, injections: Sequence[Injection], tree: Tree, rejoin: bool, mistakes: Mistakes) -> bool:
    """Refuse what back-ends that come and go cannot be combined with. rejoin: whether processes in the place of killed ones
    are let in. Whether nothing was wrong."""
    before = mistakes.told
    acts = [i for i in injections if _comes_or_goes(i, tree, rejoin)]
    if not acts:
        return True
    who = f"as node {acts[0].node} does by '{acts[0].kind}'"
    if case.workload is not None and not getattr(case.workload.value, "members_change", False):
        what = f"'{case.workload.kind}' cannot judge back-ends that come and go, {who}"
        mistakes.add(f"{case.path}.workload", what, f"use reduce-stream or round-trip, or {_OUT}")
    for key, value, usual in _settings(case):
        if value not in (usual, None):
            what = f"{key} '{value}' has no back-ends that come and go, {who}"
            mistakes.add(f"{case.path}.{key}", what, f"use '{usual}', or {_OUT}")
    if tree.standby >= 0:
        mistakes.add(f"{case.path}.standby", f"with a standby no back-ends come and go, {who}", f"leave it out, or {_OUT}")
    if case.recovery is Recovery.DECOMPOSE:
        what = f"recovery 'decompose' knows no back-ends that come and go, {who}"
        mistakes.add(f"{case.path}.recovery", what, f"use replay or resume, or {_OUT}")
    joins = [i.node for i in acts if i.action is Action.JOIN]
    if len(late(injections)) == len(tree.back_ends):
        mistakes.add(f"{case.path}.fault", "all back-ends join late", "let one be there at the start")
    for node in sorted({n for n in joins if joins.count(n) > 1}):
        mistakes.add(f"{case.path}.fault", f"node {node} joins twice", "let it leave with rejoin_after_s in between")
    begins = {i.node: i.trigger.at_s for i in acts if i.action is Action.JOIN}
    for i in acts:
        joins_s, leaves_s = begins.get(i.node), i.trigger.at_s
        if i.action is Action.LEAVE and joins_s is not None and leaves_s is not None and leaves_s <= joins_s:
            what = f"node {i.node} leaves at {leaves_s:g} s, and joins only at {joins_s:g} s"
            mistakes.add(f"{case.path}.fault", what, "let it join first, or leave with rejoin_after_s")
    return mistakes.told == before


def _comes_or_goes(i: Injection, tree: Tree, rejoin: bool) -> bool:
    again = i.action is Action.KILL and i.undo_after_s is not None
    return i.action in (Action.JOIN, Action.LEAVE) or (rejoin and again and tree.nodes[i.node].rank is not None)


def _settings(case: Case | Draft) -> tuple[tuple[str, Sync | Accept | None, Sync | Accept], ...]:
    return (("sync", case.sync, Sync.WAIT_FOR_ALL), ("accept", case.accept, Accept.COMPLETE))
