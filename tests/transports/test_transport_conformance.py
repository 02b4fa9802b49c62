"""The built-in transports pass their own kit, at comfortable and at awkward parameters."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.api.transport import Transport
from harness.testing import transport_peer, transports
from harness.testing.transports import Check
from harness_plugins.transports import Memory, Tcp, harness_transports

TRANSPORTS = {
    "tcp": Tcp(),
    "tcp with small kernel buffers": Tcp(buffer_bytes=16_384),
    "memory": Memory(),
    "memory with room for one frame": Memory(capacity_bytes=1),
}


@pytest.mark.parametrize("check", transports.CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("transport", TRANSPORTS.values(), ids=TRANSPORTS)
def test_conformance(transport: Transport, check: Check) -> None:
    outcome = transports.run_check(check, transport)
    if outcome.passed is None:
        # What the kit looks for (stream sockets, processes) is there under TCP, so nothing may be skipped.
        assert isinstance(transport, Memory), outcome.message
        pytest.skip(outcome.message)
    assert outcome.passed, outcome.message


def test_every_check_says_what_it_asks() -> None:
    for check in transports.CHECKS:
        assert check.summary.endswith("."), check.name
    assert len({check.name for check in transports.CHECKS}) == len(transports.CHECKS)


def test_an_unavailable_transport_is_skipped_with_its_reason() -> None:
    class Absent(Memory):
        def unavailable(self) -> str | None:
            return "no such device; load its module"

    outcomes = transports.run_checks(Absent())
    assert [o.passed for o in outcomes] == [None] * len(transports.CHECKS)
    assert {o.message for o in outcomes} == {"no such device; load its module"}


def test_registered_kinds() -> None:
    assert harness_transports() == {"memory": Memory, "tcp": Tcp}
    assert Tcp().unavailable() is None
    assert Memory().unavailable() is None


def test_a_transport_in_a_file_of_its_own_is_checked_across_processes(tmp_path: Path) -> None:
    """Its module is on nobody's path: the peer process loads it from the file, with the same keys."""
    file = tmp_path / "third_party.py"
    file.write_text(
        "from dataclasses import dataclass\n"
        "from harness_plugins.transports import Tcp\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Tcp):\n"
        "    extra: str = ''\n"
        "    def endpoint(self, **how):\n"
        "        assert self.extra == 'given', 'the keys did not reach the peer process'\n"
        "        return super().endpoint(**how)\n"
    )
    mine = transport_peer.make(
        {"module": "third_party_transport", "file": str(file), "name": "Mine", "keys": {"extra": "given"}}
    )
    (check,) = (check for check in transports.CHECKS if check.name == "dead-peer")
    outcome = transports.run_check(check, mine)
    assert outcome.passed, outcome.message
