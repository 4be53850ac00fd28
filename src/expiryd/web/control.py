"""What somebody may have done: reload, look now, send a test message. Every deed is logged with its actor."""

from __future__ import annotations

import asyncio
from collections.abc import Container

from aiohttp import web

from expiryd.api import DeliveryError, Event, EventKind, ExpirydError, ItemId, Message, Severity
from expiryd.config.model import Config
from expiryd.core.model import SELF
from expiryd.core.render import render
from expiryd.core.view import rfc3339
from expiryd.engine.daemon import Daemon
from expiryd.engine.tasks import Tasks
from expiryd.web.route import Ask, Problem, Right, Route, answer, plain

ASPECT = "test"


class Control:
    """Acts for whoever may."""

    def __init__(self, daemon: Daemon, tasks: Tasks) -> None:
        self._daemon = daemon
        self._tasks = tasks
        self._reloading = asyncio.Lock()
        self._next: asyncio.Task[Config | Exception] | None = None

    def routes(self) -> list[Route]:
        return [
            Route(
                "POST",
                "/-/reload",
                self.reload,
                "Take the configuration on disk into use.",
                right=Right.ACT,
                answers={422: "It has errors, one per line; the old one is kept."},
                media="text/plain",
            ),
            Route(
                "POST",
                "/api/v1/collectors/{name}/look",
                self.look,
                "Look now, and answer when the look is over.",
                right=Right.ACT,
                query=(),
                answers={404: "No such collector.", 503: "What was seen could not be remembered."},
            ),
            Route(
                "POST",
                "/api/v1/notify/test/{name}",
                self.test,
                "Send one marked test message now, past the outbox.",
                right=Right.ACT,
                query=(),
                answers={404: "No such notifier.", 502: "It was not delivered, and why."},
            ),
        ]

    # ── reload ────────────────────────────────────────────────────────────────────────────────────────

    async def reload(self, ask: Ask) -> web.StreamResponse:
        self._daemon.log.info("config.reload_asked", actor=ask.caller.name)
        outcome = await self._reloaded(ask.caller.name)
        if isinstance(outcome, Config):
            return plain(f"reloaded, hash {outcome.hash}")
        return plain(str(outcome), 422)

    async def _reloaded(self, actor: str) -> Config | Exception:
        """All who ask before a reload begins share it; who asks while one reads the files shares the next."""
        if self._next is None:
            self._next = self._tasks.spawn(self._reload(actor), "reload")
        return await asyncio.shield(self._next)

    async def _reload(self, actor: str) -> Config | Exception:
        async with self._reloading:
            self._next = None
            try:
                return await self._daemon.reload(actor)
            except (ExpirydError, ValueError) as problem:
                return problem

    # ── look ──────────────────────────────────────────────────────────────────────────────────────────

    async def look(self, ask: Ask) -> web.StreamResponse:
        daemon, name = self._daemon, _named(ask, "collector", self._daemon.graph.collectors)
        daemon.log.info("collector.look_asked", actor=ask.caller.name, collector=name)
        asked_at = daemon.clock.now()
        look = await daemon.look_now(name)
        if look is None or look.finished_at < asked_at:
            raise Problem(503, daemon.store_error or "the look did not end as it should: see the log")
        return answer(
            {
                "collector": name,
                "started_at": rfc3339(look.started_at),
                "finished_at": rfc3339(look.finished_at),
                "outcome": look.outcome.value,
                "items": look.items,
                "reason": look.reason,
            }
        )

    # ── test ──────────────────────────────────────────────────────────────────────────────────────────

    async def test(self, ask: Ask) -> web.StreamResponse:
        daemon, name = self._daemon, _named(ask, "notifier", self._daemon.graph.couriers)
        message = self._message(name, ask.caller.name)
        try:
            receipt = await daemon.graph.couriers[name].try_out(message)
        except DeliveryError as failure:
            daemon.log.warning("notifier.test_failed", actor=ask.caller.name, notifier=name, reason=str(failure))
            return answer({"notifier": name, "delivered": False, "error": str(failure)}, 502)
        daemon.log.info("notifier.tested", actor=ask.caller.name, notifier=name, proof=receipt.proof)
        return answer({"notifier": name, "delivered": True, "proof": receipt.proof})

    def _message(self, notifier: str, actor: str) -> Message:
        now = self._daemon.clock.now()
        event = Event(
            kind=EventKind.RAISED,
            at=now,
            item=ItemId(f"{SELF}/{ASPECT}/{notifier}"),
            collector=SELF,
            aspect=ASPECT,
            generation=now.isoformat(),
            severity=Severity.INFO,
            before=Severity.HEALTHY,
            title=f"TEST of notifier {notifier}",
            item_kind="test",
            detail=f"nothing is wrong, {actor} tries whether messages arrive",
        )
        wording = render([event], now)
        return Message(
            key=f"test-{self._daemon.ledger.installation}-{notifier}-{now.timestamp():.6f}",
            subject=f"[TEST] {wording.subject}",
            text=wording.text,
            html=wording.html,
            severity=Severity.INFO,
            firing=True,
            at=now,
            events=(event,),
        )


def _named(ask: Ask, what: str, known: Container[str]) -> str:
    name: str = ask.request.match_info["name"]
    if name not in known:
        raise Problem(404, f"no {what} is called {name!r}")
    return name
