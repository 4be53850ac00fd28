"""What is printed and how: a table for people, aligned text for a pipe, JSON, CSV and Markdown for other tools."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from unicodedata import combining, east_asian_width

from expiryd.cli.columns import SHADES, Column, Row
from expiryd.cli.exits import harmless
from expiryd.core.wording import plain

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NAMING, _LEAST_COLUMNS, _GAP, _NARROWEST, _SENTENCE = 1, 3, 2, 50, 28
_MARKUP = re.compile(r"([\\`*\[\]|#~])")


class Format(StrEnum):
    """`table` is for people; the others do not change with the terminal."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


@dataclass(slots=True)
class Screen:
    """Standard output. When its reader has gone (`| head`) the rest is dropped, and the command goes on to its end."""

    format: Format = Format.TABLE
    ci: bool = False
    """Never colour, progress or a drawn table."""
    _gone: bool = field(default=False, init=False)

    @property
    def is_terminal(self) -> bool:
        return not self.ci and sys.stdout.isatty()

    @property
    def height(self) -> int:
        return shutil.get_terminal_size().lines

    def print(self, text: str) -> None:
        """Text that is harmless already."""
        if self._gone:
            return
        try:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            self._gone = True
            drop_output()

    def rows(self, rows: Sequence[Row], columns: Sequence[Column]) -> None:
        """A list in the chosen format. JSON and CSV hold all of each row, the others the columns."""
        if self.format is Format.JSON:
            self.print(json.dumps(rows, indent=2))
        elif self.format is Format.CSV:
            self.print(as_csv(rows).removesuffix("\n"))
        elif self.format is Format.MARKDOWN:
            self.print(as_markdown(rows, columns))
        elif rows:
            self.table(rows, columns)

    def table(self, rows: Sequence[Row], columns: Sequence[Column]) -> None:
        cells = [[plain(column.cell(row)) for column in columns] for row in rows]
        shown = [n for n in range(len(columns)) if n <= _NAMING or any(line[n] for line in cells)]
        columns, cells = [columns[n] for n in shown], [[line[n] for n in shown] for line in cells]
        if self.is_terminal:
            self.print(_drawn(columns, cells))
        else:
            self.print(_aligned([[column.title for column in columns], *cells]))


class Progress:
    """One line on standard error that says how far a long work is, only where somebody watches."""

    def __init__(self, *, ci: bool) -> None:
        self._watched = not ci and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def tell(self, text: str) -> None:
        if self._watched:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[K{plain(text)[:width]}")
            sys.stderr.flush()

    def end(self) -> None:
        if self._watched:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def drop_output() -> None:
    """From here on what is printed goes nowhere, also what the interpreter flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def as_csv(rows: Iterable[Row]) -> str:
    """All keys of the rows (RFC 4180, LF). A text that a spreadsheet would take for a formula gets a `'` before it."""
    lines = list(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if lines:
        writer.writerow(lines[0].keys())
    for row in lines:
        writer.writerow([_cell(value) for value in row.values()])
    return text.getvalue()


def as_markdown(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    lines = [[column.title for column in columns], ["---"] * len(columns)]
    lines += [[_without_markup(plain(column.cell(row))) for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else "; ".join(_flat(value))
    return f"'{harmless(text)}" if text.startswith(_FORMULA) else harmless(text)


def _flat(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        return [f"{key}={_inner(inner)}" for key, inner in value.items()]
    return [one if isinstance(one, str) else ": ".join(str(v) for v in one.values() if v is not None) for one in value]


def _inner(value: Any) -> str:
    return ",".join(_flat(value)) if isinstance(value, Mapping | list) else str(value)


def _without_markup(text: str) -> str:
    return _MARKUP.sub(r"\\\1", html.escape(text, quote=False))


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    padded = ([text + " " * (width - _width(text)) for text, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _width(text: str) -> int:
    """In columns of a terminal, where most signs of East Asia and emoji take two and accents of their own none."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(sign) else 2 if east_asian_width(sign) in "WF" else 1 for sign in text)


def _drawn(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> str:
    """For a terminal. What its width has no column for comes below the second one, which names the row."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    console.width = max(console.width, _NARROWEST)
    widths = [
        max(cell_len(text) for text in (column.title, *texts))
        for column, texts in zip(columns, zip(*cells, strict=True), strict=True)
    ]
    widths[_NAMING] = min(widths[_NAMING], console.width // 2)
    kept, naming = len(columns), widths[_NAMING]
    while kept > _LEAST_COLUMNS and sum(widths[:kept]) + naming - widths[_NAMING] + _GAP * (kept - 1) > console.width:
        kept -= 1
        # a column for short words is too narrow for the sentences that come below them
        naming = max(widths[_NAMING], min(_SENTENCE, max(cell_len(_below(columns, line, kept)) for line in cells)))
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for number, column in enumerate(columns[:kept]):
        table.add_column(column.title, no_wrap=number != _NAMING, overflow="fold" if number == _NAMING else "ellipsis")
    for line in cells:
        texts = [Text(text, style=SHADES.get(text, "")) for text in line[:kept]]
        if below := _below(columns, line, kept):
            texts[_NAMING].append("\n" + below, style="dim")
        table.add_row(*texts)
    with console.capture() as drawn:
        console.print(table)
    return drawn.get().removesuffix("\n")


def _below(columns: Sequence[Column], line: Sequence[str], kept: int) -> str:
    pairs = zip(columns[kept:], line[kept:], strict=True)
    return " · ".join(f"{column.word} {text}".lstrip() for column, text in pairs if text)
