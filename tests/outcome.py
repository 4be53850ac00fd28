"""What became of every duty in a life, held against what every receiver really got, and when he could have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from tests.deeds import DAY, ENDS, HOUR, SOURCE, At, Hushes, Looks, Speaks, Takes, Told
from tests.foreseen import Taken
from tests.living import Attempt, Life

from expiryd.core.model import Event, EventKind, Severity
from expiryd.store.port import EventRecord, Fate

SHORTEST = timedelta(seconds=30)
"""`group_wait`: nothing need be told sooner."""
IsQuiet = Callable[[timedelta, str, Told], bool]
"""Whether the configuration keeps this receiver from being told this at this time."""


@dataclass
class Duty:
    """What one receiver was owed of one piece of news, and what became of it."""

    receiver: str
    told: Told
    fate: Fate
    word: str
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def arrivals(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.arrived]

    def __str__(self) -> str:
        tries = [f"{each.at} {each.outcome} {each.message.key[:6]} life {each.life}" for each in self.attempts]
        return f"{self.receiver}: {self.told}: {self.fate} ({self.word}): {tries}"


class Hushed(NamedTuple):
    """A silence, since when it was known and when it was ended early, if it was."""

    since: timedelta
    wish: Hushes
    ended: timedelta | None

    def holds(self, now: timedelta) -> bool:
        ends = self.wish.ends if self.ended is None else min(self.ended, self.wish.ends)
        return max(self.since, self.wish.begins) <= now < ends

    def means(self, told: Told) -> bool:
        wish = self.wish
        return (
            (not wish.items or told.item in wish.items)
            and (not wish.severities or told.severity in wish.severities)
            and wish.aspect in ("", told.aspect)
        )


def _hushed(deeds: Sequence[At]) -> Iterator[Hushed]:
    for place, (since, deed) in enumerate(deeds):
        if isinstance(deed, Hushes):
            ends = [at for at, later in deeds[place:] if isinstance(later, Speaks)]
            yield Hushed(since, deed, min(ends, default=None))


class Outcome:
    """The records and the logs of the receivers, laid side by side."""

    def __init__(self, life: Life, deeds: Sequence[At], records: Sequence[EventRecord], is_quiet: IsQuiet) -> None:
        self.life, self.deeds, self._is_quiet = life, deeds, is_quiet
        self.rounds = sorted(set(life.rounds))
        self.records = sorted(records, key=lambda record: record.id)
        self.duties = [duty for record in self.records for duty in self._duties(record)]
        self.of_things = [duty for duty in self.duties if duty.told.item]
        self.hushes = list(_hushed(deeds))

    def happened(self) -> list[Told]:
        """All that is on record of things."""
        start = self.life.rig.begins_at
        return [told for record in self.records if (told := told_of(record.event, start)).item]

    def taken(self) -> Taken:
        """When a receiver took news of a matter, or refused it for good."""
        found: defaultdict[tuple[str, str, str], list[timedelta]] = defaultdict(list)
        for duty in self.of_things:
            if duty.attempts and duty.fate in (Fate.DELIVERED, Fate.DEAD):
                found[duty.told.matter].append(duty.attempts[-1].at)
        return found

    def _duties(self, record: EventRecord) -> Iterator[Duty]:
        told = told_of(record.event, self.life.rig.begins_at)
        for receiver, fate, word in record.deliveries:
            log = self.life.receivers[receiver].log
            yield Duty(
                receiver,
                told,
                fate,
                word,
                [each for each in log if any(_tells(e, record.event) for e in each.message.events)],
            )

    def is_muted(self, now: timedelta, duty: Duty) -> bool:
        told = duty.told
        quiet = self._is_quiet(now, duty.receiver, told)
        return quiet or any(one.holds(now) and one.means(told) for one in self.hushes)

    def chance(self, duty: Duty, before: timedelta | None = None) -> timedelta | None:
        """The first moment at which nothing was in the way of telling it, if that was before another."""
        log = self.life.receivers[duty.receiver].log
        failures = [each.at for each in log if each.outcome != "taken"]
        return next(
            (
                now
                for now in self.rounds
                if now >= duty.told.at + SHORTEST
                and (before is None or now < before)
                and not self.is_muted(now, duty)
                and not any(now - HOUR <= failed <= now for failed in failures)
            ),
            None,
        )

    # ── what must hold ────────────────────────────────────────────────────────────────────────────────

    def prove(self) -> None:
        for duty in self.duties:
            assert duty.fate not in (Fate.PENDING, Fate.LEASED), f"still owed: {duty}"
            assert duty.word, f"without a reason or proof: {duty}"
            self._prove_once(duty)
            assert (duty.fate is Fate.DELIVERED) == any(each.outcome == "taken" for each in duty.attempts), str(duty)
        for duty in self.of_things:
            self._prove_told(duty)
        self._prove_in_order()
        self._prove_nothing_else()

    def _prove_once(self, duty: Duty) -> None:
        """Again only where nobody can know whether it had arrived, and then as the same message (or in halves)."""
        for first, again in pairwise(duty.arrivals):
            assert first.outcome == "lost" or first.life < again.life, f"told twice: {duty}"
            between = duty.attempts[duty.attempts.index(first) : duty.attempts.index(again)]
            is_same = first.message.key == again.message.key
            assert is_same or any(each.outcome == "never" for each in between), f"told twice in other words: {duty}"

    def _prove_told(self, duty: Duty) -> None:
        """At the first chance, and never before; or there was none, for this reason."""
        newer = [one for one in self._since(duty) if self._replaces(one, duty)]
        ended = min((one.told.at for one in newer), default=None)
        chance = self.chance(duty, ended)
        if duty.arrivals:
            first = duty.arrivals[0].at
            tried = [each.at for each in duty.attempts if each.outcome == "unsure" and each.at < first]
            tried += [at for at in self.life.deaths if duty.told.at <= at <= first]
            # what may have arrived goes again as it was, whatever mutes it or took its place by then
            assert not all(self.is_muted(at, duty) for at in [*tried, first]), f"told while it was muted: {duty}"
            assert ended is None or min([*tried, first]) < ended, f"told when it was over: {duty}"
            assert chance is None or first <= chance, f"told late, not at {chance}: {duty}"
        match duty.fate:
            case Fate.DEAD:
                self._prove_dead(duty)
            case Fate.SUPERSEDED:
                assert newer, f"superseded by nothing: {duty}"
                assert chance is None, f"never told, though there was a chance at {chance}: {duty}"
            case Fate.SUPPRESSED:
                self._prove_suppressed(duty)

    def _prove_dead(self, duty: Duty) -> None:
        last = duty.attempts[-1]
        is_late = last.at - duty.told.at > 3 * DAY and last.outcome != "taken"
        assert is_late or last.outcome == "never", f"given up for nothing: {duty}"

    def _prove_suppressed(self, duty: Duty) -> None:
        if duty.told.kind in (*ENDS, "acknowledged"):
            assert not self._has_heard(duty), f"who knew of it did not hear that it is over: {duty}"
            return
        taken = [when for when, deed in self.deeds if isinstance(deed, Takes) and deed.item == duty.told.item]
        taken = [when for when in taken if when >= duty.told.at]
        assert duty.told.kind in ("rung", "repeated"), f"suppressed for nothing: {duty}"
        assert taken, f"suppressed in nobody's favour: {duty}"
        chance = self.chance(duty, taken[0])
        assert chance is None, f"suppressed, though there was a chance at {chance}: {duty}"
        assert self._has_heard(duty), f"never heard of it at all: {duty}"

    def _prove_in_order(self) -> None:
        """Of one matter nobody hears what is older after what is newer, nor the end of what he never heard of."""
        heard: dict[tuple[str, ...], int] = {}
        for duty in self.of_things:
            if not duty.arrivals:
                continue
            matter = (duty.receiver, *duty.told.matter)
            place = self.life.receivers[duty.receiver].log.index(duty.arrivals[0])
            assert heard.get(matter, -1) < place, f"told after what is newer: {duty}"
            assert matter in heard or duty.told.kind not in ENDS, f"the end of what: {duty}"
            heard[matter] = place

    def _has_heard(self, duty: Duty) -> bool:
        """Whether the receiver took news of the matter since it last began."""
        has = False
        for other in self.of_things:
            if other is duty:
                break
            if other.receiver == duty.receiver and other.told.matter == duty.told.matter:
                is_end = other.told.kind in (*ENDS, "vanished")
                is_heard = other.fate is Fate.DELIVERED and (
                    duty.told.kind != "acknowledged" or other.arrivals[0].at < duty.told.at
                )
                has = not is_end and (has or is_heard)
        return has

    def _since(self, duty: Duty) -> list[Duty]:
        place = next(place for place, one in enumerate(self.of_things) if one is duty)
        return [one for one in self.of_things[place + 1 :] if one.receiver == duty.receiver]

    def _replaces(self, newer: Duty, old: Duty) -> bool:
        if newer.told.kind == "acknowledged" and newer.fate is Fate.SUPPRESSED:
            return False  # who has not heard of a matter hears that, not who has it in hand
        is_gone = newer.told.kind == "vanished" and newer.told.item == old.told.item
        return is_gone or newer.told.matter == old.told.matter

    def _prove_nothing_else(self) -> None:
        """Every message is about what is on record, and what the daemon says of itself has its cause."""
        events = [record.event for record in self.records]
        for name, receiver in self.life.receivers.items():
            for attempt in receiver.log:
                for event in attempt.message.events:
                    assert any(_tells(event, known) for known in events), (
                        f"{name} was told what is not on record: {event}"
                    )
        causes = {SOURCE} if any(isinstance(deed, Looks) and deed.breaks for _, deed in self.deeds) else set()
        for name, receiver in self.life.receivers.items():
            if any(each.outcome != "taken" for each in receiver.log):
                causes.add(f"expiryd/notifier/{name}")
        about = {str(event.item) for event in events if not event.item.startswith(f"{SOURCE}/")}
        assert about <= causes, f"{about - causes} told of itself without a cause"


def _tells(event: Event, known: Event) -> bool:
    """Who has a matter in hand is told as long as he has: later it is a reminder."""
    if known.kind is EventKind.ACKNOWLEDGED and event.kind is EventKind.REPEATED:
        return replace(event, kind=known.kind, detail=known.detail) == known
    return event == known


def told_of(event: Event, start: datetime) -> Told:
    """Without an item when it is the daemon's word on itself."""
    source, _, name = event.item.partition("/")
    severity = max(event.before, Severity.INFO) if event.kind.closes else event.severity
    return Told(
        event.at - start,
        event.kind.value,
        name if source == SOURCE else "",
        event.aspect,
        event.generation,
        int(severity),
        event.rung,
    )


def compared(foreseen: Sequence[Told], happened: Sequence[Told]) -> str:
    """What happened line by line, and what did not."""
    lines = [f"  {'as foreseen ' if told in foreseen else 'not foreseen'} {told}" for told in happened]
    return "\n".join(["", *lines, *(f"  missing      {told}" for told in foreseen if told not in happened)])
