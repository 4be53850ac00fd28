"""Files of unknown origin are read within bounds or refused in words that help."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from expiryd.api import CollectError, Severity
from expiryd.collectors._files import FileGone, expand, permission_findings, read_bounded, read_stamped, shown

LIMIT = 1024


def test_a_regular_file_is_read_whole_up_to_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * LIMIT)
    assert read_bounded(file, LIMIT) == b"x" * LIMIT
    file.write_bytes(b"x" * (LIMIT + 1))
    with pytest.raises(CollectError, match="larger than the 1,024 bytes"):
        read_bounded(file, LIMIT)


def test_a_sparse_gigabyte_is_refused_without_reading_it(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(CollectError, match="larger"):
        read_bounded(tmp_path / "huge", LIMIT)


def test_a_file_that_does_not_tell_its_size_is_still_bounded() -> None:
    with pytest.raises(CollectError, match="larger"):
        read_bounded(Path("/proc/self/smaps"), 16)


def test_what_is_not_a_regular_file_is_refused_by_its_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, word in ((tmp_path / "fifo", "FIFO"), (tmp_path, "directory"), (Path("/dev/zero"), "character device")):
        with pytest.raises(CollectError, match=word):
            read_bounded(path, LIMIT)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(CollectError, match="socket"):
            read_bounded(tmp_path / "socket", LIMIT)


def test_a_fifo_is_not_opened_at_all(tmp_path: Path) -> None:
    """Opening it would let a waiting writer go on, and then break its pipe."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CollectError):
        read_bounded(tmp_path / "fifo", LIMIT)
    with pytest.raises(OSError, match="No such device"):  # ENXIO: no reader ever came
        os.open(tmp_path / "fifo", os.O_WRONLY | os.O_NONBLOCK)


def test_what_is_gone_is_told_from_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("x")
    for gone in (tmp_path / "nothing", tmp_path / "file" / "below"):
        with pytest.raises(FileGone, match="correct the path"):
            read_bounded(gone, LIMIT)
    with pytest.raises(CollectError, match="in a circle") as refused:
        read_bounded(tmp_path / "loop", LIMIT)
    assert not isinstance(refused.value, FileGone)
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with pytest.raises(CollectError, match="link to nothing") as refused:
        read_bounded(tmp_path / "dangling", LIMIT)
    assert not isinstance(refused.value, FileGone)
    with pytest.raises(CollectError, match="no usable path"):
        read_bounded(Path("a\0b"), LIMIT)


def test_the_modification_time_is_aware_utc(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    os.utime(file, (0, 1_700_000_000))
    assert read_stamped(file, LIMIT)[1] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def test_globs_find_hidden_and_nested_files_in_order(tmp_path: Path) -> None:
    for name in (".tokens", ".tokens.dev", "sub/deep/.tokens"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert expand(f"{tmp_path}/.tokens*") == [tmp_path / ".tokens", tmp_path / ".tokens.dev"]
    assert tmp_path / "sub/deep/.tokens" in expand(f"{tmp_path}/**/.tokens")
    assert expand(f"{tmp_path}/*.none") == []


def test_a_glob_does_not_walk_in_circles(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("a", "b", "c"):
        (tmp_path / name).symlink_to(tmp_path)
    assert [path.name for path in expand(f"{tmp_path}/**/file")] == ["file"]


def test_a_path_without_wildcards_is_itself_even_when_missing(tmp_path: Path) -> None:
    assert expand(f"{tmp_path}/none") == [tmp_path / "none"]
    (tmp_path / "odd[1]").touch()
    assert expand(f"{tmp_path}/odd[1]") == [tmp_path / "odd[1]"]


def test_a_glob_whose_directory_cannot_be_listed_is_an_error_not_an_empty_answer(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(CollectError, match="circle"):
        expand(f"{tmp_path}/loop/*.pem")
    with pytest.raises(FileGone):
        expand(f"{tmp_path}/none/*.pem")
    with pytest.raises(CollectError, match="no usable path"):
        expand("a\0/*")
    with pytest.raises(CollectError, match="no usable path"):
        expand(f"{tmp_path}/a**b/*")


@pytest.mark.parametrize(
    ("mode", "secret", "severity", "words"),
    [
        (0o600, True, None, ""),
        (0o400, True, None, ""),
        (0o640, True, Severity.WARNING, "readable by its group: chmod 0600"),
        (0o644, True, Severity.WARNING, "readable by its group and everyone else: chmod 0600"),
        (0o602, True, Severity.CRITICAL, "writable by everyone else"),
        (0o611, True, Severity.WARNING, "open to others"),
        (0o644, False, None, ""),
        (0o664, False, Severity.WARNING, "writable by its group: chmod 0644"),
        (0o666, False, Severity.CRITICAL, "writable by its group and everyone else: chmod 0644"),
    ],
)
def test_the_mode_is_judged(tmp_path: Path, mode: int, secret: bool, severity: Severity | None, words: str) -> None:
    file = tmp_path / "file"
    file.touch()
    file.chmod(mode)
    findings = permission_findings(file, secret=secret)
    assert [(f.code, f.severity) for f in findings] == ([("unsafe-permissions", severity)] if severity else [])
    assert all(words in f.detail and str(file) in f.detail for f in findings)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_foreign_owner_is_told_unless_the_directory_is_theirs(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch(mode=0o600)
    os.chown(file, 12345, -1)
    (finding,) = permission_findings(file)
    assert (finding.code, "12345" in finding.detail) == ("foreign-owner", True)
    os.chown(tmp_path, 12345, -1)
    assert permission_findings(file) == ()


def test_a_link_is_told_for_secrets_only_and_what_is_gone_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "real").touch(mode=0o600)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert [f.code for f in permission_findings(tmp_path / "link")] == ["symlink"]
    assert permission_findings(tmp_path / "link", secret=False) == ()
    assert permission_findings(tmp_path / "none") == ()


def test_any_file_name_can_be_shown() -> None:
    hostile = Path(os.fsdecode(b"caf\xe9\n\x1b[31m\xc3\xa9"))
    assert shown(hostile) == "caf\\xe9\\n\\x1b[31mé"
    shown(hostile).encode()


def test_messages_about_odd_names_can_be_written_to_any_log(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9\n")
    with pytest.raises(FileGone) as refused:
        read_bounded(file, LIMIT)
    str(refused.value).encode()
    file.touch(mode=0o644)
    assert all(finding.detail.isprintable() for finding in permission_findings(file))
