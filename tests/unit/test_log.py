"""Lines are whole JSON objects without secrets, whoever logs them; a log that fails stops nothing."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from expiryd.log import Journal, LogError, configure, set_level
from expiryd.redact import MASK, Redactor

CANARY = "c4n4ry-value"


@pytest.fixture(autouse=True)
def _afterwards() -> Iterator[None]:
    """Logging is the process's: give it back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(False)
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
    root.setLevel(level)
    structlog.reset_defaults()


def start(tmp_path: Path, **settings: Any) -> Journal:
    redactor = Redactor()
    redactor.add(CANARY)
    return configure(redactor=redactor, file=tmp_path / "expiryd.log", **settings)


def lines(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "expiryd.log").read_text().split("\n")[:-1]]


def test_an_event_is_one_json_line_with_time_level_and_name_first(tmp_path: Path) -> None:
    journal = start(tmp_path)
    structlog.get_logger().bind(collector="ci").info("look.finished", items=3, who="Jürgen\nMüller")
    journal.close()
    (line,) = lines(tmp_path)
    assert list(line) == ["timestamp", "level", "event", "collector", "items", "who"]
    assert line["level"] == "info"
    assert line["timestamp"].endswith("Z")
    assert "Jürgen" in (tmp_path / "expiryd.log").read_text()


def test_events_below_the_level_are_dropped_and_a_second_set_up_changes_the_level(tmp_path: Path) -> None:
    start(tmp_path, level="warning")
    log = structlog.get_logger()
    log.info("quiet")
    journal = start(tmp_path, level="debug")
    log.debug("loud")
    journal.close()
    assert [line["event"] for line in lines(tmp_path)] == ["loud"]


def test_a_new_level_counts_for_loggers_that_are_in_use(tmp_path: Path) -> None:
    journal = start(tmp_path, level="info")
    own, plugin = structlog.get_logger(), structlog.get_logger(plugin="ci")
    own.debug("too quiet")
    plugin.debug("too quiet")
    set_level("debug")
    own.debug("heard")
    plugin.debug("heard", item="A")
    set_level("error")
    own.warning("too quiet")
    plugin.warning("too quiet")
    journal.close()
    assert [(line["event"], line.get("plugin")) for line in lines(tmp_path)] == [("heard", None), ("heard", "ci")]


def test_loggers_of_libraries_join_from_warning_up(tmp_path: Path) -> None:
    journal = start(tmp_path, level="debug")
    logging.getLogger("apscheduler.scheduler").info("running")
    logging.getLogger("aiohttp.server").warning("bad request from %s", "10.0.0.1")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", UserWarning, stacklevel=1)
    journal.close()
    first, second = lines(tmp_path)
    assert (first["logger"], first["level"], first["event"]) == (
        "aiohttp.server",
        "warning",
        "bad request from 10.0.0.1",
    )
    assert second["logger"] == "py.warnings"


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_secret_in_a_traceback_or_a_foreign_record_is_masked(tmp_path: Path, style: Any) -> None:
    journal = start(tmp_path, format=style)
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as inner:
            raise ValueError(f"no {CANARY}") from inner
    except ValueError:
        structlog.get_logger().exception("look.failed", held={"deep": [CANARY]})
        logging.getLogger("asyncio").exception("unhandled %s", CANARY)
    logging.getLogger("sqlalchemy").warning("postgresql://user:other-canary@host/db")
    journal.close()
    text = (tmp_path / "expiryd.log").read_text()
    assert text.count("Traceback") >= 2
    assert MASK in text
    assert CANARY not in text
    assert "other-canary" not in text


def test_a_record_that_cannot_be_formatted_is_told_without_its_arguments(tmp_path: Path) -> None:
    journal = start(tmp_path)
    ours = logging.getLogger().handlers[-1]  # pytest's own handler would raise
    ours.handle(logging.LogRecord("aiohttp", logging.WARNING, __file__, 1, "%d", ("unknown-canary",), None))
    journal.close()
    (line,) = lines(tmp_path)
    assert line == {"level": "warning", "event": "log.unreadable", "logger": "aiohttp"}


def test_a_console_line_cannot_steer_the_terminal(tmp_path: Path) -> None:
    journal = start(tmp_path, format="console")
    structlog.get_logger().warning("item.seen", title="\x1b]0;owned\x07\x9b2J")
    journal.close()
    text = (tmp_path / "expiryd.log").read_text()
    assert "\x1b]0" not in text
    assert "\x9b" not in text
    assert "\\x1b]0;owned" in text


def test_without_a_file_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure(redactor=Redactor())
    structlog.get_logger().info("hello")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "hello"


def test_reopen_goes_on_in_a_new_file_after_rotation(tmp_path: Path) -> None:
    journal = start(tmp_path)
    structlog.get_logger().info("one")
    (tmp_path / "expiryd.log").rename(tmp_path / "expiryd.log.1")
    structlog.get_logger().info("two")
    journal.reopen()
    structlog.get_logger().info("three")
    journal.close()
    assert [line["event"] for line in lines(tmp_path)] == ["three"]
    assert (tmp_path / "expiryd.log").stat().st_mode & 0o777 == 0o640
    rotated = (tmp_path / "expiryd.log.1").read_text()
    assert "one" in rotated
    assert "two" in rotated


def test_when_the_new_file_cannot_be_opened_the_old_one_goes_on(tmp_path: Path) -> None:
    journal = start(tmp_path)
    (tmp_path / "expiryd.log").rename(tmp_path / "kept.log")
    (tmp_path / "expiryd.log").mkdir()
    with pytest.raises(LogError, match=r"expiryd\.log: Is a directory"):
        journal.reopen()
    structlog.get_logger().info("still here")
    journal.close()
    assert "still here" in (tmp_path / "kept.log").read_text()


def test_a_log_file_in_a_missing_directory_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"nowhere/x\.log.*log_file"):
        configure(redactor=Redactor(), file=tmp_path / "nowhere" / "x.log")


def test_a_line_that_cannot_be_written_is_counted_and_stops_nothing() -> None:
    journal = configure(redactor=Redactor(), file=Path("/dev/full"))
    structlog.get_logger().info("lost")
    journal.close()
    assert journal.lost == 1
