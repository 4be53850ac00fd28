"""What somebody may do about open matters: take one in hand, let go of it, hear nothing of it for a while."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from expiryd.core.acking import parse_moment
from expiryd.core.matching import Matcher
from expiryd.core.model import Alert, ItemState
from expiryd.core.silencing import Silence
from expiryd.core.view import alert_row, silence_row
from expiryd.core.wording import plain
from expiryd.engine.actions import Actions, NoSuchAlert, Taking, silenced_until
from expiryd.engine.daemon import Daemon
from expiryd.engine.silences import NoSuchSilence
from expiryd.web.route import Ask, Param, Problem, Right, Route, answer

ALERTS = "/api/v1/alerts/"
SILENCES = "/api/v1/silences"
_OVER = Param("over", "Also those that are over.", values=["yes"])
_WHEN = "A span (2d), a date (the end of that day) or a time."


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

    until: Annotated[str | None, Field(description=_WHEN)] = None
    until_renewed: Annotated[bool, Field(description="Until the matter is over, whatever its severity.")] = False


class SnoozeWish(Wish):
    """Every silence has an end."""

    until: Annotated[str, Field(description=_WHEN)]


class SilenceWish(SnoozeWish):
    """What is meant: all of the matchers."""

    matchers: Annotated[
        list[str] | dict[str, Any],
        Field(description='["category=cicd", "severity=critical,expired"], or the same as a table; empty: everything.'),
    ]


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
            Route(
                "POST",
                f"{ALERTS}{{id}}/snooze",
                self.snooze,
                "Hear nothing of one alert until then.",
                right=Right.ACT,
                query=(),
                body=SnoozeWish,
                answers=unknown,
                schema="Silence",
            ),
            Route(
                "GET",
                SILENCES,
                self.silences,
                "What is silenced, the silence that ends first at the top.",
                query=(_OVER,),
                schema="Silences",
            ),
            Route(
                "POST",
                SILENCES,
                self.silence,
                "Hear nothing of what matches until then.",
                right=Right.ACT,
                query=(),
                body=SilenceWish,
                schema="Silence",
            ),
            Route(
                "DELETE",
                f"{SILENCES}/{{id}}",
                self.expire,
                "End a silence now.",
                right=Right.ACT,
                query=(),
                answers={404: "There is no such silence to end."},
                schema="Silence",
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
        return answer(row_of(self._daemon, state, now))

    async def snooze(self, ask: Ask) -> web.StreamResponse:
        wish: SnoozeWish = ask.body
        alert, until = ask.named(ALERTS, "/snooze"), self._moment(wish.until)
        try:
            return self._row(await self._actions.snooze(alert, until, wish.reason, ask.caller.name))
        except NoSuchAlert as unknown:
            raise Problem(404, str(unknown)) from None
        except ValueError as problem:
            raise Problem(400, f"until: {problem}") from None

    async def silences(self, ask: Ask) -> web.StreamResponse:
        now = self._daemon.clock.now()
        kept = [one for one in await self._daemon.silences.list() if "over" in ask.query or one.ends_at > now]
        return answer({"silences": [silence_row(one, now) for one in kept]})

    async def silence(self, ask: Ask) -> web.StreamResponse:
        wish: SilenceWish = ask.body
        said, until = wish.matchers, self._moment(wish.until)
        try:
            matcher = Matcher.read(said) if isinstance(said, dict) else Matcher.parse(said)
        except ValueError as problem:
            raise Problem(400, f"matchers: {problem}") from None
        try:
            return self._row(await self._actions.silence(matcher, until, wish.reason, ask.caller.name))
        except ValueError as problem:
            raise Problem(400, f"until: {problem}") from None

    async def expire(self, ask: Ask) -> web.StreamResponse:
        try:
            return self._row(await self._daemon.silences.expire(ask.named(f"{SILENCES}/"), ask.caller.name))
        except NoSuchSilence as unknown:
            raise Problem(404, str(unknown)) from None

    def _row(self, silence: Silence) -> web.Response:
        return answer(silence_row(silence, self._daemon.clock.now()))

    def _moment(self, text: str) -> datetime:
        """Raises Problem."""
        try:
            return parse_moment(text, self._daemon.clock.now(), self._daemon.graph.config.daemon.timezone)
        except ValueError as problem:
            raise Problem(400, f"until: {problem}") from None


def row_of(daemon: Daemon, state: ItemState, alert: Alert, silences: Sequence[Silence] | None = None) -> dict[str, Any]:
    """One open matter with who has it in hand and until when it is silenced, by all silences or by these."""
    now = daemon.clock.now()
    holding = daemon.silences.holding(now) if silences is None else silences
    return alert_row(state, alert, now, silenced_until(holding, state, alert))
