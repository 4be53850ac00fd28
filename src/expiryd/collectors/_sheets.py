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

from expiryd.api import CollectError
from expiryd.collectors._files import shown

MOST_TABLES = 1_000_000
EXTRA = "\0extra"
"""The key under which a row keeps the fields for which the header has no column."""

_KEY_PARTS = 40
_LONG_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){40}""")
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
    except ValueError as error:
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
    from expiryd.collectors import _yaml  # noqa: PLC0415 - costs 1.5 MB that only readers of YAML are to pay

    return _yaml.parse(text, repeated)


_PARSERS: dict[str, Callable[[str, list[str]], object]] = {
    ".toml": _parse_toml,
    ".json": _parse_json,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
}
ENDINGS = (".csv", *_PARSERS)


def _where(error: ValueError) -> str:
    """`, line 3: reason`, in the same words for every format."""
    if isinstance(error, json.JSONDecodeError):
        return f", line {error.lineno}: {error.msg}"
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if at := _AT.search(text):
        return f", line {at[1]}: {_AT.sub('', text).strip()}" if at[1] else f", at its end: {_AT.sub('', text).strip()}"
    return f", {text}"
