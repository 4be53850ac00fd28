"""What is printed harms neither a terminal nor a spreadsheet, and does not depend on who reads it."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expiryd.cli.columns import Column
from expiryd.cli.screen import Format, Screen, as_csv, as_markdown

EVIL = "\x1b[31mred\x07\u202e|`*"
COLUMNS = (Column("SEVERITY", lambda row: row["severity"]), Column("ITEM", lambda row: row["item"]))


WHY = "cannot read /srv/app/.tokens: there is no such file; create it or correct the path"


def row(item: str) -> dict[str, str]:
    return {"severity": "critical", "item": item}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_cell_that_a_spreadsheet_would_run_is_made_text(start: str) -> None:
    (_, line) = csv.reader(io.StringIO(as_csv([row(f"{start}1+1")])))
    assert line[1].startswith("'")


def test_numbers_stay_numbers_in_csv() -> None:
    assert as_csv([{"days_left": -3, "owner": None}]) == "days_left,owner\n-3,\n"


def test_lists_and_tables_become_one_cell() -> None:
    text = as_csv([{"findings": [{"code": "a", "severity": "warning", "detail": "x"}], "labels": {"k": "v", "l": "w"}}])
    assert text == "findings,labels\na: warning: x,k=v; l=w\n"
    text = as_csv([{"matchers": {"severity": ["info", "warning"], "labels": {"env": ["prod"]}}}])
    assert text == 'matchers\n"severity=info,warning; labels=env=prod"\n'


@given(st.text())
def test_csv_reads_back_as_one_row_without_control_characters(text: str) -> None:
    rows = list(csv.reader(io.StringIO(as_csv([row(text)]))))
    assert len(rows) == 2
    assert all(c.isprintable() for c in rows[1][1])
    assert not rows[1][1].startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize("format", list(Format))
def test_no_format_lets_a_name_steer_the_terminal(format: Format, capsys: pytest.CaptureFixture[str]) -> None:
    Screen(format).rows([row(EVIL)], COLUMNS)
    said = capsys.readouterr().out
    assert not set(said) & {"\x1b", "\x07", "\u202e"}
    assert "red" in said


def test_json_holds_the_name_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Screen(Format.JSON).rows([row(EVIL)], COLUMNS)
    assert json.loads(capsys.readouterr().out) == [row(EVIL)]


def test_markdown_has_one_line_a_row_and_no_markup_from_a_name() -> None:
    assert as_markdown([row("a|b<i>*c*\nd")], COLUMNS).splitlines()[2] == r"| critical | a\|b&lt;i&gt;\*c\* d |"


def test_a_pipe_gets_aligned_text_without_colour(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().rows([row("a"), {"severity": "info", "item": "b"}], COLUMNS)
    assert capsys.readouterr().out == "SEVERITY  ITEM\ncritical  a\ninfo      b\n"


def test_names_of_any_script_leave_the_columns_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("証明書", "🔑 key", "cle\u0301", "plain")
    Screen().rows([{"severity": name, "item": "x"} for name in names], COLUMNS)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["SEVERITY  ITEM", "証明書    x", "🔑 key    x", "cle\u0301       x", "plain     x"]


def test_a_sentence_below_a_short_word_has_room_to_be_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    columns = (*COLUMNS, *(Column(f"N{n}", lambda _row: "x" * 10) for n in range(4)), Column("WHY", lambda _row: WHY))
    Screen().rows([row("a")], columns)
    lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert lines[2].split() == ["xxxxxxxxxx", "·", "cannot", "read"]
    assert {len(line) for line in lines} <= set(range(81))


def test_columns_without_a_word_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().rows([row("a")], (*COLUMNS, Column("OWNER", lambda _row: "")))
    assert "OWNER" not in capsys.readouterr().out
