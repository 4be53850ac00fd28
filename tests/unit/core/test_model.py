"""The words of the domain refuse what could not be judged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from expiryd.core.model import (
    EventKind,
    Finding,
    ItemId,
    Lifetime,
    Measure,
    Observation,
    Severity,
    collector_of,
    generation_of,
)

END = datetime(2031, 1, 1, 12, tzinfo=UTC)


def test_severities_are_ordered_and_numbered_as_the_metric_says() -> None:
    words = {severity.word: int(severity) for severity in Severity}
    assert words == {"unknown": -1, "healthy": 0, "info": 1, "warning": 2, "critical": 3, "expired": 4}
    assert [Severity.of(word) for word in words] == list(Severity)
    with pytest.raises(KeyError):
        Severity.of("fine")


@pytest.mark.parametrize("which", ["expires_at", "issued_at", "not_before"])
def test_a_time_without_a_zone_is_refused_where_it_is_made(which: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        Lifetime(**{which: END.replace(tzinfo=None)})


@pytest.mark.parametrize("word", ["expiry", "blind"])
def test_findings_and_measures_do_not_take_the_daemons_own_words(word: str) -> None:
    with pytest.raises(ValueError, match="own word"):
        Finding(word, Severity.WARNING)
    with pytest.raises(ValueError, match="own word"):
        Measure(word, 1.0)


def test_the_generation_is_what_the_collector_says_else_the_expiry_whatever_its_zone() -> None:
    elsewhere = END.astimezone(timezone(timedelta(hours=5)))
    assert generation_of(Observation("a", generation="serial 1", lifetime=Lifetime(END))) == "serial 1"
    assert generation_of(Observation("a", lifetime=Lifetime(END))) == "2031-01-01T12:00:00+00:00"
    assert generation_of(Observation("a", lifetime=Lifetime(elsewhere))) == "2031-01-01T12:00:00+00:00"
    assert generation_of(Observation("a", lifetime=Lifetime())) == generation_of(Observation("a")) == "-"
    first = datetime.min.replace(tzinfo=elsewhere.tzinfo)  # which UTC has no year for
    assert generation_of(Observation("a", lifetime=Lifetime(first)))


def test_the_collector_is_the_first_part_of_an_item_and_a_collector_is_an_item_itself() -> None:
    assert collector_of(ItemId("certs//etc/ssl/a.pem")) == "certs"
    assert collector_of(ItemId("certs")) == "certs"


def test_four_kinds_of_event_close_a_matter() -> None:
    assert [kind.value for kind in EventKind if kind.closes] == ["renewed", "resolved", "vanished", "sighted"]
