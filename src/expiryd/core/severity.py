"""Judge one observation at one moment: which aspects of it are not healthy, and how bad."""

from __future__ import annotations

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
    lifetime = seen.lifetime
    verdicts = []
    if lifetime is not None:
        if lifetime.expires_at is not None:
            severity = severity_of(lifetime.expires_at, rules, now)
            if severity is not Severity.HEALTHY:
                verdicts.append(Verdict(EXPIRY, severity))
        if lifetime.not_before is not None and lifetime.not_before > now:
            verdicts.append(Verdict(NOT_YET_VALID, Severity.WARNING, "its validity has not begun"))
    if not seen.findings and not seen.measures:
        return tuple(verdicts)
    by_code: dict[str, Verdict] = {}
    for finding in seen.findings:
        known = by_code.get(finding.code)
        if finding.severity > Severity.HEALTHY and (known is None or known.severity < finding.severity):
            by_code[finding.code] = Verdict(finding.code, finding.severity, finding.detail)
    for measure in seen.measures:
        severity = _severity_of_measure(measure)
        if severity > Severity.HEALTHY:
            by_code[measure.name] = Verdict(measure.name, severity, f"{measure.value:g} {measure.unit}".strip())
    return (*verdicts, *by_code.values())


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
    moments = []
    if lifetime.expires_at is not None:
        remaining = lifetime.expires_at - now
        moments += [
            # just past the boundary: at exactly `critical` left it is not critical yet
            lifetime.expires_at - lead + timedelta(microseconds=1 if lead else 0)
            for lead in (timedelta(0), rules.critical, rules.warning, rules.info)
            if remaining >= lead and remaining > timedelta(0)
        ]
    if lifetime.not_before is not None and lifetime.not_before > now:
        moments.append(lifetime.not_before)
    return min(moments, default=None)


def _severity_of_measure(measure: Measure) -> Severity:
    sign = 1 if measure.higher_is_worse else -1
    for limit, severity in ((measure.critical, Severity.CRITICAL), (measure.warning, Severity.WARNING)):
        if limit is not None and sign * measure.value >= sign * limit:
            return severity
    return Severity.HEALTHY
