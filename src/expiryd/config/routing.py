"""`[[routes]]`, `[windows.NAME]` and `[maintenance.NAME]`: who hears of what, and when."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field

from expiryd.api import EventKind, OneOrMore, PositiveDuration, Severity
from expiryd.config.errors import ConfigProblem, Key, spell, unknown_key
from expiryd.config.section import Section
from expiryd.core.matching import Matcher, read_severity
from expiryd.core.model import SELF
from expiryd.core.routing import Level, Route
from expiryd.core.silencing import Maintenance
from expiryd.core.windows import Window, parse_span, parse_times


def _time(text: str) -> str:
    parse_span(text)
    return text


Words = Annotated[tuple[str, ...], OneOrMore]
Severities = Annotated[tuple[Annotated[Severity, BeforeValidator(read_severity)], ...], OneOrMore]
Events = Annotated[tuple[EventKind, ...], OneOrMore]
Times = Annotated[tuple[Annotated[str, AfterValidator(_time)], ...], OneOrMore, Field(min_length=1)]
"""`"mon-fri 08:00-18:00"` or several of the kind."""


class MatcherConfig(Section):
    """What is meant: all that is given must match, of several values one."""

    severity: Severities = ()
    category: Words = ()
    collector: Words = ()
    owner: Words = ()
    kind: Words = ()
    item: Words = ()
    aspect: Words = ()
    labels: Mapping[str, Words] = {}
    events: Events = ()

    @property
    def matcher(self) -> Matcher:
        return Matcher(**{name: getattr(self, name) for name in MatcherConfig.model_fields})


class LevelConfig(Section):
    """`escalate = [{ after, notify }]`: whom else to tell so long after a delivery that nobody has acknowledged."""

    after: PositiveDuration
    notify: Annotated[Words, Field(min_length=1)]


class RouteConfig(MatcherConfig):
    """`[[routes]]`: the first that matches says who hears; with `continue` the next are asked, too."""

    notify: Words
    continue_: Annotated[bool, Field(alias="continue")] = False
    active: str = ""
    quiet: str = ""
    active_for_critical: bool = False
    escalate: tuple[LevelConfig, ...] = ()

    @property
    def route(self) -> Route:
        return Route(
            notify=self.notify,
            matcher=self.matcher,
            continue_=self.continue_,
            active=self.active,
            quiet=self.quiet,
            active_for_critical=self.active_for_critical,
            escalate=tuple(Level(level.after, level.notify) for level in self.escalate),
        )


class WindowConfig(Section):
    """`[windows.NAME]`: times of the week, in `daemon.timezone` unless it says otherwise."""

    times: Times
    timezone: ZoneInfo | None = None

    def window(self, name: str, zone: ZoneInfo) -> Window:
        return Window(name, parse_times(self.times), self.timezone or zone)


class MaintenanceConfig(WindowConfig):
    """`[maintenance.NAME]`: times at which nothing of what matches is said."""

    matchers: MatcherConfig = MatcherConfig()

    def maintenance(self, name: str, zone: ZoneInfo) -> Maintenance:
        return Maintenance(self.window(name, zone), self.matchers.matcher)


def check_references(
    routes: Sequence[RouteConfig | None],
    maintenance: Mapping[str, MaintenanceConfig | None],
    known: Mapping[str, Collection[str]],
) -> Iterator[ConfigProblem]:
    """Names that nothing has. `known` holds the names of `notifiers`, `windows` and `collectors`."""
    for place, route in enumerate(routes):
        if route is not None:
            yield from _of_route(route, ("routes", place), known)
    for name, upkeep in maintenance.items():
        if upkeep is not None:
            yield from _of_collectors(upkeep.matchers, ("maintenance", name, "matchers"), known["collectors"])


def _of_route(route: RouteConfig, at: tuple[Key, ...], known: Mapping[str, Collection[str]]) -> Iterator[ConfigProblem]:
    told: list[tuple[tuple[Key, ...], tuple[str, ...]]] = [((*at, "notify"), route.notify)]
    told += [((*at, "escalate", step, "notify"), level.notify) for step, level in enumerate(route.escalate)]
    for where, names in told:
        for name in names:
            if name not in known["notifiers"]:
                yield ConfigProblem(spell(where), _nothing("notifier", name, known["notifiers"]))
    for key, name in (("active", route.active), ("quiet", route.quiet)):
        if name and name not in known["windows"]:
            yield ConfigProblem(spell((*at, key)), _nothing("window", name, known["windows"]))
    yield from _of_collectors(route, at, known["collectors"])


def _of_collectors(said: MatcherConfig, at: tuple[Key, ...], known: Collection[str]) -> Iterator[ConfigProblem]:
    for name in said.collector:
        if "*" not in name and name not in known and name != SELF:
            yield ConfigProblem(spell((*at, "collector")), _nothing("collector", name, known))


def _nothing(noun: str, name: str, known: Collection[str]) -> str:
    return f"`{name}`: {unknown_key(name, known, noun)}"
