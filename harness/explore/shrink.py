"""Making a failing scenario small: one change after the other, each kept if the same invariant or check still fails (delta
debugging: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28(2), 2002)."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from harness.core.tree import Tree
from harness.explore.space import Tables

_NODE = re.compile(r"node:(\d+)")
#: What a load may do without, and what it is then.
_PLAIN = {"shape", "chunk_bytes", "window_waves", "lazy", "outstanding", "messages"}

Fails = Callable[[Tables], bool]


def shrink(tables: Tables, fails: Fails, most_runs: int = 400) -> tuple[Tables, int]:
    """The smallest scenario found that still `fails`, and how many were tried. `tables` itself must fail."""
    best, runs, better = copy.deepcopy(tables), 0, True
    while better:
        better = False
        for step in (_fewer_faults, _smaller_tree, _fewer_targets, _smaller_load, _plainer):
            again = True
            while again:
                again = False
                for candidate in step(best):
                    if runs >= most_runs:
                        return best, runs
                    runs += 1
                    if fails(candidate):
                        best, better, again = candidate, True, True
                        break
    return best, runs


def _case(tables: Tables) -> dict[str, Any]:
    found: dict[str, Any] = tables["case"][0]
    return found


def _with(tables: Tables, keys: Mapping[str, Any]) -> Tables:
    """The same with other values of the case; a case without a fault has no such key."""
    new = copy.deepcopy(tables)
    case = _case(new)
    case.update(copy.deepcopy(dict(keys)))
    if not case.get("fault", True):
        del case["fault"]
    return new


def _with_load(tables: Tables, keys: Mapping[str, Any]) -> Tables:
    return _with(tables, {"workload": {**_case(tables)["workload"], **keys}})


def _with_fault(tables: Tables, number: int, **keys: Any) -> Tables:
    faults = _case(tables)["fault"]
    return _with(tables, {"fault": [*faults[:number], {**faults[number], **keys}, *faults[number + 1 :]]})


def _fewer_faults(tables: Tables) -> Iterator[Tables]:
    faults = _case(tables).get("fault", [])
    size = len(faults)
    while size:
        for start in range(0, len(faults), size):
            rest = faults[:start] + faults[start + size :]
            yield _with(tables, {"fault": rest})
        size //= 2


def _fewer_targets(tables: Tables) -> Iterator[Tables]:
    for i, fault in enumerate(_case(tables).get("fault", [])):
        nodes = _targets(fault)
        if len(nodes) > 1:
            for node in nodes:
                kept = [n for n in nodes if n != node]
                yield _with_fault(tables, i, target=_target(kept))


def _targets(fault: Tables) -> list[int]:
    return [int(n) for n in _NODE.findall(fault["target"])]


def _target(nodes: Sequence[int]) -> str:
    return ", ".join(f"node:{n}" for n in nodes)


def _smaller_tree(tables: Tables) -> Iterator[Tables]:
    """Without one subtree, the largest first; then without one node, whose children go to its parent. Faults follow their
    nodes; those that have none left go."""
    tree = Tree.from_parents(_parents(_case(tables)["topology"]["spec"]))
    children = {n.id: list(n.children) for n in tree.nodes}
    sizes = {n.id: len(_below(tree, n.id)) for n in tree.nodes[1:]}
    for node in sorted(sizes, key=lambda n: (-sizes[n], -n)):
        above = tree.nodes[node].parent or 0
        if above or len(children[0]) > 1:  # the front-end keeps a child
            yield _redrawn(tables, {**children, above: [c for c in children[above] if c != node]})
    for inner in tree.communication:
        above = inner.parent or 0
        at = children[above].index(inner.id)
        yield _redrawn(tables, {**children, above: [*children[above][:at], *inner.children, *children[above][at + 1 :]]})


def _below(tree: Tree, node: int) -> set[int]:
    found, todo = set(), [node]
    while todo:
        n = todo.pop()
        found.add(n)
        todo.extend(tree.nodes[n].children)
    return found


def _redrawn(tables: Tables, children: dict[int, list[int]]) -> Tables:
    """The same with another tree, which has these children; nodes are numbered anew, breadth first."""
    order, levels, level = [0], [], [0]
    while any(children[n] for n in level):
        levels.append([len(children[n]) for n in level])
        level = [c for n in level for c in children[n]]
        order += level
    number = {old: new for new, old in enumerate(order)}

    topology = {"kind": "generic", "spec": ":".join(",".join(map(str, fans)) for fans in levels)}
    moved = [(fault, [number[n] for n in _targets(fault) if n in number]) for fault in _case(tables).get("fault", [])]
    faults = [{**fault, "target": _target(left)} for fault, left in moved if left]
    return _with(tables, {"topology": topology, "fault": faults})


def _parents(spec: str) -> list[int | None]:
    parents: list[int | None] = [None]
    level = [0]
    for fans in spec.split(":"):
        first = len(parents)
        for parent, fan in zip(level, fans.split(","), strict=True):
            parents.extend([parent] * int(fan))
        level = list(range(first, len(parents)))
    return parents


def _smaller_load(tables: Tables) -> Iterator[Tables]:
    load = _case(tables)["workload"]
    if load.get("streams", 1) > 1 and load["kind"] == "mixed":
        for stream in load.get("only") or range(load["streams"]):
            kept = [k for k in (load.get("only") or range(load["streams"])) if k != stream]
            if kept:
                yield _with_load(tables, {"only": kept})
    elif load.get("streams", 1) > 1:
        yield _with_load(tables, {"streams": 1})
    for key in ("waves", "requests", "messages"):
        for less in sorted({load.get(key, 0) // 10, load.get(key, 0) // 2, load.get(key, 0) - 1} - {0}):
            if 0 < less < load.get(key, 0):
                yield _with_load(tables, {key: less})


def _plainer(tables: Tables) -> Iterator[Tables]:
    if "adopters" in tables["node"]:
        new = copy.deepcopy(tables)
        del new["node"]["adopters"]
        yield new
    if "standby" in _case(tables):
        yield {**tables, "case": [{k: v for k, v in _case(tables).items() if k != "standby"}]}
    for key in [k for k in tables["testbed"] if k not in ("kind", "hosts")]:
        new = copy.deepcopy(tables)
        del new["testbed"][key]
        yield new
    for key in [k for k in _case(tables)["workload"] if k in _PLAIN]:
        load = {k: v for k, v in _case(tables)["workload"].items() if k != key}
        yield _with(tables, {"workload": load})
    for i, fault in enumerate(_case(tables).get("fault", [])):
        if "at_s" in fault and round(fault["at_s"], 2) != fault["at_s"]:
            short = round(fault["at_s"], 2)
            yield _with_fault(tables, i, at_s=short)
