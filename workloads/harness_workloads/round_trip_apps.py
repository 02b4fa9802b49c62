"""The two ends of the workload `round-trip`, on the hot path of every request: compiled, and made to touch little."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from harness.api.workload import TrialContext
from harness.core.apps import BackEndHandle, FrontEndHandle
from harness.core.filters import Items
from harness.core.ranks import RankSet
from harness.core.spec import QuorumLost, Result, StreamError, StreamSpec, WavesLost
from harness_workloads import common
from harness_workloads.common import everybody, stream_spec
from harness_workloads.handing_over import packed, unpacked
from harness_workloads.oracle import Arithmetic, observe
from harness_workloads.values import Array, Values, scrambled

#: A request: its number, and the secret that the answers depend on. Padding may follow.
REQUEST: Final = struct.Struct("<QQ")
_ANSWER: Final = struct.Struct("=Q")
_WORD: Final = (1 << 64) - 1
#: Requests whose secrets are drawn at once.
_DRAW: Final = 1024
_I64: Final = np.dtype(np.int64)


def tokens(values: Values, numbers: Array) -> Array:
    """The secret of each request of a stream: 62 bits that do not follow from its neighbours'. Shape (n,), int64."""
    drawn: Array = scrambled((values.seed ^ values.stream << 60) & _WORD, numbers) >> np.uint64(2)
    return drawn.astype(np.int64)


class RoundTripFrontEnd:
    """Warm-up requests have a stream of their own, so that the recorded waves of the other count from 0.

    `workload` is a harness_workloads.round_trip.RoundTrip, `values` what its ranks answer on stream number 0 or 1."""

    def __init__(self, workload: Any, context: TrialContext, filter_: str, values: Callable[[int], Values]) -> None:
        self.context = context
        self.filter = filter_
        self.values_of = values
        self.warm_up: int = workload.warm_up
        self.requests: int = workload.requests or common.FOR_EVER
        self.duration_s: float = workload.duration_s
        self.outstanding: int = workload.outstanding
        self.stops: bool = workload.on_error == "stop"
        self.padding = bytes(int(workload.payload_bytes) - REQUEST.size)
        self.over = False
        self.index = self.end = self.sent = self.answered = self.drawn = self.stream = 0
        self.sent_s: deque[float] = deque()
        self.coming: deque[bytes] = deque()
        self.values = values(0)

    def start(self, fe: FrontEndHandle) -> None:
        """Open the first stream and send the first requests."""
        if self.duration_s:
            fe.call_at(fe.now + self.duration_s)
        if self.warm_up:
            self._open(fe, 1, self.warm_up)
        else:
            self._open(fe, 0, self.requests)

    def _open(self, fe: FrontEndHandle, index: int, requests: int) -> None:
        self.index, self.end = index, requests
        self.sent = self.answered = self.drawn = 0
        self.sent_s.clear()
        self.coming.clear()
        self.values = self.values_of(index)
        name = "warm-up" if index else "round-trip"
        more = {"replies": True, "params": (("index", index),)}
        self.stream = fe.open_stream(stream_spec(self.context, name, everybody(self.context), self.filter, **more))
        fe.note("stream", stream=self.stream, index=index)
        self._send(fe)

    def _send(self, fe: FrontEndHandle) -> None:
        before = self.sent
        while self.sent < self.end and self.sent - self.answered < self.outstanding and not self.over:
            if not self.coming:
                self._draw()
            if not fe.send(self.stream, self.coming[0]):
                break
            self.coming.popleft()
            self.sent_s.append(fe.now)
            self.sent += 1
        if self.sent > before:
            fe.expect(self.stream, self.sent)
        elif self.answered >= self.sent and (self.over or self.sent >= self.end):
            self._ended(fe)

    def _draw(self) -> None:
        """Make the next requests."""
        first = self.drawn
        self.drawn += _DRAW
        for i, token in enumerate(tokens(self.values, np.arange(first, self.drawn)).tolist()):
            self.coming.append(REQUEST.pack(first + i, token) + self.padding)

    def _ended(self, fe: FrontEndHandle) -> None:
        if self.index:
            fe.close_stream(self.stream)
            self._open(fe, 0, self.requests)
        else:
            fe.note("requests", sent=self.sent)
            fe.finish()

    def on_result(self, fe: FrontEndHandle, result: Result) -> None:
        """Record each answer with the time at which its request went out, and send the next."""
        if result.stream != self.stream:
            return
        heads = observe(self.filter, result.values)
        for i in range(result.count):
            wave, sent_s = result.first + i, result.granted_s
            while self.answered <= wave and self.sent_s:
                sent_s = self.sent_s.popleft()
                self.answered += 1
            head = heads if result.count == 1 else heads[i : i + 1]
            if self.index == 0:
                fe.record(self.stream, wave, head, result.contributors, result.complete, sent_s)
            else:
                self._look(fe, wave, head, result.contributors)
        self._send(fe)

    def _look(self, fe: FrontEndHandle, wave: int, head: Array, contributors: RankSet) -> None:
        wanted = Arithmetic(self.values).expected(list(contributors), tokens(self.values, np.array([wave])))
        if wanted[0] != head[0]:
            fe.note("warm-up-wrong", wave=wave, value=head[0].item(), wanted=wanted[0].item())

    def on_error(self, fe: FrontEndHandle, error: StreamError) -> None:
        """Note it; stop, or go on with the next request."""
        common.note_error(fe, error)
        if self.stops or isinstance(error, QuorumLost):
            fe.finish(ok=False, reason=f"{type(error).__name__}: {error}")
            return
        if error.stream != self.stream:
            return
        last = error.wave + (error.count if isinstance(error, WavesLost) else 1)
        while self.answered < last and self.sent_s:
            self.sent_s.popleft()
            self.answered += 1
        self._send(fe)

    def on_writable(self, fe: FrontEndHandle, stream: int) -> None:
        """Send what was held back."""
        if stream == self.stream:
            self._send(fe)

    def on_membership(self, fe: FrontEndHandle, dead: RankSet) -> None:
        """Put it down for the check."""
        fe.note("membership", dead=list(dead))

    def on_timer(self, fe: FrontEndHandle) -> None:
        """The duration is over: no new requests."""
        self.over = True
        self._send(fe)

    def checkpoint(self) -> bytes:
        """See ResumableApp."""
        count = {"index": self.index, "end": self.end, "sent": self.sent, "answered": self.answered}
        return packed(over=self.over, stream=self.stream, sent_s=list(self.sent_s), **count)

    def vet(self, state: bytes) -> None:
        """See ResumableApp."""
        self._unpacked(state)

    def _unpacked(self, state: bytes) -> dict[str, Any]:
        found = unpacked(state, over=bool, stream=int, sent_s=list, index=int, end=int, sent=int, answered=int)
        if not 0 <= found["answered"] <= found["sent"] or found["index"] not in (0, 1):
            raise ValueError("a state of requests that were answered and not sent")
        found["sent_s"] = [float(t_s) for t_s in found["sent_s"]]
        return found

    def resume(self, fe: FrontEndHandle, state: bytes, shift_s: float) -> None:
        """See ResumableApp. Requests that were sent are answered; what comes next is sent."""
        found = self._unpacked(state)
        self.over, self.stream, self.index, self.end = found["over"], found["stream"], found["index"], found["end"]
        self.sent, self.answered, self.drawn = found["sent"], found["answered"], found["sent"]
        self.sent_s = deque([t_s + shift_s for t_s in found["sent_s"]])
        self.coming.clear()
        self.values = self.values_of(self.index)


class _Asked:
    """The requests of one stream that a rank has not answered yet, and the rank's secrets."""

    def __init__(self, values: Values, rank: int) -> None:
        self.values = values
        a, b = values.secrets
        self.a, self.b = int(a[rank]), int(b[rank])
        self.mask = (1 << values.bits) - 1
        self.numbers: deque[int] = deque()
        self.tokens: deque[int] = deque()


class RoundTripBackEnd:
    """Answers requests. `values`: as for the front-end."""

    def __init__(self, context: TrialContext, rank: int, values: Callable[[int], Values]) -> None:
        self.rank = rank
        self.values_of = values
        #: Only a plugin's down filter may change a request.
        self.watchful = context.down_filter != "null"
        self.changed: set[int] = set()
        self.asked: dict[int, _Asked] = {}

    def on_open(self, be: BackEndHandle, stream: int, spec: StreamSpec) -> None:
        """Prepare the answers."""
        self.asked[stream] = _Asked(self.values_of(dict(spec.params)["index"]), self.rank)

    def on_message(self, be: BackEndHandle, stream: int, payload: bytes) -> None:
        """A request. Where a plugin's down filter changes requests, the first that is no longer what was sent is noted."""
        number, token = REQUEST.unpack_from(payload)
        asked = self.asked[stream]
        asked.numbers.append(number)
        asked.tokens.append(token)
        if not self.watchful or stream in self.changed:
            return
        if number >= common.FOR_EVER or tokens(asked.values, np.array([number]))[0] != token:
            self.changed.add(stream)
            be.note("request-changed", rank=self.rank, number=number)

    def produce(self, be: BackEndHandle, stream: int, first: int, at_most: int) -> Items | None:
        """Answers to the requests that came, in their order."""
        asked = self.asked[stream]
        due = min(len(asked.numbers), at_most)
        if due <= 0:
            return None
        answers = []
        for i in range(due):
            number = asked.numbers.popleft()
            if number != first + i:
                be.note("request-out-of-order", rank=self.rank, number=number, wave=first + i)
            answers.append(_ANSWER.pack((asked.a * (asked.tokens.popleft() + 1) + asked.b) & asked.mask))
        return np.frombuffer(answers[0] if due == 1 else b"".join(answers), _I64)

    def on_close(self, be: BackEndHandle, stream: int) -> None:
        """Forget the stream."""
        self.asked.pop(stream, None)
