"""The verb `explain`: one item on one page, for whoever was woken by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import click

from expiryd.cli.asking import now
from expiryd.cli.checks import table_or_json
from expiryd.cli.columns import SHADES, Row, minute
from expiryd.cli.exits import Exit, Stop, harmless
from expiryd.cli.lean import import_structlog_alone
from expiryd.cli.place import Outset
from expiryd.cli.screen import Format, Screen
from expiryd.core.duration import format_duration, say_left
from expiryd.core.wording import plain

_MOST_NAMED = 10
_BASES = {
    "verified": "the issuer was asked",
    "embedded": "signed inside the thing itself",
    "typed": "a person wrote it down",
    "metadata": "its store's own record",
    "ttl": "counted down by its store",
    "policy": "issued + lifetime, by rule",
    "none": "it never expires",
}
_MARKS = {"told": "●", "passed": "○", "to come": "·"}
Section = tuple[str, list[str]]


@click.command()
@click.argument("item")
@click.option("--days", type=click.IntRange(1, 400), default=30, show_default=True, metavar="N", help="How far ahead.")
@table_or_json
@click.pass_obj
def explain(outset: Outset, /, screen: Screen, item: str, days: int) -> int:
    """Why ITEM is as it is: its dates, thresholds and where each comes from, who hears, what was sent, what comes next.

    ITEM is an id, or a part or glob that means one. Works on a copy of the state, also without a running daemon.
    """
    import asyncio

    import_structlog_alone()
    from expiryd.explaining import explain as explained

    moment = now()
    try:
        found = asyncio.run(explained(outset.config(), outset.environ, item, moment, days))
    except ValueError as problem:
        raise Stop(Exit.CONFIG, str(problem)) from None
    refuse_unclear(item, [row["item"] for row in found])
    row = found[0]
    if screen.format is Format.JSON:
        screen.rows(row, ())  # type: ignore[arg-type]  # one object, as `status` prints it
        return Exit.OK
    _print(row, moment, days, screen)
    return Exit.OK


def refuse_unclear(item: str, meant: Sequence[str]) -> None:
    """Raises Stop when that means no item, or several."""
    if not meant:
        raise Stop(Exit.NOT_FOUND, f"no item is called {item!r}; `expiryd items` lists them")
    if len(meant) > 1:
        names = [f"    {plain(name)}" for name in meant[:_MOST_NAMED]]
        more = [f"    … and {len(meant) - _MOST_NAMED} more"] if len(meant) > _MOST_NAMED else []
        raise Stop(Exit.NOT_FOUND, f"{plain(item)} means {len(meant)} items; which one?", *names, *more)


def _print(row: Row, moment: datetime, days: int, screen: Screen) -> None:
    end = f", {say_left(datetime.fromisoformat(row['expires_at']), moment)}" if row["expires_at"] else ""
    word, name = row["severity"], plain(row["item"])
    head = f"{_shaded(word.upper(), word, screen)}  {_bold(name, screen)}{end}"
    screen.print(head)
    for title, lines in _sections(row, moment, days):
        if lines:
            screen.print("\n" + _bold(title, screen))
            for line in lines:
                screen.print(f"  {harmless(line)}")


def _sections(row: Row, moment: datetime, days: int) -> Iterator[Section]:
    yield "What it is", list(_what(row))
    yield "What is wrong", [f"{one['code']} ({one['severity']}): {one['detail']}" for one in row["findings"]]
    yield "By which rules", list(_rules(row))
    yield "Ladder", [_rung(one) for one in row["ladder"]]
    yield "Open matters", list(_matters(row))
    yield "Silenced", [f"until {minute(one['ends_at'])} by {one['actor']}: {one['reason']}" for one in row["silences"]]
    yield "Who hears", list(_routes(row))
    yield "What was sent", list(_history(row))
    yield f"What comes next, in {days} days, if nothing changes", list(_next(row))


def _what(row: Row) -> Iterator[str]:
    pairs = (
        ("title", row["title"] if row["title"] not in row["item"] else ""),
        ("kind", row["kind"]),
        ("category", row["category"]),
        ("owner", row["owner"]),
        ("runbook", row["runbook"]),
        ("expires", minute(row["expires_at"]) and f"{minute(row['expires_at'])} UTC"),
        ("issued", minute(row["issued_at"]) and f"{minute(row['issued_at'])} UTC"),
        ("known from", row["basis"] and f"{row['basis']}: {_BASES.get(row['basis'], '')}"),
        ("last seen", minute(row["observed_at"]) and f"{minute(row['observed_at'])} UTC"),
        ("used by", ", ".join(row["used_by"])),
        ("also in", ", ".join(row["places"])),
        ("do", row["action"]),
    )
    yield from (f"{label:<11} {value}" for label, value in pairs if value)
    for one in row["past"]:
        yield f"{'before':<11} until {minute(one['expires_at']) or '?'}, last seen {minute(one['last_seen'])}"


def _rules(row: Row) -> Iterator[str]:
    for one in row["thresholds"]:
        means = f" = {one['means']}" if one.get("means") not in (None, one["said"]) else ""
        at = f"from {minute(one['at'])} UTC" if one["at"] else ""
        why = f" ({one['because']})" if one["because"] else ""
        when = f"{one['said'] + means:<12} {at}"
        yield f"{one['name']:<9} {when:<39} {_from(one['from'])}{why}".rstrip()


def _from(source: str) -> str:
    return "by default" if source == "default" else f"says [{source}]"


def _rung(one: Row) -> str:
    said = f"told {minute(one['told_at'])}" if one["told_at"] else one["state"]
    return f"{_MARKS[one['state']]} {one['rung']:<6} {minute(one['at'])}  {said}"


def _matters(row: Row) -> Iterator[str]:
    for one in row["alerts"]:
        yield f"{one['severity']} {one['aspect']} since {minute(one['opened_at'])}, {one['state']}"
        if ack := one["acknowledged"]:
            until = f" until {minute(ack['until'])}" if ack["until"] else ""
            yield f"    in the hand of {ack['actor']} since {minute(ack['at'])}{until}: {ack['reason']}"


def _routes(row: Row) -> Iterator[str]:
    if row["imagined"]:
        yield f"nothing is open; of a {row['imagined']} it would be:"
    yield from route_lines(row["routes"], row["notifiers"])


def route_lines(routes: Sequence[Row], notifiers: Sequence[str]) -> Iterator[str]:
    """Each route that was asked: whether it matched, who hears by it, and at which hours."""
    for one in routes:
        place = f"route {one['route'] + 1} ({one['matches']})"
        if not one["matched"]:
            yield f"✗ {place}: {one['why_not']}"
            continue
        hours = "".join(f", {word} `{one[word]}`" for word in ("active", "quiet") if one[word])
        yield f"✓ {place}: {', '.join(one['notify']) or 'nobody'}{hours}"
        for level in one["escalate"]:
            yield f"    after {_span(level['after_seconds'])} without an answer: {', '.join(level['notify'])}"
    if not any(one["matched"] for one in routes):
        why = "no route matches" if routes else "there are no routes"
        yield f"✓ {why}: every notifier hears ({', '.join(notifiers) or 'there are none'})"


def _span(seconds: float) -> str:
    from datetime import timedelta

    return format_duration(timedelta(seconds=seconds))


def _history(row: Row) -> Iterator[str]:
    for one in row["history"]:
        rung = f" at {one['rung']}" if one["rung"] else ""
        yield f"{minute(one['at'])}  {one['kind']} {one['severity']} {one['aspect']}{rung}"
        for sent in one["deliveries"]:
            note = f": {sent['note']}" if sent["note"] else ""
            yield f"    {sent['notifier']} {sent['fate']}{note}"


def _next(row: Row) -> Iterator[str]:
    if not row["next"]:
        yield "nothing"
    told: dict[tuple[str, str], list[str]] = {}
    for one in row["next"]:
        about = ", ".join(dict.fromkeys(_event(event) for event in one["about"]))
        told.setdefault((minute(one["at"]), about), []).append(one["notifier"])
    for (at, about), notifiers in told.items():
        yield f"{at}  {about}: {', '.join(notifiers)}"


def _event(event: Row) -> str:
    rung = f" at {event['rung']}" if event["rung"] else ""
    return f"{event['kind']} {event['severity']} {event['aspect']}{rung}"


def _shaded(text: str, word: str, screen: Screen) -> str:
    return _styled(text, SHADES.get(word, ""), screen)


def _bold(text: str, screen: Screen) -> str:
    return _styled(text, "bold", screen)


def _styled(text: str, style: str, screen: Screen) -> str:
    if not screen.is_terminal:
        return text
    from rich.console import Console
    from rich.text import Text

    console: Any = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    with console.capture() as drawn:
        console.print(Text(text, style=style), end="")
    return str(drawn.get())
