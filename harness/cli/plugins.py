"""`harness plugin list` and `harness plugin check`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from harness.api.errors import ExitCode, UsageError
from harness.cli.common import print_json
from harness.cli.spec import spec_of
from harness.registry import Category, Kind, Plugin, Registry, load
from harness.registry.mistakes import nearest

if TYPE_CHECKING:
    from harness.testing.outcome import CheckOutcome

#: The categories that have a conformance kit.
CHECKED = (Category.TRANSPORT, Category.FILTER, Category.DOWN_FILTER, Category.TOPOLOGY, Category.ADOPTER)


def show(as_json: bool) -> ExitCode:
    """List all kinds and all broken plugins."""
    registry = load()
    if as_json:
        print_json({"plugins": [_plugin_json(p) for p in registry.plugins]})
    else:
        sys.stdout.write("\n".join(_listed(registry)) + "\n")
    return ExitCode.PASSED


def _listed(registry: Registry) -> Iterator[str]:
    width = max([len(name) for category in Category for name in registry.kinds(category)], default=0)
    for category in Category:
        kinds = registry.kinds(category)
        yield f"{category.value} ({len(kinds)})"
        for name in sorted(kinds):
            kind = kinds[name]
            foreign = "" if kind.origin.distribution == "harness" else f" [{kind.origin.distribution}]"
            yield f"  {name:<{width}}  {kind.summary}{foreign}"
            keys = ", ".join(_key(k, v, k in kind.required) for k, v in kind.keys.items())
            if keys:
                yield f"  {'':<{width}}  keys: {keys}"
    for plugin in registry.broken:
        yield ""
        yield f"broken: {plugin.origin}"
        yield f"  {plugin.broken}"
    if not registry.plugins:
        yield "no plugin is installed at all; install the project with `make setup`"


def _key(name: str, default: Any, required: bool) -> str:
    return f"{name} (required)" if required else f"{name} = {'none' if default is None else _toml(default)}"


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case list():
            return "[" + ", ".join(_toml(v) for v in value) + "]"
        case _:
            return str(value)


def _plugin_json(plugin: Plugin) -> dict[str, Any]:
    origin = plugin.origin
    return {
        "distribution": origin.distribution,
        "version": origin.version,
        "entry_point": origin.entry_point,
        "target": origin.target,
        "hooks": plugin.hooks,
        "kinds": [] if plugin.broken else [_kind_json(k) for k in plugin.kinds],
        "broken": plugin.broken,
    }


def _kind_json(kind: Kind) -> dict[str, Any]:
    return {
        "category": kind.category.value,
        "kind": kind.name,
        "keys": kind.keys,
        "required": kind.required,
        "summary": kind.summary,
    }


def check(category: str, kind: str, keys: Sequence[str], as_json: bool, seed: int, examples: int) -> ExitCode:
    """Run the conformance kit of a category on one kind."""
    known = [c.value for c in CHECKED]
    if category not in known:
        raise UsageError(f"there are no checks for '{category}'; {nearest(category, known, 'categories')}")
    registry = load()
    spec = spec_of(kind, keys, registry.kinds(Category(category)))
    plugin = registry.make(Category(category), spec)
    outcomes = _outcomes(Category(category), plugin, seed, examples)
    failed = [o for o in outcomes if o.passed is False]
    skipped = all(o.passed is None for o in outcomes)
    code = ExitCode.CHECK_FAILED if failed else ExitCode.INCONCLUSIVE if skipped else ExitCode.PASSED
    if as_json:
        checks = [{"name": o.name, "passed": o.passed, "message": o.message, "took_s": o.took_s} for o in outcomes]
        print_json(
            {"category": category, **spec, "passed": not failed and not skipped, "exit_code": int(code), "checks": checks}
        )
    else:
        sys.stdout.write("\n".join(_checked(outcomes)) + "\n")
    return code


def _outcomes(category: Category, plugin: Any, seed: int, examples: int) -> list[CheckOutcome]:
    if category is Category.TRANSPORT:
        from harness.testing import transports

        return transports.run_checks(plugin)
    if category in (Category.FILTER, Category.DOWN_FILTER):
        from harness.testing import filters

        run_checks = filters.run_checks if category is Category.FILTER else filters.run_down_checks
        return run_checks(plugin, seed=seed, examples=examples)
    if category is Category.ADOPTER:
        from harness.testing import adopters

        return adopters.run_checks(plugin, seed=seed)
    from harness.testing import topologies

    return topologies.run_checks(plugin)


def _checked(outcomes: Sequence[CheckOutcome]) -> Iterator[str]:
    width = max((len(o.name) for o in outcomes), default=0)
    words = {True: "ok", False: "FAILED", None: "skipped"}
    for o in outcomes:
        message = f"  {o.message}" if o.message else ""
        yield f"{words[o.passed]:<8} {o.name:<{width}}  {o.took_s * 1000:7.1f} ms{message}"
    failed = sum(o.passed is False for o in outcomes)
    skipped = sum(o.passed is None for o in outcomes)
    yield f"{len(outcomes) - failed - skipped} passed, {failed} failed, {skipped} skipped"
