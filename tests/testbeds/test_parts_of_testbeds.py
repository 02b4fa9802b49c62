"""The small parts that testbeds are made of."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api.errors import InfrastructureError
from harness.testbeds import procs, wire
from harness.testbeds.hosts import Host, ask, clock_offsets
from harness.testbeds.timers import Timers


@given(st.lists(st.tuples(st.floats(0, 10), st.integers()), max_size=30), st.floats(0, 10))
def test_timers_run_what_is_due_in_order(planned: list[tuple[float, int]], now: float) -> None:
    timers, ran = Timers(), []
    for due, name in planned:
        timers.add(due, lambda due=due, name=name: ran.append((due, name)))
    first = min((due for due, _ in planned), default=math.inf)
    assert timers.wait_s(now, 100.0) == max(0.0, min(100.0, first - now))
    timers.run(now)
    assert ran == sorted((p for p in planned if p[0] <= now), key=lambda p: p[0])
    timers.run(math.inf)
    assert len(ran) == len(planned)
    timers.run(math.inf)
    assert len(ran) == len(planned)


def test_a_timer_may_add_timers() -> None:
    timers, ran = Timers(), []
    timers.add(1.0, lambda: timers.add(2.0, lambda: ran.append("second")))
    timers.run(3.0)
    assert ran == ["second"]
    timers.add(5.0, lambda: ran.append("cleared"))
    timers.clear()
    timers.run(9.0)
    assert ran == ["second"]


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 64))
def test_messages_arrive_whole_however_they_are_cut(bodies: list[bytes], piece: int) -> None:
    sent = [wire.Order(i, "launch", (body,)) for i, body in enumerate(bodies)]
    collector, into = socket.socketpair()
    with collector, into:
        for message in sent:
            wire.send(into.fileno(), message)
        into.shutdown(socket.SHUT_WR)
        stream = b"".join(iter(lambda: collector.recv(1 << 16), b""))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader, got = wire.Reader(ours.fileno()), []
        for start in range(0, len(stream), piece):
            theirs.sendall(stream[start : start + piece])
            got += reader.read()
        theirs.close()
        with pytest.raises(EOFError):
            reader.read()
    assert got == sent


def test_what_a_process_uses() -> None:
    used = procs.usage()
    assert 0 < used["own_bytes"] <= used["pss_bytes"] <= used["rss_bytes"] <= used["peak_rss_bytes"]
    assert used["cpu_s"] > 0


def test_states_of_processes() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            assert procs.is_running(child.pid)
        finally:
            child.kill()
        procs.wait_until_gone([child.pid], 10.0)
        assert procs.state_of(child.pid) == "Z"
        assert not procs.is_running(child.pid)
    assert procs.state_of(child.pid) == ""
    assert procs.boot_id() == procs.boot_id() != ""


def test_a_process_whose_parent_is_gone_already_does_not_start() -> None:
    code = "from harness.testbeds import procs; import signal; procs.die_with_parent(1, signal.SIGKILL); print('alive')"
    path = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True)
    assert (done.returncode, done.stdout) == (1, b"")


class ElsewhereClock:
    """A host whose clock is ahead of ours: it answers as its agent would."""

    def __init__(self, ahead_s: float) -> None:
        self.ahead_s = ahead_s

    def call(self, method: str, *args: Any) -> Future[Any]:
        answer: Future[Any] = Future()
        if method == "clock":
            answer.set_result(time.monotonic() + self.ahead_s)
        return answer


def host(number: int, ahead_s: float, boot: str) -> Host:
    return Host(number, ElsewhereClock(ahead_s), "127.0.0.1", "there", boot, 100 + number)


def test_clocks_of_other_machines_are_compared() -> None:
    hosts = [host(0, 50.0, "a"), host(1, -1000.0, "b"), host(2, 50.0, "a"), host(3, 51.0, "a"), host(4, 50.0, "")]
    offsets = clock_offsets(hosts, hosts[0])
    assert offsets[0] == offsets[2] == 0.0  # one kernel, one clock
    assert offsets[1] == pytest.approx(-1050.0, abs=0.5)
    assert offsets[3] == pytest.approx(1.0, abs=0.5)  # one kernel, but a time namespace of its own
    assert offsets[4] == pytest.approx(0.0, abs=0.5)


def test_a_host_that_does_not_answer_is_named() -> None:
    with pytest.raises(InfrastructureError, match=r"no answer to 'probe' within 0 s from host 1 \(there, agent 101\)"):
        ask([host(1, 0.0, "")], "probe", within_s=0.05)


def test_importing_the_testbeds_is_cheap() -> None:
    heavy = "('ray', 'pandas', 'harness.testbeds.loop')"
    code = f"import sys, harness.testbeds.plugin; print([m for m in {heavy} if m in sys.modules])"
    path = os.pathsep.join(p for p in sys.path if p)
    said = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, check=True)
    assert said.stdout == b"[]\n"


def test_a_directory_with_a_short_path_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.testbeds import testbed

    monkeypatch.setattr("tempfile.tempdir", "/somewhere/with/a/path/that/is/much/too/long/for/sockets")
    base = testbed.make_base()
    try:
        assert base.parent in (Path("/tmp"), Path("/var/tmp"))
    finally:
        base.rmdir()
