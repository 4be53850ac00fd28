"""The ladder: how long before the end a severity begins and a reminder is owed, laid out for one lifetime."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from math import ceil

from expiryd.core.duration import format_duration, in_utc, parse_duration
from expiryd.core.model import Lifetime, Severity
from expiryd.core.workdays import Workdays

DAY = timedelta(days=1)
NO_TIME = timedelta(0)
CRITICAL, WARNING, INFO = 7 * DAY, 30 * DAY, 45 * DAY
"""The thresholds when nobody says anything, and when a share was asked for of a lifetime that nobody knows."""
_INSTANT = timedelta(microseconds=1)
_FEWEST_RENEWALS = 3
_SLOWEST = 3650 * DAY
_EVER = datetime.min.replace(tzinfo=UTC)
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, order=True)
class Share:
    """A share of a lifetime in percent: `Share(33)` is written `33%`."""

    percent: float

    @classmethod
    def parse(cls, text: str) -> Share:
        """Raises ValueError with the accepted form for anything but `33%` or `12.5%`."""
        written = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%", text.strip())
        if written is None or not 0 < float(written[1]) < 100:
            raise ValueError("write a share of the lifetime such as 33%: more than 0% and less than 100%")
        return cls(float(written[1]))

    def of(self, span: timedelta) -> timedelta:
        return span * (self.percent / 100)

    def __str__(self) -> str:
        return f"{self.percent:.9g}%"


Lead = timedelta | Share
"""How long before the end: a span (negative: after it) or a share of the lifetime."""


def parse_lead(text: str) -> Lead:
    """`30d`, `33%`, `0d`, `-1d`. Raises ValueError with the accepted forms for anything else."""
    if "%" in text:
        return Share.parse(text)
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{error}, or a share of the lifetime such as 33%") from None


def label(lead: Lead) -> str:
    """As people say it: `14d` and never `2w`, `-1d`, `12h`, `33%`."""
    if isinstance(lead, timedelta) and not lead % DAY:
        return f"{lead // DAY}d"
    return str(lead) if isinstance(lead, Share) else format_duration(lead)


@dataclass(frozen=True, slots=True)
class ShortLived:
    """What takes the place of a lead that is longer than half of the lifetime."""

    critical: Share = Share(15)
    warning: Share = Share(33)
    info: Share = Share(33)
    ladder: tuple[Share, ...] = (Share(33), Share(15), Share(5))


@dataclass(frozen=True, slots=True)
class Rung:
    """One point of the ladder, under the name it was given."""

    lead: timedelta
    label: str


@dataclass(frozen=True, slots=True)
class Leads:
    """Thresholds and rungs as spans of time. `rungs` hold each lead once, the furthest from the end first."""

    critical: timedelta
    warning: timedelta
    info: timedelta
    rungs: tuple[Rung, ...] = ()
    changes: tuple[timedelta, ...] = field(init=False, repr=False, compare=False)
    """The leads at which the severity changes, the furthest first: what lies inside a more urgent one never shows."""

    def __post_init__(self) -> None:
        info = max((self.info, *(rung.lead for rung in self.rungs)))
        leads = accumulate((NO_TIME, self.critical, self.warning, info), max)
        object.__setattr__(self, "changes", tuple(sorted(set(leads), reverse=True)))


@dataclass(frozen=True, slots=True)
class Scale:
    """Thresholds and rungs as people wrote them, in any order."""

    critical: Lead = CRITICAL
    warning: Lead = WARNING
    info: Lead = INFO
    ladder: tuple[Lead, ...] = ()
    short_lived: ShortLived | None = None
    _common: Leads | None = field(init=False, repr=False, compare=False)
    """The leads of every lifetime that is long enough, or None when they hang on the lifetime."""
    _longest: timedelta = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        leads = (self.critical, self.warning, self.info, *self.ladder)
        spans = [lead for lead in leads if isinstance(lead, timedelta)]
        object.__setattr__(self, "_longest", max(spans, default=NO_TIME))
        object.__setattr__(self, "_common", _leads(self, None) if len(spans) == len(leads) else None)

    def leads(self, span: timedelta | None, took: Sequence[timedelta] = ()) -> Leads:
        """For a lifetime of this span, if it is known. `took`: how long this item's last renewals took, if that counts.

        A lead longer than half of it becomes a share. Without it a rung that is a share is left out, and a
        threshold that is one is the default.
        """
        if self._common is not None and (span is None or self.short_lived is None or span / 2 >= self._longest):
            leads = self._common
        else:
            leads = _leads(self, span)
        return leads if len(took) < _FEWEST_RENEWALS else _widened(leads, span, took)


@dataclass(frozen=True, slots=True)
class Ladder:
    """The leads counted back from one end, moved to working days when `workdays` are given."""

    end: datetime
    leads: Leads
    workdays: Workdays | None = None

    def severity(self, now: datetime) -> Severity:
        """By the time remaining, to the microsecond. A rung that was crossed is worth at least a word."""
        remaining = self.end - now
        if remaining > self.leads.changes[0] and (
            self.workdays is None or remaining - self.workdays.reach > self.leads.changes[0]
        ):
            return Severity.HEALTHY
        if remaining <= NO_TIME:
            return Severity.EXPIRED
        if self._passed(self.leads.critical, now):
            return Severity.CRITICAL
        if self._passed(self.leads.warning, now):
            return Severity.WARNING
        return Severity.INFO if self._passed(self.leads.info, now) or self.rung(now) else Severity.HEALTHY

    def rung(self, now: datetime) -> Rung | None:
        """The most urgent rung crossed by now."""
        for rung in reversed(self.leads.rungs):
            if self._passed(rung.lead, now):
                return rung
        return None

    def owed(self, asked_at: datetime, now: datetime) -> Rung | None:
        """The most urgent rung crossed by now, when it was not yet when it was last asked."""
        rung = self.rung(now)
        return rung if rung is not None and self.crossing(rung.lead) > asked_at else None

    def next_severity(self, now: datetime) -> datetime | None:
        """The next moment at which the severity changes."""
        if self.workdays is None:
            return self._next(self.leads.changes, now)
        moments = [self._overtaken((self.leads.warning, self.leads.critical, NO_TIME), now)]
        if self.severity(now) is Severity.HEALTHY:
            moments += [self._overtaken((self.leads.info,), now), self.next_rung(now)]
        return min((moment for moment in moments if moment is not None), default=None)

    def next_rung(self, now: datetime) -> datetime | None:
        """The next moment at which a rung is crossed while no more urgent one was."""
        return self._next([rung.lead for rung in self.leads.rungs], now) if self.leads.rungs else None

    def next_critical(self, now: datetime) -> datetime | None:
        """The moment at which it becomes critical or worse, if that is to come."""
        if self.severity(now) >= Severity.CRITICAL:
            return None
        return self._overtaken((self.leads.critical, NO_TIME), now)

    def crossing(self, lead: timedelta) -> datetime:
        """The first moment with less than `lead` left (zero and below: with no more than that left)."""
        try:
            at = in_utc(self.end) - lead
        except OverflowError:
            return _EVER if lead > NO_TIME else _NEVER
        if lead <= NO_TIME:
            return at
        return (self.workdays.before(at) if self.workdays else at) + _INSTANT

    def _passed(self, lead: timedelta, now: datetime) -> bool:
        remaining = self.end - now
        passed = remaining < lead if lead > NO_TIME else remaining <= lead
        if passed or self.workdays is None or lead <= NO_TIME or remaining - self.workdays.reach > lead:
            return passed
        return now >= self.crossing(lead)  # it may have moved to an earlier day

    def _next(self, leads: Sequence[timedelta], now: datetime) -> datetime | None:
        """The next crossing of these leads, the furthest first, that no more urgent one has overtaken."""
        remaining, reach = self.end - now, self.workdays.reach if self.workdays else NO_TIME
        coming: datetime | None = None
        for lead in leads:
            if coming is not None and (self.workdays is None or self.end - coming - reach > lead):
                break  # this one and all that follow come later
            if lead > remaining:
                continue
            moment = self.crossing(lead)
            if moment <= now:
                coming = None
            elif moment is not _NEVER and (coming is None or moment < coming):
                coming = moment
        return coming

    def _overtaken(self, leads: Sequence[timedelta], now: datetime) -> datetime | None:
        """The same of leads in the order of urgency alone."""
        moments = accumulate(map(self.crossing, reversed(leads)), min)
        return min((moment for moment in moments if moment > now), default=None)


def span_of(lifetime: Lifetime) -> timedelta | None:
    """How long it lasts from its issue (or its beginning) to its end; else its span by rule; None: not known."""
    begins = lifetime.issued_at or lifetime.not_before
    if lifetime.expires_at is not None and begins is not None and begins < lifetime.expires_at:
        return lifetime.expires_at - begins
    return lifetime.span


@lru_cache(maxsize=4096)
def _leads(scale: Scale, span: timedelta | None) -> Leads:
    short = scale.short_lived or ShortLived()
    limit = timedelta.max if span is None or scale.short_lived is None else span / 2
    return Leads(
        critical=_threshold((scale.critical, short.critical, CRITICAL), span, limit),
        warning=_threshold((scale.warning, short.warning, WARNING), span, limit),
        info=_threshold((scale.info, short.info, INFO), span, limit),
        rungs=_rungs(scale.ladder, short.ladder, span, limit),
    )


def _threshold(said: tuple[Lead, Share, timedelta], span: timedelta | None, limit: timedelta) -> timedelta:
    lead, instead, default = said
    if isinstance(lead, timedelta):
        return lead if span is None or lead <= limit else instead.of(span)
    return default if span is None else lead.of(span)


def _rungs(
    ladder: Sequence[Lead], instead: Sequence[Share], span: timedelta | None, limit: timedelta
) -> tuple[Rung, ...]:
    """A ladder with a rung that is too long changes as a whole: rungs of both kinds would say everything twice."""
    if any(isinstance(lead, timedelta) and lead > limit for lead in ladder):
        ladder = [*instead, *(lead for lead in ladder if isinstance(lead, Share) or lead <= NO_TIME)]
    rungs: dict[timedelta, Rung] = {}
    for lead in ladder:
        if isinstance(lead, timedelta):
            rungs.setdefault(lead, Rung(lead, label(lead)))
        elif span is not None:
            rungs.setdefault(lead.of(span), Rung(lead.of(span), label(lead)))
    return tuple(rungs[lead] for lead in sorted(rungs, reverse=True))


def _widened(leads: Leads, span: timedelta | None, took: Sequence[timedelta]) -> Leads:
    """Half as much again as nine of ten renewals took, but no more than half of the lifetime."""
    slow = sorted(took)[ceil(0.9 * len(took)) - 1]
    need = min(1.5 * min(slow, _SLOWEST), _SLOWEST if span is None else span / 2)
    if need <= leads.critical:
        return leads
    return Leads(need, max(leads.warning, need), max(leads.info, need), leads.rungs)
