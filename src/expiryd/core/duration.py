"""Durations as people write them: `90s`, `15m`, `2h`, `7d`, `2w`, `1d12h`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_UNIT_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PART = re.compile(r"(\d+(?:\.\d+)?)([wdhms])")
_WHOLE = re.compile(r"-?(?:\d+(?:\.\d+)?[wdhms])+")


def parse_duration(text: str) -> timedelta:
    """`2h30m` → timedelta. Raises ValueError with the accepted form for anything else."""
    compact = text.strip().lower().replace(" ", "")
    if not _WHOLE.fullmatch(compact):
        raise ValueError("write a duration such as 90s, 15m, 2h, 7d or 2w")
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(compact))
    try:
        return timedelta(seconds=-seconds if compact.startswith("-") else seconds)
    except OverflowError:
        raise ValueError("this duration is longer than any calendar") from None


def format_duration(span: timedelta) -> str:
    """The shortest exact spelling in one or more units: `90m` → `1h30m`, zero → `0s`."""
    left = round(abs(span.total_seconds()))
    parts = []
    for unit, size in _UNIT_SECONDS.items():
        if unit == "w" and left % size:
            continue
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return ("-" if span < timedelta(0) else "") + ("".join(parts) or "0s")


def say_left(expires_at: datetime, now: datetime) -> str:
    """How long is left, for people: floored days, hours under 48 h, minutes under 2 h, `ago` when past."""
    seconds = (expires_at - now).total_seconds()
    gone = abs(seconds)
    if gone >= 48 * 3600:
        amount = f"{int(gone // 86_400)} days"
    elif gone >= 2 * 3600:
        amount = f"{int(gone // 3600)} hours"
    elif gone >= 120:
        amount = f"{int(gone // 60)} minutes"
    else:
        amount = f"{int(gone)} seconds"
    return f"{amount} left" if seconds > 0 else f"{amount} ago"
