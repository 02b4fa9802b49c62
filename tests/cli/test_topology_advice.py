"""`harness topology advise` and `harness topology calibrate`, run as a user runs them."""

from __future__ import annotations

import json
import tomllib

import pytest

from harness.costs.parameters import DEFAULTS
from harness.registry import Category, load

ADVISE = ("topology", "advise", "--cores", "2")


def test_advice_is_a_table_reasons_and_a_line_for_a_suite(harness):
    done = harness(*ADVISE, "--back-ends", "16", "--top", "3")
    assert done.returncode == 0
    assert "docs/topologies.md" in done.stderr
    assert "harness topology calibrate" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith("trees compared for 16 back-ends on 2 cores: items of 8 bytes, requests of 16; best latency first")
    assert lines[2].split()[:3] == ["tree", "extra", "nodes"]
    assert sum(line[:1].isdigit() or line.startswith(("flat ", "knomial ")) for line in lines[3:6]) == 3 and lines[6] == ""
    assert any(" wins over " in line for line in lines)
    tree = load().make(Category.TOPOLOGY, tomllib.loads(lines[-1])["topology"]).build()
    assert len(tree.back_ends) == 16


def test_advice_as_json(harness):
    options = ("--objective", "throughput", "--item-bytes", "65536", "--failures-per-node-hour", "0.5", "--rate", "10")
    done = harness(*ADVISE, "--back-ends", "12", "--budget", "4", *options, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["exit_code"] == 0
    assert document["parameters"] == DEFAULTS.to_json()
    assert document["load"] == {"item_bytes": 65536, "request_bytes": 16}
    rates = [tree["throughput_waves_s"] for tree in document["trees"]]
    assert min(rates) > 0
    for tree in document["trees"]:
        built = load().make(Category.TOPOLOGY, tree["topology"]).build()
        assert (len(built.back_ends), len(built.communication)) == (12, tree["communication"])
        assert tree["communication"] <= 4
        assert 0 < tree["reliability"]["disturbed_fraction"] < 1
    assert document["reasons"]


def test_a_wish_that_no_tree_meets_is_said(harness):
    done = harness(*ADVISE, "--back-ends", "8", "--item-bytes", "1000000", "--rate", "1000000")
    assert done.returncode == 0
    assert "wishes not met by the first: it carries " in done.stdout


def test_a_dearer_filter_makes_everything_slower(harness):
    cheap, dear = (
        json.loads(harness(*ADVISE, "--back-ends", "8", "--item-bytes", "65536", "--filter-ns-per-byte", cost, "--json").stdout)
        for cost in ("0", "10")
    )
    assert dear["parameters"]["filter_s_per_byte"] == pytest.approx(1e-8)
    assert dear["trees"][0]["latency_s"] > cheap["trees"][0]["latency_s"]


def test_parameters_come_from_a_file_that_is_named_or_where_calibrate_puts_it(harness, tmp_path):
    slow = {**DEFAULTS.to_json(), "latency_s": 1.0}
    named = tmp_path / "mine.json"
    named.write_text(json.dumps({"version": 1, "parameters": slow}))
    done = harness(*ADVISE, "--back-ends", "4", "--parameters", str(named), "--json")
    document = json.loads(done.stdout)
    assert document["parameters_from"] == f"measured, from {named}"
    assert document["trees"][0]["latency_s"] > 2
    (tmp_path / "runs").mkdir()
    named.rename(tmp_path / "runs" / "topology-parameters.json")
    assert json.loads(harness(*ADVISE, "--back-ends", "4", "--json").stdout)["parameters"]["latency_s"] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--back-ends", "0"], "--back-ends = 0 must be between 1 and 100,000"),
        (["--back-ends", "4", "--budget", "-1"], "--budget = -1 must not be negative"),
        (["--back-ends", "4", "--item-bytes", "0"], "--item-bytes = 0 must be at least 1"),
        (["--back-ends", "4", "--request-bytes", "0"], "--request-bytes = 0 must be at least 1"),
        (["--back-ends", "4", "--rate", "nan"], "--rate = nan must be a finite number"),
        (["--back-ends", "4", "--objective", "speed"], "--objective = 'speed': there are latency and throughput"),
        (["--back-ends", "4", "--failures-per-node-hour", "-2"], "--failures-per-node-hour = -2.0 must be a finite number"),
        (["--back-ends", "4", "--undisturbed", "99.9"], "--undisturbed = 99.9 must be at least 0 and below 1"),
        (["--back-ends", "4", "--filter-ns-per-byte", "-1"], "--filter-ns-per-byte = -1.0 must be a finite number"),
        (["--back-ends", "4", "--cores", "0"], "--cores = 0 must be at least 1"),
        (["--back-ends", "4", "--parameters", "none.json"], "none.json cannot be read: No such file or directory"),
    ],
)
def test_wrong_input_is_one_error_that_names_the_option(harness, options, message):
    done = harness("topology", "advise", *options)
    assert (done.returncode, done.stdout) == (2, "")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "holds no parameters of version 1"),
        ('{"version": 2, "parameters": {}}', "holds no parameters of version 1"),
        ('{"version": 1, "parameters": {"latency_s": 1}}', "keys that are missing: gap_s_per_byte"),
    ],
)
def test_a_file_that_holds_no_parameters_is_named(harness, tmp_path, text, message):
    (tmp_path / "p.json").write_text(text)
    done = harness(*ADVISE, "--back-ends", "4", "--parameters", "p.json")
    assert done.returncode == 2
    assert done.stderr.startswith("error: p.json")
    assert message in done.stderr
    assert "make one with `harness topology calibrate`" in done.stderr


def test_without_back_ends_there_is_no_advice(harness):
    done = harness("topology", "advise")
    assert done.returncode == 2
    assert "--back-ends" in done.stderr


@pytest.mark.long
def test_a_calibration_is_written_printed_and_read_again(harness, tmp_path):
    done = harness("topology", "calibrate")
    assert done.returncode == 0, done.stderr
    assert "root mean square of the relative error" in done.stdout
    written = json.loads((tmp_path / "runs" / "topology-parameters.json").read_text())
    assert written["parameters"]["receive_s"] > 0
    assert written["parameters"]["receive_s_per_byte"] > 0
    document = json.loads(harness(*ADVISE, "--back-ends", "8", "--json").stdout)
    assert document["parameters"] == written["parameters"]
