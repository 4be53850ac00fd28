"""Lines of JSON of which each carries the keyed hash of itself and of the line before it.

The hash is HMAC-SHA256 (RFC 2104) over the line's own text without it, keys sorted, in ASCII. Who can write the files
but not read the key in the state directory can change nothing that is not noticed.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from expiryd.core.view import rfc3339

_PURPOSE = b"expiryd audit trail, version 1"
_ORDER = ("seq", "at", "actor", "action", "item", "detail", "entry", "prev")
"""The keys of a line; `hash` closes it."""
BEGINNING = "0" * 64
"""What the first line of all names as the hash of the line before it."""
TRIMMED, REPAIRED, BROKEN = "trail.trimmed", "trail.repaired", "trail.broken"


@dataclass(frozen=True, slots=True)
class Record:
    """What a line tells. `entry` is the number under which the store knew it; the trail's own lines have none."""

    at: datetime
    actor: str
    action: str
    item: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    entry: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """The end of a chain so far."""

    seq: int = 0
    hash: str = BEGINNING
    entry: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that does not follow from the one before it. `line` counts from 1 within its file; 0: the whole file."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


def derive_key(installation_key: bytes) -> bytes:
    """The trail's key, which is of no use for anything else."""
    return hmac.digest(installation_key, _PURPOSE, sha256)


def seal(record: Record, after: Link, key: bytes) -> tuple[str, Link]:
    """The record as a line (without its end) that follows from `after`, and the new end of the chain."""
    values = {
        "seq": after.seq + 1,
        "at": rfc3339(record.at),
        "actor": record.actor,
        "action": record.action,
        "item": record.item,
        "detail": dict(record.detail),
        "entry": record.entry,
        "prev": after.hash,
    }
    body = _body(values)
    digest = _digest(body, key)
    return f'{body[:-1]},"hash":"{digest}"}}', Link(after.seq + 1, digest, record.entry or after.entry)


def read_line(text: bytes) -> dict[str, Any] | None:
    """The line as it stands, or None when it is none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    known = isinstance(values, dict) and values.keys() == {*_ORDER, "hash"}
    return values if known and _typed(values) else None


def link_of(values: Mapping[str, Any]) -> Link:
    return Link(values["seq"], values["hash"], values["entry"])


@dataclass(slots=True)
class Check:
    """Follows a chain line by line, file by file. `problems` says where it does not hold."""

    key: bytes
    end: Link | None = None
    """The last line that was read, whether it was right or not."""
    before: Link = field(default_factory=Link)
    """The line that the first one names as the one before it, and the file the first one is in."""
    first_file: str = ""
    lines: int = 0
    wanted: str = ""
    """The hash of a line that must be there; `found` says whether it was."""
    found: bool = False
    trimmed: dict[int, str] = field(default_factory=dict)
    """What is on record as trimmed: the number of the last line that went, and its hash."""

    def follow(self, file: str, lines: Iterable[bytes]) -> Iterator[Problem]:
        for number, raw in enumerate(lines, 1):
            self.lines += 1
            values = read_line(raw.rstrip(b"\n")) if raw.endswith(b"\n") else None
            if values is None:
                yield Problem(file, number, "is not a whole line of the trail")
                continue
            if self.end is None:
                self.before, self.first_file = Link(values["seq"] - 1, values["prev"]), file
            if what := self._wrong(values, raw):
                yield Problem(file, number, what)
            if values["action"] == BROKEN:
                yield Problem(file, number, f"lines were lost before this one: {values['detail'].get('lost', '')}")
            if values["action"] == TRIMMED:
                self.trimmed |= _trimmed(values["detail"])
            self.end = link_of(values)
            self.found |= self.end.hash == self.wanted

    def begins_rightly(self) -> bool:
        """With the first line of all, or where the trimmed part ends: also when a death left some of that behind."""
        if self.before == Link():
            return True
        return self.before.seq < max(self.trimmed, default=0) or self.trimmed.get(self.before.seq) == self.before.hash

    def _wrong(self, values: dict[str, Any], raw: bytes) -> str:
        body = _body({key: values[key] for key in _ORDER})
        if raw.rstrip(b"\n") != f'{body[:-1]},"hash":"{values["hash"]}"}}'.encode():
            return "was written again in another form"
        if not hmac.compare_digest(_digest(body, self.key), values["hash"]):
            return "was changed: its hash is not that of its text"
        if self.end is None:
            return ""  # where the chain begins is for the files to say
        if values["seq"] != self.end.seq + 1:
            return f"is line {values['seq']} of the trail and follows line {self.end.seq}: lines were removed or moved"
        return "" if values["prev"] == self.end.hash else "does not follow from the line before it"


def _trimmed(detail: Mapping[str, Any]) -> dict[int, str]:
    match detail:
        case {"lines": [int(), int(last)], "last_hash": str(digest)}:
            return {last: digest}
        case _:
            return {}


def _typed(values: Mapping[str, Any]) -> bool:
    texts = all(isinstance(values[key], str) for key in ("at", "actor", "action", "item", "prev", "hash"))
    numbers = all(type(values[key]) is int for key in ("seq", "entry"))
    if not (texts and numbers and isinstance(values["detail"], dict)):
        return False
    return values["hash"].isascii() and _is_time(values["at"])


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _body(values: Mapping[str, Any]) -> str:
    return json.dumps({key: values[key] for key in _ORDER}, separators=(",", ":"))


def _digest(body: str, key: bytes) -> str:
    return hmac.digest(key, body.encode(), sha256).hex()
