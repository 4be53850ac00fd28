"""Judge one observation at one moment: which aspects of it are not healthy, and how bad."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from expiryd.core.model import EXPIRY, Basis, Lifetime, Measure, Observation, Severity
from expiryd.core.rules import Rules

NOT_YET_VALID = "not-yet-valid"
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with one aspect of an item."""

    aspect: str
    severity: Severity
    detail: str = ""


def severity_of(expires_at: datetime, rules: Rules, now: datetime) -> Severity:
    """By the time remaining, to the microsecond: no rounding, no clamping."""
    remaining = expires_at - now
    if remaining <= timedelta(0):
        return Severity.EXPIRED
    if remaining < rules.critical:
        return Severity.CRITICAL
    if remaining < rules.warning:
        return Severity.WARNING
    return Severity.INFO if remaining < rules.info else Severity.HEALTHY


def judge(seen: Observation, rules: Rules, now: datetime) -> tuple[Verdict, ...]:
    """Every aspect that is worse than healthy, one verdict each."""
    verdicts = _of_lifetime(seen.lifetime, rules, now)
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


def next_change(lifetime: Lifetime | None, rules: Rules, now: datetime) -> datetime | None:
    """The next moment at which time alone changes the verdict, or None when it never will."""
    if lifetime is None:
        return None
    # a threshold inside a more urgent one never shows
    leads = accumulate((timedelta(0), rules.critical, rules.warning, rules.info), max)
    moments = [_passes(lifetime.expires_at, lead, now) for lead in leads]
    if lifetime.not_before is not None and lifetime.not_before > now:
        moments.append(lifetime.not_before)
    return min((moment for moment in moments if moment is not None), default=None)


def blindness(lifetime: Lifetime | None, rules: Rules, now: datetime) -> Severity:
    """Blindness weighs what it hides: critical when the last known end is that near or past, else warning."""
    if lifetime is None or lifetime.expires_at is None:
        return Severity.WARNING
    return max(Severity.WARNING, min(severity_of(lifetime.expires_at, rules, now), Severity.CRITICAL))


def next_blindness(lifetime: Lifetime | None, rules: Rules, now: datetime) -> datetime | None:
    """The next moment at which time alone makes blindness weigh more, or None when it never will."""
    return _passes(lifetime.expires_at if lifetime else None, rules.critical, now)


def _passes(end: datetime | None, lead: timedelta, now: datetime) -> datetime | None:
    """The first moment with less than `lead` left (for zero: with none left), or None when it is not to come."""
    if end is None or end <= now or end - now < lead:
        return None
    return end - lead + (_INSTANT if lead else timedelta(0))


def _of_lifetime(lifetime: Lifetime | None, rules: Rules, now: datetime) -> list[Verdict]:
    verdicts: list[Verdict] = []
    if lifetime is None:
        return verdicts
    if lifetime.expires_at is not None:
        severity = severity_of(lifetime.expires_at, rules, now)
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
