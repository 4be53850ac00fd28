"""Working days: the last one at or before a moment, so that a reminder finds somebody at work."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo

from expiryd.core.duration import in_utc

_DAY = timedelta(days=1)
_A_MONDAY = date(2024, 1, 1)
_MOST_DAYS = 60
"""So many days without work are no calendar any more but a mistake in one, and nothing is moved for them."""


@dataclass(frozen=True, slots=True)
class Workdays:
    """Which days nobody works: `weekend` by number (Monday is 0) and `holidays`, both by the calendar of `zone`."""

    weekend: frozenset[int]
    holidays: frozenset[date]
    zone: tzinfo
    reach: timedelta = field(init=False, repr=False, compare=False)
    """No moment moves this far: over the longest row of holidays, a weekend after it, and a change of the clock."""

    def __post_init__(self) -> None:
        weekend = max(self._row(_A_MONDAY + _DAY * number) for number in range(7))
        holidays = max(map(self._row, self.holidays), default=0)
        object.__setattr__(self, "reach", (weekend + holidays + 1) * _DAY)

    def before(self, moment: datetime) -> datetime:
        """The moment itself on a working day, else the same local time on the last working day before it.

        Never later than `moment`. A local time that a clock change left out is the moment the change made of it.
        """
        try:
            local = moment.astimezone(self.zone)
            day = local.date()
            back = self._row(day)
            if back < _MOST_DAYS:
                return in_utc(local - back * _DAY) if back else moment
        except OverflowError:
            pass  # the calendar begins here
        return moment

    def _row(self, day: date) -> int:
        """How many days without work end with this one; at most _MOST_DAYS are counted."""
        for length in range(_MOST_DAYS):
            if day.weekday() not in self.weekend and day not in self.holidays:
                return length
            day -= _DAY
        return _MOST_DAYS
