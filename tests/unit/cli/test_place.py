"""The daemon is found although its configuration is wrong by now."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from expiryd.cli.exits import Exit, Stop
from expiryd.cli.place import Outset


def outset(path: Path, text: str, environ: Mapping[str, str] | None = None) -> Outset:
    file = path / "expiryd.toml"
    file.write_text(text)
    return Outset((file,), environ or {})


@pytest.mark.parametrize(
    "rest", ["", "colectors = 3", "[collectors.x\n", "a = [1,", "[policy]\nstate_dir = '/wrong'\n=", "x = \x00"]
)
def test_the_socket_is_found_whatever_else_the_file_says(tmp_path: Path, rest: str) -> None:
    text = f'[daemon]\nstate_dir = "/srv/state" # here\n{rest}\n'
    assert outset(tmp_path, text).socket == Path("/srv/state/expiryd.sock")


@pytest.mark.parametrize("text", ["", "[daemon]\nstate_dir = 3", "daemon = 1", "[daemon]\nstate_dir = [", "\xff"])
def test_without_a_word_it_is_where_it_is_by_default(tmp_path: Path, text: str) -> None:
    assert outset(tmp_path, text).socket == Path("/var/lib/expiryd/expiryd.sock")


def test_without_any_file_it_is_where_it_is_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Outset((), {}).socket == Path("/var/lib/expiryd/expiryd.sock")


def test_a_named_file_that_is_not_there_leads_to_no_other_daemon(tmp_path: Path) -> None:
    mistyped = tmp_path / "none.toml"
    for there in (Outset((mistyped,), {}), Outset((), {"EXPIRYD_CONFIG": str(mistyped)})):
        with pytest.raises(Stop, match=re.escape(f"{mistyped}: cannot be read: No such file")) as stopped:
            _ = there.socket
        assert stopped.value.code is Exit.CONFIG
    environ = {"EXPIRYD_DAEMON__STATE_DIR": "/srv/state"}
    assert Outset((mistyped,), environ).socket == Path("/srv/state/expiryd.sock")


def test_a_relative_directory_is_meant_beside_the_first_file(tmp_path: Path) -> None:
    assert outset(tmp_path, '[daemon]\nstate_dir = "var"').socket == tmp_path / "var/expiryd.sock"


def test_a_link_to_the_file_stands_where_it_stands_as_for_the_daemon(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    outset(tmp_path / "..data", '[daemon]\nstate_dir = "var"')
    (tmp_path / "expiryd.toml").symlink_to("..data/expiryd.toml")
    assert Outset((tmp_path / "expiryd.toml",), {}).socket == tmp_path / "var/expiryd.sock"


def test_later_files_the_overlay_and_the_environment_win_in_this_order(tmp_path: Path) -> None:
    text = '[daemon]\nstate_dir = "/one"'
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/a.toml").write_text('[daemon]\nstate_dir = "/two"')
    assert outset(tmp_path, text).socket.parent == Path("/two")
    (tmp_path / "expiryd.prod.toml").write_text('[daemon]\nstate_dir = "/three"')
    assert outset(tmp_path, text, {"EXPIRYD_ENV": "prod"}).socket.parent == Path("/three")
    environ = {"EXPIRYD_ENV": "prod", "EXPIRYD_DAEMON__STATE_DIR": "/four"}
    assert outset(tmp_path, text, environ).socket.parent == Path("/four")


def test_the_event_loop_is_known_before_the_rest_is_read(tmp_path: Path) -> None:
    assert outset(tmp_path, '[daemon]\nevent_loop = "asyncio"').daemon("event_loop") == "asyncio"
