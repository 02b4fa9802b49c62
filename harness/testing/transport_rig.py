"""What the checks of a transport stand on: endpoints that record what they hear, peers in processes of their own, and the
bare sockets under a link."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.api.transport import Endpoint, Link, Transport

#: How long anything may take that should take no time at all. Generous: the machine may be busy.
PATIENCE_S = 20.0
LIMIT_BYTES = 8 << 20
HOST = "127.0.0.1"
SECRET = bytes(range(1, 33))

#: Frames are cut from this. Seeded, so that a failure comes again.
_NOISE = random.Random(1).randbytes((4 << 20) + 12345)


class NotApplicableError(Exception):
    """The check makes no sense for this transport. The message says why."""


def payload(index: int, size: int) -> bytes:
    """The bytes of frame number `index`, different for neighbours."""
    start = index * 7919 % (len(_NOISE) - size)
    return _NOISE[start : start + size]


class Recorder:
    """A sink that keeps what it hears and fails at once on what no transport may do.

    `on` holds functions that are called, by the callback's name, beside the recording.
    """

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.initiated: dict[Link, bool] = {}
        self.frames: dict[Link, list[memoryview]] = {}
        self.lost: dict[Link, str] = {}
        self.writable: list[Link] = []
        self.refused: list[tuple[int, str]] = []
        self.closed: set[Link] = set()
        self.on: dict[str, Callable[..., None]] = {}
        self.inside = 0
        self.heard = 0

    def _hears(self, name: str, link: Link | None, *detail: Any) -> None:
        self.heard += 1
        if link is not None and name != "on_link":
            assert link in self.initiated, f"{name} for a link that no on_link has announced"
            assert link not in self.lost, f"{name} after on_lost for the same link"
            assert link not in self.closed, f"{name} for a link that this side has closed"
        self.inside += 1
        try:
            if name in self.on:
                self.on[name](*((link,) if link is not None else ()), *detail)
        finally:
            self.inside -= 1

    def close(self, link: Link) -> None:
        """Close a link; from now on nothing may be heard of it."""
        self.closed.add(link)
        link.close()

    def on_link(self, link: Link, initiated: bool) -> None:
        """As harness.api.transport.Sink."""
        assert link not in self.initiated, "on_link twice for the same link"
        self.links.append(link)
        self.initiated[link] = initiated
        self.frames[link] = []
        self._hears("on_link", link, initiated)

    def on_frame(self, link: Link, frame: memoryview) -> None:
        """As harness.api.transport.Sink."""
        assert isinstance(frame, memoryview), f"a frame is a memoryview, not {type(frame).__name__}"
        if "on_frame" not in self.on and link in self.frames:
            self.frames[link].append(frame)
        self._hears("on_frame", link, frame)

    def on_lost(self, link: Link, reason: str) -> None:
        """As harness.api.transport.Sink."""
        assert reason, "on_lost without a reason"
        self._hears("on_lost", link, reason)
        self.lost[link] = reason

    def on_writable(self, link: Link) -> None:
        """As harness.api.transport.Sink."""
        self.writable.append(link)
        self._hears("on_writable", link)

    def on_refused(self, peer: int, reason: str) -> None:
        """As harness.api.transport.Sink."""
        assert reason, "on_refused without a reason"
        self.refused.append((peer, reason))
        self._hears("on_refused", None, peer, reason)


class End:
    """An endpoint with its recorder."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.sink = Recorder()

    @property
    def address(self) -> str:
        """Where it listens."""
        return self.endpoint.address

    @property
    def link(self) -> Link:
        """Its only link."""
        assert len(self.sink.links) == 1, f"{len(self.sink.links)} links instead of 1"
        return self.sink.links[0]

    @property
    def frames(self) -> list[memoryview]:
        """What came over its only link."""
        return self.sink.frames[self.link]

    def poll(self, timeout_s: float | None = 0) -> int:
        """Poll, and check the number of callbacks that it says it has made."""
        before = self.sink.heard
        said = self.endpoint.poll(timeout_s, self.sink)
        made = self.sink.heard - before
        assert said == made, f"poll returned {said}, but made {made} callbacks"
        return said


class Peer:
    """A node in a process of its own that sends back every frame it gets. See harness.testing.transport_peer."""

    def __init__(self, process: subprocess.Popen[str], node: int) -> None:
        self._process = process
        self.node = node
        assert process.stdout is not None
        self.address: str = json.loads(process.stdout.readline() or '{"address": ""}')["address"]
        assert self.address, "the peer process has not started; what it wrote is on standard error"

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGSTOP, and wait until it stands still."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it, whatever it does. Idempotent."""
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


class Rig:
    """Makes endpoints and peers of one transport, and ends them all when it is left."""

    def __init__(self, transport: Transport, patience_s: float = PATIENCE_S) -> None:
        self.transport = transport
        self.patience_s = patience_s
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def endpoint(self, node: int, *, listen: bool = True, secret: bytes = SECRET, limit: int = LIMIT_BYTES) -> End:
        """A new endpoint on the loopback address."""
        made = self.transport.endpoint(node=node, host=HOST, secret=secret, listen=listen, max_frame_bytes=limit)
        self._cleanup.callback(made.close)
        return End(made)

    def pair(self) -> tuple[End, End]:
        """Node 1, which has connected to node 0, and node 0."""
        root, leaf = self.endpoint(0), self.endpoint(1, listen=False)
        self.join(leaf, root)
        return leaf, root

    def join(self, leaf: End, root: End, node: int = 0) -> None:
        """Connect `leaf` to `root`, which is node `node`, and wait until both know."""
        links = len(leaf.sink.links), len(root.sink.links)
        leaf.endpoint.connect(node, root.address, self.patience_s)
        self.pump("both have a link", lambda: len(leaf.sink.links) > links[0] and len(root.sink.links) > links[1], leaf, root)

    def pump(self, what: str, done: Callable[[], bool], *ends: End, within_s: float = PATIENCE_S) -> None:
        """Poll all `ends` in turn until `done`. Raises AssertionError with `what` where that does not come."""
        within_s = min(within_s, self.patience_s)
        until = time.monotonic() + within_s
        while not done():
            heard = sum([end.poll(0) for end in ends])
            if not heard and not done():
                heard = ends[0].poll(0.001)
            if not heard and time.monotonic() > until:
                told = "; ".join(f"node {i}: {_told(end.sink)}" for i, end in enumerate(ends))
                raise AssertionError(f"waited {within_s:g} s in vain until {what} ({told})")

    def settle(self, *ends: End, for_s: float = 0.1) -> None:
        """Poll all `ends` for a while, to hear what should not come."""
        until = time.monotonic() + for_s
        while time.monotonic() < until:
            if not sum([end.poll(0) for end in ends]):
                ends[0].poll(0.005)

    def peer(self, node: int) -> Peer:
        """Start a process that listens and echoes as node `node`."""
        self.needs_processes()
        process = subprocess.Popen(
            [sys.executable, "-m", "harness.testing.transport_peer"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )  # fmt: skip
        self._cleanup.callback(process.wait)
        self._cleanup.callback(process.kill)
        assert process.stdin is not None
        process.stdin.write(json.dumps({**_recipe(self.transport), "node": node}) + "\n")
        process.stdin.flush()
        peer = Peer(process, node)
        self._cleanup.callback(peer.close)
        return peer

    def needs_processes(self) -> None:
        """Raises NotApplicableError for a transport that says of itself that both ends must live in one process."""
        if getattr(self.transport, "one_process", False):
            raise NotApplicableError("both ends of this transport live in one process")

    def stranger(self, sockets: set[int]) -> socket.socket:
        """Connect a bare socket to the listening socket that was opened since `sockets` were there."""
        for sock in _opened_since(sockets):
            with sock:
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    caller = socket.socket(sock.family, sock.type)
                    self._cleanup.callback(caller.close)
                    caller.settimeout(self.patience_s)
                    caller.connect(sock.getsockname())
                    return caller
        raise NotApplicableError("there is no listening stream socket under this transport")

    def stream_under(self, sockets: set[int]) -> socket.socket:
        """The connector's socket of the one link that was made since `sockets` were there, as a second descriptor."""
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(sock) for sock in _opened_since(sockets)]
            listening = [s.getsockname() for s in opened if s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)]
            for sock in opened:
                with contextlib.suppress(OSError):  # not connected
                    if sock.getpeername() in listening:
                        copy = sock.dup()
                        self._cleanup.callback(copy.close)
                        return copy
        raise NotApplicableError("there is no stream socket under a link of this transport")


def sockets() -> set[int]:
    """The descriptors of this process that are sockets."""
    listed = [int(entry.name) for entry in Path("/dev/fd").iterdir()]
    return {fd for fd in listed if _is_socket(fd)}


def _is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False  # closed meanwhile: the listing itself used one


def _opened_since(before: set[int]) -> Iterator[socket.socket]:
    """Copies of the stream sockets that this process has opened since."""
    for fd in sorted(sockets() - before):
        sock = socket.socket(fileno=os.dup(fd))
        if sock.type == socket.SOCK_STREAM:
            yield sock
        else:
            sock.close()


def _recipe(transport: Transport) -> dict[str, Any]:
    """How another process can make the same transport."""
    kind = type(transport)
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(transport) if dataclasses.is_dataclass(transport) else ()
    keys = {field.name: getattr(transport, field.name) for field in fields if field.init}
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return {
        "module": kind.__module__, "file": file, "name": kind.__qualname__, "keys": keys,
        "host": HOST, "secret": SECRET.hex(), "limit": LIMIT_BYTES,
    }  # fmt: skip


def _told(sink: Recorder) -> str:
    """What a recorder has heard, in short."""
    frames = sum(len(f) for f in sink.frames.values())
    words = [f"{len(sink.links)} links", f"{frames} frames kept"]
    words += [f"lost: {reason}" for reason in sink.lost.values()]
    words += [f"refused by {peer}: {reason}" for peer, reason in sink.refused]
    return ", ".join(words)
