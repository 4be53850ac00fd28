"""Which files a list of paths, globs and directories means, each real file once, under its most lasting name."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from expiryd.collectors._files import shown

_MAGIC = re.compile(r"[*?\[]")
_EVERYTHING = ("**", "*")


class Origin(IntEnum):
    """How a file came to be looked at; the lower one decides its name."""

    NAMED = 0
    GLOB = 1
    DIRECTORY = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file to look at. `sources` has bit n set when the n-th pattern leads to it."""

    path: str
    origin: Origin
    sources: int


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A place that could not be looked into, and why."""

    path: str
    reason: str


class Walk:
    """Collects the candidates of all patterns before the first is read: only then is it known which name is best.

    Iterating does the work in small steps, so that it can be done in slices in a thread: each step is an Obstacle
    or None. `candidates` is complete when the iteration has ended. Links to files are followed; links to directories
    are not, except where a pattern says how deep to go, so that no walk runs in circles.
    """

    def __init__(self, patterns: Sequence[str], exclude: Sequence[str], suffixes: Collection[str]) -> None:
        self._patterns = patterns
        self._exclude = exclude
        self._suffixes = suffixes
        self._named: dict[str, Candidate] = {}
        self._found: dict[tuple[int, int], Candidate] = {}

    def __iter__(self) -> Iterator[Obstacle | None]:
        for number, pattern in enumerate(self._patterns):
            source = 1 << number
            path = os.path.expanduser(pattern)  # noqa: PTH111  Path would drop a leading ./ the user sees in ids
            if os.path.isdir(path):  # noqa: PTH112  likewise
                yield from self._scan(path, _EVERYTHING, Origin.DIRECTORY, source)
            elif not _MAGIC.search(path) or os.path.lexists(path):
                self._named[path] = Candidate(path, Origin.NAMED, source)
                yield None
            else:
                parts = PurePath(path).parts
                fixed = next(n for n, part in enumerate(parts) if _MAGIC.search(part))
                rest = parts[fixed:] + (("*",) if parts[-1] == "**" else ())
                yield from self._scan(str(PurePath(*parts[:fixed])), rest, Origin.GLOB, source)
        self._merge()

    @property
    def candidates(self) -> Iterator[Candidate]:
        yield from self._named.values()
        yield from self._found.values()

    def _scan(self, folder: str, parts: tuple[str, ...], origin: Origin, source: int) -> Iterator[Obstacle | None]:
        """What matches `parts` below `folder`, depth first and in name order."""
        pending = [(folder, parts)]
        seen = set(pending)  # several `**` lead to one place in many ways
        while pending:
            folder, parts = pending.pop()
            below: list[tuple[str, tuple[str, ...]]] = []
            try:
                with os.scandir(folder) as scan:
                    for entry in sorted(scan, key=lambda entry: entry.name):
                        below += self._match(entry, parts, origin, source)
            except FileNotFoundError:
                pass  # gone since it was listed; a pattern that finds nothing at all is told by the reader
            except OSError as error:
                reason = f"cannot look into {shown(folder)}: {error.strerror}; let the user that runs expiryd enter it"
                yield Obstacle(folder, reason)
            pending += reversed([place for place in below if place not in seen])
            seen.update(below)
            yield None

    def _match(
        self, entry: os.DirEntry[str], parts: tuple[str, ...], origin: Origin, source: int
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Keep the file, or yield the directory in which to go on and with what."""
        if any(fnmatchcase(entry.path, pattern) for pattern in self._exclude):
            return
        folder = entry.is_dir(follow_symlinks=False)
        head, rest = parts[0], parts[1:]
        if head == "**":
            if folder:
                yield entry.path, parts
            if not (folder and len(rest) == 1):
                yield from self._match(entry, rest, origin, source)
        elif not fnmatchcase(entry.name, head):
            return
        elif not rest:
            self._keep(entry, origin, source)
        elif folder or _leads_to_directory(entry):
            yield entry.path, rest

    def _keep(self, entry: os.DirEntry[str], origin: Origin, source: int) -> None:
        status = _status(entry)
        if status is None:
            return
        if stat.S_ISDIR(status.st_mode) or (origin is Origin.DIRECTORY and not self._is_file(entry, status)):
            return
        key = (status.st_dev, status.st_ino)
        new = Candidate(entry.path, origin, source)
        if (old := self._found.get(key)) is not None:
            best = min(old, new, key=self._rank)
            new = Candidate(best.path, best.origin, old.sources | source)
        self._found[key] = new

    def _is_file(self, entry: os.DirEntry[str], status: os.stat_result) -> bool:
        return stat.S_ISREG(status.st_mode) or (stat.S_ISLNK(status.st_mode) and self.is_known(entry.path))

    def is_known(self, path: str) -> bool:
        """Whether the name alone promises a certificate."""
        return os.path.splitext(path)[1].lower() in self._suffixes  # noqa: PTH122  a hundred thousand Paths are slow

    def _rank(self, candidate: Candidate) -> tuple[int, bool, bool, int, str]:
        """A link is usually the lasting name and its target the one that changes: `live/`, `..data/`, `current.pem`."""
        path = candidate.path
        link = os.path.islink(path)  # noqa: PTH114
        return candidate.origin, not self.is_known(path), not link, path.count("/"), path

    def _merge(self) -> None:
        """A file that was named is not looked at again for having been found."""
        for path, named in self._named.items():
            try:
                status = Path(path).stat()
            except (OSError, ValueError):
                continue
            if found := self._found.pop((status.st_dev, status.st_ino), None):
                self._named[path] = Candidate(path, Origin.NAMED, named.sources | found.sources)


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Of the file a link leads to; of the link itself when that can't be told; None when it has just vanished.

    Raises OSError in a directory that lets itself be listed but not entered.
    """
    try:
        return entry.stat()
    except OSError:
        try:
            return entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None


def _leads_to_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circle of links
        return False
