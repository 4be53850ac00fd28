"""What the engine needs from memory. Each method is one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from expiryd.api import ExpirydError
from expiryd.core.model import Event, ItemId, ItemState
from expiryd.core.silencing import Silence
from expiryd.core.storm import Open, Sent


class StoreError(ExpirydError):
    """The database cannot be used now (full, locked, gone). The message names it and what to do."""


class Outcome(StrEnum):
    """How a look ended."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    BLIND = "blind"


@dataclass(frozen=True, slots=True)
class Look:
    """One look at one collector. This row, and not one per item, says when items were seen again."""

    collector: str
    started_at: datetime
    finished_at: datetime
    outcome: Outcome
    items: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the audit trail, kept here until it is in its files. `seq` is given by the store, from 1 on."""

    at: datetime
    actor: str
    action: str
    item: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0


CHANGED = "alert.changed"
"""The action of an entry that stands for the events numbered `detail["events"]`, first and last."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one evaluation changed, committed as a whole or not at all.

    Of `judged` only the severity and the alerts are new, and no alert ended: half as much work as for `items`.
    `items` are upserted and their alerts replaced, but a later `told_at` or `failed_at` that a settlement stamped
    on the same generation meanwhile is kept; `forgotten` are deleted with their alerts. Each event comes with the
    notifiers that are owed it: one parcel each, due at `due`, or when it happened. `silences` are upserted by id.
    """

    items: Sequence[ItemState] = ()
    judged: Sequence[ItemState] = ()
    forgotten: Sequence[ItemId] = ()
    events: Sequence[tuple[Event, tuple[str, ...]]] = ()
    due: datetime | None = None
    look: Look | None = None
    journal: Sequence[Entry] = ()
    silences: Sequence[Silence] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """Everything remembered, as loaded at start. By collector: its last look, and when its last complete one ended."""

    installation: str
    items: Sequence[ItemState]
    last_looks: Mapping[str, Look] = field(default_factory=dict)
    last_good: Mapping[str, datetime] = field(default_factory=dict)


class Fate(StrEnum):
    """What became of a parcel."""

    PENDING = "pending"
    LEASED = "leased"
    DELIVERED = "delivered"
    DEAD = "dead"
    SUPPRESSED = "suppressed"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Parcel:
    """The duty to tell one notifier of one event, leased to us for a while.

    `batch` is the key of the message it already went out with when that attempt's end is unknown; such parcels
    are sent again together under the same key. `told` says whether this notifier was ever told of this alert
    (same item, aspect, generation), so that nobody hears of the end of a matter he never heard of. `created_at` is
    since when it may be told: when it happened, or when what held it back ended. `reason` is why it is not told yet.
    """

    id: int
    notifier: str
    event: Event
    attempts: int
    created_at: datetime
    batch: str | None = None
    told: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of some parcels of one notifier. Delivered and dead ones stamp `told_at`/`failed_at` of their alerts."""

    parcels: Sequence[int]
    fate: Fate
    at: datetime
    reason: str = ""
    proof: str = ""
    thread: tuple[ItemId, str, str] | None = None
    """(item, generation, reference) to be remembered for this notifier."""


@dataclass(frozen=True, slots=True)
class Outbox:
    """The state of the outbox: parcels by (notifier, fate), and the creation time of the oldest one still owed."""

    counts: Mapping[tuple[str, Fate], int]
    oldest: datetime | None
    last_delivery: Mapping[str, datetime]


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event with what became of it at each notifier."""

    id: int
    event: Event
    deliveries: Sequence[tuple[str, Fate, str]]
    """(notifier, fate, proof or reason)"""


class Store(Protocol):
    """Raises StoreError from every method when the database cannot be used.

    A transaction that has begun is not interrupted: a cancelled caller waits for its end.
    """

    async def open(self) -> None:
        """Connect, create or migrate. Refuses a schema newer than the code."""

    async def aclose(self) -> None: ...

    async def ping(self) -> None:
        """Prove that it can be written to."""

    async def load(self) -> Known:
        """Everything remembered. Leases found are of a process that died: their parcels are owed again, now.

        One whose `batch` was noted by `dispatch` keeps it, since that message may have been taken.
        """

    async def commit(self, change: Change) -> None: ...

    async def next_due(self, notifier: str) -> datetime | None:
        """When the earliest owed parcel of this notifier may be sent: its due time, or the end of a lapsed lease."""

    async def lease(
        self, notifier: str, now: datetime, until: datetime, *, horizon: datetime | None = None, limit: int = 5000
    ) -> Sequence[Parcel]:
        """When any owed parcel is due: take every one due up to `horizon` (None: ever), oldest first, until `until`.

        Whatever else is owed of the same items comes with them, so that a newer word takes the place of one that is
        held back. A parcel leased by someone else is taken only when that lease has lapsed. Counts an attempt.
        """

    async def hold(self, notifier: str, parcels: Sequence[int], until: datetime, reason: str, *, at: datetime) -> None:
        """Give leased parcels back that are not to be told before `until`. The attempt does not count."""

    async def hasten(self, now: datetime, reason: str) -> None:
        """What is held back for a reason that begins so is due now: whether it may be told is asked again."""

    async def silences(self) -> Sequence[Silence]:
        """All that are kept, also those that are over."""

    async def sent(self, notifier: str, since: datetime) -> Sequence[Sent]:
        """The messages delivered since then, oldest first. `matters` names only those of items that are leased now."""

    async def conversations(self, notifier: str) -> Sequence[Open]:
        """The threads of this notifier of which something is open, or its end still owed; see `threads`."""

    async def dispatch(self, notifier: str, parcels: Sequence[int], batch: str, until: datetime) -> None:
        """Note, before a send begins, that these leased parcels go out together under this key; lease till `until`."""

    async def settle(self, notifier: str, settlements: Sequence[Settlement]) -> None: ...

    async def postpone(
        self, notifier: str, parcels: Sequence[int], due: datetime, reason: str, batch: str | None
    ) -> None:
        """Give leased parcels back, owed at `due`; `batch` is for an attempt whose end is unknown, else None."""

    async def release(self, notifier: str, parcels: Sequence[int]) -> None:
        """Those of them that are leased are due at once, with the key and the reason they have."""

    async def threads(self, notifier: str, keys: Sequence[tuple[ItemId, str]]) -> Mapping[tuple[ItemId, str], str]:
        """The references this notifier returned for these (item, generation)."""

    async def outbox(self) -> Outbox: ...

    async def events(self, *, before: int | None = None, limit: int = 100) -> Sequence[EventRecord]:
        """The newest events first, older than event id `before`."""

    async def journal(self, *, limit: int = 1000) -> Sequence[Entry]:
        """The oldest entries that are not in the trail's files yet."""

    async def journaled(self, upto: int, digest: str) -> None:
        """Everything up to this `seq` is in the files, the last line of which has this hash."""

    async def trail_head(self) -> tuple[int, str] | None:
        """What `journaled` was last told."""

    async def set_back(self, now: datetime, by: timedelta) -> None:
        """The clock was set back by `by` (negative) to `now`: what lies after it was earlier by as much."""

    async def size(self) -> int | None:
        """Bytes in use, without what is free for reuse. None where that cannot be given back (PostgreSQL)."""

    async def shrink(self) -> bool:
        """Give some of what is free back to the file system, where that can be done. Call until it is False."""

    async def prune(self, *, events: datetime, looks: datetime, limit: int = 1000) -> int:
        """Delete the oldest looks, threads, silences, settled parcels and their events; how many went. Call until 0.

        What belongs to an open alert, or to one whose end is still owed, is kept however old: `told` depends on it.
        So is an event that is not in the trail's files yet.
        """
