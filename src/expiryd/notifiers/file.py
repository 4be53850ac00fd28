"""Writes each message as a Markdown file of its own, whole or not at all."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import secrets
from contextlib import suppress
from datetime import UTC
from pathlib import Path
from typing import Literal

from expiryd.api import (
    AuthError,
    DeliveryError,
    Event,
    Message,
    Notifier,
    NotifierConfig,
    Receipt,
    Tools,
    TransientError,
    action,
    badge,
    facts,
    headline,
    tally,
)

from ._markup import code, fenced, markdown, markdown_value

MOST_EVENTS = 200
MOST_ITEM = 80
_MEND_IT = frozenset(
    {errno.EACCES, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM, errno.EROFS}
)


class FileConfig(NotifierConfig):
    """`[notifiers.NAME] type = "file"`. The directory is made when only its last part is missing."""

    type: Literal["file"]
    directory: Path

    def build(self, tools: Tools) -> File:
        return File(self.directory, tools)


class File(Notifier):
    def __init__(self, directory: Path, tools: Tools) -> None:
        self._directory = directory
        self._tools = tools

    async def send(self, message: Message) -> Receipt:
        try:
            path = await asyncio.to_thread(deposit, self._directory, message)
        except OSError as error:
            failure = _refusal(error, self._directory)
        else:
            return Receipt(str(path))
        raise failure


def deposit(directory: Path, message: Message) -> Path:
    """Write the message durably; a retry of the same message replaces its own file, whatever time it is then.

    Raises OSError.
    """
    directory.mkdir(mode=0o750, exist_ok=True)
    suffix = hashlib.sha256(message.key.encode("utf-8", "replace")).hexdigest()[:12]
    earlier = next(directory.glob(f"token_expiry_alert_*_{suffix}.md"), None)
    path = earlier or directory / file_name(message, suffix)
    _replace(path, document(message).encode("utf-8", "replace"))
    return path


def file_name(message: Message, suffix: str) -> str:
    """`token_expiry_alert_<ITEM>_<YYYYmmdd_HHMMSS>_<suffix>.md`, in UTC; no name can lead out of the directory."""
    items = {event.item.partition("/")[2] or event.item for event in message.events}
    name = items.pop() if len(items) == 1 else "digest" if items else "message"
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "item"
    return f"token_expiry_alert_{safe[:MOST_ITEM]}_{message.at.astimezone(UTC):%Y%m%d_%H%M%S}_{suffix}.md"


def document(message: Message) -> str:
    """The page, with everything that came from outside made inert. Words of a person's own are the whole page."""
    if "text" in message.own:
        return message.text
    told, left = message.events[:MOST_EVENTS], message.events[MOST_EVENTS:]
    news = "🚨 Token Expiry Alert" if message.firing else "✅ Token Expiry Resolved"
    titles = list(dict.fromkeys(event.title for event in message.events))
    beyond = sum(message.beyond.values())
    kinds = sorted({event.item_kind for event in message.events} - {""})
    head = [
        ("Generated", f"{message.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"),
        ("Severity", message.severity.word.upper()),
        ("Token", code(titles[0]) if len(titles) == 1 else f"{len(titles) + beyond} items" if titles else ""),
        ("Type", markdown(", ".join(kinds))),
        ("Status", markdown(message.subject)),
    ]
    parts = [
        f"# {news} - Infrastructure Team",
        "  \n".join(f"**{label}:** {value}" for label, value in head if value),
        "## Details",
        *([_details(event, message) for event in told] or [fenced(message.text)]),
    ]
    if more := len(left) + beyond:
        parts.append(f"… and {more} more: {markdown(tally(left, message.beyond))}. `expiryd alerts` lists them all.")
    if to_do := [_to_do(event) for event in told if "Do" in dict(facts(event))]:
        parts += ["## Infrastructure Team Action Items", "\n".join(to_do)]
    return "\n\n".join([*parts, f"**Notification ID:** {code(message.key)}"]) + "\n"


def _details(event: Event, message: Message) -> str:
    news = headline(event, message.at)
    rows = [(label, value) for label, value in facts(event) if label != "Do"]
    if event.detail and event.detail not in news:
        rows.insert(0, ("Detail", event.detail))
    if labels := ", ".join(f"{name}={value}" for name, value in event.traits.labels.items()):
        rows.append(("Labels", labels))
    lines = "\n".join(f"- **{label}:** {markdown_value(value)}" for label, value in rows)
    return f"### {badge(event)}: {markdown(news)}\n\n{lines}"


def _to_do(event: Event) -> str:
    traits = event.traits
    who = f" Owner: {markdown(traits.owner)}." if traits.owner else ""
    how = f" Runbook: {markdown_value(traits.runbook)}" if traits.runbook else ""
    return f"- [ ] {code(event.title)}: {action(event.severity, event.aspect)}{who}{how}"


def _replace(path: Path, content: bytes) -> None:
    """Write beside, make durable, rename over: a reader sees the whole file or none, also after a power cut."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _refusal(error: OSError, directory: Path) -> DeliveryError:
    reason = f"cannot write to the directory {directory}: {error.strerror or 'input/output error'}"
    if error.errno in _MEND_IT:
        return AuthError(f"{reason}. Make it a directory the daemon's user may write to")
    if error.errno == errno.ENOENT:
        return TransientError(f"{reason}. Its parent is missing: mount it or make it")
    return TransientError(f"{reason}. Make room or mend the disk")
