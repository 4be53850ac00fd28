"""STARTTLS: what a client says in each protocol before the connection may turn to TLS.

Each prologue asks for nothing but encryption: no login, no mail, no query. It returns when the next byte must be a TLS
record and raises PrologueError when the server will not go there. What a server sends beyond its last answer is for the
caller to drop (CVE-2011-0411: plain text smuggled in front of TLS).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

_MAX_LINES = 100


class PrologueError(Exception):
    """The server did not agree to TLS. The message quotes it, shortened and printable."""


class Wire(Protocol):
    """The plain connection. Reads are bounded by their owner, who also keeps the deadline."""

    def send(self, data: bytes) -> None: ...
    async def line(self) -> bytes: ...
    async def exactly(self, count: int) -> bytes: ...
    async def until(self, pattern: bytes) -> bytes: ...


def quote(data: bytes) -> str:
    """The start of what a server said, fit to be read by people."""
    text = data[:120].decode("ascii", errors="replace").strip()
    return '"' + "".join(c if c.isprintable() else "·" for c in text[:80]) + '"'


async def _reply(wire: Wire, code: bytes, step: str) -> list[bytes]:
    """A reply of SMTP or FTP: lines `250-…` and a last `250 …`. All of them, if it has the code wanted."""
    lines = []
    for _ in range(_MAX_LINES):
        line = await wire.line()
        lines.append(line)
        # FTP lets free text stand between the first and the last line (RFC 959, 4.2).
        if re.match(rb"\d{3}(?:[ \r\n]|$)", line):
            if not line.startswith(code):
                raise PrologueError(f"answered {quote(line)} to {step}")
            return lines
    raise PrologueError(f"answered {step} with more than {_MAX_LINES} lines")


async def smtp(wire: Wire, host: str) -> None:
    """RFC 3207."""
    await _reply(wire, b"220", "the connection")
    wire.send(b"EHLO expiryd.invalid\r\n")
    offers = await _reply(wire, b"250", "EHLO")
    if not any(line[4:].strip().upper() == b"STARTTLS" for line in offers):
        raise PrologueError("does not offer STARTTLS")
    wire.send(b"STARTTLS\r\n")
    await _reply(wire, b"220", "STARTTLS")


async def ftp(wire: Wire, host: str) -> None:
    """RFC 4217."""
    await _reply(wire, b"220", "the connection")
    wire.send(b"AUTH TLS\r\n")
    await _reply(wire, b"234", "AUTH TLS")


async def imap(wire: Wire, host: str) -> None:
    """RFC 9051, 6.2.1."""
    greeting = await wire.line()
    if not greeting.upper().startswith((b"* OK", b"* PREAUTH")):
        raise PrologueError(f"greeted with {quote(greeting)}, which is not IMAP")
    wire.send(b"a1 STARTTLS\r\n")
    for _ in range(_MAX_LINES):
        line = await wire.line()
        if line.startswith(b"a1 "):
            if not line.upper().startswith(b"A1 OK"):
                raise PrologueError(f"answered {quote(line)} to STARTTLS")
            return
    raise PrologueError(f"answered STARTTLS with more than {_MAX_LINES} lines")


async def pop3(wire: Wire, host: str) -> None:
    """RFC 2595, 4."""
    for command, step in ((b"", "the connection"), (b"STLS\r\n", "STLS")):
        wire.send(command)
        line = await wire.line()
        if not line.upper().startswith(b"+OK"):
            raise PrologueError(f"answered {quote(line)} to {step}")


_LDAP_STARTTLS = bytes.fromhex("301d 020101 7718 8016") + b"1.3.6.1.4.1.1466.20037"
_LDAP_EXTENDED_RESPONSE = 0x78


async def ldap(wire: Wire, host: str) -> None:
    """RFC 4511, 4.14: an ExtendedRequest with messageID 1; the ExtendedResponse must say resultCode 0."""
    wire.send(_LDAP_STARTTLS)
    tag, length = await wire.exactly(2)
    if tag != 0x30:
        raise PrologueError("answered StartTLS with something that is not LDAP")
    if length >= 0x80:
        size = length & 0x7F
        if size > 2:
            raise PrologueError("answered StartTLS with a message of absurd length")
        length = int.from_bytes(await wire.exactly(size), "big")
    body = await wire.exactly(length)
    # messageID, [APPLICATION 24] length (short or long form), ENUMERATED resultCode, matchedDN, diagnosticMessage
    answer = re.match(rb"\x02\x01\x01(.)(?:[\x00-\x7f]|\x81.|\x82..)\x0a\x01(.)", body, re.DOTALL)
    if answer is None or answer[1][0] != _LDAP_EXTENDED_RESPONSE:
        raise PrologueError("answered StartTLS with something that is not LDAP")
    if (code := answer[2][0]) != 0:
        raise PrologueError(f"refused StartTLS with LDAP result code {code}")


async def postgres(wire: Wire, host: str) -> None:
    """SSLRequest (PostgreSQL documentation, 54.7 Message Formats)."""
    wire.send(struct.pack(">II", 8, 80877103))
    answer = await wire.exactly(1)
    if answer == b"N":
        raise PrologueError("does not offer TLS (answered N to SSLRequest): set ssl = on at the server")
    if answer != b"S":
        raise PrologueError(f"answered {quote(answer)} to SSLRequest, which is not PostgreSQL")


_MYSQL_CAPABILITIES = 0x0000_8A01  # LONG_PASSWORD, PROTOCOL_41, SSL, SECURE_CONNECTION
_MYSQL_SSL = 0x0800


async def mysql(wire: Wire, host: str) -> None:
    """Handshake v10 and SSLRequest (MySQL internals, Connection Phase Packets)."""
    header = await wire.exactly(4)
    greeting = await wire.exactly(int.from_bytes(header[:3], "little"))
    if greeting[:1] == b"\xff":
        raise PrologueError(f"refused the connection: {quote(greeting[3:])}")
    version, ended, rest = greeting[1:].partition(b"\0")
    if greeting[:1] != b"\x0a" or not ended or len(rest) < 15:
        raise PrologueError(f"greeted with {quote(greeting)}, which is not MySQL")
    # thread id (4), salt (8), filler (1), lower half of the capabilities (2)
    if not int.from_bytes(rest[13:15], "little") & _MYSQL_SSL:
        raise PrologueError(f"does not offer TLS (server version {quote(version)})")
    payload = struct.pack("<IIB23x", _MYSQL_CAPABILITIES, 1 << 24, 45)  # 45: utf8mb4
    wire.send(len(payload).to_bytes(3, "little") + bytes([header[3] + 1 & 0xFF]) + payload)


async def xmpp(wire: Wire, host: str) -> None:
    """RFC 6120, 5.4."""
    opening = (
        f"<?xml version='1.0'?><stream:stream to='{host}' version='1.0' xmlns='jabber:client' "
        "xmlns:stream='http://etherx.jabber.org/streams'>"
    )
    wire.send(opening.encode("ascii"))
    features = await wire.until(rb"</(?:\w+:)?features>|<(?:\w+:)?features[^>]*/>|<(?:\w+:)?error")
    if b"urn:ietf:params:xml:ns:xmpp-tls" not in features:
        raise PrologueError(f"does not offer STARTTLS (answered {quote(features)})")
    wire.send(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    answer = await wire.until(rb"<(?:proceed|failure)[^>]*>")
    if b"<proceed" not in answer:
        raise PrologueError(f"refused STARTTLS with {quote(answer)}")


PROLOGUES: Mapping[str, Callable[[Wire, str], Awaitable[None]]] = {
    "smtp": smtp,
    "imap": imap,
    "pop3": pop3,
    "ldap": ldap,
    "postgres": postgres,
    "mysql": mysql,
    "ftp": ftp,
    "xmpp": xmpp,
}
