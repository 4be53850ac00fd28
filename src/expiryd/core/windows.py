"""Times of the week as people write them: when one is open, when it opens and closes, to the second of any zone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})")
_AROUND_DASH = re.compile(r"\s*([-,])\s*")
_FORM = 'write times such as "mon-fri 08:00-18:00", "sat,sun", "22:00-06:00" or "fri 22:00-mon 06:00"'
_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Span:
    """Once a week, on the clock on the wall. Both ends count from the midnight with which `weekday` (0: Monday) begins;
    `end` may lie days later, but not more than a week after `start`.
    """

    weekday: int
    start: timedelta
    end: timedelta

    def around(self, at: datetime, zone: tzinfo) -> Iterator[tuple[datetime, datetime]]:
        """When it is, from the week before to the one after next, as moments in UTC."""
        today = at.astimezone(zone).date()
        day = today - _DAY * ((today.weekday() - self.weekday) % 7)
        for weeks in (-1, 0, 1, 2):
            first = day + _WEEK * weeks
            opens, closes = moment(first, self.start, zone), moment(first, self.end, zone, last=True)
            if opens < closes:
                yield opens, closes


@dataclass(frozen=True, slots=True)
class Window:
    """Times of the week in one zone. Those that touch or overlap are one.

    The clock on the wall counts. Where it is put forward, a time it skips is the moment of the jump, so that a span
    inside the skipped hour does not happen. Where it is put back, a span begins the first and ends the last time its
    clock shows.
    """

    name: str
    times: tuple[Span, ...]
    zone: tzinfo = UTC

    def contains(self, at: datetime) -> bool:
        """From the first moment of a span to the last before its end."""
        return any(opens <= at < closes for span in self.times for opens, closes in span.around(at, self.zone))

    def closes_at(self, at: datetime) -> datetime | None:
        """The end of what is open at this moment: the moment itself when nothing is, None when it never closes."""
        end = at
        while end - at <= 2 * _WEEK:
            ends = [c for span in self.times for o, c in span.around(end, self.zone) if o <= end < c]
            if not ends:
                return end
            end = max(ends)
        return None

    def opens_at(self, at: datetime) -> datetime:
        """The moment itself when it is open, else its next beginning."""
        if self.contains(at):
            return at
        return min(opens for span in self.times for opens, _ in span.around(at, self.zone) if opens > at)

    def next_edge(self, at: datetime) -> datetime | None:
        """When it is next otherwise than now, or None when that is never."""
        return self.closes_at(at) if self.contains(at) else self.opens_at(at)


def moment(day: date, since_midnight: timedelta, zone: tzinfo, *, last: bool = False) -> datetime:
    """When the clock on the wall shows this, in UTC: the first time, or the `last`, when it does so twice.

    A time that it skips is the moment at which it does.
    """
    shown = datetime.combine(day, time()) + since_midnight
    at = shown.replace(tzinfo=zone, fold=int(last)).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == shown:
        return at
    before, after = sorted(shown.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    while after - before > timedelta(seconds=1):
        middle = (before + (after - before) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == before.astimezone(zone).utcoffset():
            before = middle
        else:
            after = middle
    return after


def parse_times(texts: Sequence[str]) -> tuple[Span, ...]:
    """`["mon-fri 08:00-18:00", "sat 10:00-14:00"]`. Raises ValueError that quotes the text and says what is wrong."""
    if not texts:
        raise ValueError(f"no times are given: {_FORM}")
    return tuple(dict.fromkeys(span for text in texts for span in parse_span(text)))


def parse_span(text: str) -> tuple[Span, ...]:
    """One text, one span for each of its days. Raises ValueError."""
    try:
        return tuple(_spans(_AROUND_DASH.sub(r"\1", text.lower()).split()))
    except ValueError as error:
        raise ValueError(f'"{text}": {error}') from None


# ── inside ────────────────────────────────────────────────────────────────────────────────────────────


def _spans(words: Sequence[str]) -> Iterator[Span]:
    match words:
        case [day, middle, end] if middle.count("-") == 1:  # fri 22:00-mon 06:00
            start, _, until = middle.partition("-")
            yield _long(_day(day), _clock(start), _day(until), _clock(end))
        case [days, hours] if _is_clock(hours):
            for day_number in _days(days):
                yield _daily(day_number, hours)
        case [hours] if _is_clock(hours):
            for day_number in range(7):
                yield _daily(day_number, hours)
        case [days]:
            for day_number in _days(days):
                yield Span(day_number, timedelta(0), _DAY)
        case _:
            raise ValueError(_FORM)


def _is_clock(word: str) -> bool:
    return ":" in word


def _daily(day: int, hours: str) -> Span:
    start, dash, end = hours.partition("-")
    if not dash:
        raise ValueError(f"`{hours}` has no end: {_FORM}")
    opens, closes = _clock(start), _clock(end)
    if opens >= closes and not (opens - closes) % _DAY:  # also 24:00-00:00
        raise ValueError("it ends when it begins; for the whole day write 00:00-24:00")
    return Span(day, opens, closes if closes > opens else closes + _DAY)


def _long(first: int, opens: timedelta, last: int, closes: timedelta) -> Span:
    end = _DAY * ((last - first) % 7) + closes
    if end == opens:
        raise ValueError("it ends when it begins; for all days write 00:00-24:00")
    return Span(first, opens, end if end > opens else end + _WEEK)


def _days(text: str) -> Iterator[int]:
    for part in text.split(","):
        first, dash, last = part.partition("-")
        start = _day(first)
        for step in range((_day(last) - start) % 7 + 1 if dash else 1):
            yield (start + step) % 7


def _day(text: str) -> int:
    for names in (DAYS, _NAMES):
        if text in names:
            return names.index(text)
    raise ValueError(f"`{text}` is no day of the week: there are {', '.join(DAYS)}" if text else _FORM)


def _clock(text: str) -> timedelta:
    written = _CLOCK.fullmatch(text)
    if not written:
        raise ValueError(f"`{text}` is no time of day: write hours and minutes, such as 08:00")
    hours, minutes = int(written[1]), int(written[2])
    if hours > 24 or minutes > 59 or (hours == 24 and minutes):
        raise ValueError(f"`{text}` is no time of day: they go from 00:00 to 24:00")
    return timedelta(hours=hours, minutes=minutes)
