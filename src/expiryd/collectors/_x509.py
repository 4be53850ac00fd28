"""What a certificate or revocation list says, as facts for people, also when parts of it are broken."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtensionOID, NameOID

from expiryd.api import Basis, Finding, Lifetime, Severity, Traits

T = TypeVar("T")

# cryptography checks lazily: a certificate that loads may still raise any of these from any attribute.
BROKEN = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_LONGEST = 100  # characters of any one text; a name may hold megabytes
_MARK = 32
_KEYS = {"1.2.840.113549.1.1.1": "rsa", "1.2.840.10045.2.1": "ec"}
_SHOWN_NAMES = 3
_LONGEST_CRL_NUMBER = 160  # bits (RFC 5280, 5.2.3); Python refuses to print what is very much longer
_NO_WELL_DEFINED_EXPIRATION = 9999


@dataclass(frozen=True, slots=True)
class Facts:
    """One certificate. Texts are printable and short; an empty text or None is what could not be read.

    `names` are the subject's alternative names (DNS, IP, e-mail, URI) in their order; `serial` is lower-case hex;
    `fingerprint` is the SHA-256 of the whole certificate in hex; `authority`: it may sign others, or signed itself;
    `key` is the kind of its key: `rsa`, `ec` or the dotted number of another.
    """

    subject: str
    issuer: str
    serial: str
    names: tuple[str, ...]
    not_before: datetime | None
    not_after: datetime | None
    fingerprint: str
    authority: bool
    findings: tuple[Finding, ...] = ()
    key: str = ""

    @property
    def title(self) -> str:
        return self.subject or (self.names[0] if self.names else f"serial {self.serial or self.fingerprint[:16]}")

    @property
    def generation(self) -> str:
        return f"{self.serial}-{self.fingerprint[:8]}"

    @property
    def identity(self) -> str:
        """What it is for: all its names, and the kind of key, since a server may have one of each. Empty: not known."""
        names = ",".join(sorted({name.lower() for name in self.names or (self.subject,)}))
        if len(names) > _LONGEST:
            names = sha256(names.encode("utf-8", "surrogatepass")).hexdigest()[:_MARK]
        return f"certificate {self.key} {names}" if names else ""

    @property
    def mark(self) -> str:
        """Enough of its fingerprint to know it again."""
        return self.fingerprint[:_MARK]

    @property
    def lifetime(self) -> Lifetime | None:
        """None when no date could be read: an unknown end is not an end.

        A notAfter in the year 9999 says "no well-defined expiration" (RFC 5280, 4.1.2.5), hence Basis.NONE.
        """
        if self.not_after is None:
            return None
        if self.not_after.year >= _NO_WELL_DEFINED_EXPIRATION:
            return Lifetime(None, self.not_before, self.not_before, Basis.NONE)
        return Lifetime(self.not_after, self.not_before, self.not_before)

    @property
    def traits(self) -> Traits:
        labels = {"issuer": self.issuer, "serial": self.serial}
        if self.names and self.names != (self.subject,):
            more = len(self.names) - _SHOWN_NAMES
            labels["sans"] = ",".join(self.names[:_SHOWN_NAMES]) + (f",+{more}" if more > 0 else "")
        return Traits(labels=labels)


@dataclass(frozen=True, slots=True)
class Revocations:
    """A revocation list (RFC 5280, 5). `number` is its CRL number in decimal, empty when it has none."""

    issuer: str
    number: str
    this_update: datetime | None
    next_update: datetime | None
    fingerprint: str
    findings: tuple[Finding, ...] = ()

    @property
    def title(self) -> str:
        return f"CRL of {self.issuer or 'an unknown issuer'}"

    @property
    def generation(self) -> str:
        return f"{self.number}-{self.fingerprint[:8]}"

    @property
    def lifetime(self) -> Lifetime:
        return Lifetime(self.next_update, self.this_update, self.this_update)

    @property
    def traits(self) -> Traits:
        return Traits(labels={"issuer": self.issuer} | ({"number": self.number} if self.number else {}))


def load(der: bytes) -> x509.Certificate:
    """Raises ValueError, in words for people, when the certificate as a whole can't be read."""
    try:
        return x509.load_der_x509_certificate(der)
    except BROKEN as error:
        raise ValueError(explain(error)) from None


def describe(certificate: x509.Certificate) -> Facts:
    """Never raises: a field that can't be read is empty and one `malformed` finding tells which and why."""
    faults: list[str] = []
    subject = _read("subject", faults, lambda: name_of(certificate.subject), "")
    issuer = _read("issuer", faults, lambda: name_of(certificate.issuer), "")
    serial = _read("serial number", faults, lambda: certificate.serial_number, None)
    not_before = _read("notBefore", faults, lambda: certificate.not_valid_before_utc, None)
    not_after = _read("notAfter", faults, lambda: certificate.not_valid_after_utc, None)
    extensions = _read("extensions", faults, lambda: certificate.extensions, x509.Extensions([]))
    authority = _is_authority(extensions)
    if authority is None:
        authority = bool(subject) and _read("names", faults, lambda: certificate.subject == certificate.issuer, False)
    if serial is not None and serial < 0:  # 0 is as wrong, but well-known authorities have it
        faults.append("the serial number is negative")
    if not_before and not_after and not_after < not_before:
        faults.append("notAfter lies before notBefore")
    return Facts(
        subject=subject,
        issuer=sys.intern(issuer),
        serial="" if serial is None else f"{serial:x}"[:_LONGEST],
        names=_alternative_names(extensions),
        not_before=not_before,
        not_after=not_after,
        fingerprint=certificate.fingerprint(SHA256()).hex(),
        authority=authority,
        findings=(malformed("; ".join(faults)),) if faults else (),
        key=_KEYS.get(
            oid := _read("kind of key", [], lambda: certificate.public_key_algorithm_oid.dotted_string, ""), oid
        ),
    )


def describe_revocations(der: bytes) -> Revocations:
    """Raises ValueError, in words for people, when the list as a whole can't be read."""
    try:
        crl = x509.load_der_x509_crl(der)
    except BROKEN as error:
        raise ValueError(explain(error)) from None
    faults: list[str] = []
    issuer = _read("issuer", faults, lambda: name_of(crl.issuer), "")
    this_update = _read("thisUpdate", faults, lambda: crl.last_update_utc, None)
    before = len(faults)
    next_update = _read("nextUpdate", faults, lambda: crl.next_update_utc, None)
    unending = next_update is None and len(faults) == before
    extensions = _read("extensions", faults, lambda: crl.extensions, x509.Extensions([]))
    numbers = [e.value.crl_number for e in extensions if isinstance(e.value, x509.CRLNumber)]
    findings = [malformed("; ".join(faults))] if faults else []
    if unending:
        detail = "it does not say when the next one comes (nextUpdate), so nobody can tell when it is stale"
        findings.append(Finding("no-next-update", Severity.WARNING, detail))
    return Revocations(
        issuer=sys.intern(issuer),
        number=str(numbers[0]) if numbers and numbers[0].bit_length() <= _LONGEST_CRL_NUMBER else "",
        this_update=this_update,
        next_update=next_update,
        fingerprint=sha256(der).hexdigest(),  # unlike that of cryptography it lets others run meanwhile
        findings=tuple(findings),
    )


def malformed(detail: str) -> Finding:
    return Finding("malformed", Severity.WARNING, f"{detail}: programs may refuse it; have it issued again")


def name_of(name: x509.Name) -> str:
    """What people call it: the common name, else the organisational unit or organisation, else the whole name."""
    for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.ORGANIZATION_NAME):
        if found := name.get_attributes_for_oid(oid):
            return printable(str(found[-1].value))
    return printable(name.rfc4514_string())


def printable(text: str) -> str:
    """At most 100 characters, none of which moves a cursor, breaks a line or ends a string."""
    text = text[: _LONGEST + 1].strip()
    if not text.isprintable():
        text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def explain(error: Exception) -> str:
    """cryptography's parse errors without their wrapping: `InvalidValue at tbs_cert, validity, not_after`."""
    text = str(error)
    _, wrapped, inner = text.partition("ParseError { kind: ")
    if not wrapped:
        return printable(text) or type(error).__name__
    kind, _, location = inner.removesuffix(" }").partition(", location: ")
    places = [place.strip(' "').rpartition("::")[2] for place in location.strip("[] ").split(",") if place.strip(' "')]
    return printable(kind.strip() + (f" at {', '.join(places)}" if places else ""))


def _read(field: str, faults: list[str], get: Callable[[], T], otherwise: T) -> T:
    try:
        return get()
    except BROKEN as error:
        faults.append(f"{field} can't be read ({explain(error)})")
        return otherwise


def _is_authority(extensions: x509.Extensions) -> bool | None:
    """None when the certificate doesn't say, as in version 1."""
    for extension in extensions:
        if isinstance(extension.value, x509.BasicConstraints):
            return extension.value.ca
    return None


def _alternative_names(extensions: x509.Extensions) -> tuple[str, ...]:
    for extension in extensions:
        if extension.oid == ExtensionOID.SUBJECT_ALTERNATIVE_NAME:
            return tuple(
                printable(str(name.value))
                for name in extension.value
                if isinstance(name, x509.DNSName | x509.IPAddress | x509.RFC822Name | x509.UniformResourceIdentifier)
            )
    return ()
