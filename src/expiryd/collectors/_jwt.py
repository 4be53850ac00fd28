"""What a JSON Web Token says of its own lifetime, read without verifying anything (RFC 7519, 7515, 7516)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from jwt import PyJWS, PyJWTError
from jwt.utils import base64url_decode

from expiryd.api import Basis, Finding, Lifetime, Severity

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z: a number beyond it can't be meant as seconds
_BEARER = re.compile(r"\A\s*bearer\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Claims:
    """What was read of one token. `lifetime` is None when the token tells nothing usable.

    `subject` tells what the token is for, by issuer, subject and audience: empty when one of the first two is missing.
    """

    lifetime: Lifetime | None
    findings: tuple[Finding, ...]
    subject: str = ""


def bare(text: str) -> str:
    """The token alone, without white space and a `Bearer ` before it."""
    return _BEARER.sub("", text).strip()


def read_claims(token: str) -> Claims | None:
    """The lifetime in a bare token, or None when it is no JWT. Never raises, whatever the token holds."""
    dots = token.count(".") if token.isascii() else 0
    if dots == 4 and _is_encrypted(token):
        detail = "the claims are encrypted (JWE), so its expiry can't be read here; give its date in the config"
        return Claims(None, (Finding("encrypted-jwt", Severity.INFO, detail),))
    if dots != 2:
        return None
    try:
        decoded = PyJWS().decode_complete(token, options={"verify_signature": False})
        payload = json.loads(decoded["payload"])
    except (PyJWTError, ValueError, RecursionError):
        return None
    algorithm = decoded["header"].get("alg")
    if not isinstance(payload, dict) or not isinstance(algorithm, str):
        return None
    return replace(_judge(payload, unsigned=algorithm.lower() == "none"), subject=_subject(payload))


def _is_encrypted(token: str) -> bool:
    try:
        header = json.loads(base64url_decode(token.partition(".")[0]))
    except (ValueError, RecursionError):
        return False
    return isinstance(header, dict) and "enc" in header


def _subject(payload: dict[str, object]) -> str:
    """A hash, since a subject may be a person's name or address."""
    said = [payload.get(claim) for claim in ("iss", "sub", "aud", "azp", "client_id", "scope")]
    if not (isinstance(said[0], str) and isinstance(said[1], str)):
        return ""
    return sha256(json.dumps(said).encode()).hexdigest()[:32]


def _judge(payload: dict[str, object], *, unsigned: bool) -> Claims:
    times, invalid, milliseconds = _times(payload)
    expires, starts, issued = (times.get(claim) for claim in ("exp", "nbf", "iat"))
    findings = []
    if unsigned:
        detail = "the token is not signed (alg none): anyone can make one like it; replace it by a signed token"
        findings.append(Finding("unsigned", Severity.WARNING, detail))
    if invalid:
        detail = f"{', '.join(invalid)}: not a time between the years 1970 and 9998 in seconds since 1970, or 0"
        findings.append(Finding("invalid-date", Severity.WARNING, detail))
    if milliseconds:
        detail = f"{', '.join(milliseconds)}: given in milliseconds, RFC 7519 says seconds; other readers see no expiry"
        findings.append(Finding("milliseconds", Severity.WARNING, detail))
    if expires and max(starts or _EPOCH, issued or _EPOCH) > expires:
        detail = "the token expires before it was issued or becomes valid (exp < iat or nbf); have it issued again"
        findings.append(Finding("invalid-lifetime", Severity.WARNING, detail))
        issued = issued if issued and issued <= expires else None  # no share of a negative lifetime is ever computed
    if payload.get("exp") is None:
        detail = "the token has no exp, so it never expires; prefer one that does"
        findings.append(Finding("never-expires", Severity.INFO, detail))
        return Claims(Lifetime(None, issued, starts, Basis.NONE), tuple(findings))
    known = Lifetime(expires, issued, starts, Basis.EMBEDDED) if times else None
    return Claims(known, tuple(findings))


def _times(payload: dict[str, object]) -> tuple[dict[str, datetime], list[str], list[str]]:
    """The times of the claims that are there, and which claims hold none or one in milliseconds."""
    times: dict[str, datetime] = {}
    invalid, milliseconds = [], []
    for claim in ("exp", "nbf", "iat"):
        if payload.get(claim) is None:
            continue
        try:
            moment, scaled = _moment(payload[claim])
        except (ValueError, OverflowError):
            invalid.append(claim)
            continue
        if moment > _EPOCH:
            times[claim] = moment
            milliseconds += [claim] * scaled
        elif claim == "exp":  # a zero says that nothing was set, which of the others is no matter
            invalid.append(claim)
    return times, invalid, milliseconds


def _moment(value: object) -> tuple[datetime, bool]:
    """A NumericDate (RFC 7519 §2), and whether it was in milliseconds. Raises ValueError, OverflowError.

    Numbers in strings and milliseconds are against the RFC, but met in the wild. The years outside 1970-9998
    are stand-ins ("zero", "never"), and arithmetic on them leaves the calendar.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a number")
    seconds = float(value)
    scaled = seconds > _LAST_SECOND
    moment = _EPOCH + timedelta(seconds=seconds / 1000 if scaled else seconds)
    if not 1970 <= moment.year <= 9998:
        raise ValueError("not a date anybody means")
    return moment, scaled
