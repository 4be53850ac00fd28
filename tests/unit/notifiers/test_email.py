"""Mail is composed safely, sent only over a line that was asked for, and every refusal is told to whom it belongs."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.fakes import smtp
from tests.fakes.messages import event, message
from tests.fakes.smtp import FakeSmtp, Pki

from expiryd.api import AuthError, EventKind, Message, PermanentError, Receipt, Severity, TransientError
from expiryd.notifiers._mail import compose, mailbox
from expiryd.notifiers.email import EmailConfig
from expiryd.testing import EPOCH, SilentLog, tools

LOGIN = {"username": smtp.USERNAME, "password": {"env": "PASSWORD"}}


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.make(tmp_path_factory.mktemp("pki"))


async def sent(port: int, what: Message | None = None, **config: Any) -> tuple[Receipt, SilentLog]:
    known = {"host": "127.0.0.1", "port": port, "sender": "expiryd@example.org", "recipients": "team@example.org"}
    async with aiohttp.ClientSession() as http:
        lent = tools(http, secrets={"PASSWORD": smtp.PASSWORD, "WRONG": "wrong-canary-password"})
        notifier = EmailConfig.model_validate({"type": "email", **known, **config}).build(lent)
        receipt = await notifier.send(what or message())
        assert isinstance(lent.log, SilentLog)
        return receipt, lent.log


@asynccontextmanager
async def plain(**options: Any) -> AsyncIterator[FakeSmtp]:
    async with FakeSmtp(**options) as server:
        yield server


async def test_a_mail_has_text_and_html_and_says_that_a_machine_wrote_it() -> None:
    async with plain() as server:
        receipt, _ = await sent(
            server.port,
            security="none",
            sender="Expiryd <expiryd@example.org>",
            recipients=["Team Süd <team@example.org>", "two@example.org"],
        )
        (mail,), (envelope,) = server.mails, server.handler.taken
    assert envelope.mail_from == "expiryd@example.org"
    assert envelope.rcpt_tos == ["team@example.org", "two@example.org"]
    assert mail["From"] == "Expiryd <expiryd@example.org>"
    assert mail["To"] == "Team Süd <team@example.org>, two@example.org"
    assert mail["Subject"] == "CRITICAL: AAR_TOKEN expires 2030-01-04 00:00 UTC, 3 days left"
    assert mail["Message-ID"] == "<k-2f9c81d3@example.org>"
    assert parsedate_to_datetime(mail["Date"]) == EPOCH
    assert (mail["Auto-Submitted"], mail["Importance"]) == ("auto-generated", "high")
    assert (mail["X-Expiryd-Severity"], mail["X-Expiryd-Status"]) == ("critical", "firing")
    assert mail.get_content_type() == "multipart/alternative"
    text, html = mail.iter_parts()
    assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    for fact in ("3 days left", "web team", "Rotate it now.", "https://wiki.example.org/rotate?item=aar"):
        assert fact in text.get_content()
    assert "AAR_TOKEN" in html.get_content()
    assert receipt.proof == "<k-2f9c81d3@example.org> taken by 127.0.0.1: 250 OK queued as 4711"
    assert all(byte < 128 for byte in envelope.content)


async def test_starttls_and_signing_in(pki: Pki) -> None:
    async with plain(security="starttls", context=pki.context(), login=True) as server:
        await sent(server.port, ca_file=pki.ca_file, **LOGIN)
        assert len(server.mails) == 1
        assert server.signed_in


async def test_tls_from_the_first_byte(pki: Pki) -> None:
    async with plain(security="tls", context=pki.context(), login=True) as server:
        await sent(server.port, security="tls", ca_file=pki.ca_file, **LOGIN)
        assert len(server.mails) == 1
        assert server.signed_in


async def test_a_stripped_starttls_sends_nothing_in_plain_text(pki: Pki) -> None:
    async with plain(login=False) as server:
        with pytest.raises(AuthError, match="offers no STARTTLS: nothing was sent in plain text"):
            await sent(server.port, ca_file=pki.ca_file)
        assert server.mails == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_an_expired_certificate_of_the_server_is_told_and_tried_again(pki: Pki, security: str) -> None:
    async with plain(security=security, context=pki.context(expired=True)) as server:
        with pytest.raises(TransientError, match="not accepted: certificate has expired") as caught:
            await sent(server.port, security=security, ca_file=pki.ca_file)
        assert server.mails == []
    assert not caught.value.ambiguous


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_certificate_of_an_unknown_authority_is_never_trusted(pki: Pki, security: str) -> None:
    async with plain(security=security, context=pki.context()) as server:
        with pytest.raises(TransientError, match="its certificate is not accepted"):
            await sent(server.port, security=security)
        assert server.mails == []


async def test_tls_to_a_port_that_speaks_none_is_told(pki: Pki) -> None:
    async with plain() as server:
        with pytest.raises(TransientError, match="no TLS with 127"):
            await sent(server.port, security="tls", ca_file=pki.ca_file)


async def test_a_wrong_password_is_a_refused_login_and_is_not_quoted(pki: Pki) -> None:
    async with plain(security="starttls", context=pki.context(), login=True) as server:
        with pytest.raises(AuthError, match="signing in, answered 535") as caught:
            await sent(server.port, ca_file=pki.ca_file, username=smtp.USERNAME, password={"env": "WRONG"})
    assert "canary" not in repr(caught.value)


async def test_a_server_that_wants_a_login_is_a_refused_login(pki: Pki) -> None:
    async with plain(security="starttls", context=pki.context(), login=True) as server:
        with pytest.raises(AuthError, match="answered 530"):
            await sent(server.port, ca_file=pki.ca_file)


async def test_a_server_without_login_is_told_to_whom_it_belongs() -> None:
    async with plain() as server:
        with pytest.raises(AuthError, match="offers no way to sign in"):
            await sent(server.port, security="none", **LOGIN)


@pytest.mark.parametrize("content", [None, "no certificate here"])
async def test_a_ca_file_that_cannot_be_used_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    with pytest.raises(AuthError, match=r"ca_file .*ca\.pem cannot be used"):
        await sent(1, ca_file=path)


async def test_a_server_that_is_down_certainly_has_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(TransientError, match="no conversation with 127") as caught:
            await sent(taken.getsockname()[1])
    assert not caught.value.ambiguous


async def test_some_recipients_refused_the_others_get_it_and_the_proof_names_who_did_not() -> None:
    async with plain() as server:
        server.handler.refused = {"gone@example.org": "550 no such user", "full@example.org": "452 mailbox full"}
        recipients = ["gone@example.org", "team@example.org", "full@example.org"]
        receipt, log = await sent(server.port, security="none", recipients=recipients)
        assert server.handler.taken[0].rcpt_tos == ["team@example.org"]
    assert "; REFUSED gone@example.org (550 no such user), full@example.org (452 mailbox full)" in receipt.proof
    assert receipt.refused == f"127.0.0.1 refused {receipt.proof.partition('; REFUSED ')[2]}"
    assert [line[:2] for line in log.lines] == [("warning", "email.recipients_refused")]


async def test_all_recipients_refused_is_permanent_unless_one_of_them_may_be_taken_later() -> None:
    async with plain() as server:
        server.handler.refused = {"a@example.org": "550 no", "b@example.org": "550 no"}
        with pytest.raises(PermanentError, match=r"refused every recipient: a@example.org \(550 no\), b@"):
            await sent(server.port, security="none", recipients=["a@example.org", "b@example.org"])
        server.handler.refused["b@example.org"] = "450 greylisted"
        with pytest.raises(TransientError):
            await sent(server.port, security="none", recipients=["a@example.org", "b@example.org"])
        assert server.mails == []


async def test_international_addresses_travel_as_ascii_domains_or_by_smtputf8_or_not_at_all() -> None:
    async with plain() as server:
        await sent(server.port, security="none", recipients=["info@bücher.example", "jürgen@example.org"])
        assert server.handler.taken[0].rcpt_tos == ["info@xn--bcher-kva.example", "jürgen@example.org"]
        assert "SMTPUTF8" in server.handler.taken[0].mail_options
    async with plain(smtputf8=False) as server:
        with pytest.raises(AuthError, match="takes only ASCII addresses"):
            await sent(server.port, security="none", recipients="jürgen@example.org")
        await sent(server.port, security="none", recipients="info@bücher.example")
        assert len(server.mails) == 1


async def test_a_retry_carries_the_same_message_id() -> None:
    async with plain() as server:
        await sent(server.port, security="none")
        await sent(server.port, message(at=EPOCH + timedelta(hours=1)), security="none")
        first, again = server.mails
    assert first["Message-ID"] == again["Message-ID"]


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=300), st.text(max_size=80))
def test_no_subject_and_no_key_can_add_a_header_or_break_the_mail(subject: str, key: str) -> None:
    injecting = f"{subject}\r\nBcc: evil@example.org"
    hostile = Message(key, injecting, subject, f"<p>{subject}</p>", Severity.INFO, True, EPOCH)
    mail = compose(hostile, mailbox("a@example.org"), [mailbox("b@example.org")])
    raw = mail.as_bytes()
    head = raw.partition(b"\r\n\r\n")[0].decode()
    names = [line.partition(":")[0] for line in head.splitlines() if line and not line[0].isspace()]
    assert names == [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "X-Auto-Response-Suppress",
        "X-Expiryd-Severity",
        "X-Expiryd-Status",
        "MIME-Version",
        "Content-Type",
    ]


def test_what_is_over_is_not_urgent() -> None:
    over = message(event(kind=EventKind.RENEWED))
    mail = compose(over, mailbox("a@example.org"), [mailbox("b@example.org")])
    assert (mail["Importance"], mail["X-Expiryd-Status"]) == (None, "resolved")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"recipients": []}, "at least 1"),
        ({"recipients": "nobody"}, "is not one e-mail address"),
        ({"recipients": "a@example.org, b@example.org"}, "is not one e-mail address"),
        ({"sender": "a@example.org\r\nBcc: b@example.org"}, "stands on one line"),
        ({"sender": "@example.org"}, "is not one e-mail address"),
        ({"host": "mail.example.org:25"}, "without a port"),
        ({"host": "mail example"}, "without a port"),
        ({"port": 0}, "greater than or equal to 1"),
        ({"security": "ssl"}, "starttls"),
        ({"username": "u"}, "belong together"),
        ({"security": "none", **LOGIN}, "in plain text"),
        ({"password": "canary", "username": "u"}, "never written here"),
    ],
)
def test_a_wrong_key_is_explained_and_no_secret_is_quoted(config: dict[str, Any], says: str) -> None:
    known = {"type": "email", "host": "mail.example.org", "sender": "a@example.org", "recipients": "b@example.org"}
    with pytest.raises(ValidationError, match=says) as caught:
        EmailConfig.model_validate({**known, **config})
    assert "canary" not in str(caught.value)
