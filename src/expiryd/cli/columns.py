"""The columns of each list, made of the rows that `--format json` prints whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from expiryd.core.duration import in_utc, say_left
from expiryd.core.model import BLIND, EXPIRY, Severity

Row = Mapping[str, Any]
"""One entry of a list, under the keys of `expiryd.core.view`."""

SHADES = {
    "expired": "bold red",
    "critical": "red",
    "warning": "yellow",
    "info": "cyan",
    "healthy": "green",
    "unknown": "magenta",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and what stands below it. `word` comes before the text where a narrow terminal has no column for it."""

    title: str
    cell: Callable[[Row], str]
    word: str = ""


def _text(key: str) -> Callable[[Row], str]:
    return lambda row: str(row[key] or "")


def of_items(now: datetime) -> Sequence[Column]:
    return (
        Column("SEVERITY", _text("severity")),
        Column("ITEM", _text("item")),
        Column("LEFT", lambda row: _left(row, now)),
        Column("EXPIRES (UTC)", lambda row: _end(row, now), "expires:"),
        Column("BASIS", _text("basis"), "known from:"),
        Column("OWNER", _text("owner"), "owner:"),
        Column("FINDINGS", lambda row: ", ".join(map(_finding, row["findings"]))),
    )


def of_alerts(now: datetime) -> Sequence[Column]:
    return (
        Column("SEVERITY", _text("severity")),
        Column("ITEM", _text("item")),
        Column("MATTER", _text("aspect")),
        Column("LEFT", lambda row: _left(row, now) if row["aspect"] in (EXPIRY, BLIND) else ""),
        Column("OPEN SINCE (UTC)", lambda row: minute(row["opened_at"]), "since:"),
        Column("STATE", _text("state"), "state:"),
        Column("IN HAND", lambda row: _hand(row, now), "in hand:"),
        Column("SILENT UNTIL (UTC)", lambda row: _near(row["silenced_until"], now), "silent until:"),
        Column("OWNER", _text("owner"), "owner:"),
        Column("DETAIL", _text("detail")),
    )


def of_silences(now: datetime) -> Sequence[Column]:
    return (
        Column("ID", _text("id")),
        Column("MATCHES", _text("matches")),
        Column("UNTIL (UTC)", lambda row: minute(row["ends_at"]), "until:"),
        Column("LEFT", lambda row: _since(row["ends_at"], now) if row["state"] != "over" else "over"),
        Column("BY", _text("actor"), "by:"),
        Column("REASON", _text("reason"), "reason:"),
    )


EVENTS = (
    Column("SEVERITY", _text("severity")),
    Column("ITEM", _text("item")),
    Column("EVENT", _text("kind")),
    Column("MATTER", _text("aspect")),
    Column("AT (UTC)", lambda row: minute(row["at"]), "at:"),
    Column("TOLD", lambda row: ", ".join(_delivery(one) for one in row.get("deliveries", ())), "told:"),
    Column("DETAIL", _text("detail")),
)


def of_collectors(now: datetime) -> Sequence[Column]:
    return (
        Column("COLLECTOR", _text("name")),
        Column("TYPE", _text("type")),
        Column("LAST LOOK", lambda row: _since(row["last_look"], now)),
        Column("OUTCOME", lambda row: "looking" if row["looking"] else row["outcome"] or "not yet"),
        Column("ITEMS", lambda row: "" if row["items"] is None else str(row["items"]), "items:"),
        Column("NEXT (UTC)", lambda row: minute(row["next_look"]), "next:"),
        Column("REASON", _text("reason")),
    )


def of_notifiers(now: datetime) -> Sequence[Column]:
    def waiting(row: Row) -> str:
        parcels = row["parcels"]
        return "?" if parcels is None else str(parcels.get("pending", 0) + parcels.get("leased", 0))

    return (
        Column("NOTIFIER", _text("name")),
        Column("TYPE", _text("type")),
        Column("LAST DELIVERY", lambda row: _since(row["last_delivery"], now)),
        Column("WAITING", waiting, "waiting:"),
        Column("STATE", lambda row: row["trouble"] or "well"),
        Column("REASON", _text("reason")),
    )


def tally(words: Iterable[str]) -> str:
    """`1 expired, 3 warning, 40 healthy`: how many of each severity, worst first."""
    counts = Counter(words)
    said = [f"{counts[s.word]} {s.word}" for s in sorted(Severity, reverse=True) if counts[s.word]]
    return ", ".join(said) or "none"


def details(row: Row) -> Sequence[str]:
    """All that is to be said of one item, a line each."""
    lines = [f"{finding['code']} ({finding['severity']}): {finding['detail']}" for finding in row["findings"]]
    lines += [f"{m['name']}: {m['value']:g} {m['unit']}".rstrip() for m in row["measures"]]
    pairs = (
        ("Do", "action"),
        ("Runbook", "runbook"),
        ("Category", "category"),
        ("Kind", "kind"),
        ("Issued", "issued_at"),
    )
    lines += [f"{label}: {row[key]}" for label, key in pairs if row[key]]
    if row["used_by"]:
        lines.append(f"Used by: {', '.join(row['used_by'])}")
    if row["places"]:
        lines.append(f"Also in: {', '.join(row['places'])}")
    return lines


def _hand(row: Row, now: datetime) -> str:
    """`ann since 09:00, until 2026-11-24`"""
    ack = row["acknowledged"]
    if ack is None:
        return ""
    until = f", until {_near(ack['until'], now)}" if ack["until"] else ", until over" if ack["until_renewed"] else ""
    return f"{ack['actor']} since {_near(ack['at'], now)}{until}"


def _finding(finding: Mapping[str, Any]) -> str:
    """Codes say enough, but why something could not be looked at is the first thing anybody asks."""
    code: str = finding["code"]
    return f"{code}: {finding['detail']}" if code in (BLIND, "partial") else code


def _delivery(one: Mapping[str, Any]) -> str:
    """Who was told; of anybody else what became of it, and why."""
    if one["fate"] == "delivered":
        return str(one["notifier"])
    return f"{one['notifier']} ({': '.join(filter(None, (one['fate'], one['note'])))})"


def _left(row: Row, now: datetime) -> str:
    if row["expires_at"] is not None:
        return say_left(datetime.fromisoformat(row["expires_at"]), now)
    if row.get("basis") == "none":
        return "never expires"
    is_blind = any(finding["code"] == BLIND for finding in row.get("findings", ()))
    return "no end known" if row["severity"] == Severity.UNKNOWN.word and not is_blind else ""


def _end(row: Row, now: datetime) -> str:
    """The day; to the minute when it is close."""
    if row["expires_at"] is None:
        return ""
    far = abs(datetime.fromisoformat(row["expires_at"]) - now) >= timedelta(hours=48)
    return row["expires_at"][:10] if far else minute(row["expires_at"])


def _since(at: str | None, now: datetime) -> str:
    return say_left(datetime.fromisoformat(at), now) if at else "never"


def _near(at: str | None, now: datetime) -> str:
    """The day, or the time of today."""
    if at is None:
        return ""
    day, _, time = minute(at).partition(" ")
    return time if day == f"{in_utc(now):%Y-%m-%d}" else day


def minute(at: str | None) -> str:
    """`2026-11-24 09:00`, of a time in UTC."""
    return at[:16].replace("T", " ") if at else ""
