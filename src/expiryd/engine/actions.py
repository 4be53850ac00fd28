"""What people do about open matters: take one in hand, let go of it, hear nothing of it for a while.

Each deed has an actor and a reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from expiryd.api import ExpirydError
from expiryd.core.acking import acknowledge, let_go, say_ack
from expiryd.core.matching import Facts, Matcher
from expiryd.core.model import Ack, Alert, ItemId, ItemState
from expiryd.core.silencing import Silence, snoozed
from expiryd.core.step import Step
from expiryd.core.wording import say_time
from expiryd.engine.daemon import Daemon
from expiryd.store.port import Entry

LONGEST_SILENCE = timedelta(days=90)


class NoSuchAlert(ExpirydError):
    """There is no open matter of this id."""


@dataclass(frozen=True, slots=True)
class Taking:
    """The terms on which somebody takes a matter in hand."""

    reason: str
    until: datetime | None = None
    until_renewed: bool = False


@dataclass(frozen=True, slots=True)
class Actions:
    """Done for whoever may; remembered and owed in one transaction. Every method raises NoSuchAlert and StoreError."""

    daemon: Daemon

    async def acknowledge(self, alert: str, taking: Taking, actor: str) -> tuple[ItemState, Alert]:
        """From here on nobody is reminded of it, until it ends, rises or the terms are over. Told once."""
        async with self.daemon.ledger.lock:
            state, known = self.find(alert)
            now = self.daemon.clock.now()
            ack = Ack(actor, now, taking.reason, taking.until, taking.until_renewed)
            terms = {"aspect": known.aspect, "terms": say_ack(ack)}
            entry = Entry(now, actor, "alert.acknowledged", state.id, terms)
            return await self._done(acknowledge(state, known.aspect, ack), entry, alert)

    async def let_go(self, alert: str, actor: str) -> tuple[ItemState, Alert]:
        """Whoever had it in hand has not any more: reminders go on."""
        async with self.daemon.ledger.lock:
            state, known = self.find(alert)
            now = self.daemon.clock.now()
            entry = Entry(now, actor, "alert.let_go", state.id, {"aspect": known.aspect})
            return await self._done(let_go(state, known.aspect, now), entry, alert)

    async def snooze(self, alert: str, until: datetime, reason: str, actor: str) -> Silence:
        """Nobody hears of it until then, in whatever generation. Raises ValueError as `silence` does."""
        return await self.silence(snoozed(self.find(alert)[1]), until, reason, actor)

    async def silence(self, matcher: Matcher, until: datetime, reason: str, actor: str) -> Silence:
        """Nobody hears of what matches until then; then, what still holds. Raises ValueError for an end too far off."""
        now = self.daemon.clock.now()
        if until - now > LONGEST_SILENCE:
            latest = say_time(now + LONGEST_SILENCE)
            raise ValueError(
                f"a silence ends within {LONGEST_SILENCE.days} days, by {latest}: renew it then if need be"
            )
        return await self.daemon.silences.add(Silence(matcher, now, until, actor, reason, now))

    def find(self, alert: str) -> tuple[ItemState, Alert]:
        """The open matter of this id."""
        item, _, aspect = alert.rpartition("#")  # an item's name may hold any character, an aspect is a plain word
        state = self.daemon.ledger.get(ItemId(item))
        known = next((one for one in state.alerts if one.aspect == aspect), None) if state else None
        if state is None or known is None:
            raise NoSuchAlert(f"no open alert is called {alert!r}; `expiryd alerts` lists them")
        return state, known

    async def _done(self, step: Step | None, entry: Entry, alert: str) -> tuple[ItemState, Alert]:
        """The lock is held. A deed that changes nothing leaves no line."""
        if step is not None:
            daemon = self.daemon
            events = await daemon.ledger.commit([step], daemon.graph.audience, entry.at, journal=[entry])
            daemon.voice.told_of(events)
            daemon.log.info(entry.action, actor=entry.actor, item=entry.item, **entry.detail)
        return self.find(alert)


def silenced_until(silences: Iterable[Silence], state: ItemState, alert: Alert) -> datetime | None:
    """The last end of those silences that mean this matter."""
    facts = Facts.about(state, alert)
    return max((silence.ends_at for silence in silences if silence.matcher.matches(facts)), default=None)
