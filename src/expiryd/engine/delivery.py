"""Deliver what is owed to one notifier: lease, group, word, send, settle. At least once, never in a tight loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from expiryd.api import (
    AuthError,
    Clock,
    DeliveryError,
    Log,
    Message,
    Notifier,
    NotifierConfig,
    PermanentError,
    Receipt,
    SecretError,
    Severity,
    Thread,
    TransientError,
)
from expiryd.config.storm import StormConfig
from expiryd.core.duration import format_duration
from expiryd.core.grouping import Draft, FirstLook, Manner, Plan, Purpose, plan
from expiryd.core.model import Alert, Event, Finding, ItemId, ItemState
from expiryd.core.muting import Mute, Muting, nothing_muted
from expiryd.core.pace import GIVE_UP_AFTER, Rate, backoff
from expiryd.core.routing import Route, is_for_anyone
from expiryd.core.rules import Rules
from expiryd.core.step import given_up, told
from expiryd.core.storm import OVERFLOW, Open
from expiryd.engine.admission import Door
from expiryd.engine.composing import compose, farewell, message_key
from expiryd.engine.ledger import Ledger
from expiryd.engine.lettering import reword
from expiryd.engine.metrics import Metrics
from expiryd.store.port import Fate, Parcel, Settlement, Store, StoreError

if TYPE_CHECKING:
    from expiryd.templates.stationery import Stationery

LEASE = timedelta(minutes=10)
NOTICEABLE = 3
"""So many failed attempts in a row are told through the other notifiers."""
IDLE = timedelta(seconds=30)
MOST_LEASED = 250_000
"""In one round, so that the digest of a storm is one message."""
MANY = 2_000
P = ParamSpec("P")
R = TypeVar("R")
STORE_PATIENCE = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Depot:
    """What all couriers share."""

    store: Store
    ledger: Ledger
    clock: Clock
    log: Log
    metrics: Metrics
    rules: Callable[[ItemState], Rules]
    complain: Callable[[str, Sequence[Finding]], Awaitable[None]]
    """Have it told that `notifier/NAME` is in trouble or `storm/NAME` rages (or, with nothing, that it is over)."""
    mutes: Callable[[str, datetime], Muting] = lambda _notifier, _now: nothing_muted
    """What, at this moment, keeps words from being said to this notifier."""
    held: Callable[[datetime], None] = lambda _planned_at: None
    """What the mutes of that moment hold back has been noted."""
    group_wait: timedelta = timedelta(0)
    crowd: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the courier who carries very many parcels."""
    storm: StormConfig = field(default_factory=StormConfig)
    first_look: FirstLook = "each"
    zone: tzinfo = UTC
    routes: Sequence[Route] = ()


@dataclass(slots=True)
class Courier:
    """Delivers to one notifier. One worker each, so that a hung one delays no other."""

    name: str
    config: NotifierConfig
    notifier: Notifier
    depot: Depot
    stationery: Stationery | None = None
    failures: int = 0
    resume_at: datetime | None = None
    sending_since: float | None = None
    """Monotonic seconds, while a send is under way."""
    misworded: Finding | None = None
    """What is wrong with its templates, once one of them failed: they stay as they are until a reload."""
    sent_at: deque[datetime] = field(default_factory=lambda: deque(maxlen=1000))
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: bool = False

    async def serve(self) -> None:
        """Deliver until told to stop; the message under way is finished first."""
        while not self._stopping:
            self._wake.clear()
            try:
                if await self.deliver() or self._stopping:
                    continue
                delay = await self._until_next()
            except StoreError as failure:
                self.depot.log.error("courier.waits", notifier=self.name, problem=str(failure))
                delay = STORE_PATIENCE
            await self._doze(delay)

    def wake(self) -> None:
        self._wake.set()

    def overdue(self, now: float) -> bool:
        """Whether a send goes on long after its own time-out. `now` is monotonic."""
        return self.sending_since is not None and now - self.sending_since > self.config.timeout.total_seconds() + 60

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()

    async def deliver(self) -> bool:
        """One round. True when there may be more to do at once. Raises StoreError."""
        now = self.depot.clock.now()
        if self.resume_at is not None and now < self.resume_at:
            return False
        parcels = await self._lease(now, MANY)
        if len(parcels) < MANY:
            return await self._round(parcels, now)
        async with self.depot.crowd:  # so many at a time are held in memory by one courier
            return await self._round([*parcels, *await self._lease(now, MOST_LEASED)], now)

    async def _lease(self, now: datetime, limit: int) -> Sequence[Parcel]:
        horizon = now + self.depot.group_wait
        return await self.depot.store.lease(self.name, now, now + LEASE, horizon=horizon, limit=limit)

    async def _round(self, parcels: Sequence[Parcel], now: datetime) -> bool:
        if not parcels:
            await self._door().admit((), (), now)  # the end of a storm is news, too
            return False
        todo = await _aside(self._plan, parcels, now)
        await self._settle_silent(todo.superseded, Fate.SUPERSEDED, now)
        await self._settle_silent(todo.suppressed, Fate.SUPPRESSED, now)
        admitted = await self._door().admit(todo.drafts, parcels, now)
        held = {**todo.held, **admitted.hold}
        await self._hold(held, parcels)
        self.depot.held(now)
        done = todo.superseded.keys() | todo.suppressed.keys() | held.keys()
        left = {parcel.id: parcel for parcel in parcels if parcel.id not in done}
        drafts = [*admitted.send, *([admitted.digest] if admitted.digest else [])]
        while drafts and not self._stopping:
            if not await self._carry(drafts.pop(0), left):
                break
        else:
            await self._evict(admitted.evict)
        await self._give_back(list(left.values()), self.resume_at or now)
        return self.resume_at is None and not self._stopping

    def _plan(self, parcels: Sequence[Parcel], now: datetime) -> Plan:
        manner = Manner(
            self.depot.first_look,
            self.config.group_by,
            self.depot.zone,
            lambda event: is_for_anyone(event, self.depot.routes, self.name),
        )
        mute = self.depot.mutes(self.name, now)
        return plan(parcels, threaded=self.notifier.threaded, mute=mute, manner=manner)

    def _door(self) -> Door:
        depot, limits = self.depot, self.depot.storm.limits(self.config.daily)
        return Door(self.name, self.notifier.threaded, limits, depot.zone, depot.store, depot.ledger, depot.complain)

    # ── one message ───────────────────────────────────────────────────────────────────────────────────

    async def _carry(self, draft: Draft, left: dict[int, Parcel]) -> bool:
        """Send one message and take what it settles out of `left`. False when the notifier is to be left alone.

        What is refused for good goes again in halves: one bad matter must not take the others with it.
        """
        pieces, halvings = [draft], len(draft.parcels).bit_length()
        refused: list[tuple[Sequence[Parcel], str]] = []
        goes_on = True
        while pieces and goes_on and not self._stopping:
            piece = pieces.pop(0)
            parcels = [left[parcel.id] for parcel in piece.parcels]
            failure = await self._attempt(piece, parcels)
            if _is_final(failure) and len(parcels) > 1 and halvings:
                halvings -= 1
                pieces[:0] = _halves(piece)
                continue
            if _is_final(failure):
                refused.append((parcels, str(failure)))
            elif failure is not None:
                await self._put_off(failure, parcels, piece)
                goes_on = False
            for parcel in parcels:
                del left[parcel.id]
        for rejects, reason in refused:
            await self._bury(rejects, reason, self.depot.clock.now())
        return goes_on

    async def _attempt(self, draft: Draft, parcels: Sequence[Parcel]) -> DeliveryError | None:
        """Send it once. Delivered, it is settled; why it was not is for the caller to judge."""
        await self._keep_to_rate()
        now = self.depot.clock.now()
        ids = [parcel.id for parcel in parcels]
        key = self._key(draft)
        usual = await _aside(compose, draft, key, now, await self._thread(draft.thread), self.depot.ledger)
        message, misworded = await reword(usual, self.stationery, self.depot.log)
        self.misworded = misworded or self.misworded
        await self.depot.store.dispatch(self.name, ids, key, now + LEASE)
        try:
            receipt = await self._send(message)
        except DeliveryError as failure:
            self.depot.metrics.failed(self.name, failure)
            return failure
        await self._delivered(receipt, parcels, draft)
        return None

    def _key(self, draft: Draft) -> str:
        ids = [parcel.id for parcel in draft.parcels]
        return draft.batch or message_key(self.depot.ledger.installation, self.name, ids, draft.purpose)

    async def _evict(self, conversations: Sequence[Open]) -> None:
        """Close the least severe conversations, whose places others have taken. One that fails stays open for now."""
        for conversation in conversations:
            await self._keep_to_rate()
            now = self.depot.clock.now()
            thread = await self._thread(conversation.thread)
            if thread is None or self._stopping:
                return
            message = farewell(thread, self.depot.ledger, now, self._door().limits.max_active)
            try:
                await self._send(message)
            except DeliveryError as failure:
                self.depot.log.warning("conversation.stays", notifier=self.name, item=thread.item, reason=str(failure))
                continue
            forgotten = Settlement((), Fate.DELIVERED, now, thread=(*conversation.thread, ""))
            await self.depot.store.settle(self.name, [forgotten])
            self.depot.log.info("conversation.moved", notifier=self.name, item=thread.item)

    async def _thread(self, key: tuple[ItemId, str] | None) -> Thread | None:
        if key is None:
            return None
        references = await self.depot.store.threads(self.name, [key])
        return Thread(*key, references.get(key) or None)

    async def _send(self, message: Message) -> Receipt:
        started = self.sending_since = self.depot.clock.monotonic()
        try:
            return await self.hand_over(message)
        finally:
            self.sending_since = None
            self.sent_at.append(self.depot.clock.now())
            self.depot.metrics.latency(self.name, self.depot.clock.monotonic() - started)

    async def hand_over(self, message: Message) -> Receipt:
        """One attempt, past the outbox, of which nothing is remembered. Raises DeliveryError whatever goes wrong."""
        limit = self.config.timeout
        try:
            async with asyncio.timeout(limit.total_seconds()):
                return await self.notifier.send(message)
        except DeliveryError:
            raise
        except SecretError as missing:
            raise AuthError(str(missing)) from None
        except TimeoutError:
            raise TransientError(f"no answer within {format_duration(limit)} (`timeout`)", ambiguous=True) from None
        except Exception as bug:
            self.depot.log.error("notifier.crashed", notifier=self.name, exc_info=bug)
            raise TransientError(f"bug in the notifier: {type(bug).__name__}", ambiguous=True) from None

    async def try_out(self, message: Message) -> Receipt:
        """The same at the wish of a person: when it arrives, the trouble is over. What is owed goes when it is due."""
        receipt = await self.hand_over(message)
        await self._works()
        return receipt

    # ── how it ended ──────────────────────────────────────────────────────────────────────────────────

    async def _delivered(self, receipt: Receipt, parcels: Sequence[Parcel], draft: Draft) -> None:
        now = self.depot.clock.now()
        thread = (*draft.thread, receipt.thread) if draft.thread and receipt.thread else None
        await self._settle(parcels, Settlement((), Fate.DELIVERED, now, proof=receipt.proof, thread=thread))
        await self._stamp(parcels, now, told)
        self.depot.metrics.delivered(self.name, now)
        self.depot.log.info("message.delivered", notifier=self.name, events=len(parcels), proof=receipt.proof)
        await self._works()

    async def _put_off(self, failure: DeliveryError, parcels: Sequence[Parcel], draft: Draft) -> None:
        now = self.depot.clock.now()
        key, reason = self._key(draft), str(failure)
        self.failures = max(self.failures + 1, *(parcel.attempts for parcel in parcels))  # also those of earlier lives
        wish = failure.retry_after if isinstance(failure, TransientError) else None
        self.resume_at = now + (wish or backoff(self.failures, f"{self.name}:{key}"))
        # an attempt of which nobody knows how it ended is not made undone by one that surely failed
        ambiguous = draft.batch is not None or (isinstance(failure, TransientError) and failure.ambiguous)
        old = [p for p in parcels if now - p.created_at > GIVE_UP_AFTER]
        young = [p for p in parcels if now - p.created_at <= GIVE_UP_AFTER]
        if ambiguous and young:
            old, young = [], list(parcels)  # it goes again as it was, or not at all
        if old:
            await self._bury(old, f"given up after {format_duration(GIVE_UP_AFTER)}: {reason}", now)
        if young:
            why = OVERFLOW + reason if draft.purpose is Purpose.DIGEST else reason  # a digest stays together
            again = key if ambiguous else None
            await self.depot.store.postpone(self.name, [p.id for p in young], self.resume_at, why, again)
        self.depot.log.warning(
            "message.postponed", notifier=self.name, events=len(young), until=self.resume_at, reason=reason
        )
        if isinstance(failure, AuthError):
            await self._complain(Finding("auth-failed", Severity.CRITICAL, reason))
        elif self.failures >= NOTICEABLE:
            await self._complain(Finding("delivery-failing", Severity.CRITICAL, reason))

    async def _bury(self, parcels: Sequence[Parcel], reason: str, now: datetime) -> None:
        """Dead letters are kept, counted and told through the others. The cooldown decides when to ask again."""
        # told first: whatever dies in between, it is refused once more rather than buried without a word
        await self._complain(Finding("dead-letter", Severity.WARNING, f"{_subject(parcels)}: {reason}"))
        await self._settle(parcels, Settlement((), Fate.DEAD, now, reason=reason))
        await self._stamp(parcels, now, given_up)
        self.depot.log.error("message.dead", notifier=self.name, events=len(parcels), reason=reason)

    async def _stamp(self, parcels: Sequence[Parcel], at: datetime, stamp: Callable[[Alert, datetime], Alert]) -> None:
        """In pieces: a digest may be of a hundred thousand."""
        for start in range(0, len(parcels), MANY):
            events = [parcel.event for parcel in parcels[start : start + MANY]]
            self.depot.ledger.settled(events, at, stamp, self.depot.rules)
            await asyncio.sleep(0)

    async def _settle(self, parcels: Sequence[Parcel], settlement: Settlement) -> None:
        ids = [parcel.id for parcel in parcels]
        done = Settlement(ids, settlement.fate, settlement.at, settlement.reason, settlement.proof, settlement.thread)
        await self.depot.store.settle(self.name, [done])

    async def _settle_silent(self, reasons: dict[int, str], fate: Fate, now: datetime) -> None:
        """Not sent, on purpose: a row with its reason, so that nothing is dropped silently."""
        if not reasons:
            return
        by_reason: dict[str, list[int]] = {}
        for parcel_id, reason in reasons.items():
            by_reason.setdefault(reason, []).append(parcel_id)
        await self.depot.store.settle(
            self.name, [Settlement(ids, fate, now, reason=reason) for reason, ids in by_reason.items()]
        )
        self.depot.metrics.suppressed(fate.value, len(reasons))

    async def _hold(self, held: Mapping[int, Mute], parcels: Sequence[Parcel]) -> None:
        """Not now, on purpose: still owed, with the reason and the moment at which it may be told."""
        known = {parcel.id: parcel.reason for parcel in parcels} if held else {}
        together: dict[Mute, list[int]] = {}
        for parcel_id, mute in held.items():
            together.setdefault(mute, []).append(parcel_id)
        for mute, ids in together.items():
            if mute.until is not None:
                await self.depot.store.hold(self.name, ids, mute.until, mute.reason, at=self.depot.clock.now())
                fresh = sum(known[parcel_id] != mute.reason for parcel_id in ids)
                self.depot.metrics.suppressed(mute.by or "held", fresh)

    async def _give_back(self, parcels: Sequence[Parcel], due: datetime) -> None:
        alike: dict[tuple[str, str | None], list[int]] = {}
        for parcel in parcels:
            alike.setdefault((parcel.reason or "waits its turn", parcel.batch), []).append(parcel.id)
        for (reason, batch), ids in alike.items():
            await self.depot.store.postpone(self.name, ids, due, reason, batch)

    # ── trouble of its own ────────────────────────────────────────────────────────────────────────────

    async def _complain(self, finding: Finding) -> None:
        """Beside what is known of it already. A second one of a kind is no news."""
        known = self._known_trouble()
        if finding.code not in {each.code for each in known}:
            await self.depot.complain(f"notifier/{self.name}", (*known, finding))

    async def _works(self) -> None:
        """Trouble is over with the first delivery, except that of its own words."""
        self.failures, self.resume_at = 0, None
        left = () if self.misworded is None else (self.misworded,)
        if [each.code for each in self._known_trouble()] != [each.code for each in left]:
            await self.depot.complain(f"notifier/{self.name}", left)

    def _known_trouble(self) -> tuple[Finding, ...]:
        """Also of the time before a restart or a reload."""
        state = self.depot.ledger.get(own_item(self.name))
        return state.observation.findings if state is not None else ()

    # ── time ──────────────────────────────────────────────────────────────────────────────────────────

    async def _keep_to_rate(self) -> None:
        if self.config.rate is not None:
            wait = Rate.parse(self.config.rate).wait(self.sent_at, self.depot.clock.now())
            if wait:
                await self.depot.clock.sleep(wait)

    async def _until_next(self) -> timedelta:
        now = self.depot.clock.now()
        due = await self.depot.store.next_due(self.name)
        moments = [moment for moment in (due, self.resume_at) if moment is not None]
        return min(max(max(moments) - now, timedelta(0)), IDLE) if due else IDLE

    async def _doze(self, delay: timedelta) -> None:
        """Sleep on the injected clock, but wake at once when something new is owed."""
        async with asyncio.TaskGroup() as group:
            sleeping = group.create_task(self.depot.clock.sleep(delay))
            waking = group.create_task(self._wake.wait())
            await asyncio.wait({sleeping, waking}, return_when=asyncio.FIRST_COMPLETED)
            sleeping.cancel()
            waking.cancel()


def own_item(notifier: str) -> ItemId:
    """The notifier as an item that the daemon watches."""
    return ItemId(f"expiryd/notifier/{notifier}")


def about(event: Event, notifier: str) -> bool:
    """Whether the event is this notifier's own trouble, which the others are to carry."""
    return event.item == own_item(notifier)


def _subject(parcels: Sequence[Parcel]) -> str:
    first, *others = dict.fromkeys(parcel.event.item for parcel in parcels)
    return f"what it was to tell of {first}{f' and {len(others)} more' if others else ''}"


def _is_final(failure: DeliveryError | None) -> bool:
    return isinstance(failure, PermanentError) and not isinstance(failure, AuthError)


def _halves(draft: Draft) -> list[Draft]:
    middle = len(draft.parcels) // 2
    return [replace(draft, parcels=half, batch=None) for half in (draft.parcels[:middle], draft.parcels[middle:])]


async def _aside(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What may be about very many is done in a thread, and the event loop goes on."""
    sized = args[0].parcels if isinstance(args[0], Draft) else args[0]
    if isinstance(sized, Sequence) and len(sized) > MANY:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)
