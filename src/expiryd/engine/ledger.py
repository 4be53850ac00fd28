"""What is known of every item: in the store first, then in memory. Everything else asks here."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from expiryd.core import acking
from expiryd.core.kinship import MOST_PLACES, Kinship
from expiryd.core.model import Alert, Event, ItemId, ItemState, Severity, collector_of
from expiryd.core.rules import Rules
from expiryd.core.step import Step, wake_at
from expiryd.engine.tasks import unbroken
from expiryd.store.port import Change, Entry, Look, Outcome, Store

SHARDS = 64
_MOMENTS = ("opened_at", "asked_at", "told_at", "failed_at", "risen_at", "paged_at")
Shard = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Audience:
    """Who is owed an event, and how long to wait for others that may leave with it."""

    hears: Callable[[Event], tuple[str, ...]]
    group_wait: timedelta


@dataclass(frozen=True, slots=True)
class Gone:
    """An item to forget, and the last word on it, if there is one."""

    item: ItemId
    event: Event | None = None


class Ledger:
    """The states of all items, in shards per collector so that a change touches little of what is derived."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shards: defaultdict[Shard, dict[ItemId, ItemState]] = defaultdict(dict)
        self._next_wake: datetime | None = None
        self.counts: Counter[tuple[str, Severity]] = Counter()
        """Items by (category, severity), kept up to date change by change; without the daemon's word on itself."""
        self.revision = 0
        """Another one whenever something was seen that is not as it was: an end, a kind, an owner."""
        self.lock = asyncio.Lock()
        """Held from reading a state to committing what was decided on it, so that nothing is decided twice."""
        self.installation = ""
        self.last_looks: dict[str, Look] = {}
        self.last_good: dict[str, datetime] = {}
        self.kinship = Kinship(self.get, self.looked)
        self.changed: set[Shard] = set()
        """Shards whose derived texts are out of date; whoever derives something takes them out."""

    async def load(self) -> None:
        known = await self._store.load()
        self.installation = known.installation
        self.last_looks = dict(known.last_looks)
        self.last_good = dict(known.last_good)
        for state in known.items:
            self._keep(state)
        self.kinship.stirred()  # all that was known was judged by what was known

    def __len__(self) -> int:
        return sum(len(shard) for shard in self._shards.values())

    def get(self, item: ItemId) -> ItemState | None:
        shard = self._shards.get(_shard(item))  # asked for anything, also by strangers: nothing is made for it
        return shard.get(item) if shard else None

    def all(self) -> Iterator[ItemState]:
        for key in list(self._shards):
            yield from list(self._shards[key].values())

    def of(self, collector: str) -> Iterator[ItemState]:
        """The collector's items, and its own while it is troubled."""
        for number in range(SHARDS):
            if (collector, number) in self._shards:
                yield from list(self._shards[collector, number].values())

    def shard(self, key: Shard) -> Iterable[ItemState]:
        return self._shards[key].values()

    def places(self, state: ItemState) -> list[ItemId]:
        """The other items that hold the same secret."""
        return [place for place in self.kinship.places(state.observation.fingerprint) if place != state.id]

    def looked(self, state: ItemState) -> datetime | None:
        """When its collector's last look began that went to the end, or when an earlier one ended."""
        if state.blind_looks:
            return None
        look = self.last_looks.get(state.collector)
        if look is not None and look.outcome is Outcome.COMPLETE:
            return look.started_at
        return self.last_good.get(state.collector)

    def alert(self, event: Event) -> Alert | None:
        """The open matter that the event is about, as it stands."""
        state, matter = self.get(event.item), (event.aspect, event.generation)
        return next((one for one in state.alerts if (one.aspect, one.generation) == matter), None) if state else None

    def alerts(self) -> Iterator[tuple[ItemState, Alert]]:
        for state in self.all():
            for alert in state.alerts:
                yield state, alert

    async def commit(
        self,
        steps: Sequence[Step],
        audience: Audience,
        now: datetime,
        *,
        gone: Sequence[Gone] = (),
        look: Look | None = None,
        journal: Sequence[Entry] = (),
    ) -> list[Event]:
        """State, events and the duty to tell in one transaction; memory follows when it holds, and only then."""
        changed: list[ItemState] = []
        judged: list[ItemState] = []
        for step in steps:
            before = self.get(step.state.id)
            if before is None or before != step.state:
                (judged if before is not None and _is_judgement(before, step.state) else changed).append(step.state)
            elif before is not step.state:
                self._wake(step.state)
        events = self._with_places(steps) + [last.event for last in gone if last.event]
        if not (changed or judged or gone or look or journal):
            return []
        change = Change(
            items=changed,
            judged=judged,
            forgotten=[last.item for last in gone],
            events=[(event, audience.hears(event)) for event in events],
            due=now + audience.group_wait,
            look=look,
            journal=journal,
        )
        await unbroken(self._commit(change))
        return events

    async def _commit(self, change: Change) -> None:
        await self._store.commit(change)
        for state in (*change.items, *change.judged):
            self._keep(state, with_stamps=True)
        for item in change.forgotten:
            self._drop(item)
        if change.look is not None:
            self._note(change.look)

    def settled(
        self,
        events: Iterable[Event],
        at: datetime,
        stamp: Callable[[Alert, datetime], Alert],
        rules: Callable[[ItemState], Rules],
    ) -> None:
        """Memory follows what the store stamped (`told` or `given_up`) on the alerts of settled parcels."""
        for event in events:
            state = self.get(event.item)
            if state is None:
                continue
            alerts = tuple(
                stamp(a, at) if (a.aspect, a.generation) == (event.aspect, event.generation) else a
                for a in state.alerts
            )
            if alerts != state.alerts:
                state = state.judged(state.severity, alerts, state.wake_at)
                self._keep(state.judged(state.severity, alerts, wake_at(state, rules(state), at)))

    def due(self, now: datetime) -> list[ItemState]:
        """Items that time alone may have changed. Cheap while nothing is due."""
        if self._next_wake is None or now < self._next_wake:
            return []
        waking, later = [], None
        for state in self.all():
            if state.wake_at is None:
                continue
            if state.wake_at <= now:
                waking.append(state)
            elif later is None or state.wake_at < later:
                later = state.wake_at
        self._next_wake = later
        return waking

    @property
    def next_wake(self) -> datetime | None:
        """When time alone may next change a judgement, or a moment before that."""
        return self._next_wake

    async def set_back(self, now: datetime, by: timedelta) -> None:
        """Time has moved back by `by` (negative) to `now`: what is remembered of times to come was earlier by as much.

        Else a cooldown that began then, a message that waits, or an acknowledgement for two hours would wait for that
        future. Raises StoreError.
        """

        def anew(moment: datetime | None) -> Any:
            return moment + by if moment is not None and moment > now else moment

        def moved(alert: Alert) -> Alert:
            ack = acking.set_back(alert.ack, now, by) if alert.ack else None
            return replace(alert, ack=ack, **{name: anew(getattr(alert, name)) for name in _MOMENTS})

        async with self.lock:
            await self._store.set_back(now, by)
            states = [replace(state, alerts=tuple(map(moved, state.alerts))) for state in self.all() if state.alerts]
            if in_hand := [state for state in states if any(alert.ack for alert in state.alerts)]:
                await self._store.commit(Change(items=in_hand))
            for state in states:
                self._keep(state)
            for name, look in self.last_looks.items():
                begun, ended = anew(look.started_at), anew(look.finished_at)
                self.last_looks[name] = replace(look, started_at=begun, finished_at=ended)
            self.last_good = {name: anew(moment) for name, moment in self.last_good.items()}

    def wake_up_at(self, moment: datetime) -> None:
        """Look through all items again then, whatever they say themselves."""
        self._next_wake = moment

    def wake_all(self, now: datetime) -> None:
        """After a start or a reload every judgement is made again, by the rules of today."""
        for key, shard in self._shards.items():
            self._shards[key] = {item: replace(state, wake_at=now) for item, state in shard.items()}
        self._next_wake = now

    def _with_places(self, steps: Sequence[Step]) -> list[Event]:
        """What happened, each with the other places of the same secret, also those that are only seen now."""
        if not any(step.events and step.state.observation.fingerprint for step in steps):
            return [event for step in steps for event in step.events]
        now = {step.state.id: step.state.observation.fingerprint for step in steps}
        among: defaultdict[str, list[ItemId]] = defaultdict(list)
        for item, fingerprint in now.items():
            if fingerprint:
                among[fingerprint].append(item)
        events = []
        for step in steps:
            if step.events:
                mine = step.state.observation.fingerprint
                known = [place for place in self.kinship.places(mine) if now.get(place, mine) == mine]
                places = tuple(sorted({*known, *among.get(mine, ())} - {step.state.id}))[:MOST_PLACES]
                events += [replace(event, places=places) if places else event for event in step.events]
        return events

    def _keep(self, state: ItemState, *, with_stamps: bool = False) -> None:
        """`with_stamps`: what a delivery stamped on the known one while the store was at work is not forgotten."""
        key = _shard_of(state)
        shard = self._shards[key]
        before = shard.get(state.id)
        if with_stamps and before is not None and state.alerts and before.alerts:
            state = _stamped(state, before)
        self.kinship.update(before, state)
        if before is None or before.severity is not state.severity or before.observation is not state.observation:
            self._count(before, -1)
            self._count(state, 1)
        if not state.is_own and (before is None or before.observation is not state.observation):
            self.revision += 1
        self.changed.add(key)
        shard[state.id] = state
        self._wake_by(state.wake_at)

    def _wake(self, state: ItemState) -> None:
        """Only the time of the next evaluation is new, which is derived and not stored."""
        self._shards[_shard_of(state)][state.id] = state
        self._wake_by(state.wake_at)

    def _wake_by(self, moment: datetime | None) -> None:
        if moment is not None and (self._next_wake is None or moment < self._next_wake):
            self._next_wake = moment

    def _drop(self, item: ItemId) -> None:
        key = _shard(item)
        before = self._shards[key].pop(item, None)
        self.revision += before is not None and not before.is_own
        self.kinship.update(before, None)
        self._count(before, -1)
        self.changed.add(key)

    def _count(self, state: ItemState | None, by: int) -> None:
        if state is not None and not state.is_own:
            self.counts[state.observation.traits.category, state.severity] += by

    def _note(self, look: Look) -> None:
        self.last_looks[look.collector] = look
        if look.outcome is Outcome.COMPLETE:
            self.last_good[look.collector] = look.finished_at


def _is_judgement(before: ItemState, after: ItemState) -> bool:
    """Whether nothing but severity and alerts is new, and no alert has ended."""
    if after.observation is not before.observation or after.blind_looks != before.blind_looks:
        return False
    if (after.rotated_at, after.past, after.took) != (before.rotated_at, before.past, before.took):
        return False
    return not before.alerts or {a.aspect for a in before.alerts} <= {a.aspect for a in after.alerts}


def _stamped(state: ItemState, known: ItemState) -> ItemState:
    """With the times of delivery of what is known, nor is it forgotten when their cooldown ends."""
    stamps = {(a.aspect, a.generation): a for a in known.alerts if a.told_at or a.failed_at}
    alerts = tuple(_later_stamps(a, stamps.get((a.aspect, a.generation))) for a in state.alerts)
    if alerts == state.alerts:
        return state
    moments = [moment for moment in (state.wake_at, known.wake_at) if moment is not None]
    return replace(state, alerts=alerts, wake_at=min(moments, default=None))


def _later_stamps(alert: Alert, known: Alert | None) -> Alert:
    if known is None:
        return alert
    paged_at = alert.paged_at
    if paged_at is None and known.paged_at is not None and known.paged_at >= alert.since:
        paged_at = known.paged_at
    told_at, failed_at = _latest(alert.told_at, known.told_at), _latest(alert.failed_at, known.failed_at)
    return replace(alert, told_at=told_at, failed_at=failed_at, paged_at=paged_at)


def _latest(*moments: datetime | None) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)


def _shard(item: ItemId) -> Shard:
    return collector_of(item), hash(item) % SHARDS


def _shard_of(state: ItemState) -> Shard:
    return state.collector, hash(state.id) % SHARDS
