"""Reads a notifier's secrets at the moment they are used, and keeps them out of everything it says."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Collection, Iterable
from urllib.parse import quote, quote_plus, unquote

from expiryd.api import SecretError, SecretRef, Tools, TransientError

from ._markup import fit, one_line

SHORTEST = 4
_OPAQUE = re.compile(r"[A-Za-z0-9+/=_.~%-]{24,}")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
_SPACES = dict.fromkeys("bfnrt", " ")
_HTML = re.compile(r"<(?:!doctype|html|head|body)\b", re.IGNORECASE)


async def reveal(tools: Tools, ref: SecretRef) -> str:
    """The value now. TransientError when it cannot be read: a store may be away, a file may be mid-rotation."""
    try:
        return (await tools.secret(ref)).reveal()
    except SecretError as error:
        failure = TransientError(f"a secret of this notifier could not be read: {error}")
    raise failure


def excerpt(text: str, secrets: Iterable[str] = (), limit: int = 200, *, opaque: bool = True) -> str:
    """What a receiver said, as one short line that can stand in a log.

    Receivers echo requests. Known secrets are struck out in every usual spelling and, with `opaque`, so is any long
    run without a space, which may be a part of one.
    """
    if _HTML.search(text[:1000]):
        return "an HTML page"
    spellings = [spelling for secret in secrets if len(secret) >= SHORTEST for spelling in _spellings(secret)]
    spellings.sort(key=len, reverse=True)
    line = reading = _struck(one_line(text), spellings)
    for read in (_out_of_json, _out_of_json, html.unescape, unquote):  # an echo may be JSON inside of JSON
        reading = one_line(read(reading))
        if (struck := _struck(reading, spellings)) != reading:
            line = reading = struck
    return fit(_OPAQUE.sub("…", line) if opaque else line, limit)


def _spellings(secret: str) -> tuple[str, ...]:
    octets = secret.encode("utf-8", "replace")
    coded = (base64.b64encode(octets), base64.urlsafe_b64encode(octets))
    plain = (secret, one_line(secret), quote(octets, safe=""), quote_plus(octets))
    return tuple(filter(None, (*plain, *(each.decode().rstrip("=") for each in coded))))


def _struck(line: str, spellings: Collection[str]) -> str:
    for spelling in spellings:
        line = line.replace(spelling, "…")
    return line


def _out_of_json(text: str) -> str:
    """Without the escapes that servers put into a text of JSON; each has its own idea of which signs need one."""
    signs = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else _SPACES.get(found[2], found[2]), text)
    return signs.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
