"""Watches JSON Web Tokens in files or at a place within JSON, TOML and YAML documents, by the dates they carry."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from expiryd.api import (
    Blind,
    CollectError,
    Collector,
    CollectorConfig,
    Finding,
    Observation,
    Reading,
    Severity,
    Tools,
)
from expiryd.collectors._files import FileGone, Paths, expand, read_bounded, shown
from expiryd.collectors._jwt import bare, read_claims

LIMIT = 1 << 20
_LINE = re.compile(r"line (\d+)")


class JwtConfig(CollectorConfig):
    """`path`: one or a list of `file` or `file#/json/pointer`; files may be globs."""

    type: Literal["jwt"]
    path: Paths

    @field_validator("path")
    @classmethod
    def _pointers(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            if re.search(r"~(?![01])", _split(path)[1] or ""):
                raise ValueError(f"{path}: in a JSON pointer write ~0 for ~ and ~1 for / (RFC 6901)")
        return paths

    def build(self, tools: Tools) -> Collector:
        return Jwt(self, tools)


class Jwt(Collector):
    def __init__(self, config: JwtConfig, tools: Tools) -> None:
        self._paths = config.path
        self._tools = tools

    async def look(self) -> AsyncIterator[Reading]:
        targets, failures = await asyncio.to_thread(_find, self._paths)
        if targets:
            for pattern, reason in failures.items():
                yield Blind(pattern, reason, "jwt")
        for (path, pointer), listed in targets.items():
            try:
                yield await asyncio.to_thread(self._read, path, pointer)
            except CollectError as error:
                if len(self._paths) == 1 and listed:
                    raise
                if listed or not isinstance(error, FileGone):
                    yield Blind(_identity(path, pointer), str(error), "jwt")
        if failures:  # which tokens a pattern means is not known, so none of them is gone
            raise CollectError("; ".join(failures.values()))

    def _read(self, path: Path, pointer: str | None) -> Observation:
        """One token's observation. Raises CollectError when the file or document can't be read."""
        content = read_bounded(path, LIMIT)
        identity = _identity(path, pointer)
        text: object = content.decode("utf-8-sig", "replace")
        if pointer is not None:
            try:
                text = _resolve(_document(content, path), pointer)
            except LookupError:
                detail = f"there is nothing at {identity}: put the token there, or correct the pointer"
                return Observation(identity, "jwt", findings=(Finding("missing", Severity.WARNING, detail),))
        token = bare(text) if isinstance(text, str) else ""
        claims = read_claims(token)
        if claims is None:
            detail = f"what stands at {identity} is no JWT (three base64url parts with dots): put the token there"
            return Observation(identity, "jwt", findings=(Finding("not-a-jwt", Severity.WARNING, detail),))
        fingerprint = self._tools.fingerprint(token)
        return Observation(
            identity,
            "jwt",
            "",
            claims.lifetime,
            fingerprint[:12],
            claims.findings,
            fingerprint=fingerprint,
            identity=f"jwt {claims.subject}" if claims.subject else "",
        )


def _find(specs: tuple[str, ...]) -> tuple[dict[tuple[Path, str | None], bool], dict[str, str]]:
    """Where to look, each place once, and whether the config names it itself; why other entries mean no place."""
    targets: dict[tuple[Path, str | None], bool] = {}
    failures: dict[str, str] = {}
    for spec in specs:
        pattern, pointer = _split(spec)
        try:
            paths = expand(pattern)
        except CollectError as error:
            failures[shown(spec)] = str(error)
            continue
        if not paths:
            failures[shown(spec)] = f"{shown(pattern)} matches no file: correct it, or take it off `path`"
        listed = paths == [Path(pattern).expanduser()] if paths else False
        for path in paths:
            targets.setdefault((path, pointer), listed)
    return targets, failures


def _split(spec: str) -> tuple[str, str | None]:
    """`file#/pointer` → file and pointer; a `#` that no `/` follows belongs to the file's name."""
    file, mark, pointer = spec.partition("#/")
    return (file, f"/{pointer}") if mark else (spec, None)


def _identity(path: Path, pointer: str | None) -> str:
    return shown(path) if pointer is None else f"{shown(path)}#{pointer}"


def _document(content: bytes, path: Path) -> object:
    """A JSON, TOML or YAML document as plain values.

    A file without a telling suffix is JSON or else YAML. Raises CollectError, which quotes nothing of the content.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".toml":
            return tomllib.loads(content.decode("utf-8-sig"))
        if suffix not in {".yaml", ".yml"}:
            try:
                return json.loads(content.decode("utf-8-sig"))
            except ValueError:
                if suffix == ".json":
                    raise
        from expiryd.collectors import _yaml  # noqa: PLC0415 - costs 1.5 MB that only readers of YAML are to pay

        return _yaml.parse(content.decode("utf-8-sig"), [])
    except ValueError as error:
        line = getattr(error, "lineno", None) or (at[1] if (at := _LINE.match(str(error))) else "?")
        kind = {".toml": "TOML", ".json": "JSON"}.get(suffix, "YAML")
        raise CollectError(f"{shown(path)} is no valid {kind} (line {line}): correct it") from None
    except RecursionError:
        raise CollectError(f"{shown(path)} is nested too deeply to be a document of credentials") from None


def _resolve(document: object, pointer: str) -> object:
    """The value a JSON pointer leads to (RFC 6901 §4). Raises LookupError when there is none."""
    here = document
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(here, dict):
            here = here[key]
        elif isinstance(here, list) and re.fullmatch(r"0|[1-9][0-9]{0,8}", key):
            here = here[int(key)]
        else:
            raise LookupError(key)
    return here
