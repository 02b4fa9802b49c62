"""Plugins by name, and their typed construction from the tables of a suite."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.errors import InfrastructureError, UsageError
from harness.registry.construct import Chosen, choose_class, kind_name, plain
from harness.registry.kinds import Category, Kind, Origin, Plugin
from harness.registry.loading import installed, load_plugins
from harness.registry.mistakes import Mistakes, nearest

if TYPE_CHECKING:
    from harness.api.records import TrialRecord

__all__ = ["Category", "Chosen", "Kind", "Mistakes", "Origin", "Plugin", "Registry", "load", "plain"]


class Registry:
    """All plugins, sound and broken, and the kinds of the sound ones."""

    def __init__(self, points: Iterable[EntryPoint]) -> None:
        self.plugins, self._manager = load_plugins(points)
        self._kinds: dict[Category, dict[str, Kind]] = {category: {} for category in Category}
        for plugin in self.plugins:
            if plugin.broken is None:
                for kind in plugin.kinds:
                    self._kinds[kind.category][kind.name] = kind

    @property
    def broken(self) -> list[Plugin]:
        """The plugins of which nothing can be used."""
        return [p for p in self.plugins if p.broken is not None]

    def kinds(self, category: Category) -> Mapping[str, Kind]:
        """The usable kinds of a category by name."""
        return self._kinds[category]

    def find(self, category: Category, name: str, path: str, mistakes: Mistakes) -> Kind | None:
        """The kind of that name; None, and a mistake noted at `path`, where there is none."""
        kind = self._kinds[category].get(name)
        if kind is None:
            mistakes.add(path, f"unknown {category.value} '{name}'", self._hint(category, name))
        return kind

    def choose(
        self,
        category: Category,
        spec: str | Mapping[str, Any],
        path: str,
        mistakes: Mistakes,
        where: Mapping[str, str] | None = None,
    ) -> Chosen[Any] | None:
        """Make what a suite says: the bare name of a kind, or a table with `kind` and the kind's keys.

        None where that cannot be had; the mistakes are noted under `path`, those of a key under `where[key]` if given.
        """
        name = kind_name(spec, path, category.value, self._kinds[category], mistakes)
        if name is None:
            return None
        kind = self.find(category, name, path if isinstance(spec, str) else f"{path}.kind", mistakes)
        return None if kind is None else choose_class(name, kind.cls, spec, path, mistakes, where)

    def make(self, category: Category, spec: str | Mapping[str, Any]) -> Any:
        """The same for one lone specification: the instance itself. Raises UsageError with everything that is wrong."""
        mistakes = Mistakes()
        chosen = self.choose(category, spec, category.value, mistakes)
        mistakes.raise_if_any()
        return chosen.value if chosen else None

    def judge(self, record: TrialRecord, trial: Mapping[str, Any]) -> dict[str, Any]:
        """The verdict on a trial by the first plugin that has one. Raises InfrastructureError where none has."""
        verdict: dict[str, Any] | None = self._manager.hook.harness_judge(record=record, trial=trial)
        if verdict is None:
            raise InfrastructureError(self._nobody("harness_judge", "judges a trial"))
        return verdict

    def report(self, run_dir: Path, width: int) -> tuple[dict[str, Any], str]:
        """The report on a run: document and text. Raises UsageError where no plugin knows the directory as a run."""
        made: tuple[dict[str, Any], str] | None = self._manager.hook.harness_report(run_dir=run_dir, width=width)
        if made is None:
            what = f"{run_dir}: is no run's directory (`harness run` prints one at its end)"
            raise UsageError(f"{what}: {self._nobody('harness_report', 'can report on it')}")
        return made

    def _nobody(self, hook: str, does: str) -> str:
        reasons = [f"{p.origin} is broken: {p.broken}" for p in self.broken]
        return "; ".join([f"no plugin {does} (hook {hook}); see `harness plugin list`", *reasons])

    def _hint(self, category: Category, name: str) -> str:
        for plugin in self.broken:
            if any(k.category is category and k.name == name for k in plugin.kinds):
                return f"{plugin.origin} offers it, but is broken: {plugin.broken}"
        if not self.plugins:
            return "no plugin is installed at all; install the project with `make setup`"
        hint = nearest(name, self._kinds[category], f"{category.value} kinds")
        if self.broken:
            names = ", ".join(f"'{p.origin.entry_point}' of '{p.origin.distribution}'" for p in self.broken)
            hint += f" (broken plugins, which may have had it: {names}; see `harness plugin list`)"
        return hint


@functools.cache
def load() -> Registry:
    """The registry of everything that is installed. Made once a process."""
    return Registry(installed())
