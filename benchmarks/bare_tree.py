"""The bare tree: the least that a tree of processes can be, as the yardstick for ours.

Same shape and same processes: one process a node, loopback TCP, TCP_NODELAY, numpy. Nothing else: blocking sockets, messages
of a size that both sides know, one packet a wave, no protocol, no failure handling; full sockets are the back-pressure.
Inputs are prepared beforehand, so the bare tree pays for moving and adding only. There are three of them: *plain*, as one
writes it at first (the length before each packet, a packet made of copies, fresh memory for what comes, a new array for each
sum); *lean*, which sends large arrays as they lie; *tuned*, whose buffers are made once and used for every wave, and whose
packets have no length, which is the best that such a tree can do.

Run `python -m benchmarks.bare_tree --help`; each trial is a fresh tree.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from benchmarks.common import Array, percentiles, tree_of
from harness.core.tree import Role, Tree

_ID = struct.Struct("<I")
_LENGTH = struct.Struct("<Q")
#: Up to here a copy costs less than a second call.
_JOIN_BYTES = 4096


@dataclass(frozen=True)
class Load:
    """What a trial does: mode (round-trip, reductions, array), timed waves, warm-up waves, float64 elements in an item, and
    by which kind of nodes (see KINDS)."""

    mode: str
    waves: int
    warm_up: int
    elements: int = 1
    kind: str = "plain"


def load_of(mode: str, quick: bool, kind: str = "plain") -> Load:
    """The load of a named mode: round-trip, reductions, array-1mb or array-16mb."""
    loads = {
        "round-trip": Load("round-trip", 500 if quick else 3000, 200),
        "reductions": Load("reductions", 10_000 if quick else 40_000, 2000),
        "array-1mb": Load("array", 40 if quick else 150, 10, (1 << 20) // 8),
        "array-16mb": Load("array", 4 if quick else 10, 1, (16 << 20) // 8),
    }
    return replace(loads[mode], kind=kind)


def _tune(sock: socket.socket) -> socket.socket:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _read(sock: socket.socket, view: memoryview) -> None:
    """Fill `view`."""
    got, size = sock.recv_into(view), len(view)
    while got < size:
        n = sock.recv_into(view[got:])
        if n == 0:
            raise ConnectionError("the peer closed the connection")
        got += n


class Node:
    """One process of the tree: its connection to the parent (None at the front-end) and to the children. Buffers are made once;
    what `request` and `gather` return is overwritten by the next."""

    def __init__(
        self, tree: Tree, me: int, listener: socket.socket | None, addresses: dict[int, tuple[str, int]], load: Load
    ) -> None:
        node = tree.nodes[me]
        self.rank = node.rank
        self.load = load
        self.dtype = np.dtype(np.float64 if load.mode == "array" else np.int64)
        self.total, self.part = np.zeros(load.elements, self.dtype), np.zeros(load.elements, self.dtype)
        self.up: socket.socket | None = None
        self.down: list[socket.socket] = []
        if node.parent is not None:
            self.up = _tune(socket.create_connection(addresses[node.parent]))
            self.up.sendall(_ID.pack(me))
        if listener is not None:
            accepted = [_tune(listener.accept()[0]) for _ in node.children]
            listener.close()
            order: dict[int, socket.socket] = {}
            for sock in accepted:
                head = bytearray(_ID.size)
                _read(sock, memoryview(head))
                order[_ID.unpack(head)[0]] = sock
            self.down = [order[c] for c in node.children]

    def put(self, sock: socket.socket, packet: Array) -> None:
        """Send one packet."""
        sock.sendall(packet.data.cast("B"))

    def request(self, sock: socket.socket) -> Array:
        """Read the packet of the parent."""
        _read(sock, self.total.data.cast("B"))
        return self.total

    def gather(self) -> Array:
        """Read one packet of each child; their sum."""
        view, more = self.total.data.cast("B"), self.part.data.cast("B")
        _read(self.down[0], view)
        for sock in self.down[1:]:
            _read(sock, more)
            np.add(self.total, self.part, out=self.total)
        return self.total

    def spread(self, packet: Array) -> None:
        """Send a packet to every child."""
        for sock in self.down:
            self.put(sock, packet)


class LeanNode(Node):
    """The length before each packet, fresh memory for what comes, a new array for each sum; large arrays go out as they lie."""

    def put(self, sock: socket.socket, packet: Array) -> None:
        """Send one packet."""
        data = packet.data.cast("B")
        head = _LENGTH.pack(len(data))
        if len(data) <= _JOIN_BYTES:
            sock.sendall(head + data)
        else:
            sock.sendall(head)
            sock.sendall(data)

    def request(self, sock: socket.socket) -> Array:
        """Read one packet."""
        head = bytearray(_LENGTH.size)
        _read(sock, memoryview(head))
        data = bytearray(_LENGTH.unpack(head)[0])
        _read(sock, memoryview(data))
        return np.frombuffer(data, self.dtype)

    def gather(self) -> Array:
        """Read one packet of each child; their sum."""
        total = self.request(self.down[0])
        for sock in self.down[1:]:
            total = total + self.request(sock)
        return total


class PlainNode(LeanNode):
    """As one writes it at first: a packet is made of copies."""

    def put(self, sock: socket.socket, packet: Array) -> None:
        """Send one packet."""
        data = packet.tobytes()
        sock.sendall(_LENGTH.pack(len(data)) + data)


#: The kinds of bare trees.
KINDS: dict[str, type[Node]] = {"plain": PlainNode, "lean": LeanNode, "tuned": Node}


def back_end(node: Node) -> None:
    """Answer each request, or send all waves as fast as the socket takes them."""
    assert node.up is not None and node.rank is not None
    load, up = node.load, node.up
    mine = np.full(load.elements, node.rank + 1, node.dtype)
    for _ in range(load.waves + load.warm_up):
        if load.mode == "round-trip":
            node.request(up)
        node.put(up, mine)


def inner(node: Node) -> None:
    """Pass requests down and sums up."""
    assert node.up is not None
    load, up = node.load, node.up
    for _ in range(load.waves + load.warm_up):
        if load.mode == "round-trip":
            node.spread(node.request(up))
        node.put(up, node.gather())


def front_end(node: Node, ranks: int) -> dict[str, float]:
    """Drive the trial, check every sum, and return its figures."""
    load = node.load
    request = np.zeros(1, np.int64)
    wanted = ranks * (ranks + 1) // 2
    took, clock, began, size = [], time.perf_counter, 0.0, 0
    for wave in range(load.waves + load.warm_up):
        if wave == load.warm_up:
            began = clock()
        sent = clock()
        if load.mode == "round-trip":
            request[0] = wave
            node.spread(request)
        total = node.gather()
        took.append(clock() - sent)
        size = total.nbytes
        if total[0] != wanted or total[-1] != wanted:
            raise ArithmeticError(f"wave {wave}: the sum is {total[0]}, not {wanted}")
    seconds = clock() - began
    if load.mode == "round-trip":
        p50, p99 = percentiles(took[load.warm_up :], 50, 99)
        return {"p50_us": p50 * 1e6, "p99_us": p99 * 1e6}
    if load.mode == "reductions":
        return {"per_s": load.waves / seconds}
    return {"mb_per_s": load.waves * size / 1e6 / seconds}


def _fork(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except (OSError, ArithmeticError) as error:
        print(f"bare tree: {error}", file=sys.stderr)
    finally:
        os._exit(status)


def run(tree: Tree, load: Load) -> dict[str, float]:
    """Fork the tree, run the load once, reap every process, and return the front-end's figures.

    Raises RuntimeError where a process failed.
    """
    listeners = {n.id: socket.create_server(("127.0.0.1", 0), backlog=256) for n in tree.nodes if n.role is not Role.BACK_END}
    addresses = {i: s.getsockname() for i, s in listeners.items()}
    out, into = os.pipe()

    def life(me: int) -> None:
        for i, s in listeners.items():
            if i != me:
                s.close()
        node = KINDS[load.kind](tree, me, listeners.get(me), addresses, load)
        if me == 0:
            figures = front_end(node, len(tree.back_ends))
            os.write(into, json.dumps(figures).encode())
        elif node.rank is None:
            inner(node)
        else:
            back_end(node)

    pids = [_fork(partial(life, n.id)) for n in tree.nodes]
    os.close(into)
    for s in listeners.values():
        s.close()
    with os.fdopen(out, "rb") as pipe:
        answer = pipe.read()
    bad = [pid for pid in pids if os.waitpid(pid, 0)[1] != 0]
    if bad or not answer:
        raise RuntimeError(f"{len(bad)} of {len(pids)} processes of the bare tree failed")
    figures: dict[str, float] = json.loads(answer)
    return figures


def main() -> None:
    """One trial of one mode, or of each; figures as JSON with --json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    modes = ["round-trip", "reductions", "array-1mb", "array-16mb"]
    parser.add_argument("modes", nargs="*", help=f"any of {', '.join(modes)} (default: all)")
    parser.add_argument("--fanouts", default="4,4", help="children a node, from the front-end down (default 4,4)")
    parser.add_argument("--kind", choices=list(KINDS), default="plain", help="which of the bare trees (default plain)")
    parser.add_argument("--quick", action="store_true", help="fewer waves")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    args = parser.parse_args()
    unknown = [m for m in args.modes if m not in modes]
    if unknown:
        parser.error(f"unknown mode {unknown[0]}; there are {', '.join(modes)}")
    tree = tree_of([int(f) for f in args.fanouts.split(",")])
    found = {mode: run(tree, load_of(mode, args.quick, args.kind)) for mode in args.modes or modes}
    if args.json:
        print(json.dumps(found))
        return
    for mode, figures in found.items():
        print(f"{mode:12}", ", ".join(f"{k} {v:,.1f}" for k, v in figures.items()))


if __name__ == "__main__":
    main()
