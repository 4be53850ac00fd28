"""Deliver what is owed to one notifier: lease, group, word, send, settle. At least once, never in a tight loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from expiryd.api import (
    AuthError,
    DeliveryError,
    Message,
    PermanentError,
    Receipt,
    Severity,
    Thread,
    TransientError,
)
from expiryd.core.duration import later
from expiryd.core.grouping import Draft, Manner, Plan, plan
from expiryd.core.model import Finding, ItemId
from expiryd.core.pace import backoff
from expiryd.core.routing import is_for_anyone
from expiryd.core.storm import Open
from expiryd.engine.admission import Door
from expiryd.engine.bookkeeping import AT_ONCE, STORE_PATIENCE, Clerk
from expiryd.engine.channel import Channel
from expiryd.engine.clock import doze
from expiryd.engine.composing import compose, farewell, message_key
from expiryd.engine.depot import Depot
from expiryd.engine.lettering import reword
from expiryd.engine.trouble import Trouble
from expiryd.store.port import Fate, Parcel, Settlement, StoreError

if TYPE_CHECKING:
    from expiryd.templates.stationery import Stationery

LEASE = timedelta(minutes=10)
IDLE = timedelta(seconds=30)
MOST_LEASED = 250_000
"""In one round, so that the digest of a storm is one message."""
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True)
class Courier:
    """Delivers to one notifier. One worker each, so that a hung one delays no other."""

    channel: Channel
    depot: Depot
    stationery: Stationery | None = None
    failures: int = 0
    resume_at: datetime | None = None
    misworded: Finding | None = None
    """What is wrong with its templates, once one of them failed: they stay as they are until a reload."""
    door: Door = field(init=False)
    trouble: Trouble = field(init=False)
    clerk: Clerk = field(init=False)
    _taken: list[int] = field(default_factory=list)
    """The parcels of this round, or of one that ended because the store failed: some may still be leased."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _recalled: bool = False
    _stopping: bool = False

    def __post_init__(self) -> None:
        self.door = Door(self.channel, self.depot)
        self.trouble = Trouble(self.name, self.depot)
        self.clerk = Clerk(self.name, self.depot, self.trouble)

    @property
    def name(self) -> str:
        return self.channel.name

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
            await doze(self.depot.clock, delay, self._wake)

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()

    async def deliver(self) -> bool:
        """One round. True when there may be more to do at once. Raises StoreError."""
        now = self.depot.clock.now()
        if self.resume_at is not None and now < self.resume_at:
            return False
        if self._taken:
            await self.depot.store.release(self.name, self._taken)
            self._taken = []
        parcels = await self._lease(now, AT_ONCE)
        if len(parcels) < AT_ONCE:
            more = await self._round(parcels, now)
        else:
            async with self.depot.crowd:  # so many at a time are held in memory by one courier
                more = await self._round([*parcels, *await self._lease(now, MOST_LEASED)], now)
        self._taken = []
        return more

    async def _lease(self, now: datetime, limit: int) -> Sequence[Parcel]:
        horizon = now + self.depot.group_wait
        parcels = await self.depot.store.lease(self.name, now, now + LEASE, horizon=horizon, limit=limit)
        self._taken += [parcel.id for parcel in parcels]
        return parcels

    async def _round(self, parcels: Sequence[Parcel], now: datetime) -> bool:
        if not parcels:
            await self.door.admit((), (), now)  # the end of a storm is news, too
            return False
        todo = await _aside(self._plan, parcels, now)
        await self.clerk.unsent(todo.superseded, Fate.SUPERSEDED, now)
        await self.clerk.unsent(todo.suppressed, Fate.SUPPRESSED, now)
        admitted = await self.door.admit(todo.drafts, parcels, now)
        held = {**todo.held, **admitted.hold}
        await self.clerk.held(held, parcels)
        self.depot.held(now)
        done = todo.superseded.keys() | todo.suppressed.keys() | held.keys()
        left = {parcel.id: parcel for parcel in parcels if parcel.id not in done}
        drafts = [*admitted.send, *([admitted.digest] if admitted.digest else [])]
        while drafts and not self._stopping:
            if not await self._carry(drafts.pop(0), left):
                break
        else:
            await self._evict(admitted.evict)
        await self.clerk.given_back(list(left.values()), self.resume_at or now)
        return self.resume_at is None and not self._stopping

    def _plan(self, parcels: Sequence[Parcel], now: datetime) -> Plan:
        manner = Manner(
            self.depot.first_look,
            self.channel.config.group_by,
            self.depot.zone,
            lambda event: is_for_anyone(event, self.depot.routes, self.name),
        )
        mute = self.depot.mutes(self.name, now)
        return plan(parcels, threaded=self.channel.notifier.threaded, mute=mute, manner=manner)

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
                await self._put_off(piece, parcels, failure)
                goes_on = False
            for parcel in parcels:
                del left[parcel.id]
        for rejects, reason in refused:
            await self.clerk.dead(rejects, reason)
        return goes_on

    async def _attempt(self, draft: Draft, parcels: Sequence[Parcel]) -> DeliveryError | None:
        """Send it once. Delivered, it is settled; why it was not is for the caller to judge."""
        await self._turn()
        now = self.depot.clock.now()
        ids = [parcel.id for parcel in parcels]
        key = self._key(draft)
        usual = await _aside(compose, draft, key, now, await self._thread(draft.thread), self.depot.ledger)
        message, misworded = await reword(usual, self.stationery, self.depot.log)
        self.misworded = misworded or self.misworded
        await self.depot.store.dispatch(self.name, ids, key, now + LEASE)
        try:
            receipt = await self.channel.send(message)
        except DeliveryError as failure:
            return failure
        await self.clerk.delivered(draft, parcels, receipt)
        await self._works(receipt)
        return None

    async def _put_off(self, draft: Draft, parcels: Sequence[Parcel], failure: DeliveryError) -> None:
        """Nothing more goes to this notifier for a while."""
        key = self._key(draft)
        self.failures = max(self.failures + 1, *(parcel.attempts for parcel in parcels))  # also those of earlier lives
        wish = failure.retry_after if isinstance(failure, TransientError) else None
        wait = wish or backoff(self.failures, f"{self.name}:{key}")
        self.resume_at = self.depot.clock.now() + wait
        await self.clerk.failed(draft, parcels, failure, key, self.resume_at)
        await self.trouble.failing(failure, self.failures, wait)

    async def _works(self, receipt: Receipt) -> None:
        """Trouble is over with the first delivery, except that of its own words and of who did not get it."""
        self.failures, self.resume_at = 0, None
        left = () if self.misworded is None else (self.misworded,)
        if receipt.refused:
            left = (*left, Finding("recipients-refused", Severity.WARNING, receipt.refused))
        await self.trouble.over(but_for=left)

    def _key(self, draft: Draft) -> str:
        ids = [parcel.id for parcel in draft.parcels]
        return draft.batch or message_key(self.depot.ledger.installation, self.name, ids, draft.purpose)

    async def _evict(self, conversations: Sequence[Open]) -> None:
        """Close the least severe conversations, whose places others have taken. One that fails stays open for now."""
        for conversation in conversations:
            await self._turn()
            now = self.depot.clock.now()
            thread = await self._thread(conversation.thread)
            if thread is None or self._stopping:
                return
            message = farewell(thread, self.depot.ledger, now, self.door.limits.max_active)
            try:
                await self.channel.send(message)
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

    async def _turn(self) -> None:
        """Also after what left before a restart or a reload."""
        if self.channel.rate is not None and not self._recalled:
            since = later(self.depot.clock.now(), -self.channel.rate.per)
            self.channel.recall(sorted(sent.at for sent in await self.depot.store.sent(self.name, since)))
            self._recalled = True
        await self.channel.turn()

    async def try_out(self, message: Message) -> Receipt:
        """At the wish of a person, past the outbox: when it arrives, the trouble is over."""
        receipt = await self.channel.hand_over(message)
        await self._works(receipt)
        return receipt

    # ── time ──────────────────────────────────────────────────────────────────────────────────────────

    async def _until_next(self) -> timedelta:
        now = self.depot.clock.now()
        due = await self.depot.store.next_due(self.name)
        moments = [moment for moment in (due, self.resume_at) if moment is not None]
        return min(max(max(moments) - now, timedelta(0)), IDLE) if due else IDLE


def _is_final(failure: DeliveryError | None) -> bool:
    return isinstance(failure, PermanentError) and not isinstance(failure, AuthError)


def _halves(draft: Draft) -> list[Draft]:
    middle = len(draft.parcels) // 2
    return [replace(draft, parcels=half, batch=None) for half in (draft.parcels[:middle], draft.parcels[middle:])]


async def _aside(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What may be about very many is done in a thread, and the event loop goes on."""
    sized = args[0].parcels if isinstance(args[0], Draft) else args[0]
    if isinstance(sized, Sequence) and len(sized) > AT_ONCE:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)
