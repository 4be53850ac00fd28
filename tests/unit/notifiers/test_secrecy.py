"""What a receiver says can be quoted, and no secret with it."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expiryd.notifiers._secrecy import excerpt


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec="ascii", exclude_categories=("Cc",)), min_size=6, max_size=80))
def test_a_secret_is_struck_out_in_every_usual_spelling(secret: str) -> None:
    secret = secret.strip() or "secret"
    if len(secret) < 4 or secret in "bad: and … an HTML page":
        return
    coded = base64.b64encode(secret.encode()).decode()
    said = excerpt(f"bad: {secret} and {coded} and {quote(secret, safe='')}", [secret])
    assert secret not in said
    assert coded not in said


@pytest.mark.parametrize(
    "secret", ["abc/def/ghi==", "p&ss<w>'\"x", "käs\U0001f9c0-pass", "a+b c/d%", "tok\\en/1", "a\nb\tc"]
)
@pytest.mark.parametrize(
    "echo",
    [
        json.dumps,
        lambda secret: json.dumps(secret).replace("/", "\\/"),  # PHP
        lambda secret: json.dumps(secret).replace("&", "\\u0026").replace("<", "\\u003c"),  # Go
        lambda secret: json.dumps(json.dumps(secret)),
        html.escape,
        quote_plus,
        lambda secret: re.sub("%..", lambda found: found[0].lower(), quote(secret, safe="")),
        lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    ],
    ids=["JSON", "PHP", "Go", "JSON in JSON", "HTML", "form", "lower-case address", "Base64 of addresses"],
)
def test_a_secret_is_struck_out_however_an_echo_escapes_it(secret: str, echo: Callable[[str], str]) -> None:
    said = excerpt(f"bad token {echo(secret)} given", [secret], opaque=False)
    assert re.sub(r'[\\"=]', "", said) == "bad token … given"  # what stood around it may stay


def test_what_holds_no_secret_is_quoted_as_it_was_said() -> None:
    said = r'{"error": "C:\temp \u00e9 &amp; 100%25"}'
    assert excerpt(said, ["s3cret"]) == said


def test_a_long_run_without_a_space_may_be_a_part_of_a_secret_and_is_not_quoted() -> None:
    assert excerpt("token ghp_abcdefghijklmnopqrstuvwxyz is bad") == "token … is bad"
    assert excerpt("250 OK id=1uVwXy-00000001AbC-2dEf", opaque=False) == "250 OK id=1uVwXy-00000001AbC-2dEf"


def test_it_is_one_short_line_and_a_page_is_named_as_such() -> None:
    assert excerpt("a\n\tb\x1b[31m") == "a b[31m"
    assert len(excerpt("so long " * 1000)) == 200
    assert excerpt("  <!DOCTYPE html><p>Sign in") == "an HTML page"
