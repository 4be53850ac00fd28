"""The rules of one configuration: what everything from kind to item says, asked by item and remembered."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from expiryd.api import CollectorConfig, ItemConfig
from expiryd.config.calendars import public_holidays
from expiryd.config.model import Config
from expiryd.config.policy import CategoryConfig, ShortLivedConfig, WorkingDaysConfig
from expiryd.core.ladder import ShortLived
from expiryd.core.model import NO_TRAITS, ItemState, Traits
from expiryd.core.rules import ENVIRONMENT, NOTHING_SAID, Hours, Resolved, Rules, Say, Shared, amend, resolve
from expiryd.core.windows import DAYS
from expiryd.core.workdays import Workdays

_MOST_REMEMBERED = 20_000
_YEARS_BEFORE, _YEARS_AFTER = 1, 11
"""How far around today public holidays are looked up: beyond that only weekends count."""


class Rulebook:
    """Answers by which rules an item is judged. Immutable once built; a reload builds another one.

    `today` says around which year public holidays are looked up.
    """

    def __init__(self, config: Config, today: date) -> None:
        zone = config.daemon.timezone
        self._base = _base(config, today)
        self._shared = Shared(
            kinds={name: _category(say) for name, say in config.kinds.items()},
            categories={name: _category(say) for name, say in config.categories.items()},
            environments={name: _category(say) for name, say in config.environments.items()},
        )
        self._collectors = {name: _collector(say) for name, say in config.collectors.items()}
        self._items = {
            name: {local: _item(say, zone) for local, say in collector.items.items()}
            for name, collector in config.collectors.items()
        }
        self._remembered: dict[tuple[str, str, Traits], Resolved] = {}

    def resolve(self, collector: str, local_id: str, seen: Traits = NO_TRAITS, kind: str = "") -> Resolved:
        """Rules and traits of one item. Without a word of its own they are those of its equals, resolved once."""
        own = self._items.get(collector)
        if own and local_id in own:
            return self._resolve(collector, own[local_id], seen, kind)
        key = (collector, kind, seen)
        known = self._remembered.get(key)
        if known is None:
            known = self._resolve(collector, NOTHING_SAID, seen, kind)
            if len(self._remembered) < _MOST_REMEMBERED:
                self._remembered[key] = known
        return known

    def of(self, state: ItemState) -> Rules:
        seen = state.observation
        return self.resolve(state.collector, seen.id, seen.traits, seen.kind).rules

    def levels(self, state: ItemState) -> list[tuple[str, Rules]]:
        """The rules after each level has spoken, under the name of its section, the one that counts last."""
        seen, collector = state.observation, state.collector
        item = self._items.get(collector, {}).get(seen.id, NOTHING_SAID)
        traits, shared = self.resolve(collector, seen.id, seen.traits, seen.kind).traits, self._shared
        environment = traits.labels.get(ENVIRONMENT, "")
        rules, levels = self._base, [("policy", self._base)]
        for name, say in (
            (f"kinds.{seen.kind}", shared.kinds.get(seen.kind, NOTHING_SAID)),
            (f"categories.{traits.category}", shared.categories.get(traits.category, NOTHING_SAID)),
            (f"environments.{environment}", shared.environments.get(environment, NOTHING_SAID)),
            (f"collectors.{collector}", self._collectors.get(collector, NOTHING_SAID)),
            (f"collectors.{collector}.items.{seen.id}", item),
        ):
            rules = amend(rules, say)
            levels.append((name, rules))
        return levels

    def _resolve(self, collector: str, item: Say, seen: Traits, kind: str) -> Resolved:
        source = self._collectors.get(collector, NOTHING_SAID)
        return resolve(self._base, self._shared, source, item, seen, kind=kind)


def _base(config: Config, today: date) -> Rules:
    policy, zone = config.policy, config.daemon.timezone
    rules = Rules(
        critical=policy.critical,
        warning=policy.warning,
        info=policy.info,
        ladder=policy.ladder,
        short_lived=_short_lived(policy.short_lived),
        workdays=_workdays(policy.working_days, zone, today),
        dynamic=policy.dynamic,
        cooldown=policy.cooldown,
        blind_after=policy.blind_after,
        routes=tuple(route.route for route in config.routes),
    )
    hours = (
        Hours(
            config.windows[said.window].window(said.window, zone),
            amend(rules, Say(critical=said.critical, warning=said.warning, info=said.info)),
        )
        for said in policy.at
    )
    return replace(rules, hours=tuple(hours)) if policy.at else rules


def _short_lived(said: ShortLivedConfig | str | None) -> ShortLived | None:
    """None for `off`, and for no word."""
    if not isinstance(said, ShortLivedConfig):
        return None
    return ShortLived(said.critical, said.warning, said.info, said.ladder)


def _workdays(said: WorkingDaysConfig | None, zone: ZoneInfo, today: date) -> Workdays | None:
    if said is None:
        return None
    years = range(today.year - _YEARS_BEFORE, today.year + _YEARS_AFTER + 1)
    holidays = public_holidays(said.country, said.subdivision, years)
    return Workdays(frozenset(map(DAYS.index, said.weekend)), holidays, zone)


def end_of(day: date | datetime, zone: ZoneInfo) -> datetime:
    """A typed end: a bare date lasts until the end of that day in the owner's zone."""
    return _start_of(day if isinstance(day, datetime) else day + timedelta(days=1), zone)


def _start_of(day: date | datetime, zone: ZoneInfo) -> datetime:
    if isinstance(day, datetime):
        return day if day.tzinfo else day.replace(tzinfo=zone)
    return datetime.combine(day, time(), zone)


def _category(say: CategoryConfig) -> Say:
    return Say(
        critical=say.critical,
        warning=say.warning,
        info=say.info,
        ladder=say.ladder,
        short_lived=_short_lived(say.short_lived),
        is_never_short=say.short_lived == "off",
        dynamic=say.dynamic,
        cooldown=say.cooldown,
        lifetime=say.lifetime,
        owner=say.owner,
        runbook=say.runbook,
        labels=say.labels,
    )


def _collector(say: CollectorConfig) -> Say:
    return Say(
        critical=say.critical,
        warning=say.warning,
        info=say.info,
        ladder=say.ladder,
        lifetime=say.lifetime,
        category=say.category,
        owner=say.owner,
        runbook=say.runbook,
        labels=say.labels,
    )


def _item(say: ItemConfig, zone: ZoneInfo) -> Say:
    dated = say.expires if isinstance(say.expires, date) else None
    return Say(
        critical=say.critical,
        warning=say.warning,
        info=say.info,
        ladder=say.ladder,
        lifetime=say.lifetime,
        title=say.title,
        category=say.category,
        owner=say.owner,
        runbook=say.runbook,
        used_by=say.used_by,
        labels=say.labels,
        issued_at=_start_of(say.issued, zone) if say.issued else None,
        expires_at=end_of(dated, zone) if dated else None,
        never_expires=say.expires == "never",
    )
