"""Walks through validated models: makes relative paths absolute, finds and checks the references to secrets."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

from expiryd.api import SecretRef
from expiryd.config.errors import ConfigProblem, Key, spell
from expiryd.config.model import Config
from expiryd.secrets import Secrets

_PATH_KEYS = frozenset({"path", "directory"})
_PATH_ENDINGS = ("_file", "_dir", "_directory", "_path")


def anchor(value: Any, directory: Path, key: str = "") -> Any:
    """`value` with its relative paths made absolute: they are meant beside the config file.

    A path is every `Path`, and text under a key named `path`, `directory` or ending in `_file`, `_dir`,
    `_directory` or `_path` (globs are text). A user's own tables, such as labels, hold none.
    """
    if isinstance(value, BaseModel):
        held = {name: getattr(value, name) for name in type(value).model_fields}
        moved = {name: anchor(inner, directory, name) for name, inner in held.items()}
        changed = {name: inner for name, inner in moved.items() if inner is not held[name]}
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, Mapping):
        return {name: anchor(inner, directory) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(anchor(inner, directory, key) for inner in value)
    if isinstance(value, Path):
        return value if _stays(str(value)) else Path(_beside(directory, str(value)))
    if isinstance(value, str) and (key in _PATH_KEYS or key.endswith(_PATH_ENDINGS)) and not _stays(value):
        return _beside(directory, value)
    return value


def _stays(path: str) -> bool:
    return path.startswith(("/", "~")) or not path


def _beside(directory: Path, path: str) -> str:
    """Only leading dots are worked out: what follows may be a glob or a JSON pointer and is left as written."""
    while path in {".", ".."} or path.startswith(("./", "../")):
        step, _, path = path.partition("/")
        directory = directory.parent if step == ".." else directory
    return f"{directory}/{path}" if path else str(directory)


def secret_refs(config: Config) -> list[tuple[str, SecretRef]]:
    """Every reference to a secret and where it stands, in the order of the config."""
    return [(spell(place), ref) for place, ref in _refs(config, ())]


def check_secrets(config: Config, environ: Mapping[str, str]) -> list[ConfigProblem]:
    """What is wrong with the references, and the permissions of what they name and of the state directory.

    Nothing is read, no command runs.
    """
    secrets = Secrets(environ)
    problems = [ConfigProblem(place, text) for place, ref in secret_refs(config) for text in secrets.problems(ref)]
    database = config.daemon.database
    if isinstance(database, SecretStr) and urlsplit(database.get_secret_value()).password:
        text = 'a password stands here in plain text; write { env = "NAME" } or { file = "/path" } with the whole URL'
        problems.append(ConfigProblem("daemon.database", text))
    state = config.daemon.state_dir
    with suppress(OSError):
        if (mode := stat.S_IMODE(state.stat().st_mode)) & stat.S_IWOTH:
            text = f"{state} has mode {mode:04o}, so anybody may put another state and socket there: chmod o-w {state}"
            problems.append(ConfigProblem("daemon.state_dir", text))
    return problems


def _refs(value: object, place: tuple[Key, ...]) -> Iterator[tuple[tuple[Key, ...], SecretRef]]:
    if isinstance(value, SecretRef):
        yield place, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _refs(getattr(value, name), (*place, name))
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _refs(inner, (*place, str(name)))
    elif isinstance(value, tuple | list):
        for number, inner in enumerate(value):
            yield from _refs(inner, (*place, number))
