"""Typed construction, there and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from harness.registry.construct import Chosen, choose_class, construct, plain
from harness.registry.mistakes import Mistakes, described, nearest


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    low: float
    high: float = 1.0


@dataclass(frozen=True)
class Outer:
    count: int
    ratio: float = 0.5
    flag: bool = False
    name: str = "x"
    colour: Colour = Colour.RED
    order: Literal["up", "down"] = "up"
    shape: tuple[int, ...] = ()
    pair: tuple[int, str] | None = None
    inner: Inner | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    either: int | str = 0
    limit: float = float("inf")
    derived: int = field(init=False, default=9)


tables = st.fixed_dictionaries(
    {"count": st.integers()},
    optional={
        "ratio": st.floats(allow_nan=False, allow_infinity=False),
        "flag": st.booleans(),
        "name": st.text(),
        "colour": st.sampled_from(["red", "blue"]),
        "order": st.sampled_from(["up", "down"]),
        "shape": st.lists(st.integers(), max_size=3),
        "pair": st.tuples(st.integers(), st.text()).map(list),
        "inner": st.fixed_dictionaries({"low": st.floats(0, 1)}, optional={"high": st.floats(0, 1)}),
        "weights": st.dictionaries(st.text(), st.floats(0, 1), max_size=3),
        "either": st.one_of(st.integers(), st.text()),
    },
)


@given(tables)
def test_a_table_made_from_an_instance_makes_the_instance_again(table):
    mistakes = Mistakes()
    made = construct(Outer, table, "t", mistakes)
    assert mistakes.lines == []
    again = choose_class("outer", Outer, Chosen("outer", made).table, "t", mistakes)
    assert mistakes.lines == []
    assert again.value == made
    for key, value in table.items():
        if key != "inner":
            assert plain(made)[key] == value


junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@given(st.dictionaries(st.sampled_from([*Outer.__dataclass_fields__, "nonsense"]), junk))
def test_any_table_gives_an_instance_or_mistakes_and_never_both(table):
    mistakes = Mistakes()
    made = construct(Outer, table, "t", mistakes)
    assert (made is None) == bool(mistakes)
    if made is not None:
        assert isinstance(made.count, int)
        assert not isinstance(made.count, bool)
        assert isinstance(made.ratio, float)
        assert isinstance(made.shape, tuple)


def test_keys_that_are_not_of_the_constructor_are_unknown():
    mistakes = Mistakes()
    assert construct(Outer, {"count": 1, "derived": 2}, "", mistakes) is None
    assert mistakes.lines[0].startswith("derived: unknown key; known keys: colour, count,")


def test_lists_of_a_fixed_length_and_unions_are_checked():
    mistakes = Mistakes()
    construct(Outer, {"count": 1, "pair": [1], "either": 1.5}, "t", mistakes)
    assert mistakes.lines == [
        "t.pair: must be a list of 2 values, not of 1",
        "t.either: must be an integer or a string, not the number 1.5",
    ]


def test_an_endless_default_is_left_out_of_the_plain_table():
    assert "limit" not in Chosen("outer", Outer(1)).table


def test_the_path_of_a_key_can_be_another():
    mistakes = Mistakes()
    construct(Outer, {"count": "a"}, "t", mistakes, {"count": "t.count[3]"})
    assert mistakes.lines == ["t.count[3]: must be an integer, not the string 'a'"]


def test_hints_name_the_nearest_or_all():
    assert nearest("wavs", ["waves", "rate"], "keys") == "did you mean 'waves'?"
    assert nearest("zzz", ["waves", "rate"], "keys") == "known keys: rate, waves"
    assert nearest("zzz", [], "keys") == "there are no keys"


def test_values_are_shown_short():
    assert described("x" * 100) == "a long string"
    assert described([]) == "an empty list"
    assert described({}) == "a table"
