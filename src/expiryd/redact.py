"""Masks secrets in whatever is about to be printed."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping, MutableMapping, Set
from enum import Enum
from itertools import islice
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "[redacted]"
SHORTEST = 4
_FORMS_KEPT = 4096
_LINE = 8
_LINES = 200
_TEXT_READ = 96 * 1024
_TEXT_KEPT = 32 * 1024
_ENTRIES = 100
_DEPTH = 6

_SENSITIVE_KEY = re.compile(
    r"passw|passphrase|secret|token|authorization|cookie|credential|api_?key|private_?key|webhook_?url", re.IGNORECASE
)
_PATTERNS = (
    # PEM private keys, cut off or not, with real or escaped line ends
    (
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
        ),
        MASK,
    ),
    # user:password@ in a URL, up to the last @ before the path
    (re.compile(r"://[^\s/?#\"'<>]+@"), f"://{MASK}@"),
    (
        re.compile(r"(authorization\W{1,6})(?:(?:basic|bearer|token|digest|negotiate)\s+)?[^\s\"',}]+", re.IGNORECASE),
        rf"\1{MASK}",
    ),
    (re.compile(r"\b(bearer\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_.-]+"), MASK),
    (re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|hvs\.)[A-Za-z0-9_-]{8,}"), MASK),
    (re.compile(r"hooks\.slack\.com/(?:services|workflows)/[^\s\"']+"), f"hooks.slack.com/{MASK}"),
    (
        re.compile(
            r"((?:passw(?:or)?d|secret|token|api_?key)[\"']?(?:\s?=\s?|:(?!\s)|:\s(?=[\"']|\S*\d)))"
            r"[^\s&;,\"'}]*[\"']?[^\s&;,\"'}]+",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
)
_HINTS = ("://", "eyJ", "PRIVATE", "_", "-", "=", ":", ".", "earer", "EARER")
# What a stranger's object may do when it is asked for its text; a log line must not end a look.
UNREADABLE = (TypeError, ValueError, AttributeError, LookupError, RuntimeError, OSError)


class Redactor:
    """Masks what must not be printed: every secret that was read, and everything that looks like one.

    Secrets shorter than four characters cannot be masked: they are parts of ordinary words.
    """

    def __init__(self) -> None:
        self._known: dict[str, None] = {}
        self._by_length: tuple[str, ...] = ()

    def add(self, value: str) -> None:
        """Mask this value from now on, in every spelling it may be printed in; of several lines, each one."""
        lines = [line.strip() for line in value.splitlines()[:_LINES]]
        parts = [value, *(line for line in lines if len(line) >= _LINE)]
        spellings = {form: None for part in parts for form in spellings_of(part) if len(form) >= SHORTEST}
        older = [form for form in self._known if form not in spellings]
        kept = [*older, *spellings][-_FORMS_KEPT:]  # what is still read stays; the oldest were replaced long ago
        self._known = dict.fromkeys(kept)
        self._by_length = tuple(sorted(kept, key=len, reverse=True))

    def text(self, text: str) -> str:
        """The text with every secret masked, and no longer than a log line should be."""
        kept = text[:_TEXT_READ]
        for secret in self._by_length:
            if secret in kept:
                kept = kept.replace(secret, MASK)
        if any(hint in kept for hint in _HINTS):
            for pattern, mask in _PATTERNS:
                kept = pattern.sub(mask, kept)
        return kept if len(text) <= _TEXT_KEPT else f"{kept[:_TEXT_KEPT]}… ({len(text)} characters)"

    def clean(self, value: object, depth: int = _DEPTH) -> Any:
        """Any value as plain JSON values without secrets."""
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float) and not isinstance(value, Enum):
            return self._number(value)
        if isinstance(value, Mapping | Set | list | tuple):
            return self._many(value, depth - 1) if depth else "…"
        return self.text(_say(value))

    def _number(self, value: float) -> Any:
        plain = _say(value)
        odd = plain.startswith("<") or (isinstance(value, float) and not math.isfinite(value))  # JSON knows no NaN
        return self.text(plain) if odd or self.text(plain) != plain else value

    def _many(self, value: Mapping[Any, Any] | Set[Any] | list[Any] | tuple[Any, ...], depth: int) -> Any:
        more = len(value) - _ENTRIES
        if isinstance(value, Mapping):
            table = {
                self.text(_say(key)): self._entry(key, inner, depth) for key, inner in islice(value.items(), _ENTRIES)
            }
            return {**table, "…": f"{more} more"} if more > 0 else table
        entries = [self.clean(inner, depth) for inner in islice(value, _ENTRIES)]
        return [*entries, f"… {more} more"] if more > 0 else entries

    def _entry(self, key: object, value: object, depth: int) -> Any:
        if value is not None and not isinstance(value, bool) and _SENSITIVE_KEY.search(_say(key)):
            return MASK
        return self.clean(value, depth)

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
        """As structlog's last processor before the renderer."""
        return {key: self._entry(key, value, _DEPTH) for key, value in event.items()}


def spellings_of(value: str) -> tuple[str, ...]:
    """As it is, and as JSON, repr, a URL, a form and Base64 write it."""
    octets = value.encode("utf-8", "surrogatepass")
    return (
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        repr(octets)[2:-1],
        octets.decode("utf-8", "backslashreplace"),
        quote(octets, safe=""),
        quote_plus(octets),
        base64.b64encode(octets).decode().rstrip("="),
    )


def _say(value: object) -> str:
    try:
        if isinstance(value, str):
            return value
        if isinstance(value, bytes | bytearray):
            return value.decode("utf-8", "backslashreplace")
        return f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)
    except UNREADABLE:
        return f"<{type(value).__name__}>"
