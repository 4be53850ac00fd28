"""Write down how each parcel ended, or why it waits: nothing that was owed is dropped without a row and a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from expiryd.api import DeliveryError, Finding, Receipt, Severity, TransientError
from expiryd.core.duration import format_duration
from expiryd.core.grouping import Draft, Purpose
from expiryd.core.model import Alert
from expiryd.core.muting import Mute
from expiryd.core.pace import FEWEST_ATTEMPTS, GIVE_UP_AFTER
from expiryd.core.step import given_up, told
from expiryd.core.storm import OVERFLOW
from expiryd.engine.depot import Depot
from expiryd.engine.trouble import Trouble
from expiryd.store.port import Fate, Parcel, Settlement, StoreError

AT_ONCE = 2_000
STORE_PATIENCE = timedelta(seconds=5)
Stamp = Callable[[Alert, datetime], Alert]


@dataclass(frozen=True, slots=True)
class Clerk:
    """Keeps the books of one notifier: the rows of its parcels, and the stamps on the alerts.

    What was delivered or given up is written down as soon as the store can; all else raises StoreError.
    """

    name: str
    depot: Depot
    trouble: Trouble

    # ── ended ─────────────────────────────────────────────────────────────────────────────────────────

    async def delivered(self, draft: Draft, parcels: Sequence[Parcel], receipt: Receipt) -> None:
        now = self.depot.clock.now()
        thread = (*draft.thread, receipt.thread) if draft.thread and receipt.thread else None
        settled = Settlement(_ids(parcels), Fate.DELIVERED, now, proof=receipt.proof, thread=thread)
        await self._surely(parcels, settled, told)
        self.depot.metrics.delivered(self.name, now)
        self.depot.log.info("message.delivered", notifier=self.name, events=len(parcels), proof=receipt.proof)

    async def dead(self, parcels: Sequence[Parcel], reason: str) -> None:
        """Dead letters are kept, counted and told through the others. The cooldown decides when to ask again."""
        now = self.depot.clock.now()
        # told first: whatever dies in between, it is refused once more rather than buried without a word
        await self.trouble.add(Finding("dead-letter", Severity.WARNING, f"{_subject(parcels)}: {reason}"))
        await self._surely(parcels, Settlement(_ids(parcels), Fate.DEAD, now, reason=reason), given_up)
        self.depot.log.error("message.dead", notifier=self.name, events=len(parcels), reason=reason)

    async def unsent(self, reasons: Mapping[int, str], fate: Fate, now: datetime) -> None:
        """Not sent, on purpose, and never will be."""
        if not reasons:
            return
        by_reason: dict[str, list[int]] = {}
        for parcel_id, reason in reasons.items():
            by_reason.setdefault(reason, []).append(parcel_id)
        settlements = [Settlement(ids, fate, now, reason=reason) for reason, ids in by_reason.items()]
        await self.depot.store.settle(self.name, settlements)
        self.depot.metrics.suppressed(fate.value, len(reasons))

    # ── still owed ────────────────────────────────────────────────────────────────────────────────────

    async def failed(
        self, draft: Draft, parcels: Sequence[Parcel], failure: DeliveryError, key: str, until: datetime
    ) -> None:
        """It goes again under the same key, if nobody knows how the attempt ended; too old, it is given up."""
        now, reason = self.depot.clock.now(), str(failure)
        # an attempt of which nobody knows how it ended is not made undone by one that surely failed
        ambiguous = draft.batch is not None or (isinstance(failure, TransientError) and failure.ambiguous)
        old = [parcel for parcel in parcels if _was_tried_enough(parcel, now)]
        young = [parcel for parcel in parcels if not _was_tried_enough(parcel, now)]
        if ambiguous and young:
            old, young = [], list(parcels)  # it goes again as it was, or not at all
        if old:
            await self.dead(old, f"given up after {format_duration(GIVE_UP_AFTER)}: {reason}")
        if young:
            why = OVERFLOW + reason if draft.purpose is Purpose.DIGEST else reason  # a digest stays together
            again = key if ambiguous else None
            await self.depot.store.postpone(self.name, _ids(young), until, why, again)
        self.depot.log.warning("message.postponed", notifier=self.name, events=len(young), until=until, reason=reason)

    async def held(self, held: Mapping[int, Mute], parcels: Sequence[Parcel]) -> None:
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

    async def given_back(self, parcels: Sequence[Parcel], due: datetime) -> None:
        """Not reached in this round."""
        alike: dict[tuple[str, str | None], list[int]] = {}
        for parcel in parcels:
            alike.setdefault((parcel.reason or "waits its turn", parcel.batch), []).append(parcel.id)
        for (reason, batch), ids in alike.items():
            await self.depot.store.postpone(self.name, ids, due, reason, batch)

    async def _surely(self, parcels: Sequence[Parcel], settlement: Settlement, stamp: Stamp) -> None:
        """What has happened out there is written down, however long the store refuses: else it would happen again."""
        while True:
            try:
                return await self._settle(parcels, settlement, stamp)
            except StoreError as failure:
                self.depot.log.error("courier.waits", notifier=self.name, problem=str(failure))
                await self.depot.clock.sleep(STORE_PATIENCE)

    async def _settle(self, parcels: Sequence[Parcel], settlement: Settlement, stamp: Stamp) -> None:
        try:
            await self.depot.store.settle(self.name, [settlement])
        except asyncio.CancelledError:  # which comes when the store has done what it had begun
            await self._stamp(parcels, settlement.at, stamp)
            raise
        await self._stamp(parcels, settlement.at, stamp)

    async def _stamp(self, parcels: Sequence[Parcel], at: datetime, stamp: Stamp) -> None:
        """In pieces: a digest may be of a hundred thousand."""
        for start in range(0, len(parcels), AT_ONCE):
            if start:
                await asyncio.sleep(0)
            events = [parcel.event for parcel in parcels[start : start + AT_ONCE]]
            self.depot.ledger.settled(events, at, stamp, self.depot.rules)


def _was_tried_enough(parcel: Parcel, now: datetime) -> bool:
    return now - parcel.created_at > GIVE_UP_AFTER and parcel.attempts >= FEWEST_ATTEMPTS


def _ids(parcels: Sequence[Parcel]) -> list[int]:
    return [parcel.id for parcel in parcels]


def _subject(parcels: Sequence[Parcel]) -> str:
    first, *others = dict.fromkeys(parcel.event.item for parcel in parcels)
    return f"what it was to tell of {first}{f' and {len(others)} more' if others else ''}"
