"""The verbs that look ahead: `forecast` and `whatif`."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from expiryd.cli.asking import now
from expiryd.cli.checks import formats
from expiryd.cli.columns import Column, Row, minute
from expiryd.cli.exits import Exit, Stop, say
from expiryd.cli.explaining import refuse_unclear
from expiryd.cli.lean import import_structlog_alone
from expiryd.cli.place import Outset
from expiryd.cli.screen import Format, Progress, Screen
from expiryd.core.duration import format_duration
from expiryd.core.foretold import Word, shift_row, shifts, telling_row
from expiryd.core.wording import count_of

if TYPE_CHECKING:
    from expiryd.config.model import Config
    from expiryd.foresight import Forecast

_MOST_DAYS = 400
days = click.option(
    "--days", type=click.IntRange(1, _MOST_DAYS), default=30, show_default=True, metavar="N", help="How far ahead."
)
_MESSAGES = (
    Column("AT (UTC)", lambda row: minute(row["at"])),
    Column("SUBJECT", lambda row: str(row["subject"])),
    Column("TO", lambda row: str(row["notifier"]), "to:"),
    Column("SEVERITY", lambda row: str(row["severity"])),
    Column("EVENTS", lambda row: str(row["events"]), "events:"),
)
_SHIFTS = (
    Column("CHANGE", lambda row: str(row["change"])),
    Column("WHAT", lambda row: str(row["says"])),
    Column("SEVERITY", lambda row: str(row["severity"])),
    Column("TODAY'S RULES (UTC)", lambda row: minute(row["today"]) or "-", "by today's rules:"),
    Column("THEN (UTC)", lambda row: minute(row["then"]) or "-", "then:"),
    Column("TO", lambda row: str(row["notifier"]), "to:"),
)


@click.command()
@days
@click.option("--notifier", multiple=True, metavar="NAME", help="Only what this one hears (repeatable).")
@click.option(
    "--item", multiple=True, metavar="ITEM", help="Only what is about this item: id, part or glob (repeatable)."
)
@formats
@click.pass_obj
def forecast(outset: Outset, days: int, notifier: tuple[str, ...], item: tuple[str, ...], screen: Screen) -> int:
    """Every message that would be sent, when and to whom, if nothing is renewed: the daemon itself on a virtual clock.

    Works on a copy of the state, beside a running daemon or without one. Nothing is sent and nothing is looked at.
    """
    config = outset.config()
    _refuse_unknown(notifier, config)
    found = _foresee(config, outset, days, now(), screen, items=item)
    for name in item:
        if not found.meant[name]:
            refuse_unclear(name, ())
    about = {id for ids in found.meant.values() for id in ids}
    rows = [
        telling_row(one.at, one.notifier, one.message.subject, one.message.events, sum(one.message.beyond.values()))
        for one in found.tellings
        if (not notifier or one.notifier in notifier)
        and (not item or any(event.item in about for event in one.message.events))
    ]
    screen.rows(rows, _MESSAGES)
    if screen.format is Format.TABLE:
        screen.print(("\n" if rows else "") + _summary(rows, days))
        _say_grain(found, screen)
    return Exit.OK


@click.command()
@click.option(
    "--set", "said", multiple=True, required=True, metavar="KEY=VALUE", help="A key of the config: policy.critical=5d."
)
@days
@formats
@click.pass_obj
def whatif(outset: Outset, said: tuple[str, ...], days: int, screen: Screen) -> int:
    """What would be told differently under other rules: more, fewer, earlier, later than by those of today.

    KEY is a key of the configuration with dots, VALUE as in TOML (quotes may be left out): policy.critical=5d,
    policy.ladder=["14d","3d"], categories.cicd.warning=10d.
    """
    tables = _tables(said)
    today, then = outset.config(), outset.config(tables)
    start = now()
    before, after = (_foresee(config, outset, days, start, screen) for config in (today, then))
    told, would = _words(before), _words(after)
    rows = [shift_row(shift) for shift in shifts(told, would)]
    screen.rows(rows, _SHIFTS)
    if screen.format is Format.TABLE:
        screen.print(("\n" if rows else "") + f"in {count_of(days, 'day')}, with {', '.join(said)}:")
        _print_totals(before, after, rows, screen)
        _say_grain(after, screen)
    return Exit.OK


# ── inside ────────────────────────────────────────────────────────────────────────────────────────────


def _foresee(
    config: Config, outset: Outset, days: int, start: datetime, screen: Screen, *, items: Sequence[str] = ()
) -> Forecast:
    import asyncio

    import_structlog_alone()
    from expiryd.foresight import foresee

    progress = Progress(ci=screen.ci)
    progress.tell(f"living through {count_of(days, 'day')}")
    try:
        return asyncio.run(foresee(config, outset.environ, start, days, items))
    except ValueError as problem:
        raise Stop(Exit.CONFIG, str(problem)) from None
    finally:
        progress.end()


def _refuse_unknown(wanted: Sequence[str], config: Config) -> None:
    for name in wanted:
        if name not in config.notifiers:
            there = ", ".join(config.notifiers) or "none"
            raise Stop(Exit.NOT_FOUND, f"no notifier is called {name}; there are: {there}")


def _tables(said: Sequence[str]) -> dict[str, Any]:
    """Each `key.of.the.config=value` as TOML would have it, and a value that is no TOML as text."""
    tables: dict[str, Any] = {}
    for text in said:
        key, mark, value = text.partition("=")
        if not mark or not key.strip():
            raise click.UsageError(f"--set {text}: write KEY=VALUE such as policy.critical=5d")
        for candidate in (value, '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'):
            try:
                table = tomllib.loads(f"{key} = {candidate}")
            except tomllib.TOMLDecodeError:
                continue
            tables = _over(tables, table)
            break
        else:
            raise click.UsageError(f"--set {text}: {key} is no key of a TOML file, such as policy.critical")
    return tables


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: (below.get(key), value) for key, value in above.items()}
    laid = {
        key: _over(old, new) if isinstance(old, dict) and isinstance(new, dict) else new
        for key, (old, new) in both.items()
    }
    return {**below, **laid}


def _words(found: Forecast) -> list[Word]:
    return [Word(one.at, one.notifier, event) for one in found.tellings for event in one.message.events]


def _summary(rows: Sequence[Row], days: int) -> str:
    by = Counter(row["notifier"] for row in rows)
    told = ", ".join(f"{count} to {name}" for name, count in by.most_common())
    head = f"{count_of(len(rows), 'message')} in {count_of(days, 'day')}"
    return f"{head}: {told}" if told else f"{head}: nothing is to be told if nothing changes"


def _print_totals(before: Forecast, after: Forecast, rows: Sequence[Row], screen: Screen) -> None:
    changes = Counter(row["change"] for row in rows)
    counted = ", ".join(f"{changes[word]} {word}" for word in ("more", "fewer", "earlier", "later") if changes[word])
    screen.print(f"  alerts:    {counted or 'nothing is different'}")
    screen.print(f"  messages:  {len(before.tellings)} by today's rules, {len(after.tellings)} then")
    for key in ("severity", "notifier"):
        per: dict[str, Counter[str]] = {}
        for row in rows:
            per.setdefault(row[key], Counter())[row["change"]] += 1
        for name, counts in per.items():
            said = ", ".join(f"{count} {word}" for word, count in counts.items())
            screen.print(f"  {name + ':':<10} {said}")


def _say_grain(found: Forecast, screen: Screen) -> None:
    if found.grain:
        say(f"with {found.items} items moments are rounded up to {format_duration(found.grain)}")
