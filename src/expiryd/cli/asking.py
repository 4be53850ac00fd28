"""The verbs that ask the running daemon, or have it do something."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any
from urllib.parse import quote

import click

from expiryd.cli.checks import Severities, formats, table_or_json
from expiryd.cli.columns import EVENTS, Row, of_alerts, of_collectors, of_items, of_notifiers, tally
from expiryd.cli.exits import Exit, Stop, say
from expiryd.cli.line import Answer, Line
from expiryd.cli.place import Outset
from expiryd.cli.screen import Format, Screen
from expiryd.core.model import SELF, collector_of
from expiryd.core.wording import count_of, plain

LONG = 600.0
"""Seconds that the end of a reload may take: couriers first finish the message they carry."""


def filters(verb: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many."),
        click.option("--severity", type=Severities(), metavar="LIST", help="Of these severities: critical,expired."),
        click.option("--owner", multiple=True, metavar="NAME", help="Of this owner (repeatable)."),
        click.option("--collector", multiple=True, metavar="NAME", help="Of this collector (repeatable)."),
        click.option("--category", multiple=True, metavar="NAME", help="Of this category (repeatable)."),
    ):
        verb = option(verb)
    return formats(verb)


@click.command()
@filters
@click.pass_obj
def items(outset: Outset, /, screen: Screen, limit: int | None, **asked: Any) -> int:
    """List what the running daemon watches, worst first."""
    line = Line(outset.socket)
    pages = line.pages("/api/v1/items", _query(asked, limit))
    rows = list(islice(pages, limit))
    _refuse_unknown(line, asked, rows)
    screen.rows(rows, of_items(now()))
    _count(screen, rows, "item", pages)
    return Exit.OK


@click.command()
@filters
@click.pass_obj
def alerts(outset: Outset, /, screen: Screen, limit: int | None, **asked: Any) -> int:
    """List the open alerts of the running daemon, worst first; `owed` ones wait to be told."""
    line = Line(outset.socket)
    pages = line.pages("/api/v1/alerts", _query(asked, limit))
    rows = list(islice(pages, limit))
    _refuse_unknown(line, asked, rows)
    screen.rows(rows, of_alerts(now()))
    _count(screen, rows, "open alert", pages)
    return Exit.OK


@click.command()
@filters
@click.pass_obj
def events(outset: Outset, /, screen: Screen, limit: int | None, **asked: Any) -> int:
    """List what happened, newest first, and who was told. 100 unless --limit says otherwise."""
    limit = limit or 100
    unfiltered = not any(asked.values())
    line = Line(outset.socket)
    pages = line.pages("/api/v1/events", _query({}, limit if unfiltered else None), turn="before")
    rows = list(islice(_matching(pages, asked), limit))
    _refuse_unknown(line, asked, rows)
    screen.rows(rows, EVENTS)
    if screen.format is Format.TABLE and not rows:
        screen.print("no events")
    return Exit.OK


@click.command()
@table_or_json
@click.pass_obj
def status(outset: Outset, /, screen: Screen) -> int:
    """Show the running daemon: how it is, its items, alerts, collectors and notifiers."""
    told = Line(outset.socket).get("/api/v1/status")
    if screen.format is Format.JSON:
        screen.rows(told, ())
        return Exit.OK
    moment = now()
    screen.print(
        f"expiryd {plain(told['version'])}: {told['status']}, started {told['started_at'][:16].replace('T', ' ')} UTC"
    )
    screen.print(f"items:  {_counts(told['items'])}")
    screen.print(f"alerts: {_counts(told['alerts'])}")
    for key, label in (("store_error", "store"), ("reload_error", "last reload refused")):
        for line in str(told[key]).splitlines():
            screen.print(f"{label}: {plain(line)}")
    for rows, columns in ((told["collectors"], of_collectors(moment)), (told["notifiers"], of_notifiers(moment))):
        if rows:
            screen.print("")
            screen.table(rows, columns)
    return Exit.OK


@click.command()
@click.pass_obj
def reload(outset: Outset) -> int:
    """Have the running daemon take its config files into use, and wait for its verdict.

    With errors (exit 4, one a line) it goes on with the configuration it has.
    """
    answer = Line(outset.socket).ask("POST", "/-/reload", patience=LONG)
    if answer.status == 422:
        raise Stop(Exit.CONFIG, *answer.problem.splitlines())
    print(plain(str(Line(outset.socket).expect(answer))))
    return Exit.OK


@click.command()
@click.argument("collector")
@click.pass_obj
def look(outset: Outset, collector: str) -> int:
    """Have the running daemon look at one collector now, and wait for the end of the look."""
    line = Line(outset.socket)
    told = line.expect(line.ask("POST", f"/api/v1/collectors/{quote(collector, safe='')}/look", patience=None))
    print(plain(f"{collector}: {told['outcome']}, {count_of(told['items'], 'item')}"))
    if told["outcome"] != "complete":
        raise Stop(Exit.ERROR, f"{collector}: {told['reason']}")
    return Exit.OK


@click.group()
def notify() -> None:
    """Try the notifiers."""


@notify.command("test")
@click.argument("notifier", required=False)
@click.pass_obj
def notify_test(outset: Outset, notifier: str | None) -> int:
    """Have the running daemon send a message marked as a test through NOTIFIER, or through each."""
    line = Line(outset.socket)
    names = [notifier] if notifier else [one["name"] for one in line.get("/api/v1/notifiers")["notifiers"]]
    if not names:
        raise Stop(Exit.ERROR, "there are no notifiers to test: add [notifiers.NAME] to the config and reload")
    failed = False
    for name in names:
        answer = line.ask("POST", f"/api/v1/notify/test/{quote(name, safe='')}", patience=LONG)
        if _is_refusal(answer):
            failed = True
            say(f"{name}: NOT delivered: {answer.problem}")
        else:
            print(plain(f"{name}: delivered ({line.expect(answer)['proof']})"))
    return Exit.ERROR if failed else Exit.OK


def _is_refusal(answer: Answer) -> bool:
    return answer.status == 502


def now() -> datetime:
    """The clock of this machine, which the daemon has too."""
    from expiryd.engine.clock import SystemClock

    return SystemClock().now()


def _query(asked: dict[str, Any], limit: int | None) -> dict[str, Any]:
    query = {key: value for key, value in asked.items() if value}
    if "severity" in query:
        query["severity"] = [severity.word for severity in query["severity"]]
    return query | ({"limit": min(limit, 1000)} if limit else {})


def _matching(rows: Iterable[Row], asked: dict[str, Any]) -> Iterator[Row]:
    """The daemon lists all events; what is asked for is picked here."""
    words = {severity.word for severity in asked["severity"] or ()}
    for row in rows:
        if (
            (not words or row["severity"] in words)
            and (not asked["collector"] or collector_of(row["item"]) in asked["collector"])
            and (not asked["category"] or row["category"] in asked["category"])
            and (not asked["owner"] or row["owner"] in asked["owner"])
        ):
            yield row


def _refuse_unknown(line: Line, asked: dict[str, Any], rows: list[Row]) -> None:
    """A mistyped collector would else be one of which nothing is ever wrong."""
    wanted = set(asked["collector"]) - {collector_of(row["item"]) for row in rows}
    if not wanted:
        return
    there = [one["name"] for one in line.get("/api/v1/collectors")["collectors"]]
    for name in sorted(wanted - {*there, SELF}):
        raise Stop(Exit.NOT_FOUND, f"no collector is called {name}; there are: {', '.join(there) or 'none'}")


def _count(screen: Screen, rows: list[Row], noun: str, rest: Iterator[Row]) -> None:
    if screen.format is not Format.TABLE:
        return
    if rows:
        screen.print("")
    counts = f": {tally(row['severity'] for row in rows)}" if rows else ""
    left_out = "; there are more than --limit" if next(rest, None) is not None else ""
    screen.print(f"{count_of(len(rows), noun)}{counts}{left_out}")


def _counts(told: dict[str, Any]) -> str:
    """The daemon's totals in one line, whatever severities it counts."""
    said = [f"{count} {plain(word)}" for word, count in told.items() if word != "total" and count]
    return f"{told['total']} ({', '.join(said)})" if said and "total" in told else ", ".join(said) or "none"
