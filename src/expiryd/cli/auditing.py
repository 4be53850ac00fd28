"""`expiryd audit`: read the trail, prove it, and search every output for secrets. Works on the files, with or without
a daemon."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from expiryd.cli.checks import formats
from expiryd.cli.columns import Column, Row, minute
from expiryd.cli.exits import Exit, Stop, say
from expiryd.cli.lean import import_structlog_alone
from expiryd.cli.place import Outset
from expiryd.cli.screen import Format, Screen
from expiryd.core.wording import count_of

if TYPE_CHECKING:
    from expiryd.config.model import Config

LIMIT = 100
_SHORTEST = 6
"""A shorter value is found everywhere and proves nothing."""
_PIECE = 1 << 20
LINES = (
    Column("AT (UTC)", lambda row: minute(row["at"])),
    Column("ACTOR", lambda row: row["actor"]),
    Column("ACTION", lambda row: row["action"]),
    Column("ITEM", lambda row: row["item"]),
    Column("DETAIL", lambda row: _detail(row["detail"])),
)


@click.group("audit", invoke_without_command=True)
@click.option("--since", metavar="TIME", help="From then on: 2d (ago), 2030-01-31, 2030-01-31T12:00.")
@click.option("--until", metavar="TIME", help="Before then.")
@click.option("--actor", "--user", default="", metavar="NAME", help="By this actor: system, user:anna, anna, token:ci.")
@click.option("--action", default="", metavar="WORD", help="Of this action: alert, alert.raised, message.delivered.")
@click.option("--item", default="", metavar="ITEM", help="About this item.")
@click.option("--limit", type=click.IntRange(1), default=LIMIT, show_default=True, metavar="N", help="At most so many.")
@formats
@click.pass_context
def audit(context: click.Context, /, screen: Screen, limit: int, **asked: Any) -> int:
    """List what the audit trail says, newest first: looks, alerts, messages, and what people did."""
    if context.invoked_subcommand is not None:
        return Exit.OK
    from expiryd.audit.trail import Query, search

    config = context.obj.config()
    query = Query(**_times(config, asked), actor=asked["actor"], action=asked["action"], item=asked["item"])
    rows = list(islice(search(_directory(config), query), limit))
    screen.rows(rows, LINES)
    if screen.format is Format.TABLE and not rows:
        screen.print("nothing on record")
    return Exit.OK


@audit.command("verify")
@click.pass_obj
def verify(outset: Outset) -> int:
    """Prove that no line was edited, removed, moved or cut off. Exit 1 names every line that is wrong."""
    import asyncio

    from expiryd.audit.trail import verify as prove

    config = outset.config()
    trail = _directory(config)
    key, head = asyncio.run(_known(config, outset))
    proof = prove(trail, key, head)
    if proof.problems:
        raise Stop(Exit.ERROR, *map(str, proof.problems))
    told = f"{trail}: {proof.lines} lines in {count_of(proof.files, 'file')} follow from each other"
    if head is None and proof.lines:
        raise Stop(
            Exit.ERROR, f"{told}, but the database, which knows the last one, is gone or new: some may be missing"
        )
    print(f"{told}, to the last one")
    return Exit.OK


@audit.command("exposure")
@click.pass_obj
def exposure(outset: Outset) -> int:
    """Search every output (trail, database, log, written notifications) for the secrets that the config names.

    Exit 1 says where one was found, and never the value.
    """
    import asyncio

    config = outset.config()
    secrets, skipped = asyncio.run(_secrets(config, outset))
    for reason in skipped:
        say(f"not searched: {reason}")
    files = sorted({path for root in _outputs(config) for path in _files(root)})
    found = [f"{path}: holds the secret of {name}" for path in files for name in _held(path, secrets)]
    if found:
        raise Stop(Exit.ERROR, *found)
    print(f"{len(secrets)} secrets, {len(files)} files: none is in any of them")
    return Exit.OK


ALIASES = [
    click.Command(name, params=audit.params, callback=audit.callback, help="The same as `audit`.", hidden=True)
    for name in ("audit-log", "audit-trail")
]


def _times(config: Config, asked: dict[str, Any]) -> dict[str, Any]:
    from expiryd.audit.trail import parse_past
    from expiryd.cli.asking import now

    times = {}
    for key in ("since", "until"):
        if asked[key]:
            try:
                times[key] = parse_past(asked[key], now(), config.daemon.timezone)
            except ValueError as problem:
                raise click.UsageError(f"--{key}: {problem}") from None
    return times


def _directory(config: Config) -> Path:
    from expiryd.audit.trail import DIRECTORY

    path = config.daemon.state_dir / DIRECTORY
    if not path.is_dir():
        raise Stop(Exit.ERROR, f"{path}: there is no audit trail; the daemon makes it when it starts")
    next(path.iterdir(), None)  # who may not read it is told so
    return path


async def _known(config: Config, outset: Outset) -> tuple[bytes, tuple[int, str] | None]:
    """The key, and what the database knows of the trail's end."""
    import_structlog_alone()
    from expiryd.app import trail_head
    from expiryd.audit.chain import derive_key
    from expiryd.secrets import KEY_NAME, load_fingerprint_key

    path = config.daemon.state_dir / KEY_NAME
    if not path.exists():  # loading it would make another
        raise Stop(Exit.ERROR, f"{path}: the key of the trail is gone, and nothing is proven without: restore it")
    return derive_key(load_fingerprint_key(config.daemon.state_dir)), await trail_head(config, outset.environ)


async def _secrets(config: Config, outset: Outset) -> tuple[dict[str, tuple[bytes, ...]], list[str]]:
    """By the place in the config that names it, as it may be written; and what could not be read, with the reason."""
    import_structlog_alone()
    from expiryd.api import SecretError
    from expiryd.config.walk import secret_refs
    from expiryd.redact import spellings_of
    from expiryd.secrets import Secrets

    known, skipped = dict[str, tuple[bytes, ...]](), []
    if config.daemon.database is not None:
        skipped.append("the database on its server: search a dump of it")
    resolver = Secrets(outset.environ)
    for place, ref in secret_refs(config):
        try:
            value = (await resolver.read(ref)).reveal()
        except SecretError as problem:
            skipped.append(f"{place}: {problem}")
            continue
        if len(value) < _SHORTEST:
            skipped.append(f"{place}: it is shorter than {_SHORTEST} characters")
        else:
            known[place] = tuple({form.encode("utf-8", "surrogateescape") for form in spellings_of(value)})
    return known, skipped


def _outputs(config: Config) -> Iterator[Path]:
    """Where expiryd writes."""
    yield config.daemon.state_dir
    if config.daemon.log_file is not None:
        yield from config.daemon.log_file.parent.glob(f"{config.daemon.log_file.name}*")
    for notifier in config.notifiers.values():
        directory = getattr(notifier, "directory", None)
        if isinstance(directory, Path):
            yield directory


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
    elif root.is_dir():
        yield from (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def _held(path: Path, secrets: dict[str, tuple[bytes, ...]]) -> list[str]:
    """In pieces that overlap, so that a large file takes little memory and no value hides on a border."""
    overlap = max((len(form) for forms in secrets.values() for form in forms), default=1) - 1
    found: dict[str, None] = {}
    with path.open("rb") as file:
        rest = b""
        while piece := file.read(_PIECE):
            text = rest + piece
            found |= {name: None for name, forms in secrets.items() if any(form in text for form in forms)}
            rest = text[-overlap:] if overlap else b""
    return list(found)


def _detail(detail: Row) -> str:
    pairs = ((key, "; ".join(map(str, value)) if isinstance(value, list) else value) for key, value in detail.items())
    return ", ".join(f"{key} {value}" for key, value in pairs if key not in ("items", "events") and value != "")
