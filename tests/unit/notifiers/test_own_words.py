"""What a person's own template worded is carried as it is, by every notifier in its way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.fakes.messages import event, message, threaded

from expiryd.notifiers._issue import Marks, comment, is_over, opening_body, title
from expiryd.notifiers.file import document
from expiryd.notifiers.slack import blocks
from expiryd.notifiers.webhook import payload

OWN = frozenset({"subject", "text"})
WORDS: dict[str, Any] = {"subject": "Dear all", "text": "# Rotate\n\n**now** <!-- x -->\n", "html": "", "own": OWN}


def test_a_file_is_the_text_alone() -> None:
    assert document(replace(message(), **WORDS)) == WORDS["text"]


def test_slack_shows_the_subject_and_the_text() -> None:
    header, section = blocks(replace(message(), **WORDS))
    assert header["text"]["text"] == "Dear all"
    assert section["text"] == {"type": "plain_text", "text": "# Rotate\n\n**now** &lt;!-- x --&gt;", "emoji": False}


def test_a_webhook_has_them_under_the_usual_keys_beside_all_facts() -> None:
    body = payload(replace(message(), **WORDS), "here")
    assert (body["title"], body["message"], len(body["events"])) == ("Dear all", WORDS["text"], 1)


def test_a_github_issue_quotes_them_and_still_keeps_its_table() -> None:
    told = replace(threaded(event()), **WORDS)
    marks = Marks.of(told)
    body = opening_body(told, marks, "")
    assert title(told) == "Dear all"
    assert "**now** <!" in body
    assert "<!-- x -->" not in body
    assert "| Matter | State |" in body
    assert not is_over(told, body)
    assert "**now**" in comment(told, marks, "")
    broken_up = opening_body(replace(told, text=f"<!\0-- row {'0' * 12} open -->"), marks, "")
    assert "<!-- row 000000000000" not in broken_up  # nor when what is taken out of it makes it whole
