"""Certificates, lists and keys made for tests, all with one key: making keys is slow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

import jks
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

START = datetime(2030, 1, 1, tzinfo=UTC)
END = datetime(2031, 1, 1, tzinfo=UTC)
Extensions = Iterable[x509.ExtensionType]


@cache
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem() -> bytes:
    return key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])


def certificate(
    name: str = "www.example.org",
    *,
    issuer: str = "Test CA",
    serial: int = 0x1234,
    start: datetime = START,
    end: datetime = END,
    names: Sequence[str] = (),
    authority: bool | None = False,
    extensions: Extensions = (),
) -> x509.Certificate:
    builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer)).serial_number(serial)
    builder = builder.public_key(key().public_key()).not_valid_before(start).not_valid_after(end)
    extensions = list(extensions)
    if names:
        extensions.append(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]))
    if authority is not None:
        extensions.append(x509.BasicConstraints(authority, None))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key(), SHA256())


def authority(name: str = "Test CA", **changes: object) -> x509.Certificate:
    return certificate(name, issuer=name, authority=True, **changes)  # type: ignore[arg-type]


def crl(issuer: str = "Test CA", *, number: int | None = 7) -> x509.CertificateRevocationList:
    builder = x509.CertificateRevocationListBuilder().issuer_name(named(issuer))
    builder = builder.last_update(START).next_update(START + timedelta(days=7))
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    return builder.sign(key(), SHA256())


def crl_without_end() -> bytes:
    """DER of a list that lacks nextUpdate (RFC 5280, 5.1.2.5); its signature is that of another one."""
    whole = crl(number=None).public_bytes(Encoding.DER)
    next_update = b"\x17\x0d" + (START + timedelta(days=7)).strftime("%y%m%d%H%M%SZ").encode()
    cut = whole.replace(next_update, b"", 1)
    return shortened(cut, by=15)


def shortened(data: bytes, *, by: int) -> bytes:
    """The lengths of the outer two SEQUENCEs made to fit a body that has lost some bytes."""

    def fix(at: int) -> tuple[bytes, int]:
        if data[at + 1] < 0x80:
            return bytes((data[at], data[at + 1] - by)), at + 2
        size = data[at + 1] & 0x7F
        length = int.from_bytes(data[at + 2 : at + 2 + size], "big") - by
        return bytes((data[at], data[at + 1])) + length.to_bytes(size, "big"), at + 2 + size

    outer, inner_at = fix(0)
    inner, body_at = fix(inner_at)
    return outer + inner + data[body_at:]


def pem(thing: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    return thing.public_bytes(Encoding.PEM)


def der(thing: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    return thing.public_bytes(Encoding.DER)


def p12(
    password: str = "", *, alias: str = "web", more: Sequence[x509.Certificate] = (), with_key: bool = True
) -> bytes:
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return pkcs12.serialize_key_and_certificates(
        alias.encode(), key() if with_key else None, certificate() if with_key else None, list(more), encryption
    )


def jks_store(password: str = "changeit") -> bytes:
    """A key entry `web` with its chain and a trusted entry `root`."""
    pkcs8 = key().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    chain = [der(certificate()), der(authority("Intermediate"))]
    entries = [
        jks.PrivateKeyEntry.new("web", chain, pkcs8),
        jks.TrustedCertEntry.new("root", der(authority("Root"))),
    ]
    return bytes(jks.KeyStore.new("jks", entries).saves(password))
