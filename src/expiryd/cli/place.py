"""Where things are: the config files, and what must be known of them even when they are wrong."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from expiryd.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from expiryd.config.model import Config

SOCKET_NAME = "expiryd.sock"
_HEADER = re.compile(r"\s*\[+([^]]*)\]+")
_TEXT_KEY = re.compile(r"""\s*(\w+)\s*=\s*(?:"([^"\\]*)"|'([^']*)')\s*(?:#.*)?""")


@dataclass(frozen=True, slots=True)
class Outset:
    """What the command was given: the files of `-c`, in order, and the environment."""

    given: tuple[Path, ...]
    environ: Mapping[str, str]

    @property
    def paths(self) -> tuple[Path, ...]:
        if self.given:
            return self.given
        from expiryd.config.load import default_paths

        return default_paths(self.environ)

    def config(self, above: Mapping[str, Any] = MappingProxyType({})) -> Config:
        """All of it, validated, with the tables `above` laid over it. No secret is read.

        Raises ConfigError, or PermissionError for an unreadable file.
        """
        from expiryd.config.load import load
        from expiryd.registry import discover

        for path in self.paths:
            if path.is_file():
                path.open("rb").close()  # that it may not be read is another matter than that it is wrong
        collectors, notifiers = discover()
        return load(self.paths, environ=self.environ, collectors=collectors, notifiers=notifiers, above=above)

    def daemon(self, key: str) -> str | None:
        """What `[daemon]` says under a key with a text, as far as that can be told of files that may be wrong.

        The daemon may well run on while somebody edits its files, and must still be found.
        """
        variable = f"EXPIRYD_DAEMON__{key}".upper()
        said = next((value for name, value in self.environ.items() if name.upper() == variable), None)
        for path in () if said is not None else self._files():
            found = _daemon_table(path).get(key)
            said = found if isinstance(found, str) else said
        return said

    @property
    def socket(self) -> Path:
        """Where the running daemon listens.

        Raises Stop when a file that was named is not there: a mistyped name must not reach another daemon.
        """
        said = self.daemon("state_dir")
        named = self.given or (self.paths if self.environ.get("EXPIRYD_CONFIG") else ())
        if said is None and (missing := [path for path in named if not path.exists()]):
            raise Stop(Exit.CONFIG, *(f"{path}: cannot be read: No such file or directory" for path in missing))
        beside = Path(os.path.normpath(self.paths[0].absolute())).parent  # as in `expiryd.config.load`
        return beside / (said or _usual_state_dir()) / SOCKET_NAME

    def _files(self) -> Iterator[Path]:
        """In the order in which later ones win, as in `expiryd.config.load`."""
        yield from self.paths
        for folder in dict.fromkeys(path.parent / "conf.d" for path in self.paths):
            yield from sorted(folder.glob("*.toml"))
        if name := self.environ.get("EXPIRYD_ENV", ""):
            yield from (path.with_name(f"{path.stem}.{Path(name).name}{path.suffix}") for path in self.paths)


def _usual_state_dir() -> str:
    from expiryd.config.model import DaemonConfig

    return str(DaemonConfig.model_fields["state_dir"].default)


def _daemon_table(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_bytes().decode(errors="replace")
    except OSError:
        return {}
    try:
        table = tomllib.loads(text).get("daemon")
    except (tomllib.TOMLDecodeError, RecursionError):
        return dict(_salvaged(text))
    return table if isinstance(table, dict) else {}


def _salvaged(text: str) -> Iterator[tuple[str, str]]:
    """The plain `key = "text"` lines below `[daemon]` of a file that is not TOML."""
    section = ""
    for line in text.splitlines():
        if header := _HEADER.match(line):
            section = header[1].strip()
        elif section == "daemon" and (pair := _TEXT_KEY.fullmatch(line)):
            yield pair[1], pair[2] if pair[2] is not None else pair[3]
