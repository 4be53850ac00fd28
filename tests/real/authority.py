"""A small authority for real TLS servers: a root, an intermediate that issues, and leaves that end when told."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_YEARS = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Leaf:
    """PEM files of one server: `chain` is the leaf and its intermediate, `alone` lacks the intermediate."""

    chain: Path
    alone: Path
    key: Path


class Authority:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self._issuing_key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        self._root = self._sign("Real Root", self._root_key, self._root_key, ends=now + _YEARS)
        self._issuing = self._sign("Real Issuing", self._issuing_key, self._root_key, self._root, ends=now + _YEARS)
        self.root = self._write("root.pem", self._root)

    def leaf(self, name: str, days: float, *, addresses: Sequence[str] = ()) -> Leaf:
        """For the host `name` and these addresses, ending in so many days; negative ones have passed."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        ends = datetime.now(UTC) + timedelta(days=days)
        certificate = self._sign(name, key, self._issuing_key, self._issuing, ends=ends, names=names)
        secret = self._directory / f"{name}.key"
        secret.touch(0o600)
        secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        chain = self._write(f"{name}.chain.pem", certificate, self._issuing)
        return Leaf(chain, self._write(f"{name}.pem", certificate), secret)

    def _sign(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        signer: ec.EllipticCurvePrivateKey,
        issuer: x509.Certificate | None = None,
        *,
        ends: datetime,
        names: Sequence[x509.GeneralName] = (),
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(ends, datetime.now(UTC)) - timedelta(days=90))
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if issuer is not None:
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
            builder = builder.add_extension(identifier, critical=False)
        return builder.sign(signer, hashes.SHA256())

    def _write(self, name: str, *certificates: x509.Certificate) -> Path:
        path = self._directory / name
        path.write_bytes(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates))
        return path
