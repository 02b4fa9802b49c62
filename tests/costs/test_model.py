"""Laws that every prediction obeys, whatever the parameters are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_parameters import SOME

from harness.core.tree import Tree
from harness.costs.model import Load, Place, cpu_s, predict, unhindered, work
from harness.costs.parameters import DEFAULTS, Parameters
from harness.costs.reliability import reliability
from harness.costs.shape import shape_of, shape_of_fanouts, shape_of_levels

FANOUTS = st.lists(st.integers(1, 6), min_size=1, max_size=4)
SIZES = st.sampled_from([1, 8, 1000, 32 << 10, 64 << 10, 1 << 20, 5 << 20])
CORES = st.sampled_from([1, 2, 8, 1000])


@st.composite
def trees(draw):
    parents: list[int | None] = [None]
    for i in range(1, draw(st.integers(2, 25))):
        parents.append(draw(st.integers(0, i - 1)))
    return Tree.from_parents(parents)


@given(tree=trees())
def test_a_shape_counts_as_its_tree(tree):
    shape = shape_of(tree)
    assert (shape.nodes, shape.back_ends, shape.communication) == (
        len(tree.nodes),
        len(tree.back_ends),
        len(tree.communication),
    )
    assert shape.depth == tree.depth
    assert shape.fanout(-1) == len(tree.nodes[0].children)


@given(tree=trees(), size=SIZES, cores=CORES)
def test_the_work_of_a_shape_is_that_of_all_nodes_of_its_tree(tree, size, cores):
    nodes = (cpu_s(work(Place(len(n.children), n.id == 0, tree.depth > 1), Load(size), False), SOME) for n in tree.nodes)
    assert predict(shape_of(tree), Load(size), SOME, cores).cpu_s_per_wave == pytest.approx(sum(nodes))


@given(fanouts=FANOUTS)
def test_the_same_tree_has_one_signature_however_it_was_built(fanouts):
    levels, width = [], 1
    for fanout in fanouts:
        levels.append([fanout] * width)
        width *= fanout
    mirrored = shape_of_levels([list(reversed(level)) for level in levels])
    assert shape_of_levels(levels).signature == shape_of_fanouts(fanouts).signature == mirrored.signature
    assert shape_of_fanouts([*fanouts, 2]).signature != shape_of_fanouts(fanouts).signature


@given(fanouts=FANOUTS, level=st.integers(0, 3), size=SIZES, cores=CORES)
def test_one_more_child_each_never_makes_a_tree_faster(fanouts, level, size, cores):
    wider = list(fanouts)
    wider[level % len(fanouts)] += 1
    before, after = (predict(shape_of_fanouts(f), Load(size, size), SOME, cores) for f in (fanouts, wider))
    assert after.latency_s >= before.latency_s * (1 - 1e-9)
    assert after.throughput_waves_s <= before.throughput_waves_s * (1 + 1e-9)
    assert after.cpu_s_per_wave > before.cpu_s_per_wave


@given(fanouts=FANOUTS, sizes=st.tuples(SIZES, SIZES), cores=CORES)
def test_larger_items_never_go_faster(fanouts, sizes, cores):
    less, more = (predict(shape_of_fanouts(fanouts), Load(s, 16), SOME, cores) for s in sorted(sizes))
    assert more.latency_s >= less.latency_s * (1 - 1e-9)
    assert more.throughput_waves_s <= less.throughput_waves_s * (1 + 1e-9)


@given(fanouts=FANOUTS, size=SIZES, cores=st.integers(1, 64))
def test_more_cores_never_make_a_tree_slower_and_never_beat_its_longest_chain(fanouts, size, cores):
    shape = shape_of_fanouts(fanouts)
    some, more, endless = (predict(shape, Load(size), SOME, c) for c in (cores, cores + 1, 10**6))
    assert more.latency_s <= some.latency_s * (1 + 1e-9)
    assert more.throughput_waves_s >= some.throughput_waves_s * (1 - 1e-9)
    assert endless.latency_s == pytest.approx(unhindered(shape, Load(size), SOME)[1] + 2 * shape.depth * SOME.latency_s)


@given(fanouts=FANOUTS, size=SIZES)
def test_one_core_does_the_work_of_all(fanouts, size):
    prediction = predict(shape_of_fanouts(fanouts), Load(size), SOME, 1)
    assert prediction.throughput_waves_s <= 1 / prediction.cpu_s_per_wave * (1 + 1e-9)
    assert prediction.throughput_bound in ("cores", "window")
    assert prediction.latency_s >= unhindered(shape_of_fanouts(fanouts), Load(size), SOME)[0]


def test_on_one_core_flat_is_best_and_on_many_it_is_not():
    flat, deep = shape_of_fanouts([256]), shape_of_fanouts([16, 16])
    for load in (Load(), Load(1 << 20, 16)):
        one = [predict(s, load, SOME, 1) for s in (flat, deep)]
        many = [predict(s, load, SOME, 512) for s in (flat, deep)]
        assert one[0].latency_s < one[1].latency_s
        assert one[0].throughput_waves_s > one[1].throughput_waves_s
        assert many[0].latency_s > many[1].latency_s
        assert many[0].throughput_waves_s < many[1].throughput_waves_s
    assert predict(flat, Load(1 << 20), SOME, 512).throughput_bound == "front-end"


def test_with_many_cores_there_is_a_number_of_children_above_which_flat_loses():
    better = [
        predict(shape_of_fanouts([n]), Load(), SOME, 10**6).latency_s
        < predict(shape_of_fanouts([4, n // 4]), Load(), SOME, 10**6).latency_s
        for n in (4, 8, 16, 32, 64, 128)
    ]
    assert better == sorted(better, reverse=True)
    assert (better[0], better[-1]) == (True, False)


def test_a_flat_tree_by_hand():
    """Front-end with 3 back-ends, an item and a request of 1000 bytes."""
    p, shape, load = SOME, shape_of_fanouts([3]), Load(1000, 1000)
    down, up = p.send_s + 1000 * p.send_s_per_byte, p.receive_s + 1000 * p.receive_s_per_byte
    front = 3 * (down + up) + 2000 * p.filter_s_per_byte + p.turn_s + p.deliver_s + 1000 * p.deliver_s_per_byte
    back = p.receive_s + 1000 * p.request_receive_s_per_byte + p.turn_s
    back += p.send_s + 1000 * (p.send_s_per_byte + p.offer_s_per_byte)
    total, chain = unhindered(shape, load, p)
    assert total == pytest.approx(front + 3 * back)
    assert chain >= front
    assert predict(shape, load, p, 1).latency_s == pytest.approx(front + 3 * back + 2 * p.latency_s)


def test_a_slow_link_becomes_the_bound():
    slow = replace(SOME, gap_s_per_byte=8e-9)
    assert predict(shape_of_fanouts([4, 4]), Load(1 << 20), slow, 64).throughput_bound == "link"
    assert predict(shape_of_fanouts([4, 4]), Load(1 << 20), SOME, 64).throughput_bound != "link"


@pytest.mark.parametrize("name", ["item_bytes", "request_bytes"])
def test_a_load_without_bytes_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} = 0 must be at least 1"):
        Load(**{name: 0})


def test_a_machine_without_cores_is_refused():
    with pytest.raises(ValueError, match="cores = 0 must be at least 1"):
        predict(shape_of_fanouts([2]), Load(), SOME, 0)


def test_parameters_come_back_from_json_and_wrong_ones_are_named():
    assert Parameters.from_json(DEFAULTS.to_json()) == DEFAULTS
    with pytest.raises(ValueError, match="missing: latency_s; unknown: latency"):
        Parameters.from_json({"latency" if k == "latency_s" else k: v for k, v in SOME.to_json().items()})
    for wrong in (-1.0, float("nan"), "1", True):
        with pytest.raises(ValueError, match=r"turn_s = .* must be a finite number of seconds"):
            Parameters.from_json({**SOME.to_json(), "turn_s": wrong})
    with pytest.raises(ValueError, match="receive_s = 0 must be above 0"):
        Parameters.from_json({**SOME.to_json(), "receive_s": 0.0})


def _failing(fanouts, rate):
    shape, load = shape_of_fanouts(fanouts), Load(64 << 10)
    return reliability(shape, load, predict(shape, load, SOME, 8), rate)


def test_without_failures_nothing_is_disturbed():
    calm = _failing([4, 4], 0.0)
    assert (calm.disturbed_fraction, calm.down_fraction, calm.waiting_s, calm.failures_per_hour) == (0, 0, 0, 0)


def test_more_failures_and_more_processes_disturb_more_waves():
    assert 0 < _failing([4, 4], 0.1).disturbed_fraction < _failing([4, 4], 1.0).disturbed_fraction < 1
    assert _failing([16], 1.0).failures_per_hour < _failing([4, 4], 1.0).failures_per_hour
    assert _failing([16], 1.0).disturbed_fraction < _failing([4, 4], 1.0).disturbed_fraction


def test_a_communication_process_with_more_children_takes_longer_to_replace():
    """The part of the down time that communication processes cause, for 32 back-ends below two or sixteen of them."""

    def each(fanouts):
        ours = _failing(fanouts, 1.0)
        flat = _failing([32], 1.0)
        inner = fanouts[0]
        return (ours.recovery_s * (32 + inner) - flat.recovery_s * 32) / inner

    assert each([2, 16]) > each([16, 2]) > 0


def test_a_rate_that_is_none_is_refused():
    with pytest.raises(ValueError, match="failures_per_node_hour = -1"):
        _failing([2], -1.0)
