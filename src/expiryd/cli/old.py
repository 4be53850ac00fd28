"""The words of the token scripts that expiryd replaces: what `check-token` printed, for whoever still reads it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from expiryd.core.duration import in_utc
from expiryd.core.model import BLIND, EXPIRY, Basis, ItemState, Severity
from expiryd.core.severity import end_is_unknown

ACTIONS: Mapping[str, str] = {
    "EXPIRED": "IMMEDIATE ROTATION REQUIRED",
    "CRITICAL": "URGENT ROTATION REQUIRED",
    "WARNING": "PLAN ROTATION",
    "INFO": "MONITOR CLOSELY",
    "PLACEHOLDER": "REPLACE PLACEHOLDER",
    "NOT_FOUND": "VERIFY TOKEN EXISTS",
}
_CODES = {
    "placeholder": ("placeholder", "PLACEHOLDER"),
    "missing": ("not_found", "NOT_FOUND"),
    "no-metadata": ("metadata_error", "UNKNOWN:metadata_error"),
    "invalid-date": ("metadata_error", "INVALID_DATE"),
    "no-expiry-info": ("no_expiry_info", "NO_EXPIRY_INFO"),
}


def token_row(name: str, kind: str, state: ItemState | None, now: datetime) -> dict[str, Any]:
    """Under the old keys. `last_checked` and `expiry_date` are UTC; the former without a zone, as it always was."""
    lifetime = state.observation.lifetime if state else None
    end = lifetime.expires_at if lifetime else None
    days = (end - now).days if end else None
    status, analysis = ("not_found", "NOT_FOUND") if state is None else _judgement(state, days)
    row = {
        "token_name": name,
        "token_type": kind,
        "status": status,
        "days_until_expiry": days,
        "expiry_date": in_utc(end).strftime("%Y-%m-%dT%H:%M:%SZ") if end else None,
        "analysis": analysis,
        "action_required": ACTIONS.get(analysis.partition(":")[0]),
        "last_checked": now.replace(tzinfo=None).isoformat(timespec="microseconds"),
    }
    if status == "error" and state is not None:
        row["error"] = next(alert.detail for alert in state.alerts if alert.aspect == BLIND)
    return row


def _judgement(state: ItemState, days: int | None) -> tuple[str, str]:
    """The old pair of words. A date counts by its own nearness, as it did; what has none is told by why it has none."""
    seen = state.observation
    if state.is_blind:
        return "error", "UNKNOWN:error"
    for finding in seen.findings:
        if finding.code in _CODES:
            return _CODES[finding.code]
    if seen.lifetime is not None and seen.lifetime.basis is Basis.NONE:
        return "no_expiry", "RUNTIME_NO_EXPIRY"
    if days is None:
        return ("no_expiry_info", "NO_EXPIRY_INFO") if end_is_unknown(seen) else ("unknown", "UNKNOWN:unknown")
    near = next((alert.severity for alert in state.alerts if alert.aspect == EXPIRY), Severity.HEALTHY)
    return near.word, near.name if near is Severity.EXPIRED else f"{near.name}:{days}"
