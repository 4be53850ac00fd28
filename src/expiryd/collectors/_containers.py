"""What a file may hold certificates in: PEM, DER, PKCS#7, PKCS#12, JKS and JCEKS, told apart by content alone."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7, pkcs12

from expiryd.api import Finding, Secret, Severity
from expiryd.collectors import _der, _jks
from expiryd.collectors._x509 import BROKEN, explain

_BEGIN = b"-----BEGIN "
_CERTIFICATE_LABELS = frozenset({b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE"})
_WHITESPACE = b" \t\r\n"
_LARGEST_CERTIFICATE = 256 * 1024  # with all the alternative names that fit in, its parser holds everyone up for 50 ms
_MOST_ROUNDS = 2_000_000  # about 0.2 s, in which a PKCS#12 file stops the whole process: its parser lets nobody in


class Unopened(ValueError):
    """The container may be sound, but it can't be opened here; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Part:
    """A certificate or revocation list in DER; `alias` is the name its keystore has for it."""

    kind: Literal["certificate", "crl"]
    der: bytes
    alias: str = ""


@dataclass(slots=True)
class Contents:
    """What was found in one file.

    `faults` says why each thing that should have been a certificate is none. `recognised`: something in it was
    what it claims to be, if only a key or a request. `findings` concern the file as a whole.
    """

    parts: list[Part] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    findings: tuple[Finding, ...] = ()
    private_key: bool = False
    recognised: bool = False

    def add(self, kind: Literal["certificate", "crl"], der: bytes, alias: str = "") -> None:
        self.recognised = True
        if kind == "certificate" and len(der) > _LARGEST_CERTIFICATE:
            self.faults.append(f"it is larger than {_LARGEST_CERTIFICATE // 1024} KiB")
        else:
            self.parts.append(Part(kind, der, alias))


def promising(head: bytes) -> bool:
    """Whether a file that begins like this may hold a certificate: armour, a Java keystore, or nested DER."""
    if _BEGIN in head or head.startswith(_jks.MAGIC):
        return True
    if not head.startswith(bytes((_der.SEQUENCE,))) or len(head) < 8:
        return False
    inner = 2 if head[1] <= 0x80 else 2 + (head[1] & 0x7F)
    return head[inner : inner + 1] in {b"\x30", b"\x06", b"\x02"}


def split(data: bytes, password: Secret | None = None) -> Contents:
    """Everything of interest in a file's content. One broken part never costs another one.

    Raises Unopened when the password is missing or wrong, or a library is not installed. Private keys are
    noticed, not kept; PKCS#12 can't be read without opening them.
    """
    contents = Contents()
    if data.startswith(_jks.MAGIC):
        _take_java(data, password, contents)
        return contents
    for label, body in _armoured(data):
        _take_armoured(label, body, contents)
    if not contents.parts and promising(data[:64]):  # last, since text may begin like DER: with a 0
        _split_der(data, password, contents)
    return contents


def _armoured(data: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """Label and base64 text of each PEM block (RFC 7468) in any surroundings; None for one that doesn't end."""
    start = data.find(_BEGIN)
    while start >= 0:
        following = data.find(_BEGIN, start + len(_BEGIN))
        limit = following if following >= 0 else len(data)
        label_start = start + len(_BEGIN)
        label_end = data.find(b"-----", label_start, min(limit, label_start + 64))
        if label_end >= 0:
            label = data[label_start:label_end]
            end = data.find(b"-----END " + label + b"-----", label_end, limit)
            yield label, data[label_end + 5 : end] if end >= 0 else None
        start = following


def _take_armoured(label: bytes, body: bytes | None, contents: Contents) -> None:
    if label.endswith(b"PRIVATE KEY"):
        contents.private_key = contents.recognised = True
    elif label not in _CERTIFICATE_LABELS | {b"X509 CRL", b"PKCS7", b"CMS"}:
        contents.recognised = contents.recognised or body is not None
    elif body is None:
        contents.faults.append("its END line is missing")
    else:
        try:
            der = binascii.a2b_base64(body.translate(None, _WHITESPACE), strict_mode=True)
            if label in {b"PKCS7", b"CMS"}:
                _take_pkcs7(der, contents)
            elif label == b"X509 CRL":
                contents.add("crl", der)
            elif label == b"TRUSTED CERTIFICATE":  # OpenSSL writes what it trusts it for behind it
                contents.add("certificate", der[: _der.element(der).end])
            else:
                contents.add("certificate", der)
        except ValueError as error:
            contents.faults.append(explain(error))


def _split_der(data: bytes, password: Secret | None, contents: Contents) -> None:
    """One or more DER structures behind one another."""
    start = 0
    while start < len(data) and data[start] == _der.SEQUENCE:
        try:
            outer = _der.element(data, start)
            inner = _der.element(data, outer.body, outer.end)
        except ValueError as error:
            contents.faults.append(explain(error))
            return
        der = data[start : outer.end]
        if inner.tag == _der.OBJECT_IDENTIFIER:
            _take_pkcs7(der, contents)
        elif inner.tag == _der.INTEGER and data[inner.body : inner.end] == b"\x03":
            _take_pkcs12(der, password, contents)
        elif inner.tag == _der.INTEGER and data[inner.body : inner.end] in {b"\0", b"\1"}:  # PKCS#1, PKCS#8, SEC 1
            contents.private_key = contents.recognised = True
        else:
            _take_signed(der, data[inner.body : inner.body + 1], contents)
        start = outer.end


def _take_signed(der: bytes, first: bytes, contents: Contents) -> None:
    """A certificate, revocation list, request or encrypted key: `first` is the tag of what it begins with."""
    if first == bytes((_der.OBJECT_IDENTIFIER,)):
        contents.private_key = contents.recognised = True
    elif first == bytes((_der.VERSION,)) or _loads(x509.load_der_x509_certificate, der):
        contents.add("certificate", der)
    elif _loads(x509.load_der_x509_crl, der):
        contents.add("crl", der)
    elif _loads(x509.load_der_x509_csr, der):
        contents.recognised = True


def _loads(load: Callable[[bytes], object], der: bytes) -> bool:
    try:
        load(der)
    except BROKEN:
        return False
    return True


def _take_pkcs7(der: bytes, contents: Contents) -> None:
    try:
        certificates = pkcs7.load_der_pkcs7_certificates(der)
        for certificate in certificates:
            contents.add("certificate", certificate.public_bytes(Encoding.DER))
    except BROKEN as error:
        contents.faults.append(f"the PKCS#7 structure is damaged ({explain(error)})")


def _take_pkcs12(der: bytes, password: Secret | None, contents: Contents) -> None:
    try:
        rounds = _der.key_rounds(der)
    except ValueError as error:
        raise Unopened(f"this PKCS#12 file is not opened: {error}") from None
    if rounds > _MOST_ROUNDS:
        raise Unopened(
            f"this PKCS#12 file asks for {rounds:,} rounds of key derivation, more than {_MOST_ROUNDS:,}, "
            "and would hold up everything else; write it again with fewer"
        )
    try:
        store = _open_pkcs12(der, password)
    except UnsupportedAlgorithm as error:
        raise Unopened(f"this PKCS#12 file is written in a way not known here: {explain(error)}") from None
    except BROKEN as error:
        if "password" not in str(error).lower():
            contents.faults.append(f"the PKCS#12 file is damaged ({explain(error)})")
            return
        if password is None:
            raise Unopened("this PKCS#12 file needs a password; set `password` of the collector") from None
        raise Unopened("wrong password for this PKCS#12 file, or it is damaged; correct `password`") from None
    contents.recognised = True
    contents.private_key = contents.private_key or store.key is not None
    for entry in [store.cert, *store.additional_certs]:
        if entry is not None:
            alias = (entry.friendly_name or b"").decode("utf-8", "replace")
            contents.add("certificate", entry.certificate.public_bytes(Encoding.DER), alias)


def _open_pkcs12(der: bytes, password: Secret | None) -> pkcs12.PKCS12KeyAndCertificates:
    """With the password, or with none: the files that need none are often among others that need one."""
    if password is None:
        return pkcs12.load_pkcs12(der, None)
    try:
        return pkcs12.load_pkcs12(der, password.reveal().encode())
    except ValueError as error:
        try:
            return pkcs12.load_pkcs12(der, None)
        except ValueError:
            raise error from None


def _take_java(data: bytes, password: Secret | None, contents: Contents) -> None:
    try:
        store = _jks.read(data, password)
    except ImportError:
        raise Unopened("this Java keystore needs a library: pip install 'expiryd[jks]'") from None
    except ValueError as error:
        contents.faults.append(f"the Java keystore is damaged ({explain(error)})")
        return
    contents.private_key, contents.recognised = store.private_key, True
    if store.wrong_password:
        detail = "the password does not fit, or the keystore was changed without it: correct `password`"
        contents.findings = (Finding("wrong-password", Severity.WARNING, detail),)
    for alias, der in store.certificates:
        contents.add("certificate", der, alias)
