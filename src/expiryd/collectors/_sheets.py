"""Reads lists of things that people keep as CSV, JSON, YAML or TOML, without being flooded or crashed by them."""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from expiryd.api import CollectError
from expiryd.collectors._files import shown

MOST_TABLES = 1_000_000
DEEPEST = 20
EXTRA = "\0extra"
"""The key under which a row keeps the fields for which the header has no column."""

_KEY_PARTS = 40
_LONG_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){40}""")
_EMPTY_WORDS = frozenset({"", "~", "null", "Null", "NULL"})
_AT = re.compile(r"\(at (?:line (\d+), column \d+|end of document)\)")
_Row = tuple[str, object]


@dataclass(frozen=True, slots=True)
class Sheet:
    """The rows of one file, each with its place (`line 7`, `entry 3`), and what is odd about the file as a whole.

    `repeated` fills while the file is parsed: keys of which only the last value is left.
    """

    rows: Iterator[_Row]
    columns: tuple[str, ...] = ()
    repeated: list[str] = field(default_factory=list)


def read_sheet(path: Path, content: bytes) -> Sheet:
    """Rows by the file's ending. They are text, or what the format itself has: numbers, dates, lists, tables.

    A list of tables stands at the top or under `items`; there it may also be a table of tables by name.
    Raises CollectError, also while the rows are iterated, naming the file, the place and what to do.
    """
    if path.suffix.lower() == ".csv":
        return _csv_sheet(path, content)
    parse = _PARSERS[path.suffix.lower()]
    repeated: list[str] = []
    try:
        document = parse(content.decode("utf-8-sig"), repeated)
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from None
    except RecursionError:
        raise CollectError(f"{shown(path)} is nested too deeply to be a list of tables") from None
    except (ValueError, yaml.YAMLError) as error:
        raise CollectError(f"{shown(path)}{_where(error)}; correct it there") from None
    return Sheet(_rows(path, document), repeated=repeated)


def _not_text(path: Path, error: UnicodeDecodeError) -> CollectError:
    return CollectError(f"{shown(path)} is not UTF-8 text (byte {error.object[error.start]:#04x}): save it as UTF-8")


def _rows(path: Path, document: object) -> Iterator[_Row]:
    items = document.get("items") if isinstance(document, dict) else document
    if isinstance(items, dict):
        for name, row in items.items():
            yield f"items.{name}", {"name": name, **row} if isinstance(row, dict) else row
    elif isinstance(items, list):
        for number, row in enumerate(items, 1):
            yield f"entry {number}", row
    else:
        raise CollectError(f"{shown(path)} holds no list of tables: put them into a list called `items`")


# ── formats ───────────────────────────────────────────────────────────────────────────────────────────


def _csv_sheet(path: Path, content: bytes) -> Sheet:
    """RFC 4180 with a header line; `;` and tabs separate too when the header uses them, as spreadsheets export."""
    head = content.partition(b"\n")[0].decode("ascii", "replace")
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")
    lines = _csv_rows(path, csv.reader(text, delimiter=max(",;\t", key=head.count), strict=True))
    header = tuple(column.strip().lower() for column in next(lines, ("", []))[1])
    if "name" not in header:
        raise CollectError(f"{shown(path)} has no column `name`: its first line names them, as in name,expires,owner")
    rows = ((place, _csv_row(header, fields)) for place, fields in lines)
    return Sheet(rows, tuple(column for column in header if column), _repeated(filter(None, header)))


def _repeated(keys: Iterable[str]) -> list[str]:
    return [key for key, times in Counter(keys).items() if times > 1]


def _csv_rows(path: Path, reader: Any) -> Iterator[tuple[str, list[str]]]:
    try:
        for fields in reader:
            if any(fields):
                yield f"line {reader.line_num}", fields
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from None
    except csv.Error as error:
        raise CollectError(f"{shown(path)}, line {reader.line_num}: {error}; correct it there") from None


def _csv_row(header: tuple[str, ...], fields: list[str]) -> dict[str, object]:
    row: dict[str, object] = dict(zip(header, fields, strict=False))
    row.pop("", None)
    if len(fields) > len(header) and any(fields[len(header) :]):
        row[EXTRA] = True
    return row


def _parse_toml(text: str, _repeated: list[str]) -> object:
    for number, line in enumerate(text.splitlines(), 1):
        # tomllib takes the square of a dotted key's length: 80 kB of one are half a minute
        if line.count(".") >= _KEY_PARTS and _LONG_KEY.search(line):
            raise ValueError(f"line {number}: a key of more than {_KEY_PARTS} parts")
    return tomllib.loads(text)


def _parse_json(text: str, repeated: list[str]) -> object:
    tables = 0

    def table(pairs: list[tuple[str, object]]) -> dict[str, object]:
        """A function of Python's own, so that other threads get their turn at every table."""
        nonlocal tables
        tables += 1
        if tables > MOST_TABLES:
            raise ValueError(f"more than {MOST_TABLES:,} tables")
        made = dict(pairs)
        if len(made) != len(pairs):
            repeated.extend(_repeated(key for key, _ in pairs))
        return made

    return json.loads(text, object_pairs_hook=table)


def _parse_yaml(text: str, repeated: list[str]) -> object:
    """From libyaml's events, every scalar as text: its own loader overflows the C stack on deep nesting, is
    fifteen times slower and gives up a whole file for one impossible date. An alias shares what it refers to.
    """
    builder = _Builder(repeated)
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        builder.take(event)
    return builder.document


class _Builder:
    def __init__(self, repeated: list[str]) -> None:
        self.document: object = None
        self._repeated = repeated
        self._open: list[tuple[dict[str, object] | list[object], list[str]]] = []
        self._anchors: dict[str, object] = {}
        self._tables = 0

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent) and self.document is not None:
            raise ValueError(f"line {_line(event)}: a second document begins; keep one")
        if isinstance(event, yaml.ScalarEvent):
            says_nothing = event.implicit[0] and event.value in _EMPTY_WORDS  # plain, so `"null"` is a word
            self._put(event, "" if says_nothing else event.value)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise ValueError(f"line {_line(event)}: nothing is called *{event.anchor}")
            self._put(None, self._anchors[event.anchor])
        elif isinstance(event, yaml.CollectionStartEvent):
            self._tables += 1
            if self._tables > MOST_TABLES or len(self._open) >= DEEPEST:
                reason = f"more than {MOST_TABLES:,} tables" if len(self._open) < DEEPEST else "nested too deeply"
                raise ValueError(f"line {_line(event)}: {reason}")
            made: dict[str, object] | list[object] = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._put(event, made)
            self._open.append((made, []))
        elif isinstance(event, yaml.CollectionEndEvent):
            made, _ = self._open.pop()
            if isinstance(made, dict) and "<<" in made:
                _merge(made)

    def _put(self, event: Any, value: object) -> None:
        if event is not None and event.anchor:
            self._anchors[event.anchor] = value
        if not self._open:
            self.document = value
            return
        holder, key = self._open[-1]
        if isinstance(holder, list):
            holder.append(value)
        elif key:
            holder[key.pop()] = value
        else:
            name = value if isinstance(value, str) else "?"
            if name in holder:
                self._repeated.append(name)
            key.append(name)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 0


def _merge(table: dict[str, object]) -> None:
    """The merge key of YAML 1.1: what the table says itself wins over what it takes in."""
    taken = table.pop("<<")
    for other in taken if isinstance(taken, list) else [taken]:
        if isinstance(other, dict):
            for key, value in other.items():
                table.setdefault(key, value)


_PARSERS: dict[str, Callable[[str, list[str]], object]] = {
    ".toml": _parse_toml,
    ".json": _parse_json,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
}
ENDINGS = (".csv", *_PARSERS)


def _where(error: ValueError | yaml.YAMLError) -> str:
    """`, line 3: reason`, in the same words for every format."""
    if isinstance(error, json.JSONDecodeError):
        return f", line {error.lineno}: {error.msg}"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f", line {error.problem_mark.line + 1}: {error.problem}"
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if at := _AT.search(text):
        return f", line {at[1]}: {_AT.sub('', text).strip()}" if at[1] else f", at its end: {_AT.sub('', text).strip()}"
    return f", {text}"
