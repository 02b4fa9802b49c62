"""What neighbours say in msgpack, looked at before anything is believed.

Every function raises ValueError, TypeError or KeyError for what no node would say; the sender's link ends then, with nothing
taken in by half.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.core.comers import WISHES
from harness.core.ranks import RankSet
from harness.core.tree import Tree


def notice(raw: Any, tree: Tree) -> dict[str, Any]:
    """News about membership: about nodes of the tree, each below one that is nearer to the root, as every adoption has it. So
    what is known of the tree stays a tree."""
    n = {**raw}
    if n["op"] in WISHES:
        return _wish(n, tree)
    if n["op"] not in ("joined", "lost", "below"):
        raise ValueError(f"unknown news {n['op']!r}")
    edges = _edges(n["below"], tree) if n["op"] != "lost" else []
    if n["op"] != "below":
        edges = [*edges, *_edges([(n["node"], n["by"], n["inc"])], tree)]
    elif not 0 < int(n["node"]) < len(tree.nodes):
        raise ValueError(f"news of node {n['node']}, which the tree does not have")
    return n


def _wish(n: dict[str, Any], tree: Tree) -> dict[str, Any]:
    """What asks the front-end for an order: a back-end that wants to be let in, or to leave."""
    node, life = int(n["node"]), int(n["life"])
    if not 0 < node < len(tree.nodes) or tree.nodes[node].rank is None or life < 0:
        raise ValueError(f"node {node}, life {life}, {n['op']}, and is no back-end of the tree")
    found = {"op": n["op"], "node": node, "life": life}
    return found if n["op"] == "applies" else {**found, "ends": None if n["ends"] is None else positions(n["ends"])}


def _edges(raw: Any, tree: Tree) -> list[tuple[int, int, int]]:
    edges = [(int(node), int(by), int(inc)) for node, by, inc in raw]
    for node, by, inc in edges:
        if not (0 < node < len(tree.nodes) and 0 <= by < len(tree.nodes) and inc >= 0):
            raise ValueError(f"news of nodes {node} and {by}, which the tree does not have")
        if tree.nodes[node].depth <= tree.nodes[by].depth:
            raise ValueError(f"node {node} is said to be below node {by}, which is no nearer to the root")
    return edges


def marks(raw: Any, each: int) -> dict[int, list[int]]:
    """`each` numbers for every stream."""
    found = {int(stream): [int(mark) for mark in list_] for stream, list_ in dict(raw).items()}
    if any(len(list_) != each or min(list_) < 0 for list_ in found.values()):
        raise ValueError(f"marks of a stream that are not {each} numbers: {found}")
    return found


def positions(raw: Any) -> dict[int, int]:
    """One number for every stream."""
    return {stream: next_ for stream, (next_,) in marks({i: [n] for i, n in dict(raw).items()}, 1).items()}


def attach(raw: Any, tree: Tree) -> dict[str, Any]:
    """The body of an ATTACH."""
    _edges(raw["below"], tree)
    raw = {"life": 0, "generation": 0, "root": 0, "trail": 0, "log": 0, **raw}
    numbers = ("inc", "life", "lost", "control", "generation", "root", "trail", "log")
    known: Mapping[str, Any] = {name: int(raw[name]) for name in numbers}
    return {**raw, **known, "ranks": RankSet.decode(raw["ranks"]), "streams": marks(raw["streams"], 5)}
