"""A node of a trial with its application, whatever runs it."""

from __future__ import annotations

from typing import cast

from harness.api.fault import late
from harness.api.testbed import DeploymentSpec
from harness.core.apps import ResumableApp
from harness.core.backend import BackEnd
from harness.core.frontend import FrontEnd
from harness.core.lives import begin_without
from harness.core.node import Node
from harness.core.standby import Standby
from harness.core.tree import Role


def make_node(spec: DeploymentSpec, node: int, now: float, life: int = 0) -> Node:
    """Node `node` of the trial; `now` is what its clock shows, `life` how many processes had its place before."""
    made = _node(spec, node, now)
    made.life = life
    if spec.adopters is not None:
        made.uplink.policy = spec.adopters.policy(spec.context.seed)
    begin_without(made, sorted(late(spec.injections)))
    return made


def _node(spec: DeploymentSpec, node: int, now: float) -> Node:
    me = spec.tree.nodes[node]
    if me.role is Role.FRONT_END:
        front = spec.workload.front_end(spec.context)
        return FrontEnd(spec.tree, spec.settings, spec.filters, spec.down_filters, front, now)
    if me.rank is not None:
        back = spec.workload.back_end(spec.context, me.rank)
        return BackEnd(me.id, spec.tree, spec.settings, spec.filters, spec.down_filters, back, now)
    if me.id == spec.tree.standby:
        app = cast(ResumableApp, spec.workload.front_end(spec.context))
        return Standby(spec.tree, spec.settings, spec.filters, spec.down_filters, app, now)
    return Node(me.id, spec.tree, spec.settings, spec.filters, spec.down_filters, now)
