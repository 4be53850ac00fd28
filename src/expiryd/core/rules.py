"""The rules an item is judged by, and how category, collector and item each have their say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from expiryd.core.model import NO_LABELS, Severity, Traits

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Rules:
    """By what an item is judged.

    `critical`, `warning` and `info` are thresholds on the time remaining. `cooldown` says, by severity, how long after
    it was told a matter is told again (longer than zero; None: never). `lifetime` dates what carries no date of its
    own. After `blind_after` looks in a row that could not see an item, that is a matter of its own.
    """

    critical: timedelta = 7 * DAY
    warning: timedelta = 30 * DAY
    info: timedelta = 45 * DAY
    cooldown: Mapping[Severity, timedelta | None] = field(
        default_factory=lambda: {
            Severity.INFO: None,
            Severity.WARNING: 7 * DAY,
            Severity.CRITICAL: DAY,
            Severity.EXPIRED: DAY,
        }
    )
    lifetime: timedelta | None = None
    blind_after: int = 2


@dataclass(frozen=True, slots=True)
class Say:
    """What one level (category, collector or item) says about the things below it. None and empty: no opinion."""

    critical: timedelta | None = None
    warning: timedelta | None = None
    info: timedelta | None = None
    cooldown: Mapping[Severity, timedelta | None] | None = None
    lifetime: timedelta | None = None
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


@dataclass(frozen=True, slots=True)
class Resolved:
    """Rules and traits after every level has spoken, and what was said of this one item."""

    rules: Rules
    traits: Traits
    item: Say = NOTHING_SAID


def amend(rules: Rules, say: Say) -> Rules:
    """The rules with one level's thresholds laid over them."""
    if say is NOTHING_SAID:
        return rules
    return replace(
        rules,
        critical=rules.critical if say.critical is None else say.critical,
        warning=rules.warning if say.warning is None else say.warning,
        info=rules.info if say.info is None else say.info,
        lifetime=rules.lifetime if say.lifetime is None else say.lifetime,
        cooldown=rules.cooldown if say.cooldown is None else {**rules.cooldown, **say.cooldown},
    )


def resolve(base: Rules, categories: Mapping[str, Say], collector: Say, item: Say, seen: Traits) -> Resolved:
    """Whose word counts: the item's own settings, what the source says, the collector's, the category's."""
    category = item.category or seen.category or collector.category
    kind = categories.get(category, NOTHING_SAID)
    rules = amend(amend(amend(base, kind), collector), item)
    traits = Traits(
        category=category,
        owner=item.owner or seen.owner or collector.owner or kind.owner,
        runbook=item.runbook or seen.runbook or collector.runbook or kind.runbook,
        used_by=item.used_by or seen.used_by,
        labels={**kind.labels, **collector.labels, **seen.labels, **item.labels},
    )
    return Resolved(rules, traits, item)
