"""Why an item is judged and told as it is, and what comes next: every reason with where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from expiryd.api import ItemId
from expiryd.config.model import Config
from expiryd.core.foretold import telling_row
from expiryd.core.ladder import Lead, label, span_of
from expiryd.core.matching import Facts
from expiryd.core.model import EXPIRY, Event, ItemState, Severity
from expiryd.core.routing import Trial, trials
from expiryd.core.rules import Rules
from expiryd.core.view import alert_row, event_row, item_row, rfc3339, silence_row
from expiryd.engine.simulation import Simulation
from expiryd.foresight import imagined, items_meant
from expiryd.store.port import EventRecord

_PAGE = 1000
_MOST_READ = 100_000
_MOST_SHOWN = 30
_THRESHOLDS = ("critical", "warning", "info")
Row = dict[str, Any]


async def explain(config: Config, environ: Mapping[str, str], asked: str, now: datetime, days: int) -> list[Row]:
    """One row for every item that is meant: none when there is no such item. Only that of a single one is complete.

    Raises StoreError, SecretError, or ValueError when a part of the config cannot be built.
    """
    async with imagined(config, environ, now) as life:
        meant = items_meant(life, asked)
        if len(meant) != 1:
            return [{"item": state.id} for state in meant]
        state = meant[0]
        row = _state(life, config, state, now)
        history = await _history(life, state.id)
        row["ladder"] = _ladder(life, state, now, history)
        row["history"] = [_record(record) for record in history[:_MOST_SHOWN]]
        await life.run(now + timedelta(days=days))
        row["next"] = [
            telling_row(one.at, one.notifier, one.message.subject, events, 0)
            for one in life.tellings
            if (events := [event for event in one.message.events if event.item == state.id])
        ]
        return [row]


async def newest(
    config: Config, environ: Mapping[str, str], asked: str, now: datetime
) -> tuple[Sequence[ItemId], Event | None]:
    """The items that are meant, and what happened last to it when it is one. Raises as `explain`."""
    async with imagined(config, environ, now) as life:
        meant = items_meant(life, asked)
        history = await _history(life, meant[0].id) if len(meant) == 1 else []
        return [state.id for state in meant], history[0].event if history else None


# ── inside ────────────────────────────────────────────────────────────────────────────────────────────


def _state(life: Simulation, config: Config, state: ItemState, now: datetime) -> Row:
    ledger = life.daemon.ledger
    seen_at = None if state.blind_looks else ledger.last_good.get(state.collector)
    silences = life.daemon.silences.holding(now)
    matters = [Facts.about(state, alert) for alert in state.alerts] or [_imagined(state)]
    return {
        **item_row(state, now, seen_at, places=ledger.places(state)),
        "thresholds": _thresholds(life, config, state, now),
        "alerts": [alert_row(state, alert, now) for alert in state.alerts],
        "silences": [
            silence_row(one, now) for one in silences if any(one.matcher.matches(matter) for matter in matters)
        ],
        "routes": [route_row(trial) for trial in trials(matters[0], life.daemon.graph.hush.routes)],
        "notifiers": list(life.daemon.graph.notifiers),
        "imagined": None if state.alerts else matters[0].severity.word,
    }


def _imagined(state: ItemState) -> Facts:
    """For want of an open matter: the warning that would be one day."""
    seen = state.observation
    return Facts(Severity.WARNING, state.id, state.collector, EXPIRY, seen.kind, seen.traits)


def _thresholds(life: Simulation, config: Config, state: ItemState, now: datetime) -> list[Row]:
    levels = life.daemon.graph.rulebook.levels(state)
    rules, lifetime = levels[-1][1], state.observation.lifetime
    ladder = rules.at(now).ladder_of(lifetime, state.took)
    rows = []
    for name in _THRESHOLDS:
        said: Lead = getattr(rules, name)
        row: Row = {"name": name, "said": label(said), "from": _source(levels, name, config), "at": None, "because": ""}
        if ladder is not None and lifetime is not None:
            real: timedelta = getattr(ladder.leads, name)
            row["at"] = rfc3339(ladder.crossing(real))
            row["means"] = label(real)
            row["because"] = _because(rules, name, state, now)
        rows.append(row)
    rows.append({"name": "ladder", "said": ", ".join(map(label, rules.ladder)) or "none", "at": None, "because": ""})
    rows[-1]["from"] = _source(levels, "ladder", config)
    return rows


def _source(levels: Sequence[tuple[str, Rules]], name: str, config: Config) -> str:
    """The section whose word counts: the last level that changed it."""
    source = "policy" if getattr(config.policy, name) != type(config.policy).model_fields[name].default else "default"
    for (_, before), (level, after) in pairwise(levels):
        if getattr(before, name) != getattr(after, name):
            source = level
    return source


def _because(rules: Rules, name: str, state: ItemState, now: datetime) -> str:
    """Why it is not as it was said, level of reason by level."""
    lifetime, reasons = state.observation.lifetime, []
    hour = rules.at(now)
    if getattr(hour, name) != getattr(rules, name):
        reasons.append(f"{label(getattr(hour, name))} at this hour (`policy.at`)")
    span = span_of(lifetime) if lifetime else None
    said, usual = getattr(hour, name), getattr(hour.scale.leads(span), name)
    if isinstance(said, timedelta) and said != usual and span is not None:
        reasons.append(f"it lives only {label(span)}: a share of that takes its place (`short_lived`)")
    if hour.dynamic and getattr(hour.scale.leads(span, state.took), name) != usual:
        reasons.append("its renewals took long (`dynamic`)")
    if hour.workdays is not None:
        reasons.append("moved to a working day where it falls on none")
    return "; ".join(reasons)


def _ladder(life: Simulation, state: ItemState, now: datetime, history: Sequence[EventRecord]) -> list[Row]:
    rules = life.daemon.graph.rulebook.of(state)
    ladder = rules.at(now).ladder_of(state.observation.lifetime, state.took)
    if ladder is None:
        return []
    told: dict[str, EventRecord] = {}
    for record in history:
        if record.event.rung and record.event.generation == state.generation:
            told.setdefault(record.event.rung, record)
    rows = []
    for rung in ladder.leads.rungs:
        at = ladder.crossing(rung.lead)
        asked = told.get(rung.label)
        became = "to come" if at > now else "told" if asked else "passed"
        rows.append(
            {
                "rung": rung.label,
                "at": rfc3339(at),
                "state": became,
                "told_at": rfc3339(asked.event.at if asked else None),
            }
        )
    return rows


def route_row(trial: Trial) -> Row:
    """How one route met a piece of news."""
    route = trial.route
    return {
        "route": trial.place,
        "matches": str(route.matcher),
        "matched": not trial.why,
        "why_not": trial.why,
        "notify": list(route.notify),
        "active": route.active,
        "quiet": route.quiet,
        "escalate": [
            {"after_seconds": level.after.total_seconds(), "notify": list(level.notify)} for level in route.escalate
        ],
    }


async def _history(life: Simulation, item: ItemId) -> list[EventRecord]:
    """What happened to it, newest first, as far as it is kept."""
    found: list[EventRecord] = []
    before, read = None, 0
    while read < _MOST_READ:
        page = await life.daemon.store.events(before=before, limit=_PAGE)
        found += [record for record in page if record.event.item == item]
        read += len(page)
        if len(page) < _PAGE:
            break
        before = page[-1].id
    return found


def _record(record: EventRecord) -> Row:
    deliveries = [{"notifier": name, "fate": fate.value, "note": note} for name, fate, note in record.deliveries]
    return {"id": record.id, **event_row(record.event), "rung": record.event.rung, "deliveries": deliveries}
