"""Whatever the network and the machines are like, a crash costs nothing that was promised."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from runs import run, suite

from harness.api.errors import ExitCode

#: Slow enough to be felt, fast enough for the time that a back-end has to find a new parent (leaf_grace_s, 0.25 s).
MODELS = st.fixed_dictionaries(
    {
        "latency_s": st.sampled_from([1e-5, 2e-4, 2e-3]),
        "jitter": st.sampled_from(["none", "uniform", "exponential"]),
        "varies": st.sampled_from([0.0, 0.5, 1.0]),
        "bytes_per_s": st.sampled_from([0.0, 1e5, 1e7]),
        "buffer_bytes": st.sampled_from([1, 300, 4 << 20]),
        "stall": st.sampled_from([0.0, 0.1, 0.5]),
        "apart": st.sampled_from([0.0, 0.5, 1.0]),
        "turn_s": st.sampled_from([0.0, 2e-5]),
        "rate_varies": st.sampled_from([0.0, 1.0]),
        "links_differ": st.sampled_from([1.0, 5.0]),
        "machines_differ": st.sampled_from([1.0, 5.0]),
        "between_hosts": st.sampled_from([1.0, 5.0]),
    }
)
WHEN = st.one_of(
    st.floats(0.0, 0.9).map(lambda t: f"at_s = {t:.6f}"),
    st.integers(0, 1500).map(lambda n: f"at_event = {n}"),
    st.integers(0, 90).map(lambda n: f"at_wave = {n}"),
    st.sampled_from(["mid-flush", "start-up", "shutdown"]).map(lambda m: f'moment = "{m}"'),
)
TARGETS = st.sampled_from(["any 1 of role:internal", "any 1 of role:back-end", "any 2 of role:internal", "chain of 2"])


@settings(max_examples=15)
@given(model=MODELS, when=WHEN, target=TARGETS, filter_=st.sampled_from(["sum", "max"]), seed=st.integers(0, 1 << 32))
def test_a_crash_passes_under_every_model(model: dict[str, object], when: str, target: str, filter_: str, seed: int) -> None:
    # Who crashes on hearing that the run ends may be the one from whom the other would have heard it.
    assume("shutdown" not in when or "1 of" in target)
    keys = "\n".join(f'{k} = "{v}"' if isinstance(v, str) else f"{k} = {v}" for k, v in model.items())
    fault = f'kind = "crash"\ntarget = "{target}"\n{when}'
    with tempfile.TemporaryDirectory() as root:
        outcome, (trial,) = run(Path(root), suite(fault=fault, model=keys, seed=seed, filter=filter_, duration_s=1.0))
        assert outcome.exit_code is ExitCode.PASSED, outcome.text
        times = [e["t_s"] for e in trial.events]
        assert times == sorted(times) and times[0] == 0.0
        assert (np.diff(trial.record.samples["t_s"]) >= 0).all() and len(trial.record.observed) > 0
