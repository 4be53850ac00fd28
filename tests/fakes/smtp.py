"""A real SMTP server (aiosmtpd) on loopback with TLS and AUTH that keeps its mail and misbehaves as it is told."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USERNAME, PASSWORD = "expiryd", "smtp-canary-secret-51f7"
HANG, RESET, DRIP = "HANG", "RESET", "DRIP"


@dataclass
class Fault:
    """`step`: GREETING, MAIL, RCPT, DATA (the mail is not kept), TAKEN (it is) or QUIT.

    `words`: a reply, HANG or RESET; a greeting may also DRIP.
    """

    step: str
    words: str


@dataclass
class Handler:
    fault: Fault | None = None
    refused: dict[str, str] = field(default_factory=dict)
    taken: list[Envelope] = field(default_factory=list)
    silent: list[Any] = field(default_factory=list)
    """Connections that the fault of the greeting has taken over."""
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def _trouble(self, step: str, server: SMTP) -> str | None:
        if self.fault is None or self.fault.step != step:
            return None
        if self.fault.words == HANG:
            await self.over.wait()
        elif self.fault.words == RESET:
            server.transport.abort()
        else:
            return self.fault.words
        return "421 over"

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if words := await self._trouble("MAIL", server):
            return words
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if words := await self._trouble("RCPT", server) or self.refused.get(address):
            return words
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if words := await self._trouble("DATA", server):
            return words
        self.taken.append(envelope)
        return await self._trouble("TAKEN", server) or "250 OK queued as 4711"

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        return await self._trouble("QUIT", server) or "221 Bye"


class _Server(SMTP):
    """Says nothing at all, resets, or drips its greeting, when told so."""

    def connection_made(self, transport: Any) -> None:
        fault = self.event_handler.fault
        if fault and fault.step == "GREETING":
            self._reader_for_nobody(transport, fault.words)
            return
        super().connection_made(transport)

    def _reader_for_nobody(self, transport: Any, words: str) -> None:
        self.transport = transport
        self.event_handler.silent.append(transport)
        if words == RESET:
            transport.abort()
        elif words == DRIP:
            transport.write(b"220-wel")
        elif words != HANG:
            transport.write(words.encode() + b"\r\n")

    def data_received(self, data: bytes) -> None:
        if self.transport not in self.event_handler.silent:
            super().data_received(data)

    def eof_received(self) -> bool | None:
        return None if self.transport in self.event_handler.silent else super().eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        if self.transport not in self.event_handler.silent:
            super().connection_lost(error)


class FakeSmtp:
    """`security` starttls, tls or none; `login` offers AUTH (and demands it after STARTTLS). `mails`: those it took."""

    def __init__(
        self,
        *,
        security: str = "none",
        context: ssl.SSLContext | None = None,
        login: bool = False,
        smtputf8: bool = True,
    ) -> None:
        self._security = security
        self._context = context
        self._login = login
        self._smtputf8 = smtputf8
        self.handler = Handler()
        self.signed_in: list[str] = []
        self.port = 0

    @property
    def mails(self) -> list[EmailMessage]:
        return [message_from_bytes(e.content, policy=SMTP_POLICY) for e in self.handler.taken]

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._protocol, "127.0.0.1", 0, ssl=self._context if self._security == "tls" else None
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.handler.over.set()
        self._server.close()
        for transport in self.handler.silent:
            transport.abort()
        for _ in range(5):
            await asyncio.sleep(0)

    def _protocol(self) -> SMTP:
        return _Server(
            self.handler,
            hostname="mail.example.org",
            tls_context=self._context if self._security == "starttls" else None,
            require_starttls=self._security == "starttls",
            auth_required=self._login and self._security == "starttls",  # it warns when it sees no TLS of its own
            auth_require_tls=self._security == "starttls",
            auth_exclude_mechanism=() if self._login else ("LOGIN", "PLAIN"),
            authenticator=self._authenticate,
            enable_SMTPUTF8=self._smtputf8,
            decode_data=False,
        )

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        if isinstance(data, LoginPassword) and (data.login, data.password) == (USERNAME.encode(), PASSWORD.encode()):
            self.signed_in.append(mechanism)
            return AuthResult(success=True)
        return AuthResult(success=False, handled=False)


@dataclass(frozen=True, slots=True)
class Pki:
    """A little authority: `ca_file` to trust, and servers' contexts it vouches for."""

    directory: Path
    ca_file: Path
    key: ec.EllipticCurvePrivateKey
    ca: x509.Certificate

    @classmethod
    def make(cls, directory: Path) -> Pki:
        key = ec.generate_private_key(ec.SECP256R1())
        ca = _certificate("test authority", key, key, None)
        path = directory / "ca.pem"
        path.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        return cls(directory, path, key, ca)

    def context(self, *, expired: bool = False) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate("127.0.0.1", key, self.key, self.ca, expired=expired)
        path = self.directory / f"server-{expired}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    *,
    expired: bool = False,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=10))
        .not_valid_after(now + dt.timedelta(days=-1 if expired else 1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer is not None:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer, hashes.SHA256())
