"""Cron expressions as Debian's cron means them: five fields, or one of the four usual nicknames."""

from __future__ import annotations

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
_LONGEST = 500


def parse_cron(text: str) -> str:
    """The expression with nicknames expanded and single spaces, ready for `CronSim`.

    Raises ValueError with the accepted form when it is none, and when no moment in fifty years matches it.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"a cron expression has at most {_LONGEST} characters")
    fields = text.split()
    normal = _NICKNAMES.get(text.strip().lower()) or " ".join(fields)
    if normal.count(" ") != 4:
        raise ValueError(_form(f"this has {len(fields)} field{'' if len(fields) == 1 else 's'}"))
    try:
        first = next(CronSim(normal, _ANY_TIME), None)
    except (CronSimError, ValueError) as error:  # ValueError: a number of thousands of digits
        reason = str(error).lower() if isinstance(error, CronSimError) else "bad number"
        raise ValueError(_form(reason)) from None
    if first is None:
        raise ValueError("no day ever matches this schedule")
    return normal


def _form(reason: str) -> str:
    return (
        f"{reason}; write five fields (minute hour day-of-month month day-of-week) such as "
        '"0 */6 * * *", or @hourly, @daily, @weekly, @monthly'
    )
