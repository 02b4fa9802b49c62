"""What a report says of back-ends that come and go."""

from __future__ import annotations

from typing import Any

from harness_results.comings import MOST, comings, text_of

EVENTS: list[dict[str, Any]] = [
    {"kind": "absent", "t_s": 0.0, "members": [3, 4], "ranks": [0, 1]},
    {"kind": "admitted", "t_s": 0.5, "member": 3, "ranks": [0], "life": 0, "first": {"1": 30, "2": 28}},
    {"kind": "joined", "t_s": 0.6, "member": 3, "parent": 1},
    {"kind": "left", "t_s": 0.75, "member": 5, "ranks": [2], "first": {"1": 44}},
    {"kind": "admitted", "t_s": 1.0, "member": 4, "ranks": [1], "life": 0, "first": {}},
]


def test_each_order_is_told() -> None:
    assert text_of(comings(EVENTS)) == (
        "node 3 was not there at the start; node 4 was not there at the start; node 3 was let in at 0.500 s, "
        "from wave 28 to 30 on; node 5 left at 0.750 s, from wave 44 on; node 4 was let in at 1.000 s"
    )


def test_nobody_and_many() -> None:
    assert text_of(comings([])) == ""
    many = [{"kind": "left", "t_s": 1.0, "member": n, "ranks": [n], "first": {}} for n in range(MOST + 2)]
    assert text_of(comings(many)).endswith("; and 2 more")
