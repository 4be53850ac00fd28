"""Deliver what is owed to one notifier: lease, group, word, send, settle. At least once, never in a tight loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

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
from expiryd.core.duration import format_duration
from expiryd.core.grouping import Draft, plan
from expiryd.core.model import Event, Finding, ItemId, ItemState
from expiryd.core.muting import Mute, Muting, nothing_muted
from expiryd.core.pace import GIVE_UP_AFTER, Rate, backoff
from expiryd.core.rules import Rules
from expiryd.core.step import given_up, told
from expiryd.engine.composing import compose, message_key
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
    complain: Callable[[str, Finding | None], Awaitable[None]]
    """Tell the others that this notifier is in trouble (or, with None, that it is well again)."""
    mutes: Callable[[str, datetime], Muting] = lambda _notifier, _now: nothing_muted
    """What, at this moment, keeps words from being said to this notifier."""
    group_wait: timedelta = timedelta(0)


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
    complaint: str = ""
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
        horizon = now + self.depot.group_wait
        parcels = await self.depot.store.lease(self.name, now, now + LEASE, horizon=horizon)
        if not parcels:
            return False
        todo = plan(parcels, threaded=self.notifier.threaded, mute=self.depot.mutes(self.name, now))
        await self._settle_silent(todo.superseded, Fate.SUPERSEDED, parcels, now)
        await self._settle_silent(todo.suppressed, Fate.SUPPRESSED, parcels, now)
        await self._hold(todo.held)
        drafts = list(todo.drafts)
        done = todo.superseded.keys() | todo.suppressed.keys() | todo.held.keys()
        left = {p.id: p for p in parcels if p.id not in done}
        while drafts and not self._stopping:
            draft = drafts.pop(0)
            carried = [left.pop(parcel.id) for parcel in draft.parcels]
            if not await self._carry(draft, carried):
                break
        await self._give_back(list(left.values()), self.resume_at or now)
        return self.resume_at is None and not self._stopping

    # ── one message ───────────────────────────────────────────────────────────────────────────────────

    async def _carry(self, draft: Draft, parcels: Sequence[Parcel]) -> bool:
        """Send one message. False when the notifier is to be left alone for a while."""
        await self._keep_to_rate()
        now = self.depot.clock.now()
        ids = [parcel.id for parcel in parcels]
        key = draft.batch or message_key(self.depot.ledger.installation, self.name, ids)
        usual = compose(draft, key, now, await self._thread(draft), self.depot.ledger)
        message, misworded = await reword(usual, self.stationery, self.depot.log)
        self.misworded = misworded or self.misworded
        await self.depot.store.dispatch(self.name, ids, key, now + LEASE)
        try:
            receipt = await self._send(message)
        except DeliveryError as failure:
            return await self._failed(failure, parcels, key)
        await self._delivered(receipt, parcels, draft)
        return True

    async def _thread(self, draft: Draft) -> Thread | None:
        if draft.thread is None:
            return None
        references = await self.depot.store.threads(self.name, [draft.thread])
        return Thread(*draft.thread, references.get(draft.thread))

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

    # ── how it ended ──────────────────────────────────────────────────────────────────────────────────

    async def _delivered(self, receipt: Receipt, parcels: Sequence[Parcel], draft: Draft) -> None:
        now = self.depot.clock.now()
        thread = (*draft.thread, receipt.thread) if draft.thread and receipt.thread else None
        await self._settle(parcels, Settlement((), Fate.DELIVERED, now, proof=receipt.proof, thread=thread))
        self.depot.ledger.settled([p.event for p in parcels], now, told, self.depot.rules)
        self.depot.metrics.delivered(self.name, now)
        self.depot.log.info("message.delivered", notifier=self.name, events=len(parcels), proof=receipt.proof)
        self.failures, self.resume_at = 0, None
        await self._recovered()

    async def _failed(self, failure: DeliveryError, parcels: Sequence[Parcel], key: str) -> bool:
        now = self.depot.clock.now()
        reason = str(failure)
        self.depot.metrics.failed(self.name, failure)
        if isinstance(failure, PermanentError) and not isinstance(failure, AuthError):
            await self._bury(parcels, reason, now)
            return True
        self.failures += 1
        wish = failure.retry_after if isinstance(failure, TransientError) else None
        self.resume_at = now + (wish or backoff(self.failures, f"{self.name}:{key}"))
        ambiguous = isinstance(failure, TransientError) and failure.ambiguous
        old = [p for p in parcels if now - p.created_at > GIVE_UP_AFTER]
        young = [p for p in parcels if now - p.created_at <= GIVE_UP_AFTER]
        if old:
            await self._bury(old, f"given up after {format_duration(GIVE_UP_AFTER)}: {reason}", now)
        if young:
            await self.depot.store.postpone(
                self.name, [p.id for p in young], self.resume_at, reason, key if ambiguous and not old else None
            )
        self.depot.log.warning(
            "message.postponed", notifier=self.name, events=len(young), until=self.resume_at, reason=reason
        )
        if isinstance(failure, AuthError):
            await self._complain(Finding("auth-failed", Severity.CRITICAL, reason))
        elif self.failures >= NOTICEABLE:
            await self._complain(Finding("delivery-failing", Severity.CRITICAL, reason))
        return False

    async def _bury(self, parcels: Sequence[Parcel], reason: str, now: datetime) -> None:
        """Dead letters are kept, counted and told through the others. The cooldown decides when to ask again."""
        await self._settle(parcels, Settlement((), Fate.DEAD, now, reason=reason))
        self.depot.ledger.settled([p.event for p in parcels], now, given_up, self.depot.rules)
        self.depot.log.error("message.dead", notifier=self.name, events=len(parcels), reason=reason)
        await self._complain(Finding("dead-letter", Severity.WARNING, reason))

    async def _settle(self, parcels: Sequence[Parcel], settlement: Settlement) -> None:
        ids = [parcel.id for parcel in parcels]
        done = Settlement(ids, settlement.fate, settlement.at, settlement.reason, settlement.proof, settlement.thread)
        await self.depot.store.settle(self.name, [done])

    async def _settle_silent(
        self, reasons: dict[int, str], fate: Fate, parcels: Sequence[Parcel], now: datetime
    ) -> None:
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

    async def _hold(self, held: Mapping[int, Mute]) -> None:
        """Not now, on purpose: still owed, with the reason and the moment at which it may be told."""
        together: dict[Mute, list[int]] = {}
        for parcel_id, mute in held.items():
            together.setdefault(mute, []).append(parcel_id)
        for mute, ids in together.items():
            if mute.until is not None:
                await self.depot.store.hold(self.name, ids, mute.until, mute.reason)
                self.depot.metrics.suppressed(mute.by or "held", len(ids))

    async def _give_back(self, parcels: Sequence[Parcel], due: datetime) -> None:
        by_batch: dict[str | None, list[int]] = {}
        for parcel in parcels:
            by_batch.setdefault(parcel.batch, []).append(parcel.id)
        for batch, ids in by_batch.items():
            await self.depot.store.postpone(self.name, ids, due, "waits its turn", batch)

    # ── trouble of its own ────────────────────────────────────────────────────────────────────────────

    async def _complain(self, finding: Finding) -> None:
        if self.complaint != finding.code:
            self.complaint = finding.code
            await self.depot.complain(self.name, finding)

    async def _recovered(self) -> None:
        if self.misworded is not None:
            await self._complain(self.misworded)
        elif self.complaint or self._known_trouble():
            self.complaint = ""
            await self.depot.complain(self.name, None)

    def _known_trouble(self) -> bool:
        """Also trouble told before a restart or a reload is over with the first delivery."""
        return self.depot.ledger.get(own_item(self.name)) is not None

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
