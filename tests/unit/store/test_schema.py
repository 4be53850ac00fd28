"""The column types keep what they are given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from tests.store_samples import moments, texts

from expiryd.store.schema import escape, from_micros, shorten, to_micros, unescape


@given(moment=moments)
def test_a_time_is_kept_to_the_microsecond_and_in_order(moment: datetime) -> None:
    assert from_micros(to_micros(moment)) == moment
    assert from_micros(to_micros(moment)).tzinfo is UTC


def test_a_time_beyond_the_calendar_in_utc_becomes_the_nearest_one() -> None:
    east, west = timezone(timedelta(hours=5)), timezone(-timedelta(hours=5))
    assert from_micros(to_micros(datetime.max.replace(tzinfo=west))) == datetime.max.replace(tzinfo=UTC)
    assert from_micros(to_micros(datetime.min.replace(tzinfo=east))) == datetime.min.replace(tzinfo=UTC)


@given(text=texts)
def test_any_text_becomes_storable_and_comes_back(text: str) -> None:
    stored = escape(text)
    assert "\0" not in stored.encode().decode()
    assert unescape(stored) == text


@given(one=texts, other=texts)
def test_different_texts_stay_different(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) == (one == other)


@given(text=texts)
def test_a_short_key_is_itself(text: str) -> None:
    assert shorten(text) == text


def test_a_long_key_is_shortened_once_and_stays_distinct() -> None:
    for letter in ("a", "\0", "\udc80", "中"):
        one, other = letter * 5000, letter * 5000 + "b"
        assert len(escape(shorten(one)).encode()) <= 600
        assert shorten(shorten(one)) == shorten(one) != shorten(other)
