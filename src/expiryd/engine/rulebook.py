"""The rules of one configuration: what category, collector and item say, asked by item and remembered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from expiryd.api import CollectorConfig, ItemConfig
from expiryd.config.model import Config
from expiryd.config.policy import CategoryConfig
from expiryd.core.model import NO_TRAITS, ItemState, Traits
from expiryd.core.rules import NOTHING_SAID, Resolved, Rules, Say, resolve

_MOST_REMEMBERED = 20_000


class Rulebook:
    """Answers by which rules an item is judged. Immutable once built; a reload builds another one."""

    def __init__(self, config: Config) -> None:
        zone = config.daemon.timezone
        policy = config.policy
        self._base = Rules(
            critical=policy.critical,
            warning=policy.warning,
            info=policy.info,
            cooldown=policy.cooldown,
            blind_after=policy.blind_after,
        )
        self._categories = {name: _category(say) for name, say in config.categories.items()}
        self._collectors = {name: _collector(say) for name, say in config.collectors.items()}
        self._items = {
            name: {local: _item(say, zone) for local, say in collector.items.items()}
            for name, collector in config.collectors.items()
        }
        self._remembered: dict[tuple[str, Traits], Resolved] = {}

    def resolve(self, collector: str, local_id: str, seen: Traits = NO_TRAITS) -> Resolved:
        """Rules and traits of one item. Without a word of its own they are those of its equals, resolved once."""
        own = self._items.get(collector)
        if own and local_id in own:
            return self._resolve(collector, own[local_id], seen)
        key = (collector, seen)
        known = self._remembered.get(key)
        if known is None:
            known = self._resolve(collector, NOTHING_SAID, seen)
            if len(self._remembered) < _MOST_REMEMBERED:
                self._remembered[key] = known
        return known

    def of(self, state: ItemState) -> Rules:
        return self.resolve(state.collector, state.observation.id, state.observation.traits).rules

    def _resolve(self, collector: str, item: Say, seen: Traits) -> Resolved:
        return resolve(self._base, self._categories, self._collectors.get(collector, NOTHING_SAID), item, seen)


def end_of(day: date | datetime, zone: ZoneInfo) -> datetime:
    """A typed end: a bare date lasts until the end of that day in the owner's zone."""
    if isinstance(day, datetime):
        return day if day.tzinfo else day.replace(tzinfo=zone)
    return datetime.combine(day + timedelta(days=1), time(), zone)


def _start_of(day: date | datetime, zone: ZoneInfo) -> datetime:
    if isinstance(day, datetime):
        return day if day.tzinfo else day.replace(tzinfo=zone)
    return datetime.combine(day, time(), zone)


def _category(say: CategoryConfig) -> Say:
    return Say(
        critical=say.critical,
        warning=say.warning,
        info=say.info,
        cooldown=say.cooldown,
        lifetime=say.lifetime,
        owner=say.owner,
        runbook=say.runbook,
        labels=_plain(say.labels),
    )


def _collector(say: CollectorConfig) -> Say:
    return Say(
        critical=say.critical,
        warning=say.warning,
        info=say.info,
        lifetime=say.lifetime,
        category=say.category,
        owner=say.owner,
        runbook=say.runbook,
        labels=_plain(say.labels),
    )


def _item(say: ItemConfig, zone: ZoneInfo) -> Say:
    dated = say.expires if isinstance(say.expires, date) else None
    return Say(
        critical=say.critical,
        warning=say.warning,
        info=say.info,
        lifetime=say.lifetime,
        title=say.title,
        category=say.category,
        owner=say.owner,
        runbook=say.runbook,
        used_by=say.used_by,
        labels=_plain(say.labels),
        issued_at=_start_of(say.issued, zone) if say.issued else None,
        expires_at=end_of(dated, zone) if dated else None,
        never_expires=say.expires == "never",
    )


def _plain(labels: Mapping[str, str]) -> dict[str, str]:
    return dict(labels)
