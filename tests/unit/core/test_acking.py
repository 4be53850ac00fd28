"""Somebody takes a matter in hand: what is remembered, what is told, and when it ends."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expiryd.core.acking import acknowledge, let_go, parse_moment, say_ack
from expiryd.core.model import Ack, EventKind, ItemId, Lifetime, Observation, Severity, Traits
from expiryd.core.render import render
from expiryd.core.rules import Resolved, Rules
from expiryd.core.step import see

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
DAY = timedelta(days=1)
RULES = Resolved(Rules(), Traits())
SEEN = Observation("T", title="token T", lifetime=Lifetime(expires_at=NOW + 3 * DAY))
STATE = see(None, ItemId("ci/T"), SEEN, RULES, NOW).state
ACK = Ack("ann", NOW + DAY, "ticket 4711")


def test_it_is_remembered_on_the_alert_and_told_once() -> None:
    step = acknowledge(STATE, "expiry", ACK)
    assert step is not None
    (alert,), (event,) = step.state.alerts, step.events
    assert alert.ack == ACK
    assert (event.kind, event.at, event.severity, event.item) == (
        EventKind.ACKNOWLEDGED,
        ACK.at,
        Severity.CRITICAL,
        "ci/T",
    )
    assert event.detail == "ann: ticket 4711"
    assert step.state.wake_at == ACK.at


def test_the_message_says_who_has_what_in_hand() -> None:
    step = acknowledge(STATE, "expiry", ACK)
    assert step is not None
    wording = render(step.events, NOW)
    assert wording.subject == "ACKNOWLEDGED: token T is in hand: ann: ticket 4711"
    assert "    Matter: critical expiry, 2026-11-24 09:00 UTC" in wording.text
    assert "Do:" not in wording.text


def test_the_same_again_is_no_news_but_other_terms_are() -> None:
    step = acknowledge(STATE, "expiry", ACK)
    assert step is not None
    assert acknowledge(step.state, "expiry", replace(ACK, at=ACK.at + DAY)) is None
    assert acknowledge(step.state, "expiry", replace(ACK, until_renewed=True)) is not None
    assert acknowledge(step.state, "expiry", replace(ACK, actor="bob")) is not None


def test_letting_go_is_no_news() -> None:
    step = acknowledge(STATE, "expiry", ACK)
    assert step is not None
    gone = let_go(step.state, "expiry", NOW + DAY)
    assert gone is not None
    assert (gone.state.alerts, gone.events) == (STATE.alerts, ())
    assert let_go(gone.state, "expiry", NOW + DAY) is None


def test_a_matter_that_is_not_open_cannot_be_taken() -> None:
    with pytest.raises(KeyError):
        acknowledge(STATE, "placeholder", ACK)
    with pytest.raises(KeyError):
        let_go(STATE, "placeholder", NOW)


@pytest.mark.parametrize(
    ("ack", "said"),
    [
        (ACK, "ann: ticket 4711"),
        (replace(ACK, until=NOW), "ann, until 2026-11-21 09:00 UTC: ticket 4711"),
        (replace(ACK, until_renewed=True), "ann, until it is over: ticket 4711"),
    ],
)
def test_an_acknowledgement_says_who_until_when_and_why(ack: Ack, said: str) -> None:
    assert say_ack(ack) == said


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2d", NOW + 2 * DAY),
        (" 90m ", NOW + timedelta(minutes=90)),
        ("2026-12-01", datetime(2026, 12, 1, 23, tzinfo=UTC)),
        ("2026-11-21", datetime(2026, 11, 21, 23, tzinfo=UTC)),
        ("2026-12-01T12:00", datetime(2026, 12, 1, 11, tzinfo=UTC)),
        ("2026-12-01 12:00", datetime(2026, 12, 1, 11, tzinfo=UTC)),
        ("2026-12-01T12:00Z", datetime(2026, 12, 1, 12, tzinfo=UTC)),
        ("2026-12-01T12:00:00-05:00", datetime(2026, 12, 1, 17, tzinfo=UTC)),
    ],
)
def test_people_write_a_span_a_day_or_a_time(text: str, moment: datetime) -> None:
    assert parse_moment(text, NOW, ZoneInfo("Europe/Berlin")) == moment


@pytest.mark.parametrize("text", ["0s", "-2d", "2026-11-20", "2026-11-21T08:59Z"])
def test_what_is_over_before_it_begins_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not after now"):
        parse_moment(text, NOW, UTC)


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01", "9999-12-31", "12-01", "5"])
def test_what_is_no_end_is_told_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(ValueError, match=r"a span such as 2h or 2d, a date such as 2026-12-01"):
        parse_moment(text, NOW, UTC)


@given(st.text(max_size=40))
def test_whatever_is_written_is_a_moment_ahead_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert parse_moment(text, NOW, ZoneInfo("America/New_York")) > NOW
