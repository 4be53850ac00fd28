"""A secret that was read never comes out of the redactor, whatever it is wrapped in."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from expiryd.redact import MASK, Redactor

CANARY = "c4n4ry/Pa$$+wörd\n\"'\\x"


@dataclass(frozen=True)
class Holder:
    held: Any


class Silent:
    def __repr__(self) -> str:
        raise ValueError("no words")


def _raised(value: Any) -> ValueError:
    try:
        raise ValueError(value) from KeyError(value)
    except ValueError as error:
        return error


WRAPPERS: list[Callable[[Any], Any]] = [
    lambda v: [v, 1],
    lambda v: (None, v),
    lambda v: {"detail": v},
    lambda v: {str(v): 1},
    lambda v: {"a": {"b": v}},
    lambda v: frozenset([str(v)]),
    lambda v: f"before {v} after",
    lambda v: str(v).encode("utf-8", "surrogatepass"),
    lambda v: json.dumps(str(v)),
    lambda v: repr(str(v)),
    lambda v: f"https://host/path?q={quote_plus(str(v).encode('utf-8', 'surrogatepass'))}",
    Holder,
    _raised,
    lambda v: "".join(traceback.format_exception(_raised(v))),
]


def leaves(value: Any) -> list[str]:
    """Every text in a JSON value, keys too."""
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in (key, *leaves(inner))]
    if isinstance(value, list):
        return [text for inner in value for text in leaves(inner)]
    return [str(value)]


@settings(deadline=None)
@given(
    secret=st.text(min_size=4, max_size=60).filter(lambda text: text.strip() not in MASK and len(set(text)) > 2),
    wraps=st.lists(st.sampled_from(WRAPPERS), max_size=2),
)
@example(secret=CANARY, wraps=[Holder])
@example(secret=CANARY, wraps=[_raised])
@example(secret="12345678", wraps=[])
def test_a_known_secret_never_comes_out_whatever_it_is_wrapped_in(
    secret: str, wraps: list[Callable[[Any], Any]]
) -> None:
    redactor = Redactor()
    redactor.add(secret)
    value: Any = f"#{secret}#"
    for wrap in wraps:
        value = wrap(value)
    for text in leaves(redactor.clean(value)):
        assert secret not in text.replace(MASK, "")


@pytest.mark.parametrize(
    ("text", "canary"),
    [
        ("GET https://user:s3cr3tcanary@host/path", "s3cr3tcanary"),
        ("dsn postgresql://u:p@ss/canary@host/db?sslmode=x", "p@ss"),
        ("Authorization: Bearer s3cr3tcanary", "s3cr3tcanary"),
        ("{'Authorization': 'Basic czNjcjN0OmNhbmFyeQ=='}", "czNjcjN0OmNhbmFyeQ"),
        ('{"authorization": "token s3cr3tcanary"}', "s3cr3tcanary"),
        ("refused bearer s3cr3tcanary", "s3cr3tcanary"),
        ("-----BEGIN RSA PRIVATE KEY-----\ns3cr3tcanary\n-----END RSA PRIVATE KEY-----", "s3cr3tcanary"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\\ns3cr3tcanary cut", "s3cr3tcanary"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\ns3cr3tcanary", "s3cr3tcanary"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.s3cr3tcanary!", "s3cr3tcanary"),
        ("ghp_s3cr3tcanaryABCDEF is bad", "s3cr3tcanary"),
        ("https://hooks.slack.com/services/T0/B0/s3cr3tcanary", "s3cr3tcanary"),
        ("https://host/?a=1&token=s3cr3tcanary&b=2", "s3cr3tcanary"),
        ('{"password": "s3cr3tcanary"}', "s3cr3tcanary"),
        ("DB_PASSWORD=s3cr3tcanary", "s3cr3tcanary"),
        ("password: s3cr3tcanary", "s3cr3tcanary"),
        ("api_key:secretcanary", "secretcanary"),
    ],
)
def test_what_looks_like_a_secret_is_masked_without_being_known(text: str, canary: str) -> None:
    clean = Redactor().text(text)
    assert canary not in clean
    assert MASK in clean


@pytest.mark.parametrize(
    "text",
    [
        "the certificate of https://host:443/path@2 expires in 3 days",
        "basic constraints are missing",
        "the bearer of bad news",
        "AAR_TOKEN has no date; token-dir/AAR_TOKEN is a placeholder",
        "collector ci-tokens: 12 items, 2026-09-01T00:00:00+00:00",
        "-----BEGIN CERTIFICATE----- MIIB",
        "notifiers.ops.token: a secret is never written here",
        "AAR_TOKEN: no date is known",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert Redactor().text(text) == text


def test_keys_that_name_secrets_hide_their_values_of_any_type() -> None:
    event = {"api_token": "x", "db": {"Password": 12, "secrets": ["a"], "token": None, "has_token": True}, "port": 12}
    assert Redactor().clean(event) == {
        "api_token": MASK,
        "db": {"Password": MASK, "secrets": MASK, "token": None, "has_token": True},
        "port": 12,
    }


def test_each_line_of_a_secret_of_several_lines_is_masked() -> None:
    redactor = Redactor()
    redactor.add("first-line-of-key\nsecond-line-of-key\n")
    assert redactor.text("only second-line-of-key") == f"only {MASK}"


def test_a_secret_that_is_read_again_and_again_is_never_forgotten() -> None:
    redactor = Redactor()
    for number in range(600):
        redactor.add("the-one-still-in-use")
        redactor.add(f"rotated-{number}")
        redactor.add("\n".join(f"line-{number}-{line}" for line in range(3)))
    assert redactor.text("the-one-still-in-use rotated-599") == f"{MASK} {MASK}"


def test_a_secret_longer_than_another_that_it_contains_is_masked_whole() -> None:
    redactor = Redactor()
    redactor.add("hunter")
    redactor.add("hunter2hunter")
    assert redactor.text("x hunter2hunter y") == f"x {MASK} y"


def test_a_secret_too_short_to_be_masked_does_not_ruin_every_line() -> None:
    redactor = Redactor()
    redactor.add("a")
    assert redactor.text("a banana") == "a banana"


def test_huge_cyclic_and_unprintable_values_stay_small_and_raise_nothing() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    clean = Redactor().clean({"cycle": cycle, "many": range(3), "all": list(range(10_000)), "odd": Silent()})
    assert len(json.dumps(clean)) < 2_000
    assert clean["odd"] == "<Silent>"
    assert clean["all"][-1] == "… 9900 more"
    assert len(Redactor().text("x" * 10_000_000)) < 40_000


def test_numbers_stay_numbers_and_what_json_cannot_say_becomes_text() -> None:
    assert Redactor().clean([1, 2.5, float("nan"), float("inf"), 10**400]) == [1, 2.5, "nan", "inf", 10**400]
    assert Redactor().clean(10**5000) == "<int>"


def test_hostile_text_is_masked_in_linear_time() -> None:
    redactor = Redactor()
    for piece in ("://", "eyJ", "eyJa.", "-----BEGIN ", "token=", "authorization: ", "bearer ", "a@", "xoxb-", "://a@"):
        redactor.text(piece * 30_000)
