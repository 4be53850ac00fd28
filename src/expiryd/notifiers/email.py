"""Sends the message as e-mail over SMTP: never silently in plain text, and never in doubt about where it stopped."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
from collections.abc import Sequence
from contextlib import suppress
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from pathlib import Path
from typing import Annotated, Literal, cast

import aiosmtplib
from pydantic import AfterValidator, Field, model_validator

from expiryd.api import (
    AuthError,
    DeliveryError,
    Message,
    Notifier,
    NotifierConfig,
    OneOrMore,
    PermanentError,
    Receipt,
    SecretRef,
    Tools,
    TransientError,
)

from ._http import LOOPBACK
from ._mail import compose, mailbox
from ._secrecy import excerpt, reveal

_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_REFUSED_US = frozenset({530, 534, 535, 538})
"""RFC 4954 §6: authentication required, too weak, failed, needs encryption."""


def _checked(text: str) -> str:
    mailbox(text)
    return text


def _bare_name(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
            raise ValueError("write a host name or an address, without a port") from None
    return text


Mailbox = Annotated[str, AfterValidator(_checked)]
HostName = Annotated[str, AfterValidator(_bare_name)]


class EmailConfig(NotifierConfig):
    """`[notifiers.NAME] type = "email"`. `local_hostname` is the name it greets the server with."""

    type: Literal["email"]
    host: HostName
    port: Annotated[int | None, Field(ge=1, le=65535)] = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: SecretRef | None = None
    sender: Mailbox
    recipients: Annotated[tuple[Mailbox, ...], OneOrMore, Field(min_length=1)]
    ca_file: Path | None = None
    local_hostname: HostName | None = None

    @model_validator(mode="after")
    def _safe_to_sign_in(self) -> EmailConfig:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together")
        if self.password is not None and self.security == "none" and self.host not in LOOPBACK:
            raise ValueError('security = "none" would send the password in plain text: use "starttls" or "tls"')
        return self

    def build(self, tools: Tools) -> Email:
        return Email(self, tools)


class Email(Notifier):
    """One connection per message: mail is rare here, and a kept connection is one more thing that can be stale."""

    def __init__(self, config: EmailConfig, tools: Tools) -> None:
        self._config = config
        self._tools = tools
        self._sender = mailbox(config.sender)
        self._recipients = tuple(mailbox(text) for text in config.recipients)

    async def send(self, message: Message) -> Receipt:
        config = self._config
        password = await reveal(self._tools, config.password) if config.password else None
        context = await asyncio.to_thread(self._context) if config.security != "none" else None
        smtp = aiosmtplib.SMTP(
            hostname=config.host,
            port=config.port or _PORTS[config.security],
            use_tls=config.security == "tls",
            start_tls=config.security == "starttls",  # True demands it; None would go on without it
            tls_context=context,
            timeout=None,
            local_hostname=config.local_hostname or self._sender.domain,
        )
        attempt = Attempt(smtp, config.host, (config.username or "", password or ""))
        mail = compose(message, self._sender, self._recipients)
        try:
            last_words = await attempt.run(mail, self._sender, self._recipients)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            failure = attempt.explain(error)
        else:
            return self._receipt(mail, attempt, last_words)
        finally:
            attempt.hang_up()
        raise failure

    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._config.ca_file)
        except OSError as error:  # ssl.SSLError, for a file without certificates, is one
            failure = AuthError(f"ca_file {self._config.ca_file} cannot be used: {error.strerror or 'no certificates'}")
        raise failure

    def _receipt(self, mail: EmailMessage, attempt: Attempt, last_words: str) -> Receipt:
        proof = f"{mail['Message-ID']} taken by {self._config.host}: {last_words}"
        if not attempt.refused:
            return Receipt(proof)
        self._tools.log.warning("email.recipients_refused", host=self._config.host, refused=attempt.refused)
        names = ", ".join(f"{who} ({why})" for who, why in attempt.refused.items())
        return Receipt(f"{proof}; REFUSED {names}", refused=f"{self._config.host} refused {names}")


class Attempt:
    """One conversation with the server. `step` is where it stands, which decides what a broken line means."""

    def __init__(self, smtp: aiosmtplib.SMTP, host: str, login: tuple[str, str]) -> None:
        self._smtp = smtp
        self._host = host
        self._login = login
        self.step = "connecting"
        self.handed_over = False
        self.refused: dict[str, str] = {}

    async def run(self, mail: EmailMessage, sender: Address, recipients: Sequence[Address]) -> str:
        """The server's last words about a message it took from us for at least one recipient."""
        username, password = self._login
        await self._smtp.connect()
        if username:
            self.step = "signing in"
            await self._smtp.login(username.encode(), password.encode())
        self.step = "naming the sender"
        utf8 = not all(address.username.isascii() for address in (sender, *recipients))
        if utf8:
            await self._require_smtputf8()
        encoding, options = ("utf-8", ["SMTPUTF8"]) if utf8 else ("ascii", [])
        await self._smtp.mail(sender.addr_spec, options=options, encoding=encoding)
        self.step = "naming the recipients"
        await self._name_recipients(recipients, encoding)
        self.step, self.handed_over = "handing over the message", True
        answer = await self._smtp.data(mail.as_bytes(policy=SMTPUTF8 if utf8 else SMTP))
        with suppress(aiosmtplib.SMTPException, OSError):  # it is delivered: a bad farewell changes nothing
            await self._smtp.quit(timeout=1)
        return self._words(answer.code, answer.message)

    async def _require_smtputf8(self) -> None:
        if self._smtp.is_ehlo_or_helo_needed:
            await self._smtp.ehlo()
        if not self._smtp.supports_extension("smtputf8"):
            raise aiosmtplib.SMTPNotSupported("SMTPUTF8")

    async def _name_recipients(self, recipients: Sequence[Address], encoding: str) -> None:
        errors = []
        for recipient in recipients:
            try:
                await self._smtp.rcpt(recipient.addr_spec, encoding=encoding)
            except aiosmtplib.SMTPRecipientRefused as error:
                errors.append(error)
                self.refused[recipient.addr_spec] = self._words(error.code, error.message)
        if len(errors) == len(recipients):
            raise aiosmtplib.SMTPRecipientsRefused(errors)

    def explain(self, error: Exception) -> DeliveryError:
        """What the failure means. Only server's words and reasons of the system are quoted, never a repr."""
        if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
            reason = f"{self._host} refused every recipient: " + ", ".join(
                f"{who} ({why})" for who, why in self.refused.items()
            )
            codes = {refusal.code for refusal in error.recipients}
            if min(codes) < 500:
                return TransientError(reason)
            return AuthError(reason) if codes & _REFUSED_US else PermanentError(reason)
        if isinstance(error, aiosmtplib.SMTPResponseException):
            return self._refusal(error)
        if (broken := _tls_failure(error)) is not None:
            return TransientError(f"no TLS with {self._host}: {broken}")
        if isinstance(error, OSError):  # SMTPServerDisconnected and the time-outs are, too
            return self._broken_off(error)
        return self._unable(error)

    def _refusal(self, error: aiosmtplib.SMTPResponseException) -> DeliveryError:
        reason = f"{self._host}, when {self.step}, answered {self._words(error.code, error.message)}"
        if not 500 <= error.code < 600:
            return TransientError(reason, ambiguous=self.handed_over and not 400 <= error.code < 500)
        about_us = error.code in _REFUSED_US or not self.handed_over
        return AuthError(f"{reason}. It refuses this sender or login") if about_us else PermanentError(reason)

    def _broken_off(self, error: OSError) -> DeliveryError:
        if self.handed_over:
            return TransientError(
                f"{self._host} broke off when {self.step}; it may have taken the message", ambiguous=True
            )
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        reason = cause.strerror or "refused or broken off"
        return TransientError(f"no conversation with {self._host}: {reason} when {self.step}")

    def _unable(self, error: Exception) -> DeliveryError:
        if isinstance(error, aiosmtplib.SMTPNotSupported):
            return AuthError(f"{self._host} takes only ASCII addresses (no SMTPUTF8), and one here is not: replace it")
        if self.step == "connecting":
            return AuthError(
                f"{self._host} offers no STARTTLS: nothing was sent in plain text. "
                'Ask its keeper, or choose security = "tls" (port 465)'
            )
        if self.step == "signing in":
            return AuthError(
                f"{self._host} offers no way to sign in that is known here: remove username, or ask its keeper"
            )
        return PermanentError(f"the message cannot be put to {self._host} when {self.step}")

    def _words(self, code: int, text: str) -> str:
        username, password = self._login
        secrets = (password, f"\0{username}\0{password}")  # the second as AUTH PLAIN spells it
        return f"{code} {excerpt(text, secrets, opaque=False)}".strip()

    def hang_up(self) -> None:
        """At once, also when cancelled: an orderly TLS farewell could hang on a server that hangs."""
        if self._smtp.transport is not None:
            cast(asyncio.WriteTransport, self._smtp.transport).abort()
        self._smtp.close()


def _tls_failure(error: Exception) -> str | None:
    """What is wrong with the TLS in between, when that is what broke."""
    cause = error if isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return str(cause.reason or "handshake failed").replace("_", " ").lower()
    return None
