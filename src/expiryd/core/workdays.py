"""Working days: the last one at or before a moment, so that a reminder finds somebody at work."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

from expiryd.core.duration import in_utc

_DAY = timedelta(days=1)
_MOST_DAYS = 60
REACH = (_MOST_DAYS + 1) * _DAY
"""No moment moves this far: so many days without work are no calendar but a mistake in one, and nothing is moved."""


@dataclass(frozen=True, slots=True)
class Workdays:
    """Which days nobody works: `weekend` by number (Monday is 0) and `holidays`, both by the calendar of `zone`."""

    weekend: frozenset[int]
    holidays: frozenset[date]
    zone: tzinfo

    def before(self, moment: datetime) -> datetime:
        """The moment itself on a working day, else the same local time on the last working day before it.

        Never later than `moment`. A local time that a clock change left out is the moment the change made of it.
        """
        try:
            local = moment.astimezone(self.zone)
            day = local.date()
            for back in range(_MOST_DAYS):
                if day.weekday() not in self.weekend and day not in self.holidays:
                    return moment if back == 0 else in_utc(local - back * _DAY)
                day -= _DAY
        except OverflowError:
            pass  # the calendar begins here
        return moment
