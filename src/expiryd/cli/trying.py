"""The verbs that try what is configured without doing it: `routes test` and `notify render`."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from expiryd.cli.asking import now
from expiryd.cli.exits import Exit, Stop, harmless
from expiryd.cli.explaining import refuse_unclear, route_lines
from expiryd.cli.lean import import_structlog_alone
from expiryd.cli.place import Outset
from expiryd.cli.screen import Screen
from expiryd.core.model import BLIND, Basis, Event, EventKind, Severity
from expiryd.core.wording import plain


@click.group()
def routes() -> None:
    """Ask who hears of what."""


@routes.command("test")
@click.argument("said", nargs=-1, metavar="KEY=VALUE...")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def routes_test(outset: Outset, said: tuple[str, ...], as_json: bool) -> int:
    """Who would hear of news like this now, at which hours, and why: severity=critical category=cicd labels.env=prod.

    What is not said is a raised warning about the end of a nameless item.
    """
    import_structlog_alone()
    from expiryd.core.matching import imagine
    from expiryd.core.routing import trials
    from expiryd.core.silencing import muting
    from expiryd.engine.graph import hears_of
    from expiryd.engine.muting import hush_of
    from expiryd.explaining import route_row

    screen, moment, config = Screen(), now(), outset.config()
    try:
        event = imagine(said, moment)
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None
    hush = hush_of(config)
    hears = hears_of(hush.routes, config.notifiers)(event)
    rows = [route_row(trial) for trial in trials(event, hush.routes)]
    told: list[dict[str, Any]] = []
    for name in hears:
        mute = muting(hush, name, moment)(event)
        until = mute.until.isoformat() if mute and mute.until else None
        told.append({"notifier": name, "held_until": until, "reason": mute.reason if mute else ""})
    if as_json:
        screen.print(json.dumps({"routes": rows, "hears": told}, indent=2))
        return Exit.OK
    for line in route_lines(rows, list(config.notifiers)):
        screen.print(harmless(line))
    screen.print("")
    for one in told:
        screen.print(harmless(f"{one['notifier']}: {one['reason'] or 'hears it now'}"))
    if not told:
        screen.print(harmless("nobody would hear of it"))
    return Exit.OK


@click.command("render")
@click.option("--notifier", metavar="NAME", help="With the templates of this one; else the first.")
@click.option(
    "--event", "kind", type=click.Choice([kind.value for kind in EventKind]), default="raised", help="Of which kind."
)
@click.option("--item", metavar="ITEM", help="The newest event of this item; else a made-up one.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write its HTML to this file, too.")
@click.pass_obj
def render(outset: Outset, notifier: str | None, kind: str, item: str | None, html: Path | None) -> int:
    """Print a message as it would be sent, through the notifier's templates; nothing is sent."""
    import asyncio

    import_structlog_alone()
    from expiryd.core.render import render as worded
    from expiryd.engine.lettering import reword, stationery_of
    from expiryd.engine.simulation import Mute
    from expiryd.explaining import newest

    screen, config, moment = Screen(), outset.config(), now()
    name = notifier or next(iter(config.notifiers), "")
    if notifier and notifier not in config.notifiers:
        there = ", ".join(config.notifiers) or "none"
        raise Stop(Exit.NOT_FOUND, f"no notifier is called {notifier}; there are: {there}")
    event: Event | None = _sample(EventKind(kind), moment)
    if item is not None:
        meant, event = asyncio.run(newest(config, outset.environ, item, moment))
        if len(meant) > 1:
            refuse_unclear(item, meant)
    if event is None:
        raise Stop(
            Exit.NOT_FOUND, f"nothing has happened to {item!r} as far as it is kept; `expiryd events` lists what has"
        )
    from expiryd.api import Message

    usual = worded([event], moment)
    severity = Severity.HEALTHY if event.kind.closes else event.severity
    message = Message(
        "sample",
        usual.subject,
        usual.text,
        usual.html,
        severity,
        firing=not event.kind.closes,
        at=moment,
        events=(event,),
    )
    message, wrong = asyncio.run(reword(message, stationery_of(config.notifiers).get(name), Mute()))
    screen.print(plain(f"To:      {name or 'nobody: there are no notifiers'}"))
    screen.print(plain(f"Subject: {message.subject}") + "\n")
    for line in message.text.splitlines():
        screen.print(harmless(line))
    if html is not None:
        html.write_text(message.html, encoding="utf-8")
    if wrong is not None:
        raise Stop(Exit.ERROR, wrong.detail)
    return Exit.OK


def _sample(kind: EventKind, moment: datetime) -> Event:
    from expiryd.core.matching import imagine

    said = ("severity=critical", f"event={kind}", "item=sample/DEPLOY_TOKEN", "kind=token", "owner=platform")
    made = imagine(said, moment)
    sample = replace(made, title="DEPLOY_TOKEN", expires_at=moment + timedelta(days=3), basis=Basis.TYPED)
    return replace(sample, **_like(kind, moment))


def _like(kind: EventKind, moment: datetime) -> dict[str, Any]:
    """What a real event of this kind says besides."""
    likes: dict[EventKind, dict[str, Any]] = {
        EventKind.WORSENED: {"before": Severity.WARNING, "rung": "7d"},
        EventKind.RUNG: {"before": Severity.CRITICAL, "rung": "3d"},
        EventKind.REPEATED: {"before": Severity.CRITICAL},
        EventKind.ESCALATED: {"before": Severity.CRITICAL},
        EventKind.EASED: {"severity": Severity.WARNING, "before": Severity.CRITICAL},
        EventKind.RENEWED: {
            "expires_at": moment + timedelta(days=90),
            "detail": "renewed 4 days after the first notice",
        },
        EventKind.RESOLVED: {"aspect": "placeholder"},
        EventKind.VANISHED: {"detail": "no longer found by a complete look"},
        EventKind.BLIND: {"aspect": BLIND, "detail": "connection refused"},
        EventKind.SIGHTED: {"aspect": BLIND},
        EventKind.ACKNOWLEDGED: {"before": Severity.CRITICAL, "detail": "ann: ticket 4711"},
    }
    return likes.get(kind, {})
