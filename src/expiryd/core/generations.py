"""What a change of generation means: renewed, rotated, rolled back, or two that take turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from expiryd.core.duration import say_left
from expiryd.core.model import (
    EXPIRY,
    MOST_REMEMBERED,
    Alert,
    Basis,
    Finding,
    Generation,
    ItemState,
    Lifetime,
    Observation,
    Severity,
)
from expiryd.core.wording import say_time

ROLLED_BACK = "rolled-back"
FLAPPING = "flapping"
SETTLED = timedelta(hours=26)
"""How long one alone must be seen before a change back and forth is over: a day, and what a daily look may be late."""
_NEVER = datetime.max.replace(tzinfo=UTC)


def renewed(before: Observation, after: Observation) -> bool:
    """Whether the end moved away: a later date, or never where there was one. An unknown end is no news of that."""
    was, will = before.lifetime, after.lifetime
    if was is None or was.expires_at is None or will is None:
        return False
    return will.basis is Basis.NONE if will.expires_at is None else will.expires_at > was.expires_at


def since(state: ItemState) -> datetime:
    """When its present generation took the place of another, or else when the item was first seen."""
    return state.past[-1].last_seen if state.past else state.first_seen


def earlier(state: ItemState | None, name: str) -> Generation | None:
    """What is remembered of a generation of this name, if another one was seen after it."""
    return next((was for was in state.past if was.name == name), None) if state is not None else None


def is_flapping(seen: Observation) -> bool:
    return any(finding.code == FLAPPING for finding in seen.findings)


def follow(before: ItemState | None, seen: Observation, now: datetime) -> tuple[tuple[Generation, ...], Observation]:
    """What is past after this look, and what is to be judged, with what there is to say of its generation.

    Only a credential that its collector names is followed: a date alone is none. One that comes back within SETTLED is
    taken to flap: as long as another was seen in that time, the one that ends sooner is judged, whichever was met.
    Each is in the past once, with the moment at which it was first seen and the one at which it was replaced; one
    that is back stays there too.
    """
    if before is None or (not before.past and before.observation.generation in ("", seen.generation)):
        return (), seen
    back = earlier(before, seen.generation)
    if is_flapping(before.observation) and seen.generation:
        past = _with(before.past, _met(seen, back, now))
    else:
        past = _replaced(before, seen.generation, now)
        if past == before.past or back is None or now - back.last_seen >= SETTLED:
            return past, _judged_alone(seen, past, now)
        past = _with(past, _met(seen, back, now))
    rivals = [was for was in past if was.name != seen.generation and now - was.last_seen < SETTLED]
    return past, _sooner(before.observation, seen, rivals) if rivals else _judged_alone(seen, past, now)


def waits(before: ItemState, after: Observation, now: datetime) -> tuple[timedelta, ...]:
    """How long the last renewals took since somebody was first told to make them, this one included if it is one."""
    told = next((alert for alert in before.alerts if alert.aspect == EXPIRY and alert.told_at is not None), None)
    if told is None or not renewed(before.observation, after) or earlier(before, after.generation) is not None:
        return before.took
    return (*before.took, now - told.opened_at)[-MOST_REMEMBERED:]


def say_change(alert: Alert, before: Observation, after: Observation, now: datetime) -> str:
    """How the credential whose end was told was replaced: `renewed 3 days after the first notice`."""
    waited = f" {say_left(alert.opened_at, now).removesuffix(' ago')} after the first notice" if alert.told_at else ""
    if renewed(before, after):
        return f"renewed{waited}"
    lifetime = after.lifetime
    is_dated = lifetime is not None and (lifetime.expires_at is not None or lifetime.basis is Basis.NONE)
    return f"rotated{waited}, to one {'that ends no later' if is_dated else 'whose end is not known'}"


# ── inside ────────────────────────────────────────────────────────────────────────────────────────────


def _met(seen: Observation, back: Generation | None, now: datetime) -> Generation:
    ends = seen.lifetime.expires_at if seen.lifetime else None
    return Generation(seen.generation, back.first_seen if back else now, now, ends, seen.fingerprint)


def _replaced(before: ItemState, name: str, now: datetime) -> tuple[Generation, ...]:
    """The past with what was seen before, when that was another than `name` (empty: none is to be seen)."""
    was, past = before.observation, before.past
    if was.generation == name or (not was.generation and past[-1].name == name):
        return past
    if not was.generation:  # it was out of sight, and only now another has its place
        return _with(past, replace(past[-1], last_seen=now)) if name else past
    known = earlier(before, was.generation)
    return _with(past, replace(_met(was, known, now), first_seen=known.first_seen if known else since(before)))


def _with(past: Sequence[Generation], one: Generation) -> tuple[Generation, ...]:
    return (*(was for was in past if was.name != one.name), one)[-MOST_REMEMBERED:]


def _sooner(known: Observation, seen: Observation, rivals: Sequence[Generation]) -> Observation:
    """What ends first of those that take turns, with the findings of the look."""
    first = min(rivals, key=lambda was: was.expires_at or _NEVER)
    ends = seen.lifetime.expires_at if seen.lifetime else None
    judged = seen
    if (first.expires_at or _NEVER) < (ends or _NEVER):
        judged = replace(seen, generation=first.name, fingerprint=first.fingerprint)
        lifetime = Lifetime(first.expires_at, basis=seen.lifetime.basis if seen.lifetime else Basis.METADATA)
        same = known.generation == first.name
        judged = replace(judged, lifetime=known.lifetime if same else lifetime)
    names = " and ".join(sorted({_short(seen.generation), *(_short(was.name) for was in rivals)}))
    detail = (
        f"{names} take turns, as while a new one is rolled out; {_short(judged.generation)}, which ends sooner, counts"
    )
    return replace(judged, findings=(*seen.findings, Finding(FLAPPING, Severity.INFO, detail)))


def _judged_alone(seen: Observation, past: Sequence[Generation], now: datetime) -> Observation:
    """With a finding when it had been replaced by one that would still work."""
    back = next((was for was in past if was.name == seen.generation), None)
    if back is None:
        return seen
    newer = [was for was in past if was.first_seen > back.first_seen and (was.expires_at or _NEVER) > now]
    if not newer:
        return seen
    detail = (
        f"{_short(seen.generation)}, first seen {say_time(back.first_seen)}, is back in the place of "
        f"{_short(newer[-1].name)}, first seen {say_time(newer[-1].first_seen)}: put that one back, or replace both"
    )
    return replace(seen, findings=(*seen.findings, Finding(ROLLED_BACK, Severity.WARNING, detail)))


def _short(name: str) -> str:
    return name[:12]
