"""The door of one notifier in a storm. What was sent lately is asked of the store: a restart changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from expiryd.api import Finding, Severity
from expiryd.core.grouping import Draft
from expiryd.core.model import ItemId
from expiryd.core.storm import OVERFLOW, Admission, Limits, Past, admit, day_of
from expiryd.engine.channel import Channel
from expiryd.engine.depot import Depot
from expiryd.store.port import Parcel

STORM = Finding(
    "storm",
    Severity.WARNING,
    "there is more to tell than its limits allow (`policy.storm`): the rest waits, each with its reason, and leaves as "
    "one digest; `expiryd alerts` lists everything",
)


@dataclass(frozen=True, slots=True)
class Door:
    """Lets in what the limits allow, and has the beginning and the end of a storm told."""

    channel: Channel
    depot: Depot

    @property
    def limits(self) -> Limits:
        return self.depot.storm.limits(self.channel.config.daily)

    async def admit(self, drafts: Sequence[Draft], parcels: Sequence[Parcel], now: datetime) -> Admission:
        """Raises StoreError."""
        name, store, limits = self.channel.name, self.depot.store, self.limits
        was_storming = self.depot.ledger.get(storm_item(name)) is not None
        if not drafts and not was_storming:
            return Admission()
        day = day_of(now, self.depot.zone)
        since = now - limits.span
        past = Past(
            sent=await store.sent(name, min(since, day[0]) if limits.daily is not None else since),
            day=day,
            open=await store.conversations(name) if self.channel.notifier.threaded else (),
            waiting={parcel.id for parcel in parcels if parcel.reason.startswith(OVERFLOW)},
            storming=was_storming,
        )
        admission = admit(drafts, past, limits, now)
        if admission.storming is not was_storming:
            await self.depot.complain(f"storm/{name}", (STORM,) if admission.storming else ())
        return admission


def storm_item(notifier: str) -> ItemId:
    """The storm at a notifier as an item that the daemon watches."""
    return ItemId(f"expiryd/storm/{notifier}")
