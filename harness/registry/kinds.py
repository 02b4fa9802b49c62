"""What plugins offer: categories, kinds, and where each came from."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from harness.api.adopter import Adopter
from harness.api.fault import Fault
from harness.api.filters import DownFilter, Filter
from harness.api.testbed import Testbed
from harness.api.topology import Topology
from harness.api.transport import Transport
from harness.api.workload import Workload
from harness.registry.construct import construct, fields_of, plain
from harness.registry.mistakes import Mistakes


class Category(StrEnum):
    """What a kind is a kind of; the value is its name in a suite and on the command line."""

    TRANSPORT = "transport"
    TOPOLOGY = "topology"
    FILTER = "filter"
    DOWN_FILTER = "down_filter"
    ADOPTER = "adopter"
    WORKLOAD = "workload"
    FAULT = "fault"
    TESTBED = "testbed"

    @property
    def hook(self) -> str:
        """The hook that offers kinds of this category."""
        return "harness_topologies" if self is Category.TOPOLOGY else f"harness_{self.value}s"

    @property
    def protocol(self) -> type:
        """What a class must look like to be a kind of this category."""
        return _PROTOCOLS[self]


_PROTOCOLS: Mapping[Category, type] = {
    Category.TRANSPORT: Transport,
    Category.TOPOLOGY: Topology,
    Category.FILTER: Filter,
    Category.DOWN_FILTER: DownFilter,
    Category.ADOPTER: Adopter,
    Category.WORKLOAD: Workload,
    Category.FAULT: Fault,
    Category.TESTBED: Testbed,
}


#: Keys beside a kind's own, which no field may shadow.
RESERVED: Mapping[Category, frozenset[str]] = {
    category: frozenset({"kind", "target", "at_s", "at_wave", "moment", "at_event"} if category is Category.FAULT else {"kind"})
    for category in Category
}


@dataclass(frozen=True)
class Origin:
    """Where a plugin comes from: distribution, its version, entry point name and value."""

    distribution: str
    version: str
    entry_point: str
    target: str

    def __str__(self) -> str:
        return f"entry point '{self.entry_point}' ({self.target}) of distribution '{self.distribution}'"


@dataclass(frozen=True)
class Kind:
    """One named class of a category. `summary` is the first sentence of its docstring."""

    category: Category
    name: str
    cls: type
    origin: Origin

    @property
    def summary(self) -> str:
        """The first sentence of the class's docstring, empty where it has none of its own."""
        text = inspect.cleandoc(self.cls.__dict__.get("__doc__") or "")
        sentence = " ".join(text.partition("\n\n")[0].split()).partition(". ")[0].removesuffix(".")
        return "" if text.startswith(f"{self.cls.__name__}(") else sentence

    @property
    def keys(self) -> dict[str, Any]:
        """Its TOML keys and their defaults as plain values; None where there is no default, or none that a file can hold."""
        return {name: _finite(plain(info.default)) for name, info in fields_of(self.cls).items()}

    @property
    def example_keys(self) -> dict[str, Any] | None:
        """The keys that must be given with an example of each, as plain values; None where the class has none of one."""
        needed = [info for info in fields_of(self.cls).values() if info.required]
        return None if any(info.example is None for info in needed) else {info.name: info.example for info in needed}

    def example(self) -> Any:
        """An instance with these keys; None where there is none."""
        keys = self.example_keys
        return None if keys is None else construct(self.cls, keys, "", Mistakes())

    @property
    def required(self) -> list[str]:
        """The keys that must be given."""
        return [name for name, info in fields_of(self.cls).items() if info.required]


@dataclass
class Plugin:
    """One entry point. `broken` is the reason why nothing of it can be used; None where it is sound."""

    origin: Origin
    module: Any = None
    hooks: list[str] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    broken: str | None = None


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def flaws(category: Category, name: object, cls: object) -> Iterator[str]:
    """What keeps `cls` from being the kind `name` of `category`, one reason each."""
    if not isinstance(name, str) or not name:
        yield f"{category.hook} names a kind by {name!r}: the name must be a string"
        return
    what = f"{category.value} '{name}'"
    if not isinstance(cls, type):
        yield f"{what} is {cls!r}: it must be a class, not an instance"
        return
    params = getattr(cls, "__dataclass_params__", None)
    if params is None or "__dataclass_params__" not in cls.__dict__ or not params.frozen:
        yield f"{what}: class {cls.__name__} is no frozen dataclass; decorate it with @dataclass(frozen=True)"
        return
    if "<locals>" in cls.__qualname__:
        yield f"{what}: class {cls.__name__} is defined inside a function, so it cannot be sent to another process"
    taken = RESERVED[category] & fields_of(cls).keys()
    if taken:
        yield f"{what}: field '{min(taken)}' of class {cls.__name__} has a meaning of its own in a suite; rename it"
    for member, wanted in _members(category.protocol).items():
        yield from (f"{what}: {flaw}" for flaw in _member_flaws(cls, member, wanted))


def _members(protocol: type) -> dict[str, Any]:
    return {n: v for n, v in vars(protocol).items() if not n.startswith("_") and (callable(v) or isinstance(v, property))}


def _member_flaws(cls: type, member: str, wanted: Any) -> Iterator[str]:
    found = inspect.getattr_static(cls, member, None)
    if isinstance(wanted, property):
        if found is None and member not in {f.name for f in dataclasses.fields(cls)}:
            yield f"class {cls.__name__} lacks the property '{member}'"
        elif inspect.isfunction(found):
            yield f"'{member}' of class {cls.__name__} is a method; make it a property"
        return
    if found is None:
        yield f"class {cls.__name__} lacks the method '{member}{_signature(wanted)}'"
        return
    call = getattr(cls, member) if isinstance(found, (staticmethod, classmethod)) else found
    if not callable(call):
        yield f"'{member}' of class {cls.__name__} is no method"
    elif not _accepts(call, wanted, bound=call is not found):
        given = f"{member}{_signature(wanted)}"
        yield f"'{member}{_signature(call)}' of class {cls.__name__} does not take what it is given: {given}"


def _signature(function: Any) -> str:
    parameters = [p.replace(annotation=inspect.Parameter.empty) for p in inspect.signature(function).parameters.values()]
    return str(inspect.Signature([p for p in parameters if p.name != "self"]))


def _accepts(found: Any, wanted: Any, bound: bool) -> bool:
    """Whether `found` can be called in the way that the protocol's method `wanted` is."""
    parameters = list(inspect.signature(wanted).parameters.values())[1 if bound else 0 :]
    positional = [p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    named = {p.name: None for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    try:
        inspect.signature(found).bind(*positional, **named)
    except TypeError:
        return False
    return True
