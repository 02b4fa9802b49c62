"""Plugins from entry points: imported, checked one by one, and set aside with a reason where something is wrong."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from harness.hookspecs import GROUP, Hooks
from harness.registry.kinds import Category, Kind, Origin, Plugin, flaws
from harness.registry.mistakes import nearest

#: The distribution whose kinds nobody else can take over.
BUILT_IN = "harness"
HOOKS = tuple(sorted(name for name in vars(Hooks) if name.startswith("harness_")))


def installed() -> list[EntryPoint]:
    """The entry points of the group `harness`, the built-in ones first, then by distribution and name."""

    def order(point: EntryPoint) -> tuple[bool, str, str]:
        distribution = _origin(point).distribution
        return distribution != BUILT_IN, distribution, point.name

    return sorted(entry_points(group=GROUP), key=order)


def load_plugins(points: Iterable[EntryPoint]) -> tuple[list[Plugin], pluggy.PluginManager]:
    """Import and check the plugins behind `points`. Never raises for what a plugin does: such a one is marked broken."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    plugins = []
    for point in points:
        plugin = Plugin(_origin(point))
        plugins.append(plugin)
        plugin.broken = _imported(plugin, point) or _registered(plugin, manager) or _offered(plugin, manager)
        if plugin.broken and plugin.module is not None and manager.is_registered(plugin.module):
            manager.unregister(plugin.module)
    _settle_conflicts(plugins, manager)
    return plugins, manager


def _origin(point: EntryPoint) -> Origin:
    dist = point.dist
    return Origin(dist.name if dist else "unknown", dist.version if dist else "", point.name, point.value)


def _imported(plugin: Plugin, point: EntryPoint) -> str | None:
    try:
        plugin.module = point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a plugin raises, even SystemExit, is its own failure and not ours
        return f"raised {type(error).__name__} when it was imported: {error}{_where(error)}"
    return None


def _where(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename and f.filename != __file__]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _registered(plugin: Plugin, manager: pluggy.PluginManager) -> str | None:
    """Check the names of the module's hooks, and give them to pluggy."""
    wrong = list(_misnamed(plugin.module))
    if wrong:
        return "; ".join(wrong)
    try:
        manager.register(plugin.module, name=str(plugin.origin))
    except pluggy.PluginValidationError as error:
        return " ".join(str(error).split())
    except ValueError:
        return f"{plugin.origin.target} is registered already through another entry point; remove one of the two"
    plugin.hooks = sorted(caller.name for caller in manager.get_hookcallers(plugin.module) or ())
    if not plugin.hooks:
        return "implements no hook; mark its hooks with @harness.hookspecs.hookimpl"
    return None


def _misnamed(module: Any) -> Iterator[str]:
    for name in dir(module):
        value = inspect.getattr_static(module, name)
        marked = getattr(value, f"{GROUP}_impl", None) is not None
        if marked and name in HOOKS:
            yield from _surplus_arguments(name, value)
        elif marked:
            yield f"'{name}' is marked as a hook, but there is none of this name: {nearest(name, HOOKS, 'hooks')}"
        elif not marked and name.startswith(f"{GROUP}_") and inspect.isroutine(value):
            if name in HOOKS:
                yield f"hook '{name}' lacks its marker; put @harness.hookspecs.hookimpl above it"
            elif getattr(value, "__module__", "") == getattr(module, "__name__", None):
                yield f"'{name}' looks like a hook, but there is none of this name: {nearest(name, HOOKS, 'hooks')}"


def _surplus_arguments(name: str, hook: Any) -> Iterator[str]:
    """A hook is called with the arguments of its specification, of which a function may take fewer, but no others."""
    given = list(inspect.signature(getattr(Hooks, name)).parameters)[1:]
    for argument in inspect.signature(hook).parameters:
        if argument not in given:
            yield f"hook '{name}' takes '{argument}', but is given {', '.join(given) or 'no arguments'}"


def _offered(plugin: Plugin, manager: pluggy.PluginManager) -> str | None:
    """Ask the plugin for its kinds, and check each of them."""
    wrong: list[str] = []
    for category in Category:
        if category.hook not in plugin.hooks:
            continue
        implementation = next(i for i in getattr(manager.hook, category.hook).get_hookimpls() if i.plugin is plugin.module)
        try:
            offered = implementation.function()
        except Exception as error:  # a plugin's own code: whatever it raises is reported as its mistake
            wrong.append(f"{category.hook} raised {type(error).__name__}: {error}{_where(error)}")
            continue
        if not isinstance(offered, Mapping):
            wrong.append(f"{category.hook} returned {type(offered).__name__}; it must return a dictionary from name to class")
            continue
        for name, cls in offered.items():
            found = list(flaws(category, name, cls))
            wrong.extend(found)
            if isinstance(name, str) and isinstance(cls, type):
                plugin.kinds.append(Kind(category, name, cls, plugin.origin))
    return "; ".join(wrong) or None


def _settle_conflicts(plugins: list[Plugin], manager: pluggy.PluginManager) -> None:
    """A kind offered twice: nobody takes over a built-in kind, and of two others neither is to be trusted."""
    owners: dict[tuple[Category, str], list[Plugin]] = {}
    for plugin in plugins:
        if plugin.broken is None:
            for kind in plugin.kinds:
                owners.setdefault((kind.category, kind.name), []).append(plugin)
    for (category, name), claimants in owners.items():
        if len(claimants) < 2:
            continue
        for plugin in claimants:
            others = [p for p in claimants if p is not plugin]
            if plugin.origin.distribution == BUILT_IN and all(p.origin.distribution != BUILT_IN for p in others):
                continue
            taken = f"offers {category.value} '{name}', as does {others[0].origin}; rename it, or uninstall one of the two"
            plugin.broken = f"{plugin.broken}; {taken}" if plugin.broken else taken
            if manager.is_registered(plugin.module):
                manager.unregister(plugin.module)
