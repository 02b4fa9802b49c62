"""One authenticated TCP connection: frames out without copies, frames in as views. The hot path of every trial over TCP."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from harness.api.transport import Buffer, Sink
from harness_plugins.transports.buffers import Arena
from harness_plugins.transports.reactor import Reactor
from harness_plugins.transports.tcp_handshake import DATA, PREFIX, PREFIX_BYTES, strange

#: A larger frame gets a buffer of its own.
BIG_BYTES: Final = 64 << 10
ARENA_BYTES: Final = 256 << 10

#: In the midst of a big frame it pays to be woken only when so much more of it has come.
_LOW_BYTES: Final = 256 << 10

#: How many buffers go to the kernel in one call at most (Linux takes 1024).
_GATHER: Final = 512
#: Up to here one copy and a plain send cost less than a gathering one.
_JOIN_BYTES: Final = 4096
#: What `close` reads and throws away at most, so that the kernel need not reset the connection.
_DRAIN_BYTES: Final = 1 << 20

#: Where the rest of the arena might not hold a small frame.
_ARENA_FULL: Final = ARENA_BYTES - BIG_BYTES

_pack: Final = PREFIX.pack
_unpack: Final = PREFIX.unpack_from
_PREFIX: Final = PREFIX_BYTES
_DATA: Final = DATA
_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT
_NOW: Final = socket.MSG_DONTWAIT
#: struct timeval
_TIMEVAL: Final = struct.Struct("@ll")
#: For less it does not pay to have the kernel's time-out of a read changed.
_SHORT_S: Final = 0.002
_PADS: Final = tuple(bytes(-n % 8) for n in range(8))


def _timeval(seconds: float) -> bytes:
    return _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1e6))


def reason_of(error: OSError) -> str:
    """What happened to a connection, in the words that `on_lost` and `on_refused` use."""
    named = {
        errno.ECONNREFUSED: "refused",
        errno.ECONNRESET: "reset",
        errno.EPIPE: "closed by peer",
        errno.ETIMEDOUT: "timed out",
    }
    return named.get(error.errno or 0) or f"{error.strerror or error}".lower()


class TcpLink:
    """harness.api.transport.Link over a connected, authenticated socket. The socket blocks, for the one case in which that is
    wanted (`wait`); all other calls say that they do not.

    On the wire a frame is a prefix, the payload, and zeros up to a multiple of 8 bytes: every frame begins 8-aligned in
    memory at the receiver, so arrays can be laid over it.
    """

    __slots__ = (
        "_alone", "_arena", "_direct", "_end", "_expect", "_fault", "_forget", "_limit", "_low", "_need", "_open", "_queue",
        "_reactor", "_recv_into", "_send", "_sendmsg", "_sock", "_start", "_view", "_wait_s", "backlog_bytes", "peer",
    )  # fmt: skip

    def __init__(
        self, peer: int, sock: socket.socket, reactor: Reactor, arena: Arena, limit: int, forget: Callable[[TcpLink], None]
    ) -> None:
        """`forget` is called when the link is over, whoever ended it."""
        self.peer = peer
        self.backlog_bytes = 0
        self._sock = sock
        self._reactor = reactor
        self._limit = limit
        self._forget = forget
        self._open = True
        # Sending: whether a frame may go straight to the kernel, what the kernel has not taken, why it takes nothing any more.
        self._direct = True
        self._send: Callable[[Buffer, int], int] = sock.send
        self._sendmsg: Callable[[Sequence[Buffer], tuple[()], int], int] = sock.sendmsg
        self._queue: deque[memoryview] = deque()
        self._fault = ""
        # Receiving: the unfinished frame is _view[_start:_end] and needs _need bytes; _view is None between two frames.
        # _alone: the buffer is the link's own, not the arena. _expect: the size of the frame that is likely to come next
        # where the last one was big, 0 otherwise.
        self._recv_into: Callable[[memoryview, int, int], int] = sock.recv_into
        self._arena = arena
        self._view: memoryview | None = None
        self._start = self._end = self._need = self._expect = 0
        self._alone = False
        # How many bytes must have come before the kernel wakes us: more than 1 only in the midst of a big frame.
        self._low = 1
        # The time-out of a read that blocks.
        self._wait_s = 0.0
        sock.setblocking(True)

    def __repr__(self) -> str:
        return f"<TcpLink to node {self.peer}, {'open' if self._open else 'closed'}>"

    # ---------------------------------------------------------------- sending

    def send(self, parts: Sequence[Buffer]) -> bool:
        """As harness.api.transport.Link.send."""
        length = 0
        for part in parts:
            length += len(part) if type(part) is bytes else memoryview(part).nbytes
        if length > self._limit:
            raise ValueError(f"a frame of {length} bytes is larger than the limit of {self._limit}")
        out: list[Buffer] = [_pack(_DATA, length), *parts]
        if length & 7:
            out.append(_PADS[length & 7])
        if not self._direct:
            return self._hold(out)
        total = _PREFIX + ((length + 7) & -8)
        try:
            if total <= _JOIN_BYTES or len(out) > _GATHER:
                out = [b"".join(out)]
                sent = self._send(out[0], _NOW)
            else:
                sent = self._sendmsg(out, (), _NOW)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._break(error)
            return True
        if sent == total:
            return True
        self._direct = False
        self._reactor.change(self._sock.fileno(), _IN | _OUT)
        self._queue_rest(out, sent)
        return False

    def send_half(self, parts: Sequence[Buffer]) -> bool:
        """As `send`, but the kernel gets only the first half now, the rest at the next poll: so that a fault can strike in
        the middle of a frame. On a link with a backlog, which is in the middle of one already, it is `send`."""
        if not self._direct:
            return self.send(parts)
        body = b"".join(parts)
        whole = b"".join((_pack(_DATA, len(body)), body, _PADS[len(body) & 7]))
        try:
            sent = self._send(whole[: len(whole) // 2], _NOW)
        except OSError:
            return self.send(parts)
        self._direct = False
        self._reactor.change(self._sock.fileno(), _IN | _OUT)
        self._queue_rest([whole], sent)
        return False

    def _hold(self, out: list[Buffer]) -> bool:
        """Queue a whole frame behind others, or forget it where nobody will ever take it."""
        if not self._open or self._fault:
            return True
        self._queue_rest(out, 0)
        return False

    def _queue_rest(self, out: list[Buffer], sent: int) -> None:
        """Keep what comes after the first `sent` bytes, by reference."""
        for part in out:
            view = memoryview(part)
            size = view.nbytes
            if sent >= size:
                sent -= size
            else:
                self._queue.append(view.cast("B")[sent:])
                self.backlog_bytes += size - sent
                sent = 0

    def _flush(self) -> bool:
        """Offer the queue to the kernel; True where it has taken everything."""
        queue = self._queue
        while queue:
            batch = list(islice(queue, _GATHER))
            try:
                sent = self._sendmsg(batch, (), _NOW)
            except BlockingIOError:
                return False
            except OSError as error:
                self._break(error)
                return False
            self.backlog_bytes -= sent
            for view in batch:
                size = len(view)
                if sent < size:
                    queue[0] = view[sent:]
                    return False
                sent -= size
                queue.popleft()
        return True

    def _break(self, error: OSError) -> None:
        """Nothing can be sent any more. What the peer sent before may still be read: `poll` finds the end behind it."""
        self._fault = reason_of(error)
        self._direct = False
        self._queue.clear()
        self.backlog_bytes = 0
        with contextlib.suppress(OSError):
            self._reactor.change(self._sock.fileno(), _IN)
        # Makes the end visible to epoll whatever the error was; fails where it is visible already.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    # ---------------------------------------------------------------- receiving

    def ready(self, mask: int, sink: Sink) -> int:
        """Handle what epoll saw; return the number of callbacks made."""
        if mask == _IN:
            return self._receive(sink, _NOW)
        count = self._receive(sink, _NOW) if mask & ~_OUT else 0
        if mask & _OUT and self._open and self.backlog_bytes and self._flush():
            self._direct = True
            self._reactor.change(self._sock.fileno(), _IN)
            sink.on_writable(self)
            count += 1
        return count

    def wait(self, timeout_s: float, sink: Sink) -> int:
        """As harness_plugins.transports.reactor.Waiter: a read that blocks is one call of the system instead of two. Its
        time-out is an option of the socket, so it is set to a part of what is wanted, which then holds for a while."""
        if timeout_s < _SHORT_S:
            return 0
        if not self._wait_s <= timeout_s <= 4 * self._wait_s:
            self._wait_s = min(timeout_s / 2, 1.0)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(self._wait_s))
        return self._receive(sink, 0)

    def _receive(self, sink: Sink, flags: int) -> int:
        """One read, then every frame that is whole."""
        arena = self._arena
        view = self._view
        if view is None and not self._expect:
            view = arena.view
            start = end = (arena.used + 7) & -8
            if end > _ARENA_FULL:
                view, start, end = arena.renew(), 0, 0
            self._alone = False
        else:
            view, start, end = self._resume(arena, view)
        try:
            got = self._recv_into(view[end:], 0, flags)
        except BlockingIOError:
            return 0
        except OSError as error:
            return self._lose(sink, self._fault or reason_of(error))
        if not got:
            return self._lose(sink, self._fault or "closed by peer")
        end += got
        if not self._alone:
            arena.used = end
        limit = self._limit
        count = size = 0
        while end - start >= _PREFIX:
            tag, length = _unpack(view, start)
            if tag != _DATA:
                return count + self._lose(sink, strange(tag))
            if length > limit:
                return count + self._lose(sink, f"protocol error: a frame of {length} bytes announced, the limit is {limit}")
            size = _PREFIX + ((length + 7) & -8)
            body = start + _PREFIX
            if start + size > end:
                break
            start += size
            count += 1
            sink.on_frame(self, view[body : body + length])
            if not self._open:
                return count
        if self._low > 1 and start == end:
            self._wake_at(1)
        if start == end:
            self._view = None
            self._expect = size if size > BIG_BYTES else 0
        else:
            self._suspend(view, start, end, size)
        return count

    def _resume(self, arena: Arena, view: memoryview | None) -> tuple[memoryview, int, int]:
        """Where to receive next, when it is not simply the arena: the buffer, the start of the unfinished frame, its end."""
        if view is None:
            self._alone = True
            return arena.pool.take(self._expect), 0, 0
        start, end = self._start, self._end
        if self._alone:
            fits = len(view) - start >= self._need
        else:
            # Nobody may have received behind the unfinished frame.
            fits = view is arena.view and end == arena.used and start <= _ARENA_FULL
        if fits:
            return view, start, end
        self._alone = False
        return arena.move(view[start:end])

    def _suspend(self, view: memoryview, start: int, end: int, size: int) -> None:
        """Keep an unfinished frame: `size` bytes with its prefix, where that much has come."""
        left = end - start
        need = size if left >= _PREFIX else _PREFIX
        if need > BIG_BYTES and not (self._alone and len(view) - start >= need):
            own = self._arena.pool.take(need)
            own[:left] = view[start:end]
            view, start, end = own, 0, left
            self._alone = True
        self._view, self._start, self._end, self._need = view, start, end, need
        low = min(need - (end - start), _LOW_BYTES) if need > BIG_BYTES else 1
        if low != self._low:
            self._wake_at(low)

    def _wake_at(self, low: int) -> None:
        """Have the kernel report this connection once `low` bytes are there, or its end."""
        self._low = low
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low)

    # ---------------------------------------------------------------- ending

    def close(self) -> None:
        """As harness.api.transport.Link.close."""
        if not self._open:
            return
        if not self._fault:
            self._flush()
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            # Closing with unread bytes would reset the connection, and with it what is still on its way to the peer.
            for _ in range(_DRAIN_BYTES // ARENA_BYTES):
                if not self._sock.recv(ARENA_BYTES, _NOW):
                    break
        self._drop()

    def _lose(self, sink: Sink, reason: str) -> int:
        self._drop()
        sink.on_lost(self, reason)
        return 1

    def _drop(self) -> None:
        self._open = self._direct = False
        self._queue.clear()
        self.backlog_bytes = 0
        self._view = None
        self._reactor.retire(self._sock)
        self._forget(self)
