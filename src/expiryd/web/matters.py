"""What somebody may do about open matters: take one in hand, and let go of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from expiryd.core.acking import parse_moment
from expiryd.core.view import alert_row
from expiryd.core.wording import plain
from expiryd.engine.actions import Actions, NoSuchAlert, Taking
from expiryd.engine.daemon import Daemon
from expiryd.web.route import Ask, Problem, Right, Route, answer

ALERTS = "/api/v1/alerts/"


def _reason(text: str) -> str:
    said = plain(text)
    if not said:
        raise ValueError("say why: whoever reads this later wants to know")
    return said


class Wish(BaseModel):
    """Why somebody wants what he wants."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    reason: Annotated[str, AfterValidator(_reason), Field(description="Why, in one line.")]


class AckWish(Wish):
    """Without an end it ends when the severity rises, or with the matter."""

    until: Annotated[str | None, Field(description="A span (2d), a date (the end of that day) or a time.")] = None
    until_renewed: Annotated[bool, Field(description="Until the matter is over, whatever its severity.")] = False


class Matters:
    """Acts for whoever may."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._actions = Actions(daemon)

    def routes(self) -> list[Route]:
        unknown = {404: "There is no such open alert."}
        return [
            Route(
                "POST",
                f"{ALERTS}{{id}}/ack",
                self.acknowledge,
                "Take an open alert in hand: no reminders until it ends, rises or the terms are over.",
                right=Right.ACT,
                query=(),
                body=AckWish,
                answers=unknown,
                schema="Alert",
            ),
            Route(
                "DELETE",
                f"{ALERTS}{{id}}/ack",
                self.let_go,
                "Let go of an alert: reminders go on.",
                right=Right.ACT,
                query=(),
                answers=unknown,
                schema="Alert",
            ),
        ]

    async def acknowledge(self, ask: Ask) -> web.StreamResponse:
        wish: AckWish = ask.body
        if wish.until and wish.until_renewed:
            raise Problem(400, "until, until_renewed: give one of them")
        until = self._moment(wish.until) if wish.until is not None else None
        taking = Taking(wish.reason, until, wish.until_renewed)
        return await self._acted(ask, taking)

    async def let_go(self, ask: Ask) -> web.StreamResponse:
        return await self._acted(ask, None)

    async def _acted(self, ask: Ask, taking: Taking | None) -> web.StreamResponse:
        alert, actor = ask.named(ALERTS, "/ack"), ask.caller.name
        try:
            if taking is None:
                state, now = await self._actions.let_go(alert, actor)
            else:
                state, now = await self._actions.acknowledge(alert, taking, actor)
        except NoSuchAlert as unknown:
            raise Problem(404, str(unknown)) from None
        return answer(alert_row(state, now, self._daemon.clock.now()))

    def _moment(self, text: str) -> datetime:
        """Raises Problem."""
        try:
            return parse_moment(text, self._daemon.clock.now(), self._daemon.graph.config.daemon.timezone)
        except ValueError as problem:
            raise Problem(400, f"until: {problem}") from None
