"""Files appear whole, once per message, where they belong, and read as their predecessors did."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.messages import event, message

from expiryd.api import EventKind, Message, Severity, Traits
from expiryd.notifiers.file import MOST_EVENTS, deposit, document, file_name
from expiryd.testing import EPOCH

NAME = re.compile(r"token_expiry_alert_[A-Za-z0-9._-]{1,80}_\d{8}_\d{6}_[0-9a-f]{12}\.md")


def test_the_name_tells_the_item_and_the_time_and_the_page_what_to_do(tmp_path: Path) -> None:
    path = deposit(tmp_path, message())
    assert re.fullmatch(r"token_expiry_alert_AAR_TOKEN_20300101_000000_[0-9a-f]{12}\.md", path.name)
    text = path.read_text()
    assert text.splitlines()[0] == "# 🚨 Token Expiry Alert - Infrastructure Team"
    for line in (
        "**Generated:** 2030-01-01 00:00:00 UTC",
        "**Severity:** CRITICAL",
        "**Token:** `AAR_TOKEN`",
        "**Type:** env token",
        "**Status:** CRITICAL: AAR\\_TOKEN expires 2030-01-04 00:00 UTC, 3 days left",
        "## Details",
        "- **Owner:** web team",
        "- **Used by:** deploy, release",
        "- **Labels:** env=prod",
        "## Infrastructure Team Action Items",
        "- [ ] `AAR_TOKEN`: Rotate it now. Owner: web team. Runbook: <https://wiki.example.org/rotate?item=aar>",
        "**Notification ID:** `k-2f9c81d3`",
    ):
        assert line in text


def test_a_retry_replaces_its_own_file_also_when_it_is_worded_later(tmp_path: Path) -> None:
    first = deposit(tmp_path, message())
    again = deposit(tmp_path, message(at=EPOCH + timedelta(hours=5)))
    other = deposit(tmp_path, message(key="another"))
    assert first == again
    assert sorted(tmp_path.iterdir()) == sorted({first, other})
    assert "2030-01-01 05:00:00" in first.read_text()


def test_several_items_are_a_digest_and_none_is_a_message() -> None:
    assert "_digest_" in file_name(message(event("A"), event("B")), "0" * 12)
    assert "_message_" in file_name(Message("k", "s", "t", "", Severity.INFO, True, EPOCH), "0" * 12)


@settings(deadline=None)
@given(st.text(max_size=300), st.text(max_size=50))
def test_no_name_leads_out_of_the_directory(item: str, key: str) -> None:
    name = file_name(message(event(f"../../{item}"), key=key), "0" * 12)
    assert NAME.fullmatch(name)
    assert len(name.encode()) < 200


def test_it_appears_whole_without_leftovers_and_under_the_daemons_own_mask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        path = deposit(tmp_path / "new", message())
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_nothing_is_left_behind_when_it_cannot_be_put_in_place(tmp_path: Path) -> None:
    """The place is taken by a directory, so the rename fails after the content was written."""
    path = deposit(tmp_path, message())
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        deposit(tmp_path, message())
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_over_is_told_as_resolved_and_asks_for_nothing() -> None:
    text = document(message(event(kind=EventKind.RENEWED, severity=Severity.HEALTHY)))
    assert text.startswith("# ✅ Token Expiry Resolved - Infrastructure Team")
    assert "Action Items" not in text


def test_a_flood_is_counted() -> None:
    text = document(message(*(event(f"T{n}") for n in range(MOST_EVENTS + 7))))
    assert "… and 7 more: 7 critical." in text
    assert text.count("\n### ") == MOST_EVENTS


def test_a_message_without_events_is_its_text_in_a_fence() -> None:
    assert "```text\na test\n```" in document(Message("k", "test", "a test", "", Severity.INFO, True, EPOCH))


def test_hostile_names_are_inert() -> None:
    nasty = Traits(owner="@acme/all <script>", runbook="javascript:x", used_by=("[a](b)",))
    text = document(message(event("`x`\n# Owned", traits=nasty, detail="| a |\n## Owned")))
    assert "\n# Owned" not in text
    assert "\n## Owned" not in text
    assert "@acme" not in text
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert "<javascript" not in text
