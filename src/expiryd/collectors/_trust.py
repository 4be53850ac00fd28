"""Which certificate authorities are believed, and why a served chain does not lead to one of them."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from OpenSSL import crypto

from expiryd.api import CollectError, Finding, Severity
from expiryd.collectors._x509 import BROKEN, name_of

_KNOWN_ISSUERS = 256

# X509_V_ERR_* of OpenSSL's x509_vfy.h
_NOT_YET_VALID, _EXPIRED, _SELF_SIGNED_LEAF = 9, 10, 18
_ISSUER_UNKNOWN = frozenset({2, 20, 21})


class Trust:
    """The certificate authorities that are believed: the system's and, in addition, those of `ca_file`.

    Loading reads files: do it in a thread. Raises CollectError when a file can't be read or holds no certificate.
    OpenSSL's own verification is used and not the stricter rules of the Web PKI, which private authorities often break
    although every client of theirs is content.
    """

    def __init__(self, ca_file: Path | None = None) -> None:
        self._store = crypto.X509Store()
        # A certificate in ca_file is believed for itself, be it a root, an intermediate or the server's own.
        self._store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        system = ssl.get_default_verify_paths()
        self.empty = system.cafile is None and system.capath is None and ca_file is None
        if system.cafile or system.capath:
            self._load(system.cafile, system.capath)
        if ca_file is not None:
            self._load(str(ca_file), None)
        self._issuers: dict[x509.Certificate, crypto.X509] = {}

    def _load(self, file: str | None, directory: str | None) -> None:
        try:
            self._store.load_locations(file, directory)
        except crypto.Error:
            raise CollectError(
                f"can't read certificate authorities from {file or directory}: it must be a readable PEM file "
                "with at least one certificate"
            ) from None

    def problem(self, chain: Sequence[x509.Certificate], now: datetime) -> Finding | None:
        """Why the chain does not lead to an authority that is believed. An expired leaf is not a problem here."""
        if self.empty:
            return None
        try:
            leaf = crypto.X509.from_cryptography(chain[0])
            others = [self._issuer(certificate) for certificate in chain[1:]]
        except crypto.Error:
            return Finding(
                "untrusted", Severity.WARNING, "OpenSSL can't read a certificate of the chain: issue it again"
            )
        self._store.set_time(now)
        try:
            crypto.X509StoreContext(self._store, leaf, others).verify_certificate()
        except crypto.X509StoreContextError as error:
            return _explain_distrust(error)
        return None

    def _issuer(self, certificate: x509.Certificate) -> crypto.X509:
        """A few intermediates sign most leaves: each is converted once."""
        if (known := self._issuers.get(certificate)) is None:
            if len(self._issuers) >= _KNOWN_ISSUERS:
                self._issuers.clear()
            known = self._issuers[certificate] = crypto.X509.from_cryptography(certificate)
        return known


def _explain_distrust(error: crypto.X509StoreContextError) -> Finding | None:
    code, depth, words = error.errors
    if depth == 0 and code in (_EXPIRED, _NOT_YET_VALID):
        return None  # the item's own dates say so
    try:
        culprit = error.certificate.to_cryptography()
        ended = f"{culprit.not_valid_after_utc:%Y-%m-%d}"
    except BROKEN:  # OpenSSL reads more than cryptography does
        return Finding("untrusted", Severity.WARNING, f"{words}: clients refuse it; have the chain issued again")
    name, issuer = shown_name(culprit), shown_name(culprit, issuer=True)
    if code == _EXPIRED:
        detail = f'the chain needs "{name}", which expired on {ended}: serve a renewed chain'
        return Finding("expired-intermediate", Severity.CRITICAL, detail)
    if code == _SELF_SIGNED_LEAF:
        return Finding("self-signed", Severity.WARNING, "signed by itself: trust it with ca_file, or have it issued")
    if code in _ISSUER_UNKNOWN and depth == 0:
        detail = f'its issuer "{issuer}" is neither served nor trusted: serve the intermediate, or set ca_file'
        return Finding("incomplete-chain", Severity.WARNING, detail)
    if code in _ISSUER_UNKNOWN:
        detail = f'"{name}" is issued by "{issuer}", which is not trusted here: set ca_file if it should be'
        return Finding("untrusted", Severity.WARNING, detail)
    return Finding("untrusted", Severity.WARNING, f'{words} ("{name}"): clients refuse it; set ca_file if it is yours')


def shown_name(certificate: x509.Certificate, *, issuer: bool = False) -> str:
    try:
        return name_of(certificate.issuer if issuer else certificate.subject)
    except BROKEN:
        return "(unreadable name)"
