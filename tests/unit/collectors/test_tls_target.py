"""Targets: what people write, and what is refused with a word on what to write instead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expiryd.collectors._tls_target import normalise_host, parse_target, redact


@pytest.mark.parametrize(
    ("text", "host", "port", "protocol"),
    [
        ("example.org", "example.org", 443, ""),
        ("example.org:8443", "example.org", 8443, ""),
        ("https://example.org", "example.org", 443, ""),
        ("https://example.org/path?query#part", "example.org", 443, ""),
        ("HTTPS://Example.ORG./", "example.org", 443, ""),
        ("tls://example.org:993", "example.org", 993, ""),
        ("smtp://mx.example.org", "mx.example.org", 25, "smtp"),
        ("smtp://mx.example.org:587", "mx.example.org", 587, "smtp"),
        ("smtps://mx.example.org", "mx.example.org", 465, ""),
        ("imap://mail", "mail", 143, "imap"),
        ("imaps://mail", "mail", 993, ""),
        ("pop3://mail", "mail", 110, "pop3"),
        ("pop3s://mail", "mail", 995, ""),
        ("ldap://dir", "dir", 389, "ldap"),
        ("ldaps://dir", "dir", 636, ""),
        ("postgres://db", "db", 5432, "postgres"),
        ("postgresql://db/name", "db", 5432, "postgres"),
        ("mysql://db", "db", 3306, "mysql"),
        ("ftp://files", "files", 21, "ftp"),
        ("ftps://files", "files", 990, ""),
        ("xmpp://chat", "chat", 5222, "xmpp"),
        ("xmpps://chat", "chat", 5223, ""),
        ("[2001:DB8::1]:8443", "2001:db8::1", 8443, ""),
        ("[::1]", "::1", 443, ""),
        ("smtp://[::1]:25", "::1", 25, "smtp"),
        ("192.0.2.1:443", "192.0.2.1", 443, ""),
        ("bücher.example", "xn--bcher-kva.example", 443, ""),
        ("Straße.example", "xn--strae-oqa.example", 443, ""),
        ("my_host.local", "my_host.local", 443, ""),
    ],
)
def test_a_target_says_where_and_how(text: str, host: str, port: int, protocol: str) -> None:
    target = parse_target(text)
    assert (target.text, target.host, target.port, target.protocol) == (text, host, port, protocol)
    assert target.literal == (":" in host or host == "192.0.2.1")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "host"),
        ("gopher://example.org", "smtp, imap"),
        ("::1", r"\[::1\]"),
        ("[::1", "host:port"),
        ("[example.org]:443", "IPv6"),
        ("example.org:0", "65535"),
        ("example.org:70000", "65535"),
        ("example.org:https", "host:port"),
        ("two words", "spaces"),
        ("exa\0mple", "spaces"),
        ("-bad-.example", "host name"),
        ("a..b", "host name"),
        ("1.2.3.999", "host name"),
        ("\N{SNOWMAN}" * 70 + ".example", "host name"),
        ("x" * 400, "300"),
        ("https://", "host:port"),
    ],
)
def test_what_is_no_target_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse_target(text)


@pytest.mark.parametrize(
    "text",
    [
        "postgres://user:canary7f@db/name",
        "user:canary7f@host:443",
        "https://user:can:ary7f@x://y",
        "canary7f://canary7f@h",
        " ftp://u:canary7f@h",
    ],
)
def test_a_password_in_a_target_is_refused_and_never_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="no user and no password") as caught:
        parse_target(text)
    assert "canary7f" not in str(caught.value) + redact(text)


def test_a_host_is_the_same_however_it_is_written() -> None:
    assert normalise_host("EXAMPLE.org.") == normalise_host("example.org") == ("example.org", False)
    assert normalise_host("2001:0DB8:0::1") == normalise_host("2001:db8::1") == ("2001:db8::1", True)


@given(st.text())
def test_any_text_is_a_target_or_a_value_error_and_can_be_shown(text: str) -> None:
    try:
        target = parse_target(text)
    except ValueError:
        assert redact(text).isprintable()
        return
    assert 1 <= target.port <= 65535
    assert target.host.isascii()
