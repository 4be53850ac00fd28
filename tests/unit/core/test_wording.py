"""The words people read: what, how long, whose, what to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.words import DAY, NOW, event

from expiryd.core.model import BLIND, EXPIRY, Basis, Event, EventKind, Severity, Traits
from expiryd.core.wording import MOST_SAID, action, badge, facts, headline, plain, say_end, say_time


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (event(ends=3 * DAY), "AAR_TOKEN expires 2026-11-24 09:30 UTC, 3 days left"),
        (event(ends=timedelta(0)), "AAR_TOKEN expired 2026-11-21 09:30 UTC, 0 seconds ago"),
        (event(ends=-5 * DAY), "AAR_TOKEN expired 2026-11-16 09:30 UTC, 5 days ago"),
        (event(EventKind.RENEWED, ends=90 * DAY), "AAR_TOKEN is renewed, expires 2027-02-19 09:30 UTC, 90 days left"),
        (event(EventKind.RENEWED, ends=None, basis=Basis.NONE), "AAR_TOKEN is renewed, never expires"),
        (
            event(EventKind.RESOLVED, ends=None, basis=Basis.POLICY),
            "AAR_TOKEN: the date told before no longer counts, no end known",
        ),
        (event(EventKind.RESOLVED, aspect="revoked"), "AAR_TOKEN: revoked is over"),
        (event(aspect="revoked", detail="by the CA"), "AAR_TOKEN: revoked, by the CA"),
        (event(aspect="revoked"), "AAR_TOKEN: revoked"),
        (
            event(EventKind.VANISHED, detail="no longer found by a complete look", ends=None),
            "AAR_TOKEN is gone: no longer found by a complete look",
        ),
        (
            event(EventKind.BLIND, aspect=BLIND, detail="timed out", ends=3 * DAY),
            "AAR_TOKEN could not be looked at: timed out (last known: expires 2026-11-24 09:30 UTC, 3 days left)",
        ),
        (event(EventKind.BLIND, aspect=BLIND, detail="no", ends=None), "AAR_TOKEN could not be looked at: no"),
        (
            event(EventKind.BLIND, aspect=BLIND, title="collector ci", item="ci", detail="no answer", ends=3 * DAY),
            "collector ci could not be looked at: no answer "
            "(first known end behind it: expires 2026-11-24 09:30 UTC, 3 days left)",
        ),
        (
            event(EventKind.SIGHTED, aspect=BLIND, ends=3 * DAY),
            "AAR_TOKEN can be seen again, expires 2026-11-24 09:30 UTC, 3 days left",
        ),
        (event(EventKind.SIGHTED, aspect=BLIND, ends=None), "AAR_TOKEN can be seen again"),
    ],
)
def test_one_sentence_says_what_happened_to_what_and_until_when(told: Event, words: str) -> None:
    assert headline(told, NOW) == words


def test_facts_say_whose_it_is_what_it_breaks_and_what_to_do() -> None:
    traits = Traits("cicd", "ops", "https://wiki/rotate", ("web", "cron"))
    told = event(EventKind.WORSENED, Severity.CRITICAL, before=Severity.WARNING, issued=-80 * DAY, traits=traits)
    assert facts(told) == [
        ("News", "worse, was warning"),
        ("Do", "Rotate it now."),
        ("Owner", "ops"),
        ("Runbook", "https://wiki/rotate"),
        ("Used by", "web, cron"),
        ("Item", "token ci/AAR_TOKEN"),
        ("Category", "cicd"),
        ("Issued", "2026-09-02 09:30 UTC"),
        ("Known from", "the thing itself"),
    ]


def test_what_is_not_known_or_does_not_matter_is_left_out() -> None:
    assert facts(event(aspect="revoked", item_kind="", issued=-DAY)) == [
        ("Do", "Look into it."),
        ("Item", "ci/AAR_TOKEN"),
    ]
    assert facts(event(EventKind.RESOLVED, ends=None)) == [("Item", "token ci/AAR_TOKEN")]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (EventKind.RAISED, None),
        (EventKind.WORSENED, "worse, was info"),
        (EventKind.EASED, "better, was info"),
        (EventKind.REPEATED, "reminder, still open"),
        (EventKind.RENEWED, None),
    ],
)
def test_a_reader_can_tell_news_from_reminders(kind: EventKind, said: str | None) -> None:
    assert dict(facts(event(kind, before=Severity.INFO))).get("News") == said


@pytest.mark.parametrize("basis", [basis for basis in Basis if basis is not Basis.NONE])
def test_every_source_of_a_date_has_words(basis: Basis) -> None:
    assert dict(facts(event(basis=basis)))["Known from"]


@pytest.mark.parametrize("severity", list(Severity))
@pytest.mark.parametrize("aspect", [EXPIRY, BLIND, "revoked"])
def test_there_is_always_something_to_do_said_in_a_sentence(severity: Severity, aspect: str) -> None:
    assert action(severity, aspect).endswith(".")


def test_a_message_opens_with_how_bad_it_is_or_how_it_ended() -> None:
    assert badge(event(severity=Severity.CRITICAL)) == "CRITICAL"
    assert badge(event(EventKind.WORSENED, Severity.CRITICAL, aspect=BLIND)) == "BLIND"
    assert badge(event(EventKind.RENEWED)) == "RENEWED"
    assert badge(event(EventKind.SIGHTED, aspect=BLIND)) == "SIGHTED"


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (NOW, "2026-11-21 09:30 UTC"),
        (NOW.astimezone(timezone(timedelta(hours=9))), "2026-11-21 09:30 UTC"),
        (datetime.max.replace(tzinfo=UTC), "9999-12-31 23:59 UTC"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=9))), "0001-01-01 00:00 UTC"),
    ],
)
def test_times_are_told_in_utc_in_every_year(at: datetime, words: str) -> None:
    assert say_time(at) == words
    assert words in say_end(at, NOW)


def test_an_unknown_end_is_said_to_be_unknown() -> None:
    assert say_end(None, NOW) == "no end known"


@given(st.text(st.characters(), max_size=700))
def test_any_text_becomes_one_short_line_that_can_be_shown_and_sent(text: str) -> None:
    line = plain(text)
    assert len(line) <= MOST_SAID
    assert line.isprintable()
    assert line == line.strip()
    line.encode()
    assert plain(line) == line


def test_hostile_names_cannot_start_a_line_of_their_own_nor_turn_the_reading_direction() -> None:
    assert plain("a\r\n\r\nCRITICAL  b") == "a CRITICAL b"
    assert plain("evil\u202egpj.exe\x1b[31m\x00\udcff") == "evil\ufffdgpj.exe\ufffd[31m\ufffd\ufffd"
    assert plain("Größe – 日本 ✓") == "Größe – 日本 ✓"
