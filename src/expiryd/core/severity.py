"""Judge one observation at one moment: which aspects of it are not healthy, and how bad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from expiryd.core.model import EXPIRY, Basis, Lifetime, Measure, Observation, Severity
from expiryd.core.rules import Rules

NOT_YET_VALID = "not-yet-valid"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with one aspect of an item."""

    aspect: str
    severity: Severity
    detail: str = ""


class Prospect:
    """One lifetime under the rules of its item: how bad it is at a moment, and when time alone will change that.

    `took`: how long the last renewals took. `ladder`: its thresholds and rungs, whatever the hour; None without an end.
    """

    __slots__ = ("_by_hour", "ladder", "lifetime", "rules")

    def __init__(self, lifetime: Lifetime | None, rules: Rules, took: Sequence[timedelta] = ()) -> None:
        self.lifetime, self.rules = lifetime, rules
        self.ladder = rules.ladder_of(lifetime, took)
        self._by_hour = [hours.rules.ladder_of(lifetime, took) for hours in rules.hours] if rules.hours else ()

    def severity(self, now: datetime) -> Severity:
        """By the time remaining, to the microsecond: no rounding, no clamping. Healthy without an end."""
        ladder = self.ladder
        if self._by_hour:
            of_hour = zip(self.rules.hours, self._by_hour, strict=True)
            ladder = next((by for hours, by in of_hour if hours.window.contains(now)), ladder)
        return Severity.HEALTHY if ladder is None else ladder.severity(now)

    def worst_hour(self, now: datetime) -> Severity:
        """What it would be now at the most severe hour of the week."""
        ladders = (self.ladder, *self._by_hour)
        return max(ladder.severity(now) if ladder else Severity.HEALTHY for ladder in ladders)

    def next_change(self, now: datetime) -> datetime | None:
        """The next moment at which time alone changes the verdict, or None when it never will.

        With rules that change by the hour it is the next at which any hour's verdict does.
        """
        if self.lifetime is None:
            return None
        change = self.ladder.next_severity(now) if self.ladder is not None else None
        if self._by_hour:
            change = earliest(change, *(ladder.next_severity(now) for ladder in self._by_hour if ladder is not None))
        begins = self.lifetime.not_before
        return change if begins is None or begins <= now else earliest(change, begins)

    def next_hour(self, now: datetime) -> datetime | None:
        """The next moment at which other rules are in force."""
        return earliest(*(hours.window.next_edge(now) for hours in self.rules.hours))

    def blindness(self, now: datetime) -> Severity:
        """Blindness weighs what it hides, whatever the hour: critical when the last known end is that near or past."""
        hidden = Severity.HEALTHY if self.ladder is None else self.ladder.severity(now)
        return max(Severity.WARNING, min(hidden, Severity.CRITICAL))

    def next_blindness(self, now: datetime) -> datetime | None:
        """The next moment at which time alone makes blindness weigh more, or None when it never will."""
        return None if self.ladder is None else self.ladder.next_critical(now)


def judge(seen: Observation, prospect: Prospect, now: datetime) -> tuple[Verdict, ...]:
    """Every aspect that is worse than healthy, one verdict each."""
    verdicts = _of_lifetime(prospect, now)
    if not seen.findings and not seen.measures:
        return tuple(verdicts)
    verdicts += [Verdict(finding.code, finding.severity, finding.detail) for finding in seen.findings]
    verdicts += [Verdict(m.name, _of_measure(m), f"{m.value:g} {m.unit}".strip()) for m in seen.measures]
    worst: dict[str, Verdict] = {}
    for verdict in verdicts:
        known = worst.get(verdict.aspect)
        if verdict.severity > (known.severity if known else Severity.HEALTHY):
            worst[verdict.aspect] = verdict
    return tuple(worst.values())


def overall(seen: Observation, verdicts: tuple[Verdict, ...]) -> Severity:
    """The worst verdict. Without one it is healthy, unless this is a credential whose end nobody knows."""
    worst = max((verdict.severity for verdict in verdicts), default=Severity.HEALTHY)
    return Severity.UNKNOWN if worst is Severity.HEALTHY and end_is_unknown(seen) else worst


def end_is_unknown(seen: Observation) -> bool:
    lifetime = seen.lifetime
    if lifetime is None:
        return bool(seen.generation)
    return lifetime.expires_at is None and lifetime.basis is not Basis.NONE


def earliest(*moments: datetime | None) -> datetime | None:
    first: datetime | None = None
    for moment in moments:
        if moment is not None and (first is None or moment < first):
            first = moment
    return first


def _of_lifetime(prospect: Prospect, now: datetime) -> list[Verdict]:
    verdicts: list[Verdict] = []
    lifetime = prospect.lifetime
    if lifetime is None:
        return verdicts
    severity = prospect.severity(now)
    if severity is not Severity.HEALTHY:
        verdicts.append(Verdict(EXPIRY, severity))
    if lifetime.not_before is not None and lifetime.not_before > now:
        verdicts.append(Verdict(NOT_YET_VALID, Severity.WARNING, "its validity has not begun"))
    return verdicts


def _of_measure(measure: Measure) -> Severity:
    sign = 1 if measure.higher_is_worse else -1
    for limit, severity in ((measure.critical, Severity.CRITICAL), (measure.warning, Severity.WARNING)):
        if limit is not None and sign * measure.value >= sign * limit:
            return severity
    return Severity.HEALTHY
