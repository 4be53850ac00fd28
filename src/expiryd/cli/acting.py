"""The verbs of people who act on open matters: `ack`, `snooze`, `silence`, `maintenance`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import wraps
from typing import Any
from urllib.parse import quote

import click

from expiryd.cli.asking import now
from expiryd.cli.checks import formats
from expiryd.cli.columns import Row, minute, of_silences
from expiryd.cli.exits import Exit, Stop
from expiryd.cli.line import Line
from expiryd.cli.place import Outset
from expiryd.cli.screen import Format, Screen
from expiryd.core.wording import count_of, plain

MAINTENANCE = "maintenance: "
"""How the reason of a silence begins that `maintenance start` made, and that `maintenance stop` ends."""
MOST_NAMED = 10
_GLOB = "*?["

reason = click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept with your name.")


def _end(verb: Callable[..., Any]) -> Callable[..., Any]:
    """`--for` and `--until`, of which exactly one must be given; they become the argument `until`."""

    @wraps(verb)
    def wrapped(*args: Any, span: str | None, until: str | None, **rest: Any) -> Any:
        if (span is None) == (until is None):
            raise click.UsageError("say until when: give --for 2d or --until 2026-12-01, one of them")
        return verb(*args, until=span or until, **rest)

    for option in (
        click.option("--until", metavar="WHEN", help="A date (to the end of that day) or a time."),
        click.option("--for", "span", metavar="SPAN", help="A span such as 2h or 2d."),
    ):
        wrapped = option(wrapped)
    return wrapped


@click.command()
@click.argument("alert")
@click.option("--until", metavar="WHEN", help="A span such as 2d, a date (to the end of that day) or a time.")
@click.option("--until-renewed", is_flag=True, help="Until it is over, even when the severity rises.")
@click.option("--undo", is_flag=True, help="Let go of it again: reminders go on.")
@click.option("--reason", metavar="TEXT", help="Why; it is kept with your name.")
@click.pass_obj
def ack(outset: Outset, alert: str, *, until: str | None, until_renewed: bool, undo: bool, reason: str | None) -> int:
    """Take an open alert in hand: nobody is reminded of it or escalated to.

    Until it is over, until its severity rises, or until the end given here. ALERT is an id of `expiryd alerts`, or a
    part or glob that means one of them.
    """
    line = Line(outset.socket)
    if undo:
        told = _ask(line, "DELETE", _ack_of(_meant(line, alert)))
        print(plain(f"{told['id']}: in nobody's hand"))
        return Exit.OK
    if reason is None:
        raise click.UsageError("say why: --reason TEXT")
    body = {"reason": reason, "until_renewed": until_renewed} | ({"until": until} if until else {})
    told = _ask(line, "POST", _ack_of(_meant(line, alert)), body)
    taken = told["acknowledged"]
    end = f", until {minute(taken['until'])} UTC" if taken["until"] else ", until it is over" if until_renewed else ""
    print(plain(f"{told['id']}: in the hand of {taken['actor']}{end}: {taken['reason']}"))
    return Exit.OK


@click.command()
@click.argument("alert")
@_end
@reason
@click.pass_obj
def snooze(outset: Outset, alert: str, until: str, reason: str) -> int:
    """Hear nothing of one alert for a while; what still holds then is told. ALERT is as for `ack`."""
    line = Line(outset.socket)
    meant = _meant(line, alert)
    row = _ask(line, "POST", f"{_alert(meant)}/snooze", {"until": until, "reason": reason})
    print(plain(f"{meant}: silenced until {minute(row['ends_at'])} UTC by silence {row['id']}: {row['reason']}"))
    return Exit.OK


@click.group()
def silence() -> None:
    """Hear nothing of what matches, for a while; what still holds then is told."""


@silence.command("add")
@click.argument("matchers", nargs=-1, required=True, metavar="MATCHER...")
@_end
@reason
@click.pass_obj
def silence_add(outset: Outset, matchers: tuple[str, ...], until: str, reason: str) -> int:
    """Hear nothing of what matches all of MATCHER.

    MATCHER is KEY=VALUE with a key of severity, category, collector, owner, kind, item, aspect, generation, event or
    labels.NAME; in VALUE `*` stands for anything. A key given twice means either.
    """
    _say(_silence(Line(outset.socket), matchers, until, reason))
    return Exit.OK


@silence.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that are over.")
@formats
@click.pass_obj
def silence_list(outset: Outset, /, screen: Screen, everything: bool) -> int:
    """List the silences, the one that ends first at the top."""
    rows = _silences(Line(outset.socket), everything)
    screen.rows(rows, of_silences(now()))
    if screen.format is Format.TABLE:
        screen.print(("\n" if rows else "") + count_of(len(rows), "silence"))
    return Exit.OK


@silence.command("expire")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.pass_obj
def silence_expire(outset: Outset, ids: tuple[str, ...]) -> int:
    """End silences now. ID is one of `expiryd silence list`. One that is not there keeps no other."""
    failed: list[Stop] = []
    for one in ids:
        try:
            _say_ended(_expire(Line(outset.socket), one))
        except Stop as stop:
            failed.append(stop)
    if failed:
        raise Stop(failed[0].code, *(line for stop in failed for line in stop.lines))
    return Exit.OK


@click.group()
def maintenance() -> None:
    """A silence of everything, or of what matches, while you work on it."""


@maintenance.command("start")
@click.argument("matchers", nargs=-1, metavar="[MATCHER]...")
@_end
@reason
@click.pass_obj
def maintenance_start(outset: Outset, matchers: tuple[str, ...], until: str, reason: str) -> int:
    """Begin: MATCHER is as for `silence add`; without one everything is meant."""
    _say(_silence(Line(outset.socket), matchers, until, MAINTENANCE + reason))
    return Exit.OK


@maintenance.command("stop")
@click.pass_obj
def maintenance_stop(outset: Outset) -> int:
    """End all that was begun: what still holds is told now."""
    line = Line(outset.socket)
    begun = [row for row in _silences(line, False) if row["reason"].startswith(MAINTENANCE)]
    for row in begun:
        _say_ended(_expire(line, row["id"]))
    if not begun:
        raise Stop(Exit.NOT_FOUND, "no maintenance is under way; `expiryd silence list` lists what is silenced")
    return Exit.OK


# ── the alert that is meant ───────────────────────────────────────────────────────────────────────────


def _meant(line: Line, text: str) -> str:
    """The id of the one open alert that is meant. Raises Stop."""
    part, _, _ = text.partition("#")
    query = {} if any(sign in text for sign in _GLOB) else {"q": part}
    rows = list(line.pages("/api/v1/alerts", query))
    for fits in _WAYS:
        found = [row for row in rows if fits(row, text)]
        if len(found) == 1:
            return str(found[0]["id"])
        if found:
            names = [plain(row["id"]) for row in found]
            more = [f"… and {len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
            head = f"{plain(text)} means {len(names)} open alerts; which one?"
            raise Stop(Exit.ERROR, head, *(f"    {name}" for name in names[:MOST_NAMED]), *more)
    raise Stop(Exit.NOT_FOUND, f"no open alert is called {text!r}; `expiryd alerts` lists them")


_WAYS: tuple[Callable[[Row, str], bool], ...] = (
    lambda row, text: row["id"] == text,
    lambda row, text: text in (row["item"], row["title"]),
    lambda row, text: fnmatchcase(row["id"], text) or fnmatchcase(row["item"], text),
    lambda row, text: text.casefold() in f"{row['id']}\n{row['title']}".casefold(),
)
"""From the strictest to the most generous reading."""


def _alert(alert: str) -> str:
    return f"/api/v1/alerts/{quote(alert, safe='')}"


def _ack_of(alert: str) -> str:
    return f"{_alert(alert)}/ack"


# ── silences ──────────────────────────────────────────────────────────────────────────────────────────


def _silence(line: Line, matchers: tuple[str, ...], until: str, reason: str) -> Row:
    return _ask(line, "POST", "/api/v1/silences", {"matchers": list(matchers), "until": until, "reason": reason})


def _silences(line: Line, everything: bool) -> list[Row]:
    rows: list[Row] = line.get("/api/v1/silences", {"over": "yes"} if everything else None)["silences"]
    return rows


def _expire(line: Line, id: str) -> Row:
    return _ask(line, "DELETE", f"/api/v1/silences/{quote(id, safe='')}")


def _ask(line: Line, method: str, target: str, body: Mapping[str, Any] | None = None) -> Row:
    answer = line.ask(method, target, body=body)
    if answer.status == 400:
        raise click.UsageError(answer.problem)
    row: Row = line.expect(answer)
    return row


def _say(row: Row) -> None:
    print(plain(f"{row['id']}: {row['matches']} silenced until {minute(row['ends_at'])} UTC: {row['reason']}"))


def _say_ended(row: Row) -> None:
    print(plain(f"{row['id']}: the silence of {row['matches']} is over"))
