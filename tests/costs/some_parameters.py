"""Parameters for tests: all different from 0 but for the gap, so that nothing is left out unseen."""

from __future__ import annotations

from harness.costs.parameters import Parameters

SOME = Parameters(
    latency_s=20e-6,
    gap_s_per_byte=0.0,
    send_s=3e-6,
    send_s_per_byte=0.2e-9,
    receive_s=15e-6,
    receive_s_per_byte=0.15e-9,
    filter_s_per_byte=0.05e-9,
    request_receive_s_per_byte=0.3e-9,
    turn_s=8e-6,
    offer_s_per_byte=0.06e-9,
    deliver_s=30e-6,
    deliver_s_per_byte=0.4e-9,
)
