"""Plugins as they are found, sound and broken: each a distribution on the path, as an installer would leave it."""

from __future__ import annotations

import inspect

import pytest

from harness.api.errors import InfrastructureError, UsageError
from harness.registry import Category, Registry, load
from harness.registry.loading import BUILT_IN

FILTER = """
from dataclasses import dataclass
from harness.api.filters import Algebra, Codec
from harness.hookspecs import hookimpl

@dataclass(frozen=True)
class Product:
    '''Multiplies everything. And this is said no more.'''
    scale: float = 1.0

    @property
    def algebra(self):
        return Algebra(False, False, False, False)

    @property
    def codec(self):
        return Codec.ARRAY

    @property
    def elementwise(self):
        return True

    def lift(self, items, rank):
        return items

    def combine(self, parts, ranks):
        return parts[0]

    def fold(self, items):
        return items

    def lower(self, items, contributors):
        return items

@hookimpl
def harness_filters():
    return {"product": Product}
"""


BUILT_IN_KINDS = [
    pytest.param(kind, id=f"{category.value}-{name}")
    for category in Category
    for name, kind in load().kinds(category).items()
    if kind.origin.distribution == BUILT_IN
]


@pytest.mark.parametrize("kind", BUILT_IN_KINDS)
def test_every_built_in_kind_has_one_line_that_says_what_it_is(kind):
    paragraph = " ".join(inspect.getdoc(kind.cls).partition("\n\n")[0].split())
    assert f"{paragraph} ".startswith(f"{kind.summary}. "), "the first sentence is no sentence"
    assert kind.summary[0].isupper() and len(kind.summary) <= 120
    # A sentence of its own, beyond the names that stand beside it already.
    words = {word.strip("`.,:").lower() for word in kind.summary.split()}
    assert len(words - {"the", "a", kind.name, *kind.category.value.split("_")}) >= 3
    assert not kind.summary.startswith(tuple(f"{key}:" for key in kind.keys))


def only(registry):
    (plugin,) = registry.plugins
    return plugin


def test_a_sound_plugin_offers_its_kinds(install):
    registry = Registry(install("third-party", {"tp_filter": FILTER}, {"product": "tp_filter"}))
    plugin = only(registry)
    assert (plugin.broken, plugin.hooks) == (None, ["harness_filters"])
    kind = registry.kinds(Category.FILTER)["product"]
    assert (kind.summary, kind.keys, kind.required) == ("Multiplies everything", {"scale": 1.0}, [])
    assert (kind.origin.distribution, kind.origin.version, kind.origin.entry_point) == ("third-party", "1.0", "product")
    made = registry.make(Category.FILTER, {"kind": "product", "scale": 2})
    assert made.scale == 2.0


def test_making_reports_everything_at_once(install):
    registry = Registry(install("third-party", {"tp_filter": FILTER}, {"product": "tp_filter"}))
    with pytest.raises(UsageError) as caught:
        registry.make(Category.FILTER, {"kind": "product", "scale": "2", "scal": 1})
    assert caught.value.mistakes == [
        "filter.scale: must be a number, not the string '2'",
        "filter.scal: unknown key; did you mean 'scale'?",
    ]
    with pytest.raises(UsageError, match=r"^filter: unknown filter 'produkt'; did you mean 'product'\?"):
        registry.make(Category.FILTER, "produkt")


LOCAL = """
def make():
    @dataclass(frozen=True)
    class Local(Product):
        x: int = 0
    return Local

@dataclass(frozen=True)"""

BROKEN = {
    "raises at import": (
        "import nowhere_to_be_found\n",
        "raised ModuleNotFoundError when it was imported: No module named 'nowhere_to_be_found' (",
    ),
    "does not parse": ("def broken(:\n", "raised SyntaxError when it was imported: invalid syntax"),
    "leaves at import": ("raise SystemExit(3)\n", "raised SystemExit when it was imported: 3 ("),
    "a misspelt hook": (
        FILTER.replace("harness_filters", "harness_filter"),
        "'harness_filter' is marked as a hook, but there is none of this name: did you mean 'harness_filters'?",
    ),
    "a misspelt hook without its marker": (
        FILTER.replace("@hookimpl\ndef harness_filters", "def harness_filer"),
        "'harness_filer' looks like a hook, but there is none of this name: did you mean 'harness_filters'?",
    ),
    "a hook without its marker": (
        FILTER.replace("@hookimpl\n", ""),
        "hook 'harness_filters' lacks its marker; put @harness.hookspecs.hookimpl above it",
    ),
    "a hook of another name altogether": (
        FILTER.replace("harness_filters", "filters"),
        "'filters' is marked as a hook, but there is none of this name: did you mean 'harness_filters'?",
    ),
    "a hook with an argument that it is not given": (
        FILTER.replace("def harness_filters()", "def harness_filters(config)"),
        "hook 'harness_filters' takes 'config', but is given no arguments",
    ),
    "no hook": ("x = 1\n", "implements no hook; mark its hooks with @harness.hookspecs.hookimpl"),
    "a hook that raises": (
        FILTER.replace('return {"product": Product}', "return {}['none']"),
        "harness_filters raised KeyError: 'none' (",
    ),
    "a hook that returns a list": (
        FILTER.replace('return {"product": Product}', "return [Product]"),
        "harness_filters returned list; it must return a dictionary from name to class",
    ),
    "an instance for a class": (
        FILTER.replace('"product": Product}', '"product": Product()}'),
        "filter 'product' is Product(scale=1.0): it must be a class, not an instance",
    ),
    "a name that is none": (
        FILTER.replace('"product":', "3:"),
        "harness_filters names a kind by 3: the name must be a string",
    ),
    "no dataclass": (
        FILTER.replace("@dataclass(frozen=True)\n", ""),
        "filter 'product': class Product is no frozen dataclass; decorate it with @dataclass(frozen=True)",
    ),
    "a dataclass that can change": (
        FILTER.replace("@dataclass(frozen=True)", "@dataclass"),
        "filter 'product': class Product is no frozen dataclass; decorate it with @dataclass(frozen=True)",
    ),
    "a class that inherits its being a dataclass": (
        FILTER.replace("@hookimpl\n", "class Heir(Product):\n    more: int = 3\n\n@hookimpl\n").replace(
            '"product": Product', '"product": Heir'
        ),
        "filter 'product': class Heir is no frozen dataclass; decorate it with @dataclass(frozen=True)",
    ),
    "a missing method": (
        FILTER.replace("def fold(self, items)", "def fould(self, items)"),
        "filter 'product': class Product lacks the method 'fold(items)'",
    ),
    "a missing property": (
        FILTER.replace("def codec(self)", "def kodec(self)"),
        "filter 'product': class Product lacks the property 'codec'",
    ),
    "a method for a property": (
        FILTER.replace("    @property\n    def elementwise", "    def elementwise"),
        "filter 'product': 'elementwise' of class Product is a method; make it a property",
    ),
    "a method with too few arguments": (
        FILTER.replace("def combine(self, parts, ranks)", "def combine(self, parts)"),
        "filter 'product': 'combine(parts)' of class Product does not take what it is given: combine(parts, ranks)",
    ),
    "a key with a meaning of its own": (
        FILTER.replace("    scale: float = 1.0", "    kind: float = 1.0"),
        "filter 'product': field 'kind' of class Product has a meaning of its own in a suite; rename it",
    ),
    "a class that cannot travel": (
        FILTER.replace(
            "@dataclass(frozen=True)",
            LOCAL,
        ).replace('"product": Product', '"product": make()'),
        "filter 'product': class Local is defined inside a function, so it cannot be sent to another process",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_set_aside_with_the_reason(name, install):
    source, reason = BROKEN[name]
    module = "tp_" + "".join(c if c.isalnum() else "_" for c in name)
    registry = Registry(install("third-party", {module: source}, {"product": module}))
    plugin = only(registry)
    assert plugin.broken is not None
    assert plugin.broken.startswith(reason), plugin.broken
    assert registry.broken == [plugin]
    assert all(not registry.kinds(category) for category in Category)


def test_one_broken_plugin_leaves_the_others_alone(install):
    points = install("a-broken-one", {"tp_broken": "1 / 0\n"}, {"oops": "tp_broken"})
    points += install("a-sound-one", {"tp_sound": FILTER}, {"product": "tp_sound"})
    registry = Registry(points)
    assert [p.origin.distribution for p in registry.broken] == ["a-broken-one"]
    assert list(registry.kinds(Category.FILTER)) == ["product"]
    with pytest.raises(UsageError) as caught:
        registry.make(Category.FILTER, "quotient")
    assert "broken plugins, which may have had it: 'oops' of 'a-broken-one'; see `harness plugin list`" in str(caught.value)


def test_asking_for_a_kind_of_a_broken_plugin_says_whose_it_is_and_why(install):
    source = FILTER.replace("def fold(self, items)", "def fould(self, items)")
    registry = Registry(install("third-party", {"tp_half": source}, {"product": "tp_half"}))
    with pytest.raises(UsageError) as caught:
        registry.make(Category.FILTER, "product")
    assert str(caught.value) == (
        "filter: unknown filter 'product'; entry point 'product' (tp_half) of distribution 'third-party' offers it, but is "
        "broken: filter 'product': class Product lacks the method 'fold(items)'"
    )


def test_of_two_plugins_with_one_kind_neither_is_used(install):
    points = install("one", {"tp_one": FILTER}, {"a": "tp_one"}) + install("two", {"tp_two": FILTER}, {"b": "tp_two"})
    registry = Registry(points)
    change = "rename it, or uninstall one of the two"
    assert [p.broken for p in registry.plugins] == [
        f"offers filter 'product', as does entry point 'b' (tp_two) of distribution 'two'; {change}",
        f"offers filter 'product', as does entry point 'a' (tp_one) of distribution 'one'; {change}",
    ]
    with pytest.raises(UsageError, match=r"entry point 'a' .* offers it, but is broken"):
        registry.make(Category.FILTER, "product")


def test_nobody_takes_over_a_built_in_kind(install):
    points = install("harness", {"tp_builtin": FILTER}, {"a": "tp_builtin"}) + install(
        "two", {"tp_two": FILTER}, {"b": "tp_two"}
    )
    registry = Registry(points)
    assert [p.broken is None for p in registry.plugins] == [True, False]
    assert registry.kinds(Category.FILTER)["product"].origin.distribution == "harness"


def test_one_module_behind_two_entry_points(install):
    registry = Registry(install("third-party", {"tp_twice": FILTER}, {"a": "tp_twice", "b": "tp_twice"}))
    assert sorted(p.broken or "" for p in registry.plugins) == [
        "",
        "tp_twice is registered already through another entry point; remove one of the two",
    ]


def test_a_fault_may_not_shadow_what_every_fault_has(install):
    source = """
from dataclasses import dataclass
from harness.hookspecs import hookimpl

@dataclass(frozen=True)
class Bad:
    at_s: float = 1.0
    @property
    def needs(self):
        return frozenset()
    def plan(self, index, targets, trigger, tree, rng):
        return []

@hookimpl
def harness_faults():
    return {"bad": Bad}
"""
    registry = Registry(install("third-party", {"tp_fault": source}, {"bad": "tp_fault"}))
    assert only(registry).broken == "fault 'bad': field 'at_s' of class Bad has a meaning of its own in a suite; rename it"


def test_a_plugin_whose_types_no_file_can_hold_is_reported_when_it_is_used(install):
    source = FILTER.replace("scale: float = 1.0", "scale: 'Nothing' = None")
    registry = Registry(install("third-party", {"tp_types": source}, {"product": "tp_types"}))
    with pytest.raises(UsageError) as caught:
        registry.make(Category.FILTER, {"kind": "product", "scale": 1})
    assert str(caught.value) == (
        "filter: the annotations of Product cannot be resolved: name 'Nothing' is not defined; this is a mistake in the plugin"
    )


def test_a_plugin_that_raises_something_unexpected_is_named(install):
    source = FILTER.replace(
        "    @property\n    def algebra", "    def __post_init__(self):\n        {}['x']\n\n    @property\n    def algebra"
    )
    registry = Registry(install("third-party", {"tp_raises": source}, {"product": "tp_raises"}))
    with pytest.raises(UsageError, match=r"^filter: Product raised KeyError: 'x'; this is a mistake in the plugin$"):
        registry.make(Category.FILTER, "product")


JUDGE = """
from harness.hookspecs import hookimpl

@hookimpl
def harness_report(run_dir, width):
    return ({"run": run_dir.name, "exit_code": 0}, "x" * width) if run_dir.name == "mine" else None

@hookimpl
def harness_judge(record, trial):
    return {"passed": True, "trial": trial["trial"]} if trial["trial"] == "mine" else None
"""


def test_reports_and_verdicts_come_from_whoever_has_one(install, tmp_path):
    registry = Registry(install("third-party", {"tp_judge": JUDGE}, {"judge": "tp_judge"}))
    assert registry.report(tmp_path / "mine", 5) == ({"run": "mine", "exit_code": 0}, "xxxxx")
    assert registry.judge(None, {"trial": "mine"})["passed"] is True
    with pytest.raises(UsageError, match=r"no plugin can report on it \(hook harness_report\); see `harness plugin list`"):
        registry.report(tmp_path / "other", 80)
    with pytest.raises(InfrastructureError, match=r"no plugin judges a trial \(hook harness_judge\)"):
        registry.judge(None, {"trial": "other"})


def test_nothing_installed_says_how_to_install():
    with pytest.raises(UsageError, match=r"^transport: unknown transport 'tcp'; no plugin is installed at all; .*make setup"):
        Registry([]).make(Category.TRANSPORT, "tcp")
