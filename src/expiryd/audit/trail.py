"""The files of the trail: appended to, rotated, trimmed from the oldest end, proven and searched."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from expiryd.audit.chain import (
    BEGINNING,
    BROKEN,
    REPAIRED,
    TRIMMED,
    Check,
    Link,
    Problem,
    Record,
    link_of,
    read_line,
    seal,
)
from expiryd.core.duration import parse_duration

DIRECTORY = "audit"
_NAME = re.compile(r"audit-(\d{6,})\.jsonl")
_PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Keeping:
    """When a file is full, and how much of the past is kept. The file being written is never removed."""

    file_bytes: int = 16 * 1024 * 1024
    age: timedelta | None = None
    total_bytes: int | None = None


class Trail:
    """Written by one process at a time. Every method may block and may raise OSError."""

    def __init__(self, directory: Path, key: bytes, keeping: Keeping | None = None) -> None:
        self.directory = directory
        self.end = Link()
        self._key = key
        self._keeping = keeping or Keeping()
        self._file: Path | None = None
        self._size = 0

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────

    def open(self, head: tuple[int, str] | None, now: datetime) -> None:
        """Find the end of the chain. A torn last line is cut off, and both that and a lost one are put on record.

        `head`: the entry number and hash of the last line that the store knows to be written.
        """
        self.directory.mkdir(mode=0o700, exist_ok=True)
        files = _files(self.directory)
        torn = _cut(files[-1]) if files else 0
        self.end = _end(files)
        self._file = files[-1] if files else None
        self._size = self._file.stat().st_size if self._file else 0
        if torn:
            self.append([Record(now, "system", REPAIRED, detail={"removed_bytes": torn})])
        if head is not None and not self._knows(head, files):
            lost = f"the store knows of entry {head[0]}, the files end with entry {self.end.entry}"
            self.append([Record(now, "system", BROKEN, detail={"lost": lost})])

    def unmarked(self, head: tuple[int, str] | None, first: int) -> dict[int, tuple[str, int]]:
        """What was written and never marked, because its writer died: by entry its time and how many lines it has.

        Only entries from `first` on. Numbers that begin anew are those of a database that was put back: its entries
        are others, which their time shows.
        """
        found: dict[int, tuple[str, int]] = {}
        before = None
        for path in reversed(_files(self.directory)):
            for values in _backwards(path):
                number = values["entry"]
                if (head and values["hash"] == head[1]) or 0 < number < first or (before and number > before):
                    return found
                if number:
                    before = number
                    found[number] = (values["at"], found.get(number, ("", 0))[1] + 1)
        return found

    def append(self, records: Sequence[Record]) -> None:
        """Write them behind the end, on disk when it returns. What fails half-way is cut off again."""
        if not records:
            return
        path = self._writable()
        end, text = self.end, []
        for record in records:
            line, end = seal(record, end, self._key)
            text.append(line + "\n")
        data = "".join(text).encode()
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            _write(descriptor, data)
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, self._size)
            raise
        finally:
            os.close(descriptor)
        self.end, self._size = end, self._size + len(data)

    def trim(self, now: datetime) -> int:
        """Remove the oldest files that are past their time or too many; how many. The chain says which and why."""
        files = _files(self.directory)[:-1]
        sizes = {path: path.stat().st_size for path in files}
        total = sum(sizes.values()) + self._size
        gone: list[Path] = []
        for path in files:
            if not self._is_too_old(path, now) and not self._is_too_much(total):
                break
            gone.append(path)
            total -= sizes[path]
        if not gone:
            return 0
        first, last = _first_line(gone[0]), _last_line(gone[-1])
        detail = {
            "files": [gone[0].name, gone[-1].name],
            "lines": [first["seq"] if first else 0, last["seq"] if last else 0],
            "last_hash": last["hash"] if last else BEGINNING,
        }
        self.append([Record(now, "system", TRIMMED, detail=detail)])
        for path in gone:
            path.unlink()
        _sync(self.directory)
        return len(gone)

    def _writable(self) -> Path:
        if self._file is None or self._size >= self._keeping.file_bytes:
            number = _number(self._file) + 1 if self._file else 1
            path = self.directory / f"audit-{number:06d}.jsonl"
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            _sync(self.directory)
            self._file, self._size = path, 0
        return self._file

    def _knows(self, head: tuple[int, str], files: Sequence[Path]) -> bool:
        """Nearly always it is the last line; after a crash a few more may stand behind it."""
        if self.end.hash == head[1]:
            return True
        return any(values["hash"] == head[1] for path in reversed(files) for values in _backwards(path))

    def _is_too_old(self, path: Path, now: datetime) -> bool:
        last = _last_line(path)
        return self._keeping.age is not None and last is not None and _at(last) < now - self._keeping.age

    def _is_too_much(self, total: int) -> bool:
        return self._keeping.total_bytes is not None and total > self._keeping.total_bytes


# ── proving ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Proof:
    """How many lines of how many files were followed, and what is wrong with them."""

    lines: int
    files: int
    problems: Sequence[Problem] = ()


def verify(directory: Path, key: bytes, head: tuple[int, str] | None) -> Proof:
    """Follow the whole chain. `head` is what the store knows of its end. Raises OSError.

    Also beside the daemon, when `head` was asked for first: a line that is being written is no problem, and a file
    that is trimmed meanwhile is one only if nothing says that it was.
    """
    files = _files(directory)
    problems: list[Problem] = []
    check = Check(key, wanted=head[1] if head else "")
    for place, path in enumerate(files):
        if place and _number(path) != _number(files[place - 1]) + 1:
            problems.append(Problem(path.name, 0, f"follows {files[place - 1].name}: a file between them is gone"))
        with suppress(FileNotFoundError), path.open("rb") as lines:
            problems += check.follow(path.name, _whole(lines) if head and path == files[-1] else lines)
    if not check.begins_rightly():
        gone = "the lines before it are gone, and nothing says they were trimmed"
        problems.insert(0, Problem(check.first_file, 1, gone))
    if head is not None and not check.found:
        end = f"ends with entry {check.end.entry}" if check.end else "is gone"
        where = files[-1].name if files else str(directory)
        problems.append(
            Problem(where, 0, f"the trail {end}, but was written up to entry {head[0]}: its end is missing")
        )
    return Proof(check.lines, len(files), problems)


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Query:
    """Which lines are wanted: between two times, of an actor, an action (`alert.` for all of them), an item."""

    since: datetime | None = None
    until: datetime | None = None
    actor: str = ""
    action: str = ""
    item: str = ""

    def wants(self, values: Mapping[str, Any], events: Sequence[int] = ()) -> bool:
        """`events`: those of the item, by which a message tells of it that names only some of its many items."""
        if (self.since or self.until) and not self._is_in_time(_at(values)):
            return False
        if self.actor and self.actor not in (values["actor"], values["actor"].partition(":")[2]):
            return False
        action = values["action"]
        if self.action and action != self.action and not action.startswith(self.action.rstrip(".") + "."):
            return False
        return not self.item or self.item == values["item"] or _tells_of(values["detail"], self.item, events)

    def _is_in_time(self, at: datetime) -> bool:
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


def parse_past(text: str, now: datetime, zone: tzinfo) -> datetime:
    """`2d` (so long ago), a date (its beginning in the zone) or a time (in the zone unless it says one).

    Raises ValueError with the accepted forms.
    """
    try:
        return now - parse_duration(text)
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment if moment.tzinfo else moment.replace(tzinfo=zone)
    except ValueError:
        raise ValueError(f"{text!r} is no time: write 2d for two days ago, 2030-01-31 or 2030-01-31T12:00") from None


def search(directory: Path, query: Query, *, before: int | None = None) -> Iterator[dict[str, Any]]:
    """The lines that are wanted, newest first, before line number `before`. What is no line is left out."""
    events = _events_of(directory, query.item) if query.item else []
    for path in reversed(_files(directory)):
        for values in _backwards(path):
            if (before is None or values["seq"] < before) and query.wants(values, events):
                yield values


def _events_of(directory: Path, item: str) -> list[int]:
    needle, events = json.dumps(item).encode(), []
    for path in _files(directory):
        with suppress(FileNotFoundError), path.open("rb") as file:
            for values in filter(None, (read_line(raw) for raw in file if needle in raw)):
                number = values["detail"].get("event")
                if values["item"] == item and isinstance(number, int):
                    events.append(number)
    return events


def _tells_of(detail: Mapping[str, Any], item: str, events: Sequence[int]) -> bool:
    match detail:
        case {"items": list(items), "count": int(count), "events": list(ranges)}:
            if item in items or len(items) >= count:
                return item in items
            pairs = [pair for pair in ranges if isinstance(pair, list) and [*map(type, pair)] == [int, int]]
            return any(first <= number <= last for first, last in pairs for number in events)
        case {"items": list(items)}:
            return item in items
        case _:
            return False


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────


def _files(directory: Path) -> list[Path]:
    found = [path for path in directory.glob("audit-*.jsonl") if _NAME.fullmatch(path.name)]
    return sorted(found, key=_number)


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def _backwards(path: Path) -> Iterator[dict[str, Any]]:
    """The newest line first, read in pieces: the newest few cost little however large the file. None if it is gone."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        place, rest = file.seek(0, os.SEEK_END), b""
        while place:
            start = max(place - _PIECE, 0)
            file.seek(start)
            rest, *whole = (file.read(place - start) + rest).split(b"\n")
            place = start
            yield from filter(None, map(read_line, reversed(whole)))
        if (first := read_line(rest)) is not None:
            yield first


def _whole(lines: Iterable[bytes]) -> Iterator[bytes]:
    return (line for line in lines if line.endswith(b"\n"))


def _first_line(path: Path) -> dict[str, Any] | None:
    with path.open("rb") as file:
        return next(filter(None, map(read_line, file)), None)


def _last_line(path: Path) -> dict[str, Any] | None:
    return next(_backwards(path), None)


def _end(files: Sequence[Path]) -> Link:
    """The last line, with the number of the last entry: the trail's own lines have none."""
    end: Link | None = None
    for path in reversed(files):
        for values in _backwards(path):
            end = end or link_of(values)
            if values["entry"]:
                return Link(end.seq, end.hash, values["entry"])
    return end or Link()


def _cut(path: Path) -> int:
    """Take a torn last line away; how many bytes it had."""
    with path.open("r+b") as file:
        size = whole = file.seek(0, os.SEEK_END)
        found = -1
        while whole and found < 0:
            start = max(whole - _PIECE, 0)
            file.seek(start)
            found = file.read(whole - start).rfind(b"\n")
            whole = start + found + 1
        if whole == size:
            return 0
        file.truncate(whole)
        os.fsync(file.fileno())
        return size - whole


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _at(values: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(values["at"])
