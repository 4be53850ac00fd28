"""Spans and moments of time as people write and read them: `90s`, `15m`, `2h`, `7d`, `2w`, `1d12h`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
_LONGEST_SETTING = timedelta(days=365_000)
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([wdhms])")
_WHOLE = re.compile(rf"-?(?:\s*{_PART.pattern})+")
_SAID = (
    (timedelta(hours=48), timedelta(days=1), "day"),
    (timedelta(hours=2), timedelta(hours=1), "hour"),
    (timedelta(minutes=2), timedelta(minutes=1), "minute"),
    (timedelta(0), timedelta(seconds=1), "second"),
)
"""From how much on a span is told in which unit."""


def parse_duration(text: str) -> timedelta:
    """`2h30m` → timedelta. Raises ValueError with the accepted form for anything else."""
    compact = text.strip().lower()
    if not _WHOLE.fullmatch(compact):
        raise ValueError("write a duration such as 90s, 15m, 2h, 7d or 2w")
    try:
        span = sum((_UNITS[unit] * float(number) for number, unit in _PART.findall(compact)), timedelta(0))
        return -span if compact.startswith("-") else span
    except OverflowError:
        raise ValueError("this duration is longer than any calendar") from None


def parse_setting(text: str) -> timedelta:
    """A duration that can be added to any day of today, and taken from it. Raises ValueError."""
    span = parse_duration(text)
    if abs(span) > _LONGEST_SETTING:
        raise ValueError("this duration is longer than a thousand years")
    return span


def format_duration(span: timedelta) -> str:
    """The shortest exact spelling in one or more units: `90m` → `1h30m`, zero → `0s`."""
    left = abs(span)
    parts = []
    for unit, size in _UNITS.items():
        if unit == "w" and left % size:
            continue
        count, rest = divmod(left, size)
        if unit == "s" and rest:
            parts.append(f"{left.total_seconds():.6f}".rstrip("0") + unit)
        elif count:
            parts.append(f"{count}{unit}")
        left = rest
    return ("-" if span < timedelta(0) else "") + ("".join(parts) or "0s")


def say_left(expires_at: datetime, now: datetime) -> str:
    """How long is left, for people: floored days, hours under 48 h, minutes under 2 h, `ago` when past."""
    left = expires_at - now
    gone = abs(left)
    size, unit = next((size, unit) for least, size, unit in _SAID if gone >= least)
    count = gone // size
    return f"{count} {unit}{'' if count == 1 else 's'} {'left' if left > timedelta(0) else 'ago'}"


def later(start: datetime, span: timedelta) -> datetime:
    """`start + span`, which stops at the ends of the calendar instead of running over them."""
    try:
        return start + span
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if span > timedelta(0) else datetime.min.replace(tzinfo=UTC)


def in_utc(at: datetime) -> datetime:
    """The same moment in UTC; in the first and the last hours of the calendar, where it has none, the nearest."""
    if at.tzinfo is UTC:
        return at
    try:
        return at.astimezone(UTC)
    except OverflowError:
        return at.replace(tzinfo=UTC)
