"""Times as other people's tools read them."""

from __future__ import annotations

from datetime import datetime

from expiryd.core.duration import in_utc


def rfc3339(at: datetime | None) -> str | None:
    return None if at is None else in_utc(at).isoformat().removesuffix("+00:00") + "Z"
