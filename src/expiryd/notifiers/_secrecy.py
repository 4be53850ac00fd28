"""Reads a notifier's secrets at the moment they are used, and keeps them out of everything it says."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote

from expiryd.api import SecretError, SecretRef, Tools, TransientError

from ._markup import fit, one_line

SHORTEST = 4
_OPAQUE = re.compile(r"[A-Za-z0-9+/=_.~%-]{24,}")
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
    line = one_line(text)
    for secret in sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True):
        coded = base64.b64encode(secret.encode("utf-8", "replace")).decode()
        for spelling in (secret, one_line(secret), quote(secret, safe=""), coded):
            line = line.replace(spelling, "…") if spelling else line
    return fit(_OPAQUE.sub("…", line) if opaque else line, limit)
