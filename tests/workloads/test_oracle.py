"""What the front-end notes of a wave."""

import numpy as np

from harness_workloads.oracle import observe


def test_what_is_observed_keeps_no_wave_in_memory() -> None:
    wave = np.arange(1 << 16, dtype=np.float64).reshape(1, -1)
    seen = observe("sum", wave)
    assert seen.tolist() == [0.0]
    assert not np.shares_memory(seen, wave)
