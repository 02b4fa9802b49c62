"""The conformance kit of transports.

`run_checks(transport)` is what `harness plugin check transport NAME` calls. From pytest, one test for each check:

    @pytest.mark.parametrize("check", transports.CHECKS, ids=lambda check: check.name)
    def test_conformance(check):
        outcome = transports.run_check(check, MyTransport())
        assert outcome.passed, outcome.message

(a check that does not apply has `passed` None). A transport whose two ends must live in one process says so with a class
attribute `one_process = True`; the checks that need a process are then skipped. Checks that put garbage on the wire look for
stream sockets among the process's own descriptors and are skipped where there are none. A peer in a process of its own makes
the transport again from its class and its fields, so the class must stand at the top level of a module.
"""

from __future__ import annotations

import re
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from harness.api.transport import Transport
from harness.testing import transport_ends as ends
from harness.testing import transport_frames as frames
from harness.testing import transport_hostile as hostile
from harness.testing.outcome import CheckOutcome
from harness.testing.transport_rig import PATIENCE_S, NotApplicableError, Rig

__all__ = ["CHECKS", "Check", "CheckOutcome", "run_check", "run_checks"]


@dataclass(frozen=True)
class Check:
    """One named check. `run` raises AssertionError with a message where the transport fails it."""

    name: str
    run: Callable[[Rig], None]

    @property
    def summary(self) -> str:
        """What it asks of a transport, in a sentence."""
        return re.sub(r"\s+", " ", self.run.__doc__ or "").strip()


CHECKS: tuple[Check, ...] = tuple(
    Check(run.__name__.replace("_", "-"), run)
    for run in (
        frames.protocol,
        frames.round_trip,
        frames.gathered,
        frames.order_under_load,
        frames.views_stay,
        frames.back_pressure,
        frames.limit,
        frames.readiness,
        ends.poll_waits,
        ends.first_words,
        ends.many_at_once,
        ends.connect_refused,
        ends.wrong_secret,
        ends.runs_apart,
        ends.wrong_peer,
        ends.oversized_frame,
        ends.close_delivers,
        ends.endpoint_close,
        ends.lost_once,
        ends.reentrant,
        hostile.dead_peer,
        hostile.silent_peer,
        hostile.black_hole,
        hostile.stranger,
        hostile.crowd,
        hostile.garbage_after,
        hostile.half_close,
    )
)


def run_check(check: Check, transport: Transport, *, limit_s: float = 60.0, patience_s: float = PATIENCE_S) -> CheckOutcome:
    """Run one check in a thread of its own; a transport that hangs in it has failed it after `limit_s`.

    patience_s: how long anything may take within the check that should take no time.
    """
    start = time.perf_counter()
    found: list[tuple[bool | None, str]] = []

    def attempt() -> None:
        found.append(_attempt(check, transport, patience_s))

    thread = threading.Thread(target=attempt, name=f"check {check.name}", daemon=True)
    thread.start()
    thread.join(limit_s)
    passed, message = found[0] if found else (False, f"not finished after {limit_s:g} s: it hangs")
    return CheckOutcome(check.name, passed, message, time.perf_counter() - start)


def run_checks(transport: Transport, *, limit_s: float = 60.0, patience_s: float = PATIENCE_S) -> list[CheckOutcome]:
    """Run every check, one after the other. Where the transport is unavailable all are skipped, for that reason."""
    lacking = transport.unavailable()
    if lacking is not None:
        return [CheckOutcome(check.name, None, lacking, 0.0) for check in CHECKS]
    return [run_check(check, transport, limit_s=limit_s, patience_s=patience_s) for check in CHECKS]


def _attempt(check: Check, transport: Transport, patience_s: float) -> tuple[bool | None, str]:
    try:
        with Rig(transport, patience_s) as rig:
            check.run(rig)
    except NotApplicableError as reason:
        return None, f"not applicable: {reason}"
    except AssertionError as failure:
        return False, str(failure) or _where(failure)
    except Exception as failure:
        # Whatever a transport raises is its failure, and the other checks still tell something.
        return False, f"{type(failure).__name__}: {failure} ({_where(failure)})"
    return True, ""


def _where(failure: BaseException) -> str:
    """The innermost line of code."""
    frame = traceback.extract_tb(failure.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}, in {frame.name}"
