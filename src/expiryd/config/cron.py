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
    """The expression with nicknames expanded and single spaces.

    Raises ValueError with the accepted form when it is none, and when no moment in fifty years matches it.
    """
    normal = _normal(text)
    next_fire(normal, _ANY_TIME)
    return normal


def next_fire(expression: str, after: datetime) -> datetime:
    """The first moment later than `after` (aware; its zone is the one the expression is meant in).

    Nights with a clock change are Debian's: a time that is skipped fires right after, a doubled one fires once.
    Raises ValueError like `parse_cron`.
    """
    try:
        moment = next(CronSim(_normal(expression), after), None)
    except CronSimError as error:
        raise ValueError(_form(str(error).lower())) from None
    if moment is None:
        raise ValueError("no day ever matches this schedule")
    return moment


def _normal(text: str) -> str:
    fields = text.split()
    normal = _NICKNAMES.get(text.strip().lower()) or " ".join(fields)
    if normal.count(" ") != 4:
        raise ValueError(_form(f"this has {len(fields)} field{'' if len(fields) == 1 else 's'}"))
    if len(normal) > _LONGEST:
        raise ValueError(f"a cron expression has at most {_LONGEST} characters")
    return normal


def _form(reason: str) -> str:
    return (
        f"{reason}; write five fields (minute hour day-of-month month day-of-week) such as "
        '"0 */6 * * *", or @hourly, @daily, @weekly, @monthly'
    )
