"""What the daemon knows, as JSON: items, alerts, events, collectors, notifiers. Nothing here changes anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from aiohttp import web

from expiryd import __version__
from expiryd.core.model import Alert, ItemId, ItemState, Severity
from expiryd.core.view import Rank, alert_rank, event_row, item_rank, item_row, rfc3339
from expiryd.engine.daemon import Daemon
from expiryd.engine.schedule import Rhythm
from expiryd.store.port import EventRecord, Outbox, StoreError
from expiryd.web import checks
from expiryd.web.glance import Glance
from expiryd.web.health import Health
from expiryd.web.matters import row_of
from expiryd.web.paging import page, read_cursor, write_cursor
from expiryd.web.route import Ask, Param, Problem, Route, answer
from expiryd.web.vitals import item_totals

LIMIT = 100
MOST = 1000
STORE_PATIENCE = timedelta(seconds=10)
_WORDS = [severity.word for severity in Severity]
_PAGED = (
    Param("limit", f"How many, {LIMIT} unless said.", most=MOST),
    Param("cursor", "Where to go on: the `next` of the page before."),
)
_FILTERS = (
    Param("category", "Of this category.", many=True),
    Param("collector", "Of this collector.", many=True),
    Param("owner", "Of this owner.", many=True),
    Param("severity", "Of this severity.", values=_WORDS, many=True),
    Param("kind", "Of this kind.", many=True),
    Param("q", "With this text in id, title or owner, in upper or lower case."),
)
_EVENTS = (
    Param("limit", f"How many, {LIMIT} unless said.", most=MOST),
    Param("before", "Older than the event of this id: the `next` of the page before.", most=2**63 - 1),
)
Row = dict[str, Any]
T = TypeVar("T")


class Api:
    """Reads. Every list is bounded; every long walk lets others run."""

    def __init__(self, daemon: Daemon, health: Health, glance: Glance) -> None:
        self._daemon = daemon
        self._health = health
        self._glance = glance

    def routes(self) -> list[Route]:
        get = partial(Route, "GET")
        return [
            get("/api/v1/status", self.status, "The whole on one screen.", query=(), schema="Status"),
            get("/api/v1/items", self.items, "Items, worst first.", query=(*_FILTERS, *_PAGED), schema="Items"),
            get(
                "/api/v1/items/{id}",
                self.item,
                "One item with its open alerts. The id is percent-encoded; its slashes need not be.",
                query=(),
                schema="ItemWithAlerts",
                answers={404: "No such item."},
            ),
            get(
                "/api/v1/alerts", self.alerts, "Open alerts, worst first.", query=(*_FILTERS, *_PAGED), schema="Alerts"
            ),
            get("/api/v1/events", self.events, "What happened, newest first.", query=_EVENTS, schema="Events"),
            get("/api/v1/collectors", self.collectors, "Collectors and their looks.", query=(), schema="Collectors"),
            get("/api/v1/notifiers", self.notifiers, "Notifiers and their queues.", query=(), schema="Notifiers"),
        ]

    async def items(self, ask: Ask) -> web.StreamResponse:
        wanted = _filter(ask.query)

        def pick(state: ItemState) -> Iterable[tuple[Rank, ItemState]]:
            return ((item_rank(state), state),) if not state.is_own and wanted(state, state.severity) else ()

        shown, more = await self._page(ask, pick)
        return answer({"items": [self._item(state) for state in shown], "next": more})

    async def item(self, ask: Ask) -> web.StreamResponse:
        name = ask.named("/api/v1/items/")
        state = self._daemon.ledger.get(ItemId(name))
        if state is None:
            raise Problem(404, f"no item is called {name!r}")
        return answer({**self._item(state), "alerts": [row_of(self._daemon, state, alert) for alert in state.alerts]})

    async def alerts(self, ask: Ask) -> web.StreamResponse:
        wanted = _filter(ask.query)
        silences = self._daemon.silences.holding(self._daemon.clock.now())

        def pick(state: ItemState) -> Iterable[tuple[Rank, tuple[ItemState, Alert]]]:
            return [(alert_rank(each), (state, each)) for each in state.alerts if wanted(state, each.severity)]

        shown, more = await self._page(ask, pick)
        rows = [row_of(self._daemon, state, alert, silences) for state, alert in shown]
        return answer({"alerts": rows, "next": more})

    async def _page(
        self, ask: Ask, pick: Callable[[ItemState], Iterable[tuple[Rank, T]]]
    ) -> tuple[list[T], str | None]:
        after = read_cursor(ask.query["cursor"]) if "cursor" in ask.query else None
        shown, more = await page(self._daemon.ledger.all(), pick, ask.query.get("limit", LIMIT), after)
        return shown, write_cursor(more)

    async def events(self, ask: Ask) -> web.StreamResponse:
        limit = ask.query.get("limit", LIMIT)
        try:
            async with asyncio.timeout(STORE_PATIENCE.total_seconds()):
                records = await self._daemon.store.events(before=ask.query.get("before"), limit=limit)
        except TimeoutError:
            raise StoreError("the store does not answer: see /health") from None
        more = records[-1].id if len(records) == limit else None
        return answer({"events": [_event(record) for record in records], "next": more})

    async def collectors(self, _: Ask) -> web.StreamResponse:
        return answer({"collectors": self._collectors()})

    async def notifiers(self, _: Ask) -> web.StreamResponse:
        return answer({"notifiers": self._notifiers(await self._glance.outbox())})

    async def status(self, _: Ask) -> web.StreamResponse:
        daemon, outbox = self._daemon, await self._glance.outbox()
        body = {
            "version": __version__,
            "status": self._health.overall(outbox).word,
            "started_at": rfc3339(daemon.started_at),
            "uptime": daemon.uptime // timedelta(seconds=1),
            "config": daemon.graph.config.hash,
            "reload_error": daemon.reload_error,
            "store_error": daemon.store_error,
            "items": item_totals(daemon),
            "alerts": await self._health.alert_counts(),
            "collectors": self._collectors(),
            "notifiers": self._notifiers(outbox),
        }
        return answer(body)

    # ── rows ──────────────────────────────────────────────────────────────────────────────────────────

    def _item(self, state: ItemState) -> Row:
        # of an item that the last look could not see, nobody remembers when it was seen before
        seen = None if state.blind_looks else self._daemon.ledger.last_good.get(state.collector)
        return item_row(state, self._daemon.clock.now(), seen, places=self._daemon.ledger.places(state))

    def _collectors(self) -> list[Row]:
        return [self._collector(name) for name in sorted(self._daemon.graph.collectors)]

    def _collector(self, name: str) -> Row:
        daemon = self._daemon
        config, _ = daemon.graph.collectors[name]
        look = daemon.ledger.last_looks.get(name)
        rhythm = Rhythm.of(config, daemon.graph.config.daemon.timezone)
        return {
            "name": name,
            "type": config.type,
            "category": config.category,
            "schedule": rhythm.cron,
            "every_seconds": None if rhythm.cron else rhythm.every.total_seconds(),
            "looking": daemon.graph.looks.runs(name),
            "last_look": rfc3339(look.started_at if look else None),
            "took_seconds": (look.finished_at - look.started_at).total_seconds() if look else None,
            "outcome": look.outcome.value if look else None,
            "reason": look.reason if look else "",
            "items": look.items if look else None,
            "last_complete": rfc3339(daemon.ledger.last_good.get(name)),
            "next_look": rfc3339(daemon.schedule.next_run(name)),
            "overdue_since": rfc3339(checks.overdue(daemon, name)),
        }

    def _notifiers(self, outbox: Outbox | None) -> list[Row]:
        return [self._notifier(name, outbox) for name in sorted(self._daemon.graph.notifiers)]

    def _notifier(self, name: str, outbox: Outbox | None) -> Row:
        courier = self._daemon.graph.couriers[name]
        trouble, reason = checks.trouble(self._daemon, name)
        mine = (
            {fate.value: count for (owner, fate), count in outbox.counts.items() if owner == name} if outbox else None
        )
        return {
            "name": name,
            "type": courier.channel.config.type,
            "trouble": trouble or None,
            "reason": reason,
            "failures": courier.failures,
            "resume_at": rfc3339(courier.resume_at),
            "last_delivery": rfc3339(outbox.last_delivery.get(name)) if outbox else None,
            "parcels": mine,
        }


def _event(record: EventRecord) -> Row:
    deliveries = [{"notifier": name, "fate": fate.value, "note": note} for name, fate, note in record.deliveries]
    return {"id": record.id, **event_row(record.event), "deliveries": deliveries}


def _filter(query: Mapping[str, Any]) -> Callable[[ItemState, Severity], bool]:
    """Whether a state, with the severity that counts here, is what the query asks for."""
    of: Callable[[str], Collection[str] | None] = query.get
    categories, collectors, owners, kinds = of("category"), of("collector"), of("owner"), of("kind")
    severities = {Severity.of(word) for word in query["severity"]} if "severity" in query else None
    text = query.get("q", "").casefold()

    def wanted(state: ItemState, severity: Severity) -> bool:
        seen, traits = state.observation, state.observation.traits
        return (
            (severities is None or severity in severities)
            and (collectors is None or state.collector in collectors)
            and (categories is None or traits.category in categories)
            and (owners is None or traits.owner in owners)
            and (kinds is None or seen.kind in kinds)
            and (not text or text in f"{state.id}\n{seen.title}\n{traits.owner}".casefold())
        )

    return wanted
