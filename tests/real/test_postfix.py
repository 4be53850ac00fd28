"""The e-mail notifier against a real Postfix that takes mail only after STARTTLS and a login."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import TypeAdapter
from tests.fakes.messages import event, message

from expiryd.api import AuthError, Message, PermanentError, Receipt, TransientError
from expiryd.notifiers.email import EmailConfig
from expiryd.testing import tools

from .authority import Authority
from .postfix import DOMAIN, PASSWORD, REFUSED, USER, Postfix, postfix
from .processes import until

pytestmark = pytest.mark.real

RECIPIENT = f"infra@{DOMAIN}"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(folder: Path, authority: Authority) -> Iterator[Postfix]:
    with postfix(folder, authority.leaf("localhost", days=30)) as running:
        yield running


@pytest.fixture
def mailbox(server: Postfix) -> Postfix:
    """The server, its mailbox emptied."""
    for file in (server.home / "mail").rglob("new/*"):
        file.unlink()
    return server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


class Sender:
    def __init__(self, server: Postfix, authority: Authority, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._config: dict[str, Any] = {
            "type": "email",
            "host": "localhost",
            "port": server.port,
            "username": USER,
            "password": {"env": "SMTP_PASSWORD"},
            "sender": f"Expiry watch <watch@{DOMAIN}>",
            "recipients": [RECIPIENT],
            "ca_file": authority.root,
        }

    async def send(self, mail: Message, *, typed: str = PASSWORD, **config: Any) -> Receipt:
        adapter = TypeAdapter(EmailConfig)
        notifier = adapter.validate_python({**self._config, **config}).build(
            tools(self._http, secrets={"SMTP_PASSWORD": typed})
        )
        try:
            return await notifier.send(mail)
        finally:
            await notifier.aclose()


@pytest.fixture
def sender(mailbox: Postfix, authority: Authority, http: aiohttp.ClientSession) -> Sender:
    return Sender(mailbox, authority, http)


async def test_a_mail_arrives_with_both_parts_and_its_headers_as_they_were_sent(
    mailbox: Postfix, sender: Sender
) -> None:
    sent = message(event("AAR_TOKEN"), event("GRÜN_TOKEN"), key="k-arrives")
    receipt = await sender.send(sent)
    (mail,) = mailbox.received(1)
    assert mail["Message-ID"] == f"<k-arrives@{DOMAIN}>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Subject"] == sent.subject
    assert mail["To"] == RECIPIENT
    assert mail["Return-Path"] == f"<watch@{DOMAIN}>"
    text, html = mail.get_body(["plain"]), mail.get_body(["html"])
    assert text is not None
    assert html is not None
    assert text.get_content().split() == sent.text.split()
    assert sent.html is not None
    assert html.get_content().split() == sent.html.split()
    assert not mail.defects
    assert f"<k-arrives@{DOMAIN}>" in receipt.proof
    assert "queued as" in receipt.proof


async def test_the_mail_travelled_encrypted_and_signed_in(mailbox: Postfix, sender: Sender) -> None:
    await sender.send(message())
    (mail,) = mailbox.received(1)
    assert "with ESMTPSA" in mail["Received"]  # RFC 3848: over TLS, with AUTH
    assert f"sasl_username={USER}" in mailbox.said()


async def test_a_wrong_password_is_for_a_person_to_mend_and_not_repeated_by_the_message(
    mailbox: Postfix, sender: Sender
) -> None:
    with pytest.raises(AuthError, match="535") as error:
        await sender.send(message(), typed="wrong-canary-Hd83k")
    assert "wrong-canary-Hd83k" not in repr(error.value) + str(error.value)
    assert mailbox.mails() == []


async def test_without_a_login_no_recipient_is_taken(mailbox: Postfix, sender: Sender) -> None:
    with pytest.raises(PermanentError, match=rf"refused every recipient: {RECIPIENT} \(554"):
        await sender.send(message(), username=None, password=None)
    assert mailbox.mails() == []


async def test_a_server_that_cannot_be_trusted_gets_neither_password_nor_mail(mailbox: Postfix, sender: Sender) -> None:
    before = len(mailbox.said())
    with pytest.raises(TransientError, match=r"certificate is not accepted: .*issuer") as error:
        await sender.send(message(), ca_file=None)
    assert not error.value.ambiguous
    said = until(lambda: _after_disconnect(mailbox, before), within=10, waiting_for="the end of the conversation")
    assert "sasl_" not in said
    assert "client=" not in said, "a message was begun"
    assert (mailbox.mails(), mailbox.queued()) == ([], [])


async def test_a_server_of_another_name_gets_nothing(mailbox: Postfix, sender: Sender) -> None:
    with pytest.raises(TransientError, match=r"certificate is not accepted: .*127.0.0.1"):
        await sender.send(message(), host="127.0.0.1")
    assert (mailbox.mails(), mailbox.queued()) == ([], [])


async def test_tls_from_the_first_byte_to_a_starttls_port_is_told_and_tried_again(
    mailbox: Postfix, sender: Sender
) -> None:
    with pytest.raises(TransientError, match="no TLS with localhost: wrong version number"):
        await sender.send(message(), security="tls")


async def test_plain_text_is_refused_by_the_server_and_told(mailbox: Postfix, sender: Sender) -> None:
    with pytest.raises(AuthError, match=r"530 .*STARTTLS"):
        await sender.send(message(), security="none", username=None, password=None)
    assert mailbox.mails() == []


async def test_a_recipient_refused_by_policy_does_not_keep_the_others_from_their_mail(
    mailbox: Postfix, sender: Sender
) -> None:
    receipt = await sender.send(message(), recipients=[REFUSED, RECIPIENT])
    assert f"REFUSED {REFUSED} (554 5.7.1" in receipt.proof
    (mail,) = mailbox.received(1)
    assert mail["Delivered-To"] == RECIPIENT


async def test_a_message_that_nobody_may_get_is_given_up(mailbox: Postfix, sender: Sender) -> None:
    with pytest.raises(PermanentError, match=rf"{REFUSED} \(554 5.7.1"):
        await sender.send(message(), recipients=[REFUSED])
    assert mailbox.mails() == []


async def test_a_message_sent_again_bears_the_same_message_id(mailbox: Postfix, sender: Sender) -> None:
    sent = message(key="k-again")
    await sender.send(sent)
    await sender.send(sent)
    first, second = mailbox.received(2)
    assert first["Message-ID"] == second["Message-ID"] == f"<k-again@{DOMAIN}>"


def test_stopping_leaves_no_file_and_no_process_behind(folder: Path, authority: Authority) -> None:
    """The harness itself: a second server beside the first, begun and ended."""
    second = folder / "second"
    second.mkdir()
    with postfix(second, authority.leaf("localhost", days=30)) as running:
        process, home = running.running.process, running.home
        assert running.queued() == []
    assert process.returncode is not None
    assert not home.exists()
    assert not [path for path in Path("/proc").glob("[0-9]*/cwd") if str(home) in _link(path)]


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def _after_disconnect(server: Postfix, before: int) -> str:
    said = server.said()[before:]
    return said if "disconnect from" in said else ""
