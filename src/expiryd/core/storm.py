"""Storm control: how many messages may leave now, what becomes of the rest, and when there is room again.

Sliding windows over what was really delivered, so that a restart changes nothing. Nothing is dropped: what does not
fit waits, with a reason and a moment, or leaves with others of its kind as one digest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta, tzinfo

from expiryd.core.duration import format_duration
from expiryd.core.grouping import Draft, Owed, Purpose
from expiryd.core.model import SELF, EventKind, ItemId, Severity
from expiryd.core.muting import Mute
from expiryd.core.pace import Rate

BY = "storm"
OVERFLOW = "storm: "
"""How the reason of what waited for room begins: it leaves with the others that did, as one digest."""
SAME_ALERT = Rate(5, timedelta(minutes=5))
TOTAL = Rate(20, timedelta(minutes=10))
Matter = tuple[ItemId, str]
"""(item, aspect), of whatever generation: what flaps between two of them is one nuisance."""
Thread = tuple[ItemId, str]


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one notifier. Of `total`, only what is critical or expired may use the last `critical_reserve`.

    `max_active`: conversations open at once at a notifier that keeps one per item. `daily`: messages of a local day;
    what is critical may exceed it by the reserve.
    """

    same_alert: Rate = SAME_ALERT
    total: Rate = TOTAL
    critical_reserve: int = 5
    max_active: int = 50
    daily: int | None = None

    @property
    def span(self) -> timedelta:
        """How far back it matters what was sent, apart from the day."""
        return max(self.same_alert.per, self.total.per)


@dataclass(frozen=True, slots=True)
class Sent:
    """One delivered message: when, under which key, about what, the worst of it.

    `counts` is False for the daemon's word on itself, which is not counted as it is not limited.
    """

    at: datetime
    key: str
    matters: frozenset[Matter]
    severity: Severity
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Open:
    """A conversation the receiver has open. HEALTHY: its matters are over, only he has not heard of it yet."""

    thread: Thread
    severity: Severity


@dataclass(frozen=True, slots=True)
class Past:
    """What there is to know of one notifier.

    `sent` reaches back `Limits.span` and, with a daily limit, to the beginning of `day`, the local day. `waiting` are
    parcels that a storm held back before. `storming`: whether it was a storm when last asked.
    """

    sent: Sequence[Sent]
    day: tuple[datetime, datetime]
    open: Sequence[Open] = ()
    waiting: Set[int] = frozenset()
    storming: bool = False


@dataclass(frozen=True, slots=True)
class Admission:
    """`send` these now, each as a message, then the overflow as one `digest`, then close the conversations of `evict`.

    `hold` has the parcels that wait, each until when and why.
    """

    send: Sequence[Draft] = ()
    digest: Draft | None = None
    hold: Mapping[int, Mute] = field(default_factory=dict)
    evict: Sequence[Open] = ()
    storming: bool = False


def admit(drafts: Sequence[Draft], past: Past, limits: Limits, now: datetime) -> Admission:
    """Which drafts of one notifier, most urgent first, may leave now.

    What may already have arrived, and the daemon's word on itself, always may. A conversation that is open goes on in
    its own place: its news may wait, but is never put into a digest, so that its end reaches it.
    """
    free, asked = _parted(drafts, lambda draft: draft.batch is not None or all(map(_own, draft.parcels)))
    hold: dict[int, Mute] = {}
    asked = _calmed(asked, past, limits.same_alert, now, hold)
    known = {conversation.thread for conversation in past.open}
    crowd, asked = _crowded(asked, past, known)
    victims, displaced, asked = _placed(asked, past.open, known, limits)
    room = _Room.of(past, limits, now)
    go, digest, held = _fitted(asked, [*crowd, *displaced], known, room)
    count = len(go) + (digest is not None)
    for draft in held:
        mute = room.mute(count, urgent=_is_urgent(draft))
        hold |= {parcel.id: mute for parcel in draft.parcels if not _own(parcel)}
    free += [replace(draft, parcels=own) for draft in held if (own := tuple(filter(_own, draft.parcels)))]
    return Admission(
        send=[*free, *go],
        digest=digest,
        hold=hold,
        evict=[victims[draft.thread] for draft in go if draft.thread in victims],
        storming=bool(digest or held) or (past.storming and not _is_calm(past, limits, room)),
    )


def day_of(now: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """The beginning and the end of the local day, however many hours it has."""
    today = now.astimezone(zone).date()
    midnight = time(tzinfo=zone)
    begins, ends = (datetime.combine(day, midnight) for day in (today, today + timedelta(days=1)))
    return begins.astimezone(UTC), ends.astimezone(UTC)


def is_own(item: ItemId) -> bool:
    """Whether it is the daemon's word on itself: on a collector as such, a notifier, a storm."""
    return "/" not in item or item.startswith(f"{SELF}/")


# ── inside ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Room:
    """The messages that count, oldest first, and what they leave free."""

    window: Sequence[datetime]
    today: Sequence[datetime]
    ends: datetime
    limits: Limits
    now: datetime

    @classmethod
    def of(cls, past: Past, limits: Limits, now: datetime) -> _Room:
        times = sorted(sent.at for sent in past.sent if sent.counts)
        window = [at for at in times if now - at < limits.total.per]
        today = [at for at in times if at >= past.day[0]] if limits.daily is not None else []
        return cls(window, today, past.day[1], limits, now)

    def seats(self, *, urgent: bool) -> int:
        """How many messages may leave now."""
        free = self._most(urgent) - len(self.window)
        daily = self._most_a_day(urgent)
        return max(free if daily is None else min(free, daily - len(self.today)), 0)

    def mute(self, going: int, *, urgent: bool) -> Mute:
        """Until there is room again, when so many leave now."""
        limits, most, daily = self.limits, self._most(urgent), self._most_a_day(urgent)
        if daily is not None and len(self.today) + going >= daily:
            return Mute(f"{OVERFLOW}{limits.daily} messages a day (`daily`) have been sent", self.ends, BY)
        times = [*self.window, *[self.now] * going]
        wait = Rate(most, limits.total.per).wait(times, self.now)
        spelled = f"{limits.total.count} in {format_duration(limits.total.per)}"
        return Mute(f"{OVERFLOW}more messages than {spelled} (`total`), they leave as one digest", self.now + wait, BY)

    def _most(self, urgent: bool) -> int:
        count = self.limits.total.count
        return count if urgent else max(count - self.limits.critical_reserve, 1)

    def _most_a_day(self, urgent: bool) -> int | None:
        daily = self.limits.daily
        return daily if daily is None or not urgent else daily + self.limits.critical_reserve


def _calmed(drafts: Sequence[Draft], past: Past, rate: Rate, now: datetime, hold: dict[int, Mute]) -> list[Draft]:
    """Without the matters that were said too often of late, which wait."""
    asked = {_matter(parcel) for draft in drafts for parcel in draft.parcels}
    said: defaultdict[Matter, list[datetime]] = defaultdict(list)
    for sent in sorted(past.sent, key=lambda sent: sent.at):
        if now - sent.at < rate.per:
            for matter in asked.intersection(sent.matters):
                said[matter].append(sent.at)
    waits = {m: wait for m, times in said.items() if not is_own(m[0]) and (wait := rate.wait(times, now))}
    if not waits:
        return list(drafts)
    reason = f"said {rate.count} times in {format_duration(rate.per)} already (`same_alert`)"
    calm = []
    for draft in drafts:
        loud = [parcel for parcel in draft.parcels if _matter(parcel) in waits]
        hold |= {parcel.id: Mute(reason, now + waits[_matter(parcel)], BY) for parcel in loud}
        if left := tuple(parcel for parcel in draft.parcels if _matter(parcel) not in waits):
            calm.append(replace(draft, parcels=left))
    return calm


def _crowded(drafts: Sequence[Draft], past: Past, known: Set[Thread]) -> tuple[list[Draft], list[Draft]]:
    """What waited for room leaves together, and what did not."""
    crowd, rest = _parted(
        drafts, lambda d: d.thread not in known and any(parcel.id in past.waiting for parcel in d.parcels)
    )
    return (crowd, rest) if len(crowd) > 1 else ([], list(drafts))


def _placed(
    drafts: Sequence[Draft], conversations: Sequence[Open], known: Set[Thread], limits: Limits
) -> tuple[dict[Thread | None, Open], list[Draft], list[Draft]]:
    """For whom a less severe conversation has to end, who finds no place, and who does or needs none."""
    active = sorted(filter(_is_active, conversations), key=lambda conversation: -conversation.severity)
    free = limits.max_active - len(active)
    victims: dict[Thread | None, Open] = {}
    displaced: list[Draft] = []
    placed: list[Draft] = []
    for draft in drafts:
        severity = _severity(draft.parcels)
        opens = draft.thread is not None and draft.thread not in known and severity is not Severity.HEALTHY
        if opens and free <= 0:
            if not active or active[-1].severity >= severity:
                displaced.append(draft)
                continue
            victims[draft.thread] = active.pop()
        free -= opens
        placed.append(draft)
    return victims, displaced, placed


def _fitted(
    drafts: Sequence[Draft], crowd: Sequence[Draft], known: Set[Thread], room: _Room
) -> tuple[list[Draft], Draft | None, list[Draft]]:
    """What goes by itself, what goes as a digest, what waits.

    When something is left over, the last seat is the digest's: people hear at once that there is more. But nothing
    critical gives up its own message for the sake of what is less.
    """
    go, over = _seated(drafts, room)
    left = [*crowd, *(draft for draft in over if draft.thread not in known)]
    if not left:
        return go, None, over
    fewer, over_then = _seated(drafts, room, kept=1, of_urgent=any(map(_is_urgent, left)))
    own_place, more = _parted(over_then, lambda draft: draft.thread in known)
    if not crowd and len(more) == 1:
        return go, None, over  # a digest of one is no digest
    together = [parcel for draft in (*crowd, *more) for parcel in draft.parcels]
    digest = Draft(tuple(sorted(together, key=lambda parcel: parcel.id)), purpose=Purpose.DIGEST)
    if len(fewer) < room.seats(urgent=_is_urgent(digest)):
        return fewer, digest, own_place
    return go, None, [*crowd, *over]


def _seated(
    drafts: Sequence[Draft], room: _Room, *, kept: int = 0, of_urgent: bool = False
) -> tuple[list[Draft], list[Draft]]:
    """Who gets a seat and who does not, with so many kept free: of the ordinary ones, or of all."""
    seats = {True: room.seats(urgent=True) - kept * of_urgent, False: room.seats(urgent=False) - kept}
    go: list[Draft] = []
    over: list[Draft] = []
    for draft in drafts:
        (go if len(go) < seats[_is_urgent(draft)] else over).append(draft)
    return go, over


def _is_calm(past: Past, limits: Limits, room: _Room) -> bool:
    """Half of what is allowed is not a storm any more; the gap keeps its end from being told too soon."""
    active = sum(map(_is_active, past.open))
    full_day = limits.daily is not None and len(room.today) >= limits.daily
    ordinary = max(limits.total.count - limits.critical_reserve, 1)
    return len(room.window) * 2 <= ordinary and active < limits.max_active and not full_day


def _is_active(conversation: Open) -> bool:
    return conversation.severity > Severity.HEALTHY and not is_own(conversation.thread[0])


def _parted(drafts: Iterable[Draft], test: Callable[[Draft], bool]) -> tuple[list[Draft], list[Draft]]:
    sides: tuple[list[Draft], list[Draft]] = ([], [])
    for draft in drafts:
        sides[not test(draft)].append(draft)
    return sides


def _matter(parcel: Owed) -> Matter:
    return parcel.event.item, parcel.event.aspect


def _own(parcel: Owed) -> bool:
    return is_own(parcel.event.item)


def _severity(parcels: Iterable[Owed]) -> Severity:
    """Of what is not over; HEALTHY when all is."""
    return max((p.event.severity for p in parcels if not p.event.kind.closes), default=Severity.HEALTHY)


def _is_urgent(draft: Draft) -> bool:
    """That somebody has a thing in hand is worth telling, but not in the seat of what nobody has."""
    loud = (p for p in draft.parcels if p.event.kind is not EventKind.ACKNOWLEDGED)
    return _severity(loud) >= Severity.CRITICAL
