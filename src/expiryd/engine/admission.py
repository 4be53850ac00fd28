"""The door of one notifier in a storm. What was sent lately is asked of the store: a restart changes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from expiryd.api import Finding, Severity
from expiryd.core.grouping import Draft
from expiryd.core.model import ItemId
from expiryd.core.storm import OVERFLOW, Admission, Limits, Past, admit, day_of
from expiryd.engine.ledger import Ledger
from expiryd.store.port import Parcel, Store

STORM = Finding(
    "storm",
    Severity.WARNING,
    "there is more to tell than its limits allow (`policy.storm`): the rest waits, each with its reason, and leaves as "
    "one digest; `expiryd alerts` lists everything",
)


@dataclass(frozen=True, slots=True)
class Door:
    """Lets in what the limits allow, and has the beginning and the end of a storm told."""

    name: str
    threaded: bool
    limits: Limits
    zone: tzinfo
    store: Store
    ledger: Ledger
    complain: Callable[[str, Sequence[Finding]], Awaitable[None]]

    async def admit(self, drafts: Sequence[Draft], parcels: Sequence[Parcel], now: datetime) -> Admission:
        """Raises StoreError."""
        was_storming = self.ledger.get(storm_item(self.name)) is not None
        if not drafts and not was_storming:
            return Admission()
        day = day_of(now, self.zone)
        since = now - self.limits.span
        past = Past(
            sent=await self.store.sent(self.name, min(since, day[0]) if self.limits.daily is not None else since),
            day=day,
            open=await self.store.conversations(self.name) if self.threaded else (),
            waiting={parcel.id for parcel in parcels if parcel.reason.startswith(OVERFLOW)},
            storming=was_storming,
        )
        admission = admit(drafts, past, self.limits, now)
        if admission.storming is not was_storming:
            await self.complain(f"storm/{self.name}", (STORM,) if admission.storming else ())
        return admission


def storm_item(notifier: str) -> ItemId:
    """The storm at a notifier as an item that the daemon watches."""
    return ItemId(f"expiryd/storm/{notifier}")
