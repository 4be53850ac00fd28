"""Health: can the daemon do its work? An expired token does not make it ill, a source it cannot see does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from aiohttp import web

from expiryd.core.model import Alert, ItemState, Severity
from expiryd.core.view import Rank, alert_rank
from expiryd.engine.daemon import Daemon
from expiryd.store.port import Outbox
from expiryd.web import checks
from expiryd.web.checks import Check, Status, stamp
from expiryd.web.glance import Glance
from expiryd.web.matters import row_of
from expiryd.web.paging import page, steps
from expiryd.web.route import Ask, Right, Route, answer, plain
from expiryd.web.vitals import item_totals, performance

MOST_ALERTS = 20
_MILLISECOND = timedelta(milliseconds=1)
_WHO_MAY_SEE = "names, messages and alerts are shown only to those who may read: send a token"
_TEMPORARY = {503: "It cannot do its work: critical or unavailable."}


@dataclass(frozen=True, slots=True)
class Timed:
    """A check with when it was made and how long that took."""

    check: Check
    at: datetime
    seconds: float


class Health:
    """Answers in well under a second, whatever hangs."""

    def __init__(self, daemon: Daemon, glance: Glance) -> None:
        self._daemon = daemon
        self._glance = glance

    def routes(self) -> list[Route]:
        return [
            Route(
                "GET",
                "/health",
                self.report,
                "Its own ability, check by check. Names and messages only for those who may read.",
                right=None,
                answers=_TEMPORARY,
                schema="Health",
            ),
            Route("GET", "/health/status", self.status, "The same in five numbers.", right=None, answers=_TEMPORARY),
            Route("GET", "/health/metrics", self.numbers, "The numbers behind it.", right=None),
            Route("GET", "/-/healthy", self.alive, "It lives.", right=None, media="text/plain", named=False),
            Route(
                "GET",
                "/-/ready",
                self.ready,
                "Every collector has been tried and the store answers.",
                right=None,
                answers={503: "Not yet, and why."},
                media="text/plain",
                named=False,
            ),
        ]

    # ── answers ───────────────────────────────────────────────────────────────────────────────────────

    async def report(self, ask: Ask) -> web.StreamResponse:
        outbox = await self._glance.outbox()
        made = self._checked(outbox)
        overall = _worst(made)
        knows = ask.caller.may(Right.READ)
        advice = [each.check.advice for each in made if each.check.advice] if knows else [_WHO_MAY_SEE]
        body = {
            "overall": overall.word,
            "timestamp": stamp(self._daemon.clock.now()),
            "uptime": self._daemon.uptime // _MILLISECOND,
            "checks": [_row(each, full=knows) for each in made],
            "performance": performance(self._daemon, outbox),
            "alerts": await self._alerts() if knows else [],
            "recommendations": list(dict.fromkeys(advice)),
            "items": item_totals(self._daemon),
        }
        return answer(body, _code(overall))

    async def status(self, _: Ask) -> web.StreamResponse:
        outbox = await self._glance.outbox()
        overall = _worst(self._checked(outbox))
        body = {
            "status": overall.word,
            "timestamp": stamp(self._daemon.clock.now()),
            "items": item_totals(self._daemon),
            "alerts": sum((await self.alert_counts()).values()),
            "successRate": performance(self._daemon, outbox)["reliabilityMetrics"]["successRate"],
        }
        return answer(body, _code(overall))

    async def numbers(self, _: Ask) -> web.StreamResponse:
        outbox = await self._glance.outbox()
        body = {
            "timestamp": stamp(self._daemon.clock.now()),
            "uptime": self._daemon.uptime // _MILLISECOND,
            "items": item_totals(self._daemon),
            "alerts": await self.alert_counts(),
            **performance(self._daemon, outbox),
        }
        return answer(body)

    async def alive(self, _: Ask) -> web.StreamResponse:
        return plain("ok")

    async def ready(self, _: Ask) -> web.StreamResponse:
        reasons = [f"the store: {self._daemon.store_error}"] if self._daemon.store_error else []
        waiting = self._daemon.graph.collectors.keys() - self._daemon.ledger.last_looks.keys()
        if waiting:
            reasons.append(f"{len(waiting)} of {len(self._daemon.graph.collectors)} collectors were not looked at yet")
        return plain("\n".join(reasons), 503) if reasons else plain("ready")

    # ── what others ask too ───────────────────────────────────────────────────────────────────────────

    def overall(self, outbox: Outbox | None) -> Status:
        return _worst(self._checked(outbox))

    async def alert_counts(self) -> dict[str, int]:
        """Open alerts by severity."""
        counts = {severity.word: 0 for severity in reversed(Severity) if severity is not Severity.HEALTHY}
        async for chunk in steps(self._daemon.ledger.all()):
            for state in chunk:
                for alert in state.alerts:
                    counts[alert.severity.word] += 1
        return counts

    async def _alerts(self) -> list[dict[str, Any]]:
        shown, _ = await page(self._daemon.ledger.all(), _alerts_of, MOST_ALERTS)
        silences = self._daemon.silences.holding(self._daemon.clock.now())
        return [row_of(self._daemon, state, alert, silences) for state, alert in shown]

    # ── checks ────────────────────────────────────────────────────────────────────────────────────────

    def _checked(self, outbox: Outbox | None) -> list[Timed]:
        daemon = self._daemon
        timed = [
            self._timed(lambda: checks.store(daemon, outbox)),
            self._timed(lambda: checks.moving(daemon, "scheduler")),
            self._timed(lambda: checks.moving(daemon, "pulse")),
            self._timed(lambda: checks.moving(daemon, "audit")),
            self._timed(lambda: checks.config(daemon)),
            self._timed(lambda: checks.outbox(daemon, outbox)),
        ]
        looks = [self._timed(partial(checks.collector, daemon, name)) for name in daemon.graph.collectors]
        sends = [self._timed(partial(checks.notifier, daemon, name, outbox)) for name in daemon.graph.notifiers]
        for name, parts in (("collectors", looks), ("notifiers", sends)):
            timed += [self._timed(partial(checks.together, name, [part.check for part in parts]))] if parts else []
            timed += parts
        return timed

    def _timed(self, check: Callable[[], Check]) -> Timed:
        started = self._daemon.clock.monotonic()
        made = check()
        return Timed(made, self._daemon.clock.now(), self._daemon.clock.monotonic() - started)


def _alerts_of(state: ItemState) -> Iterator[tuple[Rank, tuple[ItemState, Alert]]]:
    return ((alert_rank(alert), (state, alert)) for alert in state.alerts)


def _worst(timed: list[Timed]) -> Status:
    return max(each.check.status for each in timed)


def _code(status: Status) -> int:
    return 503 if status >= Status.CRITICAL else 200


def _row(timed: Timed, *, full: bool) -> dict[str, Any]:
    check = timed.check
    return {
        "name": check.name if full else check.name.partition(":")[0],
        "status": check.status.word,
        "message": check.message if full else "",
        "timestamp": stamp(timed.at),
        "duration": round(timed.seconds * 1000, 3),
        "details": check.details if full else {},
    }
