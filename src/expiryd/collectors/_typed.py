"""Reads what people type into lists: dates, durations and words, each with what is wrong with it."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from expiryd.api import Basis, Lifetime, parse_duration

_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:[Zz]|[+-]\d\d:?\d\d)?")
_HARMLESS = re.compile(r"[\d/.:,+TZ -]{1,32}")
_FORM = "write 2026-09-01 or 2026-09-01T12:00:00Z"

Problem = tuple[str, str]
"""A finding's code and its text, which the reader of the list completes with the place."""


def lifetime_of(expires: object, issued: object, span: object, zone: ZoneInfo) -> tuple[Lifetime, tuple[Problem, ...]]:
    """What the three keys say together. A date that cannot be read leaves the end unknown: it is never guessed."""
    problems: list[Problem] = []
    begun = None if _is_blank(issued) else _moment("issued", issued, zone, problems)
    lasts = None if _is_blank(span) else _span(span, problems)
    if isinstance(expires, str) and expires.strip() == "never":
        return Lifetime(issued_at=begun, basis=Basis.NONE), tuple(problems)
    if not _is_blank(expires):
        ends = _moment("expires", expires, zone, problems)
        if ends is not None and begun is not None and ends <= begun:
            problems.append(("invalid-date", "it expires before it was issued: correct one of the two"))
        return Lifetime(ends, begun, basis=Basis.TYPED, span=lasts), tuple(problems)
    if lasts is None:
        return Lifetime(issued_at=begun, basis=Basis.TYPED), tuple(problems)
    try:
        ends = None if begun is None else begun + lasts
    except OverflowError:
        ends = None
        problems.append(("invalid-value", "`lifetime` ends after the year 9999: shorten it"))
    return Lifetime(ends, begun, basis=Basis.POLICY, span=lasts), tuple(problems)


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _moment(key: str, value: object, zone: ZoneInfo, problems: list[Problem]) -> datetime | None:
    """A day ends (or, issued, begins) at midnight in the zone; a time without offset is the zone's."""
    try:
        read = _read_date(value)
        if read.year <= 1970 or read.year > 9998:
            unset = 'write "never" for what never expires' if read.year > 9998 else "it looks like an unset value"
            raise ValueError(f"is in the year {read.year}; {unset}")
        if not isinstance(read, datetime):
            read = datetime.combine(read + timedelta(days=key == "expires"), time())
        return (read if read.tzinfo else read.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        typed = f" {value}" if isinstance(value, str | int | float) and _HARMLESS.fullmatch(str(value)) else ""
        problems.append(("invalid-date", f"`{key}`{typed} {error}"))
        return None


def _read_date(value: object) -> date | datetime:
    if isinstance(value, date):
        return value
    if isinstance(value, str):
        text = value.strip()
        try:
            if _DAY.fullmatch(text, endpos=10) and len(text) == 10:
                return date.fromisoformat(text)
            if _TIME.fullmatch(text):
                return datetime.fromisoformat(text.upper())
        except ValueError:
            raise ValueError("is not in the calendar or on the clock; correct it") from None
        if text.isdecimal() and len(text) in {10, 13}:
            value = int(text)
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"is a number, perhaps seconds since 1970; {_FORM}")
    raise ValueError(f"is no date; {_FORM}")


def _span(value: object, problems: list[Problem]) -> timedelta | None:
    try:
        span = parse_duration(value) if isinstance(value, str) else timedelta(0)
    except ValueError:
        span = timedelta(0)
    if span > timedelta(0):
        return span
    problems.append(("invalid-value", "`lifetime` is no duration; write 90s, 15m, 2h, 7d or 2w"))
    return None


def text_of(row: Mapping[str, object], key: str, problems: list[Problem]) -> str:
    value = row.get(key)
    if isinstance(value, str):
        return value.strip()
    if value is not None:
        problems.append(("invalid-value", f"`{key}` is not text; put it in quotes"))
    return ""


def list_of(value: object, problems: list[Problem]) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(";")
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return tuple(sys.intern(word.strip()) for word in value if word.strip())
    if value is not None:
        problems.append(("invalid-value", '`used_by` is no list of texts; write ["a", "b"], in CSV a;b'))
    return ()


def labels_of(value: object, problems: list[Problem]) -> dict[str, str]:
    if isinstance(value, str):
        pairs = [pair.partition("=") for pair in value.split(";") if pair.strip()]
        value = {key.strip(): text for key, equals, text in pairs} if all(pair[1] for pair in pairs) else value
    if isinstance(value, dict):
        plain = {key: str(text).strip() for key, text in value.items() if isinstance(text, str | int | float | date)}
        if len(plain) == len(value) and "" not in plain:
            return {sys.intern(key): sys.intern(text) for key, text in sorted(plain.items())}
    if value is not None:
        problems.append(("invalid-value", '`labels` is no table of texts; write { k = "v" }, in CSV k=v;k=v'))
    return {}
