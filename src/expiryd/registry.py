"""Finds plugins by the names their distributions give them, and imports only those that a config names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, get_args

from pydantic import BaseModel

from expiryd.api import CollectorConfig, ExpirydError, NotifierConfig

C = TypeVar("C", bound=BaseModel)

COLLECTORS = "expiryd.collectors"
NOTIFIERS = "expiryd.notifiers"

# Importing runs a stranger's module, which may fail in any of these ways; its failure is the plugin's own.
_BROKEN = (
    ImportError,
    SyntaxError,
    NameError,
    AttributeError,
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    AssertionError,
    OSError,
    RuntimeError,
)


class PluginError(ExpirydError):
    """A plugin is not installed, does not import, or is not what its name promises."""


class Registry(Generic[C]):
    """The installed plugins of one kind. One that is broken or doubled does no harm until it is named."""

    def __init__(self, kind: type[C], points: Iterable[EntryPoint]) -> None:
        self._kind = kind
        self._points: dict[str, list[EntryPoint]] = {}
        for point in points:
            self._points.setdefault(point.name, []).append(point)

    @classmethod
    def discover(cls, group: str, kind: type[C]) -> Registry[C]:
        return cls(kind, entry_points(group=group))

    @property
    def names(self) -> tuple[str, ...]:
        """The types that a config may name, sorted."""
        return tuple(sorted(self._points))

    def load(self, name: str) -> type[C]:
        """The config model of the plugin `name`. Raises PluginError, whose text never repeats `name` itself
        when it is unknown: whatever was typed there may have been meant for another key."""
        points = self._points.get(name)
        if points is None:
            near = get_close_matches(name, self.names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            raise PluginError(f"no plugin of this type is installed; {hint}installed: {', '.join(self.names)}")
        if len(points) > 1:
            claims = " and ".join(sorted(f"{_distribution(point)} ({point.value})" for point in points))
            raise PluginError(f"several plugins claim the type {name}: {claims}; uninstall all but one")
        return self._checked(points[0], self._imported(points[0]))

    def _imported(self, point: EntryPoint) -> object:
        try:
            return point.load()
        except ModuleNotFoundError as error:
            raise PluginError(_missing(point, (error.name or "").partition(".")[0])) from None
        except _BROKEN as error:
            reason = f"{type(error).__name__}: {error}"
            raise PluginError(
                f"the plugin {point.name} ({point.value}, from {_distribution(point)}) cannot be imported: {reason}"
            ) from error

    def _checked(self, point: EntryPoint, loaded: object) -> type[C]:
        if not (isinstance(loaded, type) and issubclass(loaded, self._kind)):
            raise PluginError(f"the plugin {point.name} ({point.value}) is not a subclass of {self._kind.__name__}")
        if get_args(loaded.model_fields["type"].annotation) != (point.name,):
            raise PluginError(f'the plugin {point.name} ({point.value}) must declare `type: Literal["{point.name}"]`')
        return loaded


def discover() -> tuple[Registry[CollectorConfig], Registry[NotifierConfig]]:
    """The installed collectors and notifiers."""
    return Registry.discover(COLLECTORS, CollectorConfig), Registry.discover(NOTIFIERS, NotifierConfig)


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown distribution"


def _missing(point: EntryPoint, module: str) -> str:
    """Which `pip install` brings the module that the plugin could not import."""
    wanted = point.extras or _extras_with(point, module)
    if wanted and point.dist is not None:
        return f"needs the module {module}: pip install '{point.dist.name}[{','.join(wanted)}]'"
    return (
        f"the plugin {point.name} ({point.value}, from {_distribution(point)}) needs the module {module}, "
        "which is not installed"
    )


def _extras_with(point: EntryPoint, module: str) -> list[str]:
    """The extras of the plugin's distribution that require a package of the module's name."""
    found = []
    for requirement in (point.dist.requires or []) if point.dist is not None else []:
        package, _, marker = requirement.partition(";")
        name = package.strip().partition("[")[0]
        for stop in "<>=!~ (":
            name = name.partition(stop)[0]
        if name.replace("-", "_").lower() == module.lower() and "extra" in marker:
            found.append(marker.replace("'", '"').rpartition("extra")[2].split('"')[1])
    return sorted(set(found) - {"all"})[:1]
