"""Links and machines that are not all alike."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from statistics import mean

import pytest
from tiny import TWO_ARMS, Tiny

from harness.sim.model import Model
from harness.sim.places import Places, spread

LATENCY = 0.001
FLAT = (None, *[0] * 12)


def said(t: Tiny, size: int = 64) -> list[float]:
    """How long one frame from each child took to the front-end."""
    t.up()
    children = range(1, len(t.tree.nodes))
    for n in children:
        t.at(1.0, lambda n=n: t.say(n, 0, 1, size=size))
    t.run(20.0)
    return [t.times(n, 0)[0] - 1.0 for n in children]


def test_alike_is_the_default() -> None:
    places = Places(Model(bytes_per_s=5.0, turn_s=0.5), 1, [0, 1])
    assert places.alike and places.link(0, 1) == (1.0, 5.0) and places.turn_s(1) == 0.5
    assert said(Tiny(FLAT)) == pytest.approx([LATENCY] * 12)


def test_a_link_is_what_it_is_whoever_asks_and_when() -> None:
    model = Model(links_differ=8.0, bytes_per_s=1e6)
    one, other = Places(model, 7, [0] * 30), Places(model, 7, [0] * 30)
    pairs = [(a, b) for a in range(30) for b in range(a)]
    found = [one.link(a, b) for a, b in pairs]
    assert [other.link(b, a) for a, b in reversed(pairs)] == found[::-1]
    assert Places(model, 8, [0] * 30).link(1, 0) != one.link(1, 0)
    latencies, rates = [s for s, _ in found], [r / 1e6 for _, r in found]
    for drawn in (latencies, rates):
        assert 1 / 8 <= min(drawn) < 0.2 and 5 < max(drawn) <= 8
        assert abs(mean(math.log(x) for x in drawn)) < 0.2
    assert latencies != rates


def test_the_spread_is_even_on_both_sides() -> None:
    assert spread(10.0, 0) == pytest.approx(0.1, rel=1e-3) and spread(10.0, 4095) == pytest.approx(10.0, rel=1e-3)
    for k in range(0, 2048, 97):
        assert spread(10.0, k) * spread(10.0, 4095 - k) == pytest.approx(1.0)


def test_each_link_has_its_own_latency() -> None:
    t = Tiny(FLAT, links_differ=20.0)
    took = said(t)
    assert took == pytest.approx([LATENCY * t.world.places.link(0, n)[0] for n in range(1, 13)])
    assert max(took) > 3 * min(took)


def test_each_link_has_its_own_rate() -> None:
    t = Tiny(FLAT, links_differ=5.0, bytes_per_s=10_000.0)
    links = [t.world.places.link(0, n) for n in range(1, 13)]
    assert said(t, size=1000) == pytest.approx([LATENCY * stretch + 1000 / rate for stretch, rate in links])


def test_links_between_hosts_are_slower() -> None:
    t = Tiny(FLAT, between_hosts=8.0)
    t.world.places.hosts = [0, *[0, 1] * 6]
    assert said(t) == pytest.approx([LATENCY, LATENCY * 8] * 6)


def test_the_hosts_are_those_of_the_tree() -> None:
    t = Tiny(TWO_ARMS)
    assert t.world.places.hosts == [n.host for n in t.tree.nodes]


def test_a_rate_varies_from_frame_to_frame_around_its_mean() -> None:
    for kind, most in (("exponential", 9.1), ("uniform", 2.0)):
        t = Tiny(jitter=kind, rate_varies=1.0, bytes_per_s=10_000.0, buffer_bytes=1 << 30).up()
        for k in range(2000):
            t.at(1.0, lambda t=t, k=k: t.say(1, 0, k + 1, size=100))
        t.run(100.0)
        came = t.times(1, 0)
        took = [b - a for a, b in pairwise(came)]
        assert t.numbers(1, 0) == list(range(1, 2001))
        assert mean(took) == pytest.approx(0.01, rel=0.1) and max(took) <= 0.01 * most and min(took) < 0.001


def test_machines_have_speeds_of_their_own() -> None:
    t = Tiny(FLAT, turn_s=0.001, machines_differ=10.0)
    turns = [seat.turn_s for seat in t.world.seats]
    assert len(set(turns)) == 13 and 0.0001 <= min(turns) < 0.0003 and 0.003 < max(turns) <= 0.01
    assert [t.world.places.turn_s(n) for n in range(13)] == turns
    assert Places(replace(t.world.model, turn_s=0.0), 1, [0]).turn_s(0) == 0.0
