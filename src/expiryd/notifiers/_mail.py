"""Composes the mail and reads the addresses it goes between; nothing in it can add a header."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from email.errors import NonASCIILocalPartDefect
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTPUTF8

import idna

from expiryd.api import Message, Severity

from ._markup import clean, fit, one_line

MOST_SUBJECT = 240


def mailbox(text: str) -> Address:
    """`name@example.org` or `Name <name@example.org>`, the domain in ASCII (IDNA). Raises ValueError."""
    if not text.isprintable():
        raise ValueError("an e-mail address stands on one line")
    header = SMTPUTF8.header_factory("To", text)
    faults = [defect for defect in header.defects if not isinstance(defect, NonASCIILocalPartDefect)]
    found = header.addresses[0] if len(header.addresses) == 1 else Address()
    if faults or not found.username or not found.domain:
        raise ValueError(f"{text!r} is not one e-mail address such as team@example.org")
    if found.domain.isascii():
        return Address(found.display_name, found.username, found.domain)
    try:
        domain = idna.encode(found.domain, uts46=True).decode()
    except idna.IDNAError as error:
        raise ValueError(f"the domain of {text!r} is not valid: {error}") from None
    return Address(found.display_name, found.username, domain)


def compose(message: Message, sender: Address, recipients: Sequence[Address]) -> EmailMessage:
    """The mail (RFC 5322; RFC 3834 for Auto-Submitted). Its Message-ID is the same at every retry of the message."""
    mail = EmailMessage(policy=SMTPUTF8)
    mail["From"] = sender
    mail["To"] = recipients
    mail["Subject"] = fit(one_line(message.subject) or "expiryd", MOST_SUBJECT)
    mail["Date"] = message.at
    mail["Message-ID"] = f"<{_atom(message.key)}@{sender.domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail["X-Expiryd-Severity"] = message.severity.word
    mail["X-Expiryd-Status"] = "firing" if message.firing else "resolved"
    if message.firing and message.severity >= Severity.CRITICAL:
        mail["Importance"] = "high"
    mail.set_content(clean(message.text) or mail["Subject"], cte="quoted-printable")
    if message.html:
        mail.add_alternative(clean(message.html), subtype="html", cte="quoted-printable")
    return mail


def _atom(key: str) -> str:
    """The key where it may stand in a Message-ID (dot-atom), else a hash of it."""
    if re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", key) and len(key) <= 100:
        return key
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:32]
