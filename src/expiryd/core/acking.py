"""Somebody takes a matter in hand, or lets go of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from expiryd.core.duration import later, parse_duration
from expiryd.core.model import Ack, Alert, EventKind, ItemState
from expiryd.core.step import Step, news
from expiryd.core.wording import say_time

_FORMS = "write a span such as 2h or 2d, a date such as 2026-12-01, or a time such as 2026-12-01T12:00Z"


def acknowledge(state: ItemState, aspect: str, ack: Ack) -> Step | None:
    """The state with the matter in that hand, and the news of it. None: it is already, on the same terms.

    Raises KeyError when the item has no such open matter. The state is judged again at once: what it waits for is new.
    """
    alert = _open(state, aspect)
    if alert.ack is not None and replace(alert.ack, at=ack.at) == ack:
        return None
    taken = replace(alert, ack=ack)
    event = news(EventKind.ACKNOWLEDGED, state, taken, alert, ack.at)
    return Step(_with(state, alert, taken, ack.at), (replace(event, detail=say_ack(ack)),))


def let_go(state: ItemState, aspect: str, now: datetime) -> Step | None:
    """The state with the matter in nobody's hand. None: it is in none. Raises KeyError as `acknowledge` does."""
    alert = _open(state, aspect)
    return None if alert.ack is None else Step(_with(state, alert, replace(alert, ack=None), now))


def set_back(ack: Ack, now: datetime, by: timedelta) -> Ack:
    """The clock was set back by `by` (negative) to `now`: what was asked for by the wrong one lasts as long as it was
    meant to."""
    return ack if ack.at <= now else replace(ack, at=ack.at + by, until=ack.until + by if ack.until else None)


def say_ack(ack: Ack) -> str:
    """`ann, until 2026-12-01 00:00 UTC: ticket 4711`"""
    end = f", until {say_time(ack.until)}" if ack.until else ", until it is over" if ack.until_renewed else ""
    return f"{ack.actor}{end}: {ack.reason}"


def parse_moment(text: str, now: datetime, zone: tzinfo) -> datetime:
    """When a person means: a span from now, the end of a day in the zone, or a time (in the zone unless it says one).

    Raises ValueError, also for what is not after `now`.
    """
    said = text.strip()
    try:
        moment = later(now, parse_duration(said))
    except ValueError:
        moment = _calendar(said, zone)
    if moment <= now:
        raise ValueError(f"{text.strip()!r} is not after now: {_FORMS}")
    return moment


def _calendar(text: str, zone: tzinfo) -> datetime:
    try:
        if len(text) <= len("2026-12-01"):
            return datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), zone).astimezone(UTC)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no end: {_FORMS}") from None


def _open(state: ItemState, aspect: str) -> Alert:
    return {alert.aspect: alert for alert in state.alerts}[aspect]


def _with(state: ItemState, old: Alert, new: Alert, now: datetime) -> ItemState:
    alerts = tuple(new if alert is old else alert for alert in state.alerts)
    return replace(state, alerts=alerts, wake_at=now)
