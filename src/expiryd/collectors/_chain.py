"""Judges a served certificate chain, apart from how it was fetched: names, trust, completeness, strength, dates.

No judgement takes the date away: a chain that nobody should trust still expires when it says.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from expiryd.api import Finding, Lifetime, Severity
from expiryd.collectors._trust import Trust, shown_name
from expiryd.collectors._x509 import BROKEN, Facts, describe, explain, load, malformed

_MEMO = 50_000  # verdicts, whose texts the observations made of them share
_MEMO_AGE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long before an intermediate's end it becomes a warning and a critical matter."""

    warning: timedelta = timedelta(days=30)
    critical: timedelta = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a chain says and what is wrong with it. Shared by all observations of the same chain."""

    leaf: Facts
    title: str
    generation: str
    lifetime: Lifetime | None
    labels: Mapping[str, str]
    findings: tuple[Finding, ...]
    identity: str
    mark: str


class ChainJudge:
    """Finds what is wrong with a chain for a host at a moment, and remembers its verdicts.

    A verdict holds until one of the chain's dates has passed, at most for a day (an authority's own end is not among
    the chain's dates). An endpoint that serves what it served before costs one hash, not two signature checks.
    """

    def __init__(self, trust: Trust, limits: Limits) -> None:
        self._trust = trust
        self._limits = limits
        self._memo: dict[bytes, tuple[datetime, Verdict]] = {}

    def judge(self, served: Sequence[bytes], host: str, now: datetime) -> Verdict:
        """`served` is DER and starts with the leaf; `host` is a name in A-labels or an IP literal.

        Raises ValueError when the leaf as a whole can't be read.
        """
        key = _digest(served, host)
        if (known := self._memo.get(key)) is not None and now < known[0]:
            return known[1]
        chain, faults = _parse(served)
        leaf = describe(chain[0])
        findings = tuple(merge([*leaf.findings, *faults, *self._inspect(chain, host, now)]))
        verdict = Verdict(
            leaf,
            leaf.title,
            leaf.generation,
            leaf.lifetime,
            leaf.traits.labels,
            findings,
            leaf.identity,
            leaf.mark,
        )
        if len(self._memo) >= _MEMO:
            self._memo.pop(next(iter(self._memo)))
        self._memo[key] = (self._holds_until(chain, now), verdict)
        return verdict

    def _inspect(self, chain: Sequence[x509.Certificate], host: str, now: datetime) -> Iterator[Finding]:
        leaf = chain[0]
        yield from _check_name(leaf, host)
        if distrust := self._trust.problem(chain, now):
            yield distrust
        yield from self._check_dates(chain, now)
        for certificate in chain:
            if certificate is leaf or not _is_root(certificate):
                yield from _check_strength(certificate)

    def _check_dates(self, chain: Sequence[x509.Certificate], now: datetime) -> Iterator[Finding]:
        (begins, leaf_ends), *others = map(_dates, chain)
        if begins is not None and begins > now:
            detail = (
                f"not valid before {begins:%Y-%m-%d %H:%M} UTC: deployed too early, or this machine's clock is wrong"
            )
            yield Finding("not-yet-valid", Severity.CRITICAL, detail)
        for certificate, (_, ends) in zip(chain[1:], others, strict=True):
            # Clients ignore a root that is served: they trust their own copy or none.
            if ends is None or _is_root(certificate):
                continue
            named = f'the intermediate "{shown_name(certificate)}"'
            if ends <= now:
                detail = f"{named} expired on {ends:%Y-%m-%d}: serve the renewed one"
                yield Finding("expired-intermediate", Severity.WARNING, detail)
            elif leaf_ends is not None and ends < leaf_ends:
                detail = (
                    f"{named} expires on {ends:%Y-%m-%d}, before the certificate itself: serve a renewed one by then"
                )
                yield Finding("chain-expires-earlier", self._urgency(ends - now), detail)

    def _urgency(self, left: timedelta) -> Severity:
        if left < self._limits.critical:
            return Severity.CRITICAL
        return Severity.WARNING if left < self._limits.warning else Severity.INFO

    def _holds_until(self, chain: Sequence[x509.Certificate], now: datetime) -> datetime:
        dates = [date for certificate in chain for date in _dates(certificate) if date is not None and date > now]
        return min([now + _MEMO_AGE, *dates])


def merge(findings: Iterable[Finding]) -> Iterator[Finding]:
    """One finding for each code: the worst severity, every different detail."""
    by_code: dict[str, list[Finding]] = {}
    for finding in findings:
        by_code.setdefault(finding.code, []).append(finding)
    for code, same in by_code.items():
        details = dict.fromkeys(finding.detail for finding in same)
        yield Finding(code, max(finding.severity for finding in same), "; ".join(details))


def matches(certificate: x509.Certificate, host: str) -> bool:
    """Whether the certificate is for `host` by its subjectAltName alone (RFC 9525). Raises what BROKEN names."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        wanted = host.lower()
        # A wildcard stands for exactly one whole label, the leftmost.
        wildcard = "*." + wanted.partition(".")[2]
        return any(name.lower().rstrip(".") in (wanted, wildcard) for name in names.get_values_for_type(x509.DNSName))
    return address in names.get_values_for_type(x509.IPAddress)


def _check_name(leaf: x509.Certificate, host: str) -> Iterator[Finding]:
    try:
        if matches(leaf, host):
            return
    except BROKEN as error:
        yield malformed(f"the names it is valid for can't be read ({explain(error)})")
        return
    names = describe(leaf).names
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    detail = f"not valid for {host}, but for {shown}" if names else f"not valid for {host}: it has no subjectAltName"
    yield Finding(
        "wrong-name", Severity.WARNING, f"{detail}; clients refuse it: issue it for this name, or set server_name"
    )


def _check_strength(certificate: x509.Certificate) -> Iterator[Finding]:
    """NIST SP 800-131A: under 112 bits of strength is no longer allowed."""
    named = f'"{shown_name(certificate)}"'
    try:
        key = certificate.public_key()
        if isinstance(key, dsa.DSAPublicKey):
            yield Finding("weak-key", Severity.WARNING, f"{named} has a DSA key: issue it with ECDSA or RSA")
        elif isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048:
            yield Finding(
                "weak-key", Severity.WARNING, f"{named} has an RSA key of {key.key_size} bits: use 2048 or more"
            )
        elif isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < 224:
            yield Finding(
                "weak-key", Severity.WARNING, f"{named} has an EC key of {key.key_size} bits: use 256 or more"
            )
        algorithm = certificate.signature_hash_algorithm
        if algorithm is not None and algorithm.name in ("md5", "sha1") and not _is_root(certificate):
            detail = f"{named} is signed with {algorithm.name.upper()}, which can be forged: issue it with SHA-256"
            yield Finding("weak-signature", Severity.WARNING, detail)
    except UnsupportedAlgorithm:
        return  # unknown is not weak
    except BROKEN as error:
        yield malformed(f"the key of {named} can't be read ({explain(error)})")


def _is_root(certificate: x509.Certificate) -> bool:
    try:
        return certificate.subject == certificate.issuer
    except BROKEN:
        return False


def _dates(certificate: x509.Certificate) -> tuple[datetime | None, datetime | None]:
    try:
        return certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except BROKEN:
        return None, None


def _parse(served: Sequence[bytes]) -> tuple[list[x509.Certificate], list[Finding]]:
    chain, faults = [load(served[0])], []
    for number, der in enumerate(served[1:], start=2):
        try:
            chain.append(load(der))
        except ValueError as error:
            faults.append(malformed(f"certificate {number} of the chain can't be read ({error})"))
    return chain, faults


def _digest(served: Sequence[bytes], host: str) -> bytes:
    # Lengths come first: no two different chains run together into the same bytes.
    return blake2b(b"".join((f"{host}{[*map(len, served)]}".encode(), *served)), digest_size=16).digest()
