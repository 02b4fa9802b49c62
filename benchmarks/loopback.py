"""What this machine could carry at best: the limit that stands beside every figure.

Two processes and one TCP stream over loopback (GB/s, and the round trip of one byte), and one process adding and copying
arrays that do not fit the caches (GB/s of memory touched: two reads and one write an addition, one of each a copy).
Run `python -m benchmarks.loopback`.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import time
from collections.abc import Callable

import numpy as np

from benchmarks.common import Figures, environment, number, percentiles, table

_CHUNK = 1 << 20


def _pair(child: Callable[[socket.socket], None]) -> tuple[socket.socket, int]:
    """Our end of a connection, and the process that runs `child` on the other end."""
    server = socket.create_server(("127.0.0.1", 0))
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            with socket.create_connection(server.getsockname()) as sock:
                server.close()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                child(sock)
            status = 0
        finally:
            os._exit(status)
    sock, _ = server.accept()
    server.close()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock, pid


def _reap(pid: int) -> None:
    if os.waitpid(pid, 0)[1] != 0:
        raise RuntimeError("the other process of the loopback measurement failed")


def stream_gb_per_s(total_bytes: int) -> float:
    """One TCP stream, a megabyte a call, into one buffer."""

    def send(sock: socket.socket) -> None:
        block = memoryview(bytes(_CHUNK))
        for _ in range(total_bytes // _CHUNK):
            sock.sendall(block)

    sock, pid = _pair(send)
    buffer, got = bytearray(_CHUNK), 0
    with sock:
        got = sock.recv_into(buffer)
        began, first = time.perf_counter(), got
        while n := sock.recv_into(buffer):
            got += n
        seconds = time.perf_counter() - began
    _reap(pid)
    return (got - first) / 1e9 / seconds


def round_trip_us(times: int) -> tuple[float, float]:
    """One byte there and back: p50 and p99 in microseconds."""

    def echo(sock: socket.socket) -> None:
        while data := sock.recv(1):
            sock.sendall(data)

    sock, pid = _pair(echo)
    took = []
    with sock:
        for _ in range(times):
            sent = time.perf_counter()
            sock.sendall(b"x")
            sock.recv(1)
            took.append(time.perf_counter() - sent)
    _reap(pid)
    p50, p99 = percentiles(took[times // 10 :], 50, 99)
    return p50 * 1e6, p99 * 1e6


def memory_gb_per_s(elements: int, times: int) -> tuple[float, float]:
    """Add into a third array, and copy, with numpy: GB/s of memory read and written, best of `times`."""
    a, b, c = np.ones(elements), np.ones(elements), np.zeros(elements)
    best_add = best_copy = float("inf")
    for _ in range(times):
        t0 = time.perf_counter()
        np.add(a, b, out=c)
        t1 = time.perf_counter()
        np.copyto(c, a)
        best_add, best_copy = min(best_add, t1 - t0), min(best_copy, time.perf_counter() - t1)
    return 3 * a.nbytes / 1e9 / best_add, 2 * a.nbytes / 1e9 / best_copy


def run(quick: bool) -> Figures:
    """All figures of one round."""
    p50, p99 = round_trip_us(2000 if quick else 10_000)
    add, copy = memory_gb_per_s((64 << 20) // 8, 3 if quick else 7)
    stream = stream_gb_per_s((1 if quick else 4) << 30)
    return {"stream_gb_per_s": stream, "p50_us": p50, "p99_us": p99, "add_gb_per_s": add, "copy_gb_per_s": copy}


def main() -> None:
    """Measure once and print a table, or JSON with --json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="less data")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    args = parser.parse_args()
    found = run(args.quick)
    if args.json:
        print(json.dumps(found))
        return
    print(environment())
    print(table(["loopback", "value"], [[k, number(v)] for k, v in found.items()]))


if __name__ == "__main__":
    main()
