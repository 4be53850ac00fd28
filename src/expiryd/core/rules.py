"""The rules an item is judged by, and how kind, category, collector and item each have their say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from expiryd.core.cooldown import Cooldown
from expiryd.core.ladder import CRITICAL, DAY, INFO, WARNING, Ladder, Lead, Scale, ShortLived, span_of
from expiryd.core.model import NO_LABELS, Lifetime, Severity, Traits
from expiryd.core.routing import Route
from expiryd.core.windows import Window
from expiryd.core.workdays import Workdays


@dataclass(frozen=True, slots=True)
class Rules:
    """By what an item is judged.

    `critical`, `warning` and `info` are thresholds on the time remaining, `ladder` the points of it at which one is
    reminded; for `short_lived` things shares take the place of what is too long, and with `workdays` all of it moves
    to the working day before. `dynamic`: thresholds widen when this item's renewals took long. `hours` have
    thresholds of their own. `cooldown` says, by severity, how long after it was told a matter is told again (longer
    than zero; None: never). `lifetime` dates what carries no date of its own. After `blind_after` looks in a row that
    could not see an item, that is a matter of its own. `routes` say to whom an open matter escalates.
    """

    critical: Lead = CRITICAL
    warning: Lead = WARNING
    info: Lead = INFO
    cooldown: Mapping[Severity, Cooldown | None] = field(
        default_factory=lambda: {
            Severity.INFO: None,
            Severity.WARNING: 7 * DAY,
            Severity.CRITICAL: DAY,
            Severity.EXPIRED: DAY,
        }
    )
    lifetime: timedelta | None = None
    blind_after: int = 2
    ladder: tuple[Lead, ...] = ()
    short_lived: ShortLived | None = None
    workdays: Workdays | None = None
    dynamic: bool = False
    hours: tuple[Hours, ...] = ()
    routes: tuple[Route, ...] = ()
    scale: Scale = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        scale = Scale(self.critical, self.warning, self.info, self.ladder, self.short_lived)
        object.__setattr__(self, "scale", scale)

    def ladder_of(self, lifetime: Lifetime | None, took: Sequence[timedelta] = ()) -> Ladder | None:
        """Thresholds and rungs of this lifetime; None without an end. `took`: how long its last renewals took."""
        if lifetime is None or lifetime.expires_at is None:
            return None
        leads = self.scale.leads(span_of(lifetime), took if self.dynamic else ())
        return Ladder(lifetime.expires_at, leads, self.workdays)

    def at(self, now: datetime) -> Rules:
        """The rules of this hour."""
        return next((hours.rules for hours in self.hours if hours.window.contains(now)), self) if self.hours else self


@dataclass(frozen=True, slots=True)
class Hours:
    """The rules while a window is open."""

    window: Window
    rules: Rules


@dataclass(frozen=True, slots=True)
class Say:
    """What one level (kind, category, collector or item) says about the things below it. None and empty: no opinion."""

    critical: Lead | None = None
    warning: Lead | None = None
    info: Lead | None = None
    cooldown: Mapping[Severity, Cooldown | None] | None = None
    lifetime: timedelta | None = None
    ladder: tuple[Lead, ...] | None = None
    short_lived: ShortLived | None = None
    is_never_short: bool = False
    dynamic: bool | None = None
    title: str = ""
    category: str = ""
    owner: str = ""
    runbook: str = ""
    used_by: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    issued_at: datetime | None = None
    expires_at: datetime | None = None
    never_expires: bool = False


NOTHING_SAID = Say()
ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True)
class Resolved:
    """Rules and traits after every level has spoken, and what was said of this one item."""

    rules: Rules
    traits: Traits
    item: Say = NOTHING_SAID


def amend(rules: Rules, say: Say) -> Rules:
    """The rules with one level's word laid over them, at every hour."""
    if say is NOTHING_SAID:
        return rules
    said = {name: value for name in _AMENDED if (value := getattr(say, name)) is not None}
    if say.cooldown is not None:
        said["cooldown"] = {**rules.cooldown, **say.cooldown}
    if say.is_never_short:
        said["short_lived"] = None
    hours = tuple(Hours(hours.window, amend(hours.rules, say)) for hours in rules.hours)
    return replace(rules, **said, hours=hours) if said else rules


@dataclass(frozen=True, slots=True)
class Shared:
    """What is said of the items of a kind, of a category and of an environment, by name."""

    kinds: Mapping[str, Say] = field(default_factory=dict)
    categories: Mapping[str, Say] = field(default_factory=dict)
    environments: Mapping[str, Say] = field(default_factory=dict)


def resolve(base: Rules, shared: Shared, collector: Say, item: Say, seen: Traits, *, kind: str = "") -> Resolved:
    """Whose word counts: the item's own settings, what the source says, the collector's, then what is shared.

    Of that the environment's before the category's before the kind's. The environment is the label of that name.
    """
    of_kind = shared.kinds.get(kind, NOTHING_SAID)
    name = item.category or seen.category or collector.category
    category = shared.categories.get(name, NOTHING_SAID)
    labels = {**of_kind.labels, **category.labels, **collector.labels, **seen.labels, **item.labels}
    environment = shared.environments.get(labels.get(ENVIRONMENT, ""), NOTHING_SAID)
    rules = base
    for say in (of_kind, category, environment, collector, item):
        rules = amend(rules, say)
    nearest: Sequence[Say | Traits] = (item, seen, collector, environment, category, of_kind)
    traits = Traits(
        category=name,
        owner=next(filter(None, (says.owner for says in nearest)), ""),
        runbook=next(filter(None, (says.runbook for says in nearest)), ""),
        used_by=item.used_by or seen.used_by,
        labels={**environment.labels, **labels},
    )
    return Resolved(rules, traits, item)


_AMENDED = ("critical", "warning", "info", "lifetime", "ladder", "short_lived", "dynamic")
