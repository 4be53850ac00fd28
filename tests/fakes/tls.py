"""Real TLS servers on loopback, well and badly behaved, with certificates made for them."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

NOW = datetime(2030, 1, 1, tzinfo=UTC)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def after(days: float) -> datetime:
    return NOW + timedelta(days=days)


@dataclass(frozen=True)
class Identity:
    """A certificate with its key, able to sign others."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def issue(
    name: str,
    by: Identity | None = None,
    *,
    names: Sequence[str] | None = None,
    authority: bool = False,
    start: datetime = NOW - timedelta(days=10),
    end: datetime = NOW + timedelta(days=90),
    key: Key | None = None,
) -> Identity:
    """Signed by `by`, else by itself. `names` go into the subjectAltName: the name itself unless told otherwise."""
    own = key or ec.generate_private_key(ec.SECP256R1())
    signer = by.key if by else own
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
    )
    if names is None and not authority:
        names = [name]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(each) for each in names]), critical=False)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Identity(builder.sign(signer, algorithm), own)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@cache
def root() -> Identity:
    return issue("Test root", authority=True, end=after(3650))


@cache
def intermediate() -> Identity:
    return issue("Test issuer", root(), authority=True, end=after(1000))


def server_context(leaf: Identity, *above: Identity) -> SSL.Context:
    """Serves `leaf` followed by `above`, whether they belong together or not; at security level 0."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    context.use_certificate(leaf.certificate)
    context.use_privatekey(leaf.key)
    for identity in above:
        context.add_extra_chain_cert(identity.certificate)
    return context


def demand_client_certificate(context: SSL.Context, *, name_authorities: bool = True) -> SSL.Context:
    """A server that turns clients without a certificate away. Some name the authorities they accept, some don't."""
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    if name_authorities:
        context.add_client_ca(root().certificate)
    return context


async def speak_tls(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: SSL.Context, said: bytes = b""
) -> SSL.Connection | None:
    """Shake hands, beginning with what was `said` already; None when the client went away or was refused."""
    connection = SSL.Connection(context, None)
    connection.set_accept_state()
    if said:
        connection.bio_write(said)
    while True:
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            await _flush(connection, writer)
            if not (data := await reader.read(65536)):
                return None
            connection.bio_write(data)
        except SSL.Error:
            await _flush(connection, writer)
            return None
        else:
            await _flush(connection, writer)
            return connection


async def _flush(connection: SSL.Connection, writer: asyncio.StreamWriter) -> None:
    try:
        writer.write(connection.bio_read(65536))
        await writer.drain()
    except SSL.WantReadError:
        return


def tls(context: SSL.Context) -> Handler:
    """TLS from the first byte; waits for the client to leave."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await speak_tls(reader, writer, context) is not None:
            await reader.read()

    return handle


def scripted(*turns: bytes | int, then: SSL.Context | None = None) -> Handler:
    """Plain text first: sends `bytes`, takes an `int` of bytes (0: one line) from the client, then speaks TLS.

    Without `then` it falls silent. What was taken is in the handler's `taken`.
    """
    taken: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for turn in turns:
            if isinstance(turn, bytes):
                writer.write(turn)
            else:
                taken.append(await reader.readexactly(turn) if turn else await reader.readline())
        if then is not None:
            await speak_tls(reader, writer, then)
        await reader.read()

    handle.taken = taken  # type: ignore[attr-defined]
    return handle


@asynccontextmanager
async def serving(handler: Handler, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """The port of a server that is gone, with all its connections, at the end of the block."""
    writers: set[asyncio.StreamWriter] = set()
    idle = asyncio.Event()
    idle.set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        idle.clear()
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            writer.transport.abort()
            writers.discard(writer)
            if not writers:
                idle.set()

    server = await asyncio.start_server(handle, host, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await idle.wait()
        await server.wait_closed()
