"""A whole daemon that goes through any life, with receivers that fail as they are told and remember everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from tests.deeds import (
    SOURCE,
    At,
    Breaks,
    Deed,
    Dies,
    Heals,
    Hushes,
    LetsGo,
    Looks,
    Reloads,
    Restarts,
    Speaks,
    Takes,
    Thing,
    Wakes,
)
from tests.foreseen import Policy
from tests.rig import RECEIVERS, Rig
from tests.story import Fate as Death
from tests.story import Killed, Mortal

from expiryd.api import (
    AuthError,
    Blind,
    CollectError,
    Lifetime,
    Message,
    Observation,
    PermanentError,
    Receipt,
    Severity,
    TransientError,
)
from expiryd.core.matching import Matcher
from expiryd.core.silencing import Silence
from expiryd.engine.actions import Actions, NoSuchAlert, Taking
from expiryd.engine.silences import NoSuchSilence
from expiryd.store.port import EventRecord
from expiryd.store.sql import SqlStore
from expiryd.testing import Recording

HEARERS = ("slack", "mail")


class Attempt(NamedTuple):
    at: timedelta
    message: Message
    outcome: str
    life: int

    @property
    def arrived(self) -> bool:
        return self.outcome in ("taken", "lost")


class Receiver(Recording):
    """Takes what it is sent, or fails as it is told; and remembers all of it."""

    def __init__(self, life: Life, *, threaded: bool) -> None:
        super().__init__()
        self.threaded = threaded
        self.life = life
        self.how, self.times = "taken", 0
        self.log: list[Attempt] = []

    async def send(self, message: Message) -> Receipt:
        outcome = self.how if self.times > 0 else "taken"
        self.times -= 1
        self.log.append(Attempt(self.life.now, message, outcome, self.life.number))
        match outcome:
            case "later":
                raise TransientError("busy")
            case "lost" | "unsure":
                raise TransientError("reset", ambiguous=True)
            case "unknown":
                raise AuthError("who?")
            case "never":
                raise PermanentError("bad")
        return Receipt(f"taken {message.key}", thread=f"about {message.thread.item}" if message.thread else "")


class Life:
    """One daemon that goes through all of it."""

    def __init__(self, path: Path, policies: Mapping[str, Policy], settings: Mapping[str, Any], threaded: str) -> None:
        self.death = Death()
        self.number = 1
        """How many times it was born."""
        self.deaths: list[timedelta] = []
        self.rounds: list[timedelta] = []
        """When what was owed was looked after by one that lived on."""
        self._policies = policies
        self.rig = Rig(path, receivers=HEARERS, settings=settings)
        self.rig.wrap = lambda _: Mortal(SqlStore(f"sqlite:///{path / 'expiryd.db'}", private=True), self.death)
        self.receivers = {name: Receiver(self, threaded=name == threaded) for name in HEARERS}
        RECEIVERS.update(self.receivers)

    @property
    def now(self) -> timedelta:
        return self.rig.clock.now() - self.rig.begins_at

    async def live(self, life: Sequence[At]) -> None:
        for when, deed in life:
            if when > self.now:
                await self.rig.clock.advance(when - self.now)
            await self._surely(deed)
        self.death.begins(mortal=False)

    async def _surely(self, deed: Deed) -> None:
        """What a death interrupts is done by the next life: the scheduler looks again, people ask again."""
        if isinstance(deed, Dies):
            self.death.write, self.death.after, self.death.done = deed.write, deed.after, 0
            return
        due = self.death.write
        if isinstance(deed, Looks) and (deed.breaks or None in deed.shown.values()):
            self.death.write = -1  # a look that is made twice misses twice what it cannot see
        with suppress(Killed):
            await self._do(deed)
        if self._is_dead():
            self.death.begins(mortal=False)
            await self.rig.restart()
            self.number += 1
            self.deaths.append(self.now)
            await self._do(deed)
        elif self.death.write == -1:
            self.death.write = due
        if isinstance(deed, Wakes):
            self.rounds.append(self.now)

    async def records(self) -> list[EventRecord]:
        """All events with what became of them."""
        found: list[EventRecord] = []
        while page := await self.rig.daemon.store.events(before=found[-1].id if found else None, limit=500):
            found += page
        return found

    def open_matters(self) -> set[tuple[str, str, str, int]]:
        """As they are in the ledger."""
        return {
            (alert.item.removeprefix(f"{SOURCE}/"), alert.aspect, alert.generation, int(alert.severity))
            for state, alert in self.rig.daemon.ledger.alerts()
            if not state.is_own
        }

    def _is_dead(self) -> bool:
        store: Any = self.rig.daemon.store
        return bool(store.dead)

    async def _do(self, deed: Deed) -> None:
        rig = self.rig
        match deed:
            case Wakes(judges):
                if judges:
                    await rig.tick()
                await self._deliver()
            case Looks(shown, breaks):
                readings = [self._reading(name, thing) for name, thing in shown.items()]
                rig.sources[SOURCE].shows(*readings, *([CollectError("gone")] if breaks else []))
                await rig.look()
            case Restarts():
                await rig.restart()
            case Reloads(policy):
                await rig.reload(policy=self._policies[policy].said)
            case Breaks(name, how, times):
                self.receivers[name].how, self.receivers[name].times = how, times
            case Heals(name):
                self.receivers[name].times = 0
            case _:
                await self._people(deed)

    async def _people(self, deed: Deed) -> None:
        daemon, start = self.rig.daemon, self.rig.begins_at
        match deed:
            case Hushes(begins, ends, items, severities, aspect):
                matcher = Matcher(
                    item=tuple(f"{SOURCE}/{name}" for name in items),
                    severity=tuple(map(Severity, severities)),
                    aspect=(aspect,) if aspect else (),
                )
                now = self.rig.clock.now()
                await daemon.silences.add(Silence(matcher, start + begins, start + ends, "ann", "moving house", now))
            case Speaks():
                for silence in await daemon.silences.list():
                    with suppress(NoSuchSilence):
                        await daemon.silences.expire(silence.id, "bob")
            case Takes(name, reason, until, until_renewed):
                taking = Taking(reason, start + until if until is not None else None, until_renewed)
                with suppress(NoSuchAlert):
                    await Actions(daemon).acknowledge(f"{SOURCE}/{name}#expiry", taking, "ann")
            case LetsGo(name):
                with suppress(NoSuchAlert):
                    await Actions(daemon).let_go(f"{SOURCE}/{name}#expiry", "ann")

    async def _deliver(self) -> None:
        """As the couriers do: when something is due, and not while they rest."""
        now = self.rig.clock.now()
        for name, courier in list(self.rig.daemon.graph.couriers.items()):
            while (due := await self.rig.daemon.store.next_due(name)) is not None and due <= now:
                if not await courier.deliver():
                    break

    def _reading(self, name: str, thing: Thing | None) -> Observation | Blind:
        if thing is None:
            return Blind(name, "no route to host", "token")
        ends = self.rig.begins_at + thing.ends
        lifetime = Lifetime(ends, issued_at=ends - thing.lives)
        return Observation(name, kind="token", lifetime=lifetime, generation=thing.generation)
