"""Reading files of unknown origin without being hung, flooded or fooled, and saying who else may touch them."""

from __future__ import annotations

import errno
import os
import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field

from expiryd.api import CollectError, Finding, OneOrMore, Severity

Paths = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], OneOrMore, Field(min_length=1)]
"""A config key that takes one path or a list of them; each is for `expand`."""

_MAGIC = re.compile(r"[*?\[]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REASONS = {
    errno.ENOENT: "there is no such file; create it or correct the path",
    errno.ENOTDIR: "a part of this path is not a directory; correct the path",
    errno.ELOOP: "its symbolic links lead in a circle; make the link point at the real file",
    errno.EACCES: "permission denied; let the user that runs expiryd read it",
    errno.EPERM: "permission denied; let the user that runs expiryd read it",
}
_TYPES = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


class FileGone(CollectError):
    """The file is not there (any more): between a glob and the open it may have been removed or replaced."""


def shown(path: Path | str) -> str:
    """A path as printable text for ids and messages: file names may hold any byte, and newlines too."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def expand(pattern: str) -> list[Path]:
    """The paths a config's `path` means, sorted: `~`, `*`, `?`, `[…]` and `**` (which follows no directory links).

    A name without wildcards, or one that exists as written, is itself, whether it is there or not. Raises
    CollectError when the directory in which the wildcards begin can't be listed.
    """
    try:
        path = Path(pattern).expanduser()
        if not _MAGIC.search(pattern) or path.is_symlink() or path.exists():
            return [path]
        first = next(n for n, part in enumerate(path.parts) if _MAGIC.search(part))
        root = Path(*path.parts[:first])
        with os.scandir(root):  # pathlib takes a directory it may not list for an empty one
            return sorted(root.glob(str(Path(*path.parts[first:]))))
    except OSError as error:
        raise _refusal(pattern, error) from None
    except (ValueError, RuntimeError) as error:  # NUL in the name, `a**b`; no home directory for `~`
        raise CollectError(f"{shown(pattern)} is no usable path: {error}") from None


def read_bounded(path: Path, limit: int) -> bytes:
    """The whole content of a regular file of at most `limit` bytes.

    Never blocks on a FIFO or device: what is not a regular file isn't even opened. Raises FileGone when nothing
    is there, CollectError for everything else that can't be read, each naming the path and what to do.
    """
    return read_stamped(path, limit)[0]


def read_stamped(path: Path, limit: int) -> tuple[bytes, datetime | None]:
    """As `read_bounded`, with the modification time of the very file that was read (None: beyond any calendar)."""
    try:
        _refuse_unsuitable(path, path.stat(), limit)  # first, because opening a FIFO or a device does something
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            _refuse_unsuitable(path, status, limit)
            content = file.read(limit + 1)
    except OSError as error:
        raise _refusal(path, error) from None
    except ValueError as error:
        raise CollectError(f"{shown(path)} is no usable path: {error}") from None
    if len(content) > limit:  # it grew while it was read, or its size isn't told (/proc)
        raise _too_big(path, limit)
    try:
        return content, _EPOCH + timedelta(seconds=status.st_mtime)
    except OverflowError:
        return content, None


def permission_findings(path: Path, *, secret: bool = True) -> tuple[Finding, ...]:
    """What is wrong with who may read, replace or own a credential's file or directory; nothing when it is gone.

    `unsafe-permissions`: group or others may write, or (`secret`) read.
    `foreign-owner`: owned by neither this process's user, root nor the owner of its directory.
    `symlink` (`secret`): the path is a link, so permissions in two places decide.
    """
    try:
        link, status, parent = path.lstat(), path.stat(), path.parent.stat()
    except (OSError, ValueError):
        return ()
    findings = []
    if finding := _mode_finding(path, status, secret=secret):
        findings.append(finding)
    if status.st_uid not in {os.geteuid(), 0, parent.st_uid}:
        detail = f"{shown(path)} belongs to user id {status.st_uid}, who may change it at will: chown it"
        findings.append(Finding("foreign-owner", Severity.WARNING, detail))
    if secret and stat.S_ISLNK(link.st_mode):
        findings.append(Finding("symlink", Severity.INFO, f"{shown(path)} is a link to {shown(path.resolve())}"))
    return tuple(findings)


def _mode_finding(path: Path, status: os.stat_result, *, secret: bool) -> Finding | None:
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.geteuid() and status.st_gid in os.getgroups():
        mode &= ~0o040  # readable by a group that we were put into: that is how its owner lets us look
    wanted = mode & ~(0o077 if secret else 0o022)
    if mode == wanted:
        return None
    who = {(True, False): "its group", (False, True): "everyone else", (True, True): "its group and everyone else"}
    told = [
        f"{verb} by {who[bool(mode & group), bool(mode & other)]}"
        for verb, group, other in (("writable", 0o020, 0o002), ("readable", 0o040, 0o004))
        if mode & (group | other) and (secret or verb == "writable")
    ]
    severity = Severity.CRITICAL if mode & stat.S_IWOTH else Severity.WARNING
    how = " and ".join(told) or "open to others"
    name = shown(path)
    return Finding("unsafe-permissions", severity, f"{name} has mode {mode:04o}, {how}: chmod {wanted:04o} {name}")


def _refuse_unsuitable(path: Path, status: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        what = next((word for is_type, word in _TYPES if is_type(status.st_mode)), "not a regular file")
        raise CollectError(f"{shown(path)} is {what}; name a regular file")
    if status.st_size > limit:
        raise _too_big(path, limit)


def _too_big(path: Path, limit: int) -> CollectError:
    return CollectError(
        f"{shown(path)} is larger than the {limit:,} bytes that are read at most; is it the right file?"
    )


def _refusal(path: Path | str, error: OSError) -> CollectError:
    reason = _REASONS.get(error.errno or 0, error.strerror)
    if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
        return CollectError(f"cannot read {shown(path)}: {reason}")
    if Path(path).is_symlink():
        return CollectError(f"cannot read {shown(path)}: it is a link to nothing; make it point at the real file")
    return FileGone(f"cannot read {shown(path)}: {reason}")
