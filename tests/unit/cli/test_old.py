"""`check-token` speaks the words of the scripts it replaces."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from expiryd.api import NO_TRAITS, Basis, Blind, Finding, ItemId, Lifetime, Observation, Severity
from expiryd.cli.old import token_row
from expiryd.core.rules import Resolved, Rules
from expiryd.core.step import fail, see
from expiryd.testing import EPOCH

ITEM = ItemId("ci/X")
BY = Resolved(Rules(blind_after=1), NO_TRAITS)


def row(*findings: Finding, lifetime: Lifetime | None = None, generation: str = "") -> dict[str, object]:
    seen = Observation("X", lifetime=lifetime, findings=findings, generation=generation)
    return token_row("X", "cicd", see(None, ITEM, seen, BY, EPOCH).state, EPOCH)


def ends(days: float) -> Lifetime:
    return Lifetime(EPOCH + timedelta(days=days))


@pytest.mark.parametrize(
    ("days", "status", "analysis", "action"),
    [
        (-1, "expired", "EXPIRED", "IMMEDIATE ROTATION REQUIRED"),
        (0, "expired", "EXPIRED", "IMMEDIATE ROTATION REQUIRED"),
        (5.5, "critical", "CRITICAL:5", "URGENT ROTATION REQUIRED"),
        (7, "warning", "WARNING:7", "PLAN ROTATION"),
        (44, "info", "INFO:44", "MONITOR CLOSELY"),
        (90, "healthy", "HEALTHY:90", None),
    ],
)
def test_a_date_is_told_in_the_old_words(days: float, status: str, analysis: str, action: str | None) -> None:
    told = row(lifetime=ends(days))
    assert (told["status"], told["analysis"], told["action_required"]) == (status, analysis, action)


@pytest.mark.parametrize(
    ("code", "status", "analysis"),
    [
        ("placeholder", "placeholder", "PLACEHOLDER"),
        ("missing", "not_found", "NOT_FOUND"),
        ("invalid-date", "metadata_error", "INVALID_DATE"),
        ("no-expiry-info", "no_expiry_info", "NO_EXPIRY_INFO"),
    ],
)
def test_a_token_without_a_date_is_told_by_why_it_has_none(code: str, status: str, analysis: str) -> None:
    told = row(Finding(code, Severity.WARNING))
    assert (told["status"], told["analysis"]) == (status, analysis)


def test_never_unknown_absent_and_unseen_are_four_different_words() -> None:
    never = row(lifetime=Lifetime(basis=Basis.NONE))
    unknown = row(generation="abc")
    absent = token_row("X", "cicd", None, EPOCH)
    blind = token_row("X", "cicd", fail(None, ITEM, Blind("X", "no key"), BY, EPOCH).state, EPOCH)
    told = [one["status"] for one in (never, unknown, absent, blind)]
    assert told == ["no_expiry", "no_expiry_info", "not_found", "error"]
    assert blind["error"] == "no key"


def test_the_keys_are_the_old_ones_and_the_times_look_as_they_did() -> None:
    told = row(lifetime=ends(5))
    assert list(told) == [
        *("token_name", "token_type", "status", "days_until_expiry", "expiry_date", "analysis"),
        *("action_required", "last_checked"),
    ]
    assert told["expiry_date"] == "2030-01-06T00:00:00Z"
    assert datetime.fromisoformat(str(told["last_checked"])).tzinfo is None
