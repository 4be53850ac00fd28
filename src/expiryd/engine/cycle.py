"""One look at one collector: collect, judge, remember. One `now` all the way."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from expiryd.api import Clock, Collector, CollectorConfig, Log
from expiryd.core.generations import since
from expiryd.core.kinship import say_successor
from expiryd.core.model import (
    BLIND,
    SELF,
    Basis,
    Blind,
    Event,
    Finding,
    ItemId,
    ItemState,
    Lifetime,
    Observation,
    Reading,
    Severity,
    collector_of,
)
from expiryd.core.step import Step, evaluate, fail, see, vanish
from expiryd.engine.gathering import Gathering
from expiryd.engine.guard import NetworkGuard
from expiryd.engine.ledger import Audience, Gone, Ledger
from expiryd.engine.rulebook import Rulebook
from expiryd.store.port import Look, Outcome, StoreError

AT_ONCE = 1000
"""Judged again in one go: it holds the event loop for some 25 ms."""
SHRUNK = "shrunk"
EMPTY = "empty"
CUT_OFF = "this machine's own network is down, see expiryd/network"


@dataclass(frozen=True, slots=True)
class Cycle:
    """Runs looks by the rules of one configuration."""

    ledger: Ledger
    clock: Clock
    rulebook: Rulebook
    audience: Audience
    log: Log
    edited: set[str] = field(default_factory=set)
    """Collectors whose settings have just changed: what their next look lacks was taken off the list by a person."""
    network: NetworkGuard | None = None
    """Says whether what is not seen over the network is this machine's own fault, and does not count."""

    async def run(self, name: str, config: CollectorConfig, collector: Collector) -> tuple[Look, list[Event]]:
        """Raises StoreError when what was seen could not be remembered; every other failure is a finding."""
        now = self.clock.now()
        seen: set[ItemId] = set()
        events: list[Event] = []
        is_first = name not in self.ledger.last_good
        is_cut_off = False
        gathering = Gathering(name, config, collector, self.log)
        async for batch in gathering.batches():
            is_cut_off = is_cut_off or await self._cut_off(collector, any(isinstance(r, Blind) for r in batch))
            async with self.ledger.lock:
                steps = self._steps(name, batch, seen, now, spare_blind=is_cut_off)
                events += await self.ledger.commit(
                    [_first(step) for step in steps] if is_first else steps, self.audience, now
                )
            await asyncio.sleep(0)
        if is_cut_off or await self._cut_off(collector, bool(gathering.failure)):
            is_cut_off, gathering.failure = True, CUT_OFF
        async with self.ledger.lock:
            look = await self._conclude(name, gathering.failure, seen, events, now)
        events += await self._consider_kin(now, name if is_first else "")
        if look.outcome is Outcome.COMPLETE:
            self.edited.discard(name)
        return look, events

    async def observe(self, seen: Sequence[Observation], *, notify: tuple[str, ...] = ()) -> list[Event]:
        """What the daemon notices about itself goes the same way as everything else, and is kept while it matters.

        `notify`: whom alone it concerns.
        """
        now = self.clock.now()
        async with self.ledger.lock:
            steps = [
                _for(self._see(ItemId(f"{SELF}/{observation.id}"), observation, now), notify) for observation in seen
            ]
            loud = [step for step in steps if step.state.alerts]
            over = [gone for step in steps if not step.state.alerts for gone in self._over(step)]
            return await self.ledger.commit(loud, self.audience, now, gone=over)

    async def tick(self) -> list[Event]:
        """Judge again what time alone may have changed, except what a blind source hides."""
        now = self.clock.now()
        try:
            return await self._judge_again(self.ledger.due(now), now) + await self._consider_kin(now)
        except StoreError:
            self.ledger.wake_up_at(now)  # nothing was decided: the same again when the store is back
            raise

    async def retire(self, collectors: Container[str], notifiers: Container[str]) -> list[Event]:
        """Forget what nothing watches any more. Only an open matter is worth a last word."""
        now = self.clock.now()

        def watched(state: ItemState) -> bool:
            if state.collector == SELF:
                sort, _, name = state.id.removeprefix(f"{SELF}/").partition("/")
                return sort not in ("notifier", "storm") or name in notifiers
            return state.collector in collectors

        why = "no longer watched: it was taken out of the configuration"
        async with self.ledger.lock:
            gone = [_last_word(state, now, why) for state in self.ledger.all() if not watched(state)]
            return await self.ledger.commit((), self.audience, now, gone=gone)

    async def trouble(self, name: str, finding: Finding) -> list[Event]:
        """A collector is in trouble beside its looks, until the next one says better."""
        own, now = ItemId(name), self.clock.now()
        seen = Observation("", kind="collector", title=f"collector {name}", findings=(finding,))
        async with self.ledger.lock:
            return await self.ledger.commit([self._see(own, seen, now)], self.audience, now)

    async def forget(self, item: ItemId) -> None:
        """Without a word."""
        async with self.ledger.lock:
            await self.ledger.commit((), self.audience, self.clock.now(), gone=[Gone(item)])

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────

    async def _cut_off(self, collector: Collector, missed: bool) -> bool:
        return missed and collector.network and self.network is not None and await self.network.is_down()

    async def _judge_again(self, waking: Sequence[ItemState], now: datetime, first: str = "") -> list[Event]:
        hidden = {collector for collector in {state.collector for state in waking} if self._is_blind(collector)}
        waking = sorted(waking, key=lambda state: state.id)  # as the database keeps them: twice as fast for very many
        events: list[Event] = []
        for start in range(0, len(waking), AT_ONCE):
            async with self.ledger.lock:
                steps = [
                    evaluate(self._regarded(current), self.rulebook.of(current), now)
                    for state in waking[start : start + AT_ONCE]
                    if (current := self.ledger.get(state.id)) is not None
                    and (current.collector not in hidden or current.id == current.collector)
                ]
                steps = [_first(step) if step.state.collector == first else step for step in steps]
                events += await self.ledger.commit(steps, self.audience, now)
            await asyncio.sleep(0)
        return events

    async def _consider_kin(self, now: datetime, first: str = "") -> list[Event]:
        """Judge again what has to do with things that have changed: copies, successors, endpoints.

        `first` is the collector whose first look this is.
        """
        stirred = [self.ledger.get(item) for item in self.ledger.kinship.stirred()]
        return await self._judge_again([state for state in stirred if state is not None], now, first)

    def _regarded(self, state: ItemState) -> ItemState:
        """With what is to be said today of what was seen then."""
        kinship, seen = self.ledger.kinship, state.observation
        if not (seen.fingerprint or seen.identity or seen.findings):
            return state
        now = kinship.regard(state.id, seen, since(state), self.ledger.looked(state))
        return state if now is seen else replace(state, observation=now)

    async def _conclude(self, name: str, failure: str, seen: set[ItemId], events: list[Event], now: datetime) -> Look:
        """The end of a look: what it did not find, how it ended, and the trouble the source is in."""
        known = [state for state in self.ledger.of(name) if state.id != name]
        missing = [] if failure else [state for state in known if state.id not in seen]
        lost = self._lost(name, len(missing), len(known), bool(seen))
        gone = [] if lost else self._vanished(name, missing, now)
        look = Look(name, now, self.clock.now(), _outcome(failure, seen), len(seen), failure)
        steps, over = self._own(look, lost, known, now)
        was_blind = self._is_blind(name)
        events += await self.ledger.commit(steps, self.audience, now, gone=[*gone, *over], look=look)
        if was_blind and not self._is_blind(name):
            self.ledger.wake_up_at(now)  # what was due while nothing could be seen, and was not seen now either
        return look

    def _steps(
        self, name: str, batch: Sequence[Reading], seen: set[ItemId], now: datetime, *, spare_blind: bool = False
    ) -> list[Step]:
        steps = []
        for reading in batch:
            item = ItemId(f"{name}/{reading.id}")
            if item in seen:
                self.log.warning("collector.item_twice", collector=name, item=item)
                continue
            seen.add(item)
            if spare_blind and isinstance(reading, Blind):
                continue
            look_at = self._see if isinstance(reading, Observation) else self._fail
            steps.append(look_at(item, reading, now))  # type: ignore[arg-type]  # each takes its own kind of reading
        return steps

    def _see(self, item: ItemId, seen: Observation, now: datetime) -> Step:
        def regard(settled: Observation, begun: datetime) -> Observation:
            return self.ledger.kinship.regard(item, settled, begun, now)

        before, by = self.ledger.get(item), self.rulebook.resolve(collector_of(item), seen.id, seen.traits, seen.kind)
        return see(before, item, seen, by, now, regard=regard if seen.fingerprint or seen.identity else None)

    def _fail(self, item: ItemId, blind: Blind, now: datetime, before: ItemState | None = None) -> Step:
        before = before or self.ledger.get(item)
        return fail(before, item, blind, self.rulebook.resolve(collector_of(item), blind.id, kind=blind.kind), now)

    def _own(
        self, look: Look, lost: Finding | None, known: Sequence[ItemState], now: datetime
    ) -> tuple[list[Step], Sequence[Gone]]:
        """The collector as an item of its own, which exists only while it is troubled."""
        own, title = ItemId(look.collector), f"collector {look.collector}"
        before = self.ledger.get(own)
        if look.reason == CUT_OFF:  # no news of the source
            return [], ()
        if look.outcome is Outcome.BLIND:
            blind = Blind("", look.reason, kind="collector", title=title)
            return [self._fail(own, blind, now, before or _hiding(own, title, known, now))], ()
        findings = _findings(look, lost)
        if before is None and not findings:
            return [], ()
        step = self._see(own, Observation("", kind="collector", title=title, findings=findings), now)
        return ([step], ()) if findings else ([], self._over(step))

    def _vanished(self, name: str, missing: Sequence[ItemState], now: datetime) -> list[Gone]:
        if name in self.edited:
            return [_last_word(state, now, "no longer listed by its collector's settings") for state in missing]
        return [Gone(state.id, self._vanish(state, now)) for state in missing]

    def _vanish(self, state: ItemState, now: datetime) -> Event:
        """The last word on it, which names its successor if there is one, as when each has a file of its own."""
        event, successor = vanish(state, now), say_successor(self._regarded(state).observation)
        return replace(event, detail=f"{event.detail}, {successor}") if successor else event

    def _over(self, step: Step) -> Sequence[Gone]:
        """The trouble has passed: its closing events, and nothing more to remember."""
        if self.ledger.get(step.state.id) is None:
            return ()
        return [Gone(step.state.id, event) for event in step.events or (None,)]

    def _lost(self, name: str, missing: int, known: int, anything: bool) -> Finding | None:
        """All or more than half of it is gone at once: not believed until a second look agrees."""
        is_empty = missing > 0 and not anything
        if not is_empty and (missing < 4 or missing * 2 <= known):
            return None
        if name in self.edited or self._has(name, SHRUNK) or self._has(name, EMPTY):
            return None
        if is_empty:
            detail, code = f"nothing was found, where {missing} items were known", EMPTY
        else:
            detail, code = f"{missing} of {known} known items were not found", SHRUNK
        return Finding(code, Severity.WARNING, f"{detail}; they are kept until the next look agrees")

    def _is_blind(self, collector: str) -> bool:
        return self._has(collector, BLIND)

    def _has(self, collector: str, aspect: str) -> bool:
        own = self.ledger.get(ItemId(collector))
        return own is not None and any(alert.aspect == aspect for alert in own.alerts)


def _for(step: Step, notify: tuple[str, ...]) -> Step:
    return replace(step, events=tuple(replace(event, notify=notify) for event in step.events)) if notify else step


def _first(step: Step) -> Step:
    """Until a source was seen to its end once, all it tells is news of how things stand, not of what happened."""
    return replace(step, events=tuple(replace(event, is_first=True) for event in step.events))


def _last_word(state: ItemState, now: datetime, why: str) -> Gone:
    return Gone(state.id, replace(vanish(state, now), detail=why) if state.alerts else None)


def _outcome(failure: str, seen: set[ItemId]) -> Outcome:
    if not failure:
        return Outcome.COMPLETE
    return Outcome.PARTIAL if seen else Outcome.BLIND


def _findings(look: Look, lost: Finding | None) -> tuple[Finding, ...]:
    if look.reason:
        return (Finding("partial", Severity.WARNING, look.reason),)
    return (lost,) if lost else ()


def _hiding(own: ItemId, title: str, known: Sequence[ItemState], now: datetime) -> ItemState:
    """A source that goes blind; its date is the first end that its blindness hides."""
    ends = (state.observation.lifetime.expires_at for state in known if state.observation.lifetime)
    first = min((end for end in ends if end is not None), default=None)
    lifetime = Lifetime(expires_at=first, basis=Basis.METADATA) if first else None
    seen = Observation("", kind="collector", title=title, lifetime=lifetime)
    return ItemState(own, collector_of(own), seen, Severity.UNKNOWN, first_seen=now)
