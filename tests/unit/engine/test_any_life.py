"""Whatever happens in whatever order: what is due is told, nothing twice, and every duty ends with its reason."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.rig import RECEIVERS, Rig, expiring
from tests.story import Fate as Death
from tests.story import Killed, Mortal

from expiryd.api import AuthError, Blind, CollectError, PermanentError, TransientError
from expiryd.core.model import Event
from expiryd.store.port import EventRecord, Fate

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
RECEIVERS_OF = ("slack", "mail")
_names = st.sampled_from(["a", "b"])


@dataclass(frozen=True)
class Waits:
    span: timedelta


@dataclass(frozen=True)
class Sees:
    """A look shows these things, each ending so many days from now (None: it could not be seen)."""

    ends: dict[str, int | None]


@dataclass(frozen=True)
class Fails:
    pass


@dataclass(frozen=True)
class Restarts:
    pass


@dataclass(frozen=True)
class Reloads:
    critical: int


@dataclass(frozen=True)
class Dies:
    """At this write of the next thing that happens."""

    write: int
    after: bool


@dataclass(frozen=True)
class Refuses:
    """A receiver fails at its next attempts."""

    receiver: str
    how: str


steps = st.one_of(
    st.builds(Waits, st.sampled_from([timedelta(minutes=5), HOUR, DAY, 4 * DAY, 20 * DAY])),
    st.builds(Sees, st.dictionaries(_names, st.none() | st.integers(-3, 60), max_size=2)),
    st.builds(Fails),
    st.builds(Restarts),
    st.builds(Reloads, st.integers(1, 29)),
    st.builds(Dies, st.integers(0, 4), st.booleans()),
    st.builds(Refuses, st.sampled_from(RECEIVERS_OF), st.sampled_from(["later", "lost", "never", "unknown"])),
)


class Life:
    """One daemon that goes through all of it."""

    def __init__(self, path: Path) -> None:
        self.death = Death()
        self.rig = Rig(path, receivers=RECEIVERS_OF, settings={"policy": {"group_wait": "30s"}})
        self.rig.wrap = lambda store: Mortal(store, self.death)

    async def live(self, script: list[Any]) -> None:
        for step in script:
            await self._surely(step)
        for name in RECEIVERS_OF:
            RECEIVERS[name]._outcomes.clear()
        for _ in range(3):
            await self._surely(Waits(timedelta(hours=2)))

    async def _surely(self, step: Any) -> None:
        """What a death interrupts is done by the next life: the scheduler looks again, time goes on."""
        if isinstance(step, Dies):
            self.death.write, self.death.after, self.death.done = step.write, step.after, 0
            return
        with suppress(Killed):
            await self._do(step)
        if self._is_dead():
            self.death.begins(mortal=False)
            await self.rig.restart()
            with suppress(Killed):
                await self._do(step)
        assert not self._is_dead()

    def _is_dead(self) -> bool:
        store: Any = self.rig.daemon.store
        return bool(store.dead)

    async def _do(self, step: Any) -> None:
        rig = self.rig
        match step:
            case Waits(span):
                end = rig.clock.now() + span
                while rig.clock.now() < end:
                    await rig.clock.advance(min(max(span / 8, 5 * timedelta(minutes=1)), end - rig.clock.now()))
                    await rig.tick()
                    await rig.deliver()
            case Sees(ends):
                now = rig.clock.now()
                rig.sources["tokens"].shows(
                    *(Blind(n, "no route") if d is None else expiring(n, now + d * DAY) for n, d in ends.items())
                )
                await rig.look()
            case Fails():
                rig.sources["tokens"].shows(CollectError("gone"))
                await rig.look()
            case Restarts():
                await rig.restart()
            case Reloads(critical):
                await rig.reload(policy={"critical": f"{critical}d", "group_wait": "30s"})
            case Refuses(receiver, how):
                outcomes = {
                    "later": TransientError("busy"),
                    "lost": TransientError("reset", ambiguous=True),
                    "never": PermanentError("bad"),
                    "unknown": AuthError("who?"),
                }
                RECEIVERS[receiver]._outcomes.append(outcomes[how])


def identity(event: Event) -> tuple[object, ...]:
    return (event.kind, event.at, event.item, event.aspect, event.generation, event.severity)


async def everything(rig: Rig) -> list[EventRecord]:
    records: list[EventRecord] = []
    while page := await rig.daemon.store.events(before=records[-1].id if records else None, limit=500):
        records += page
    return records


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(script=st.lists(steps, min_size=1, max_size=14))
async def test_what_is_due_is_told_nothing_twice_and_every_duty_ends_with_its_reason(script: list[Any]) -> None:
    with TemporaryDirectory() as directory:
        life = Life(Path(directory))
        async with life.rig:
            await life.live(script)
            await _prove(life.rig)


async def _prove(rig: Rig) -> None:
    records = await everything(rig)
    _every_duty_has_ended(records)
    _nothing_was_said_twice()
    _what_is_open_was_told(rig, records, rig.clock.now())


def _every_duty_has_ended(records: list[EventRecord]) -> None:
    for record in records:
        for notifier, fate, word in record.deliveries:
            assert fate not in (Fate.PENDING, Fate.LEASED), f"{notifier} is still owed {record.event}: {word}"
            assert word, f"{fate} without a reason or proof at {notifier}: {record.event}"


def _nothing_was_said_twice() -> None:
    """Under one key it is the same message, sent again because nobody knew whether it had arrived."""
    for name in RECEIVERS_OF:
        keys: defaultdict[tuple[object, ...], set[str]] = defaultdict(set)
        for message in RECEIVERS[name].sent:
            for event in message.events:
                keys[identity(event)].add(message.key)
        twice = [event for event, under in keys.items() if len(under) > 1]
        assert not twice, f"{name} heard twice: {twice}"


def _what_is_open_was_told(rig: Rig, records: list[EventRecord], now: datetime) -> None:
    """Of each open matter every receiver has heard the last word, unless he refused it for good."""
    for state, alert in rig.daemon.ledger.alerts():
        if state.is_own:
            continue
        last = next(r for r in records if (r.event.item, r.event.aspect) == (alert.item, alert.aspect))
        fates = {fate for _, fate, _ in last.deliveries}
        assert fates <= {Fate.DELIVERED, Fate.DEAD}, f"{alert} was not told: {last.deliveries} at {now}"
