"""Watches a store of `NAME.token` and `NAME.meta` files by their metadata alone: no `.token` is ever opened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from expiryd.api import (
    Basis,
    Blind,
    CollectError,
    Collector,
    CollectorConfig,
    Finding,
    Lifetime,
    Observation,
    Reading,
    Severity,
    Tools,
    Traits,
)
from expiryd.collectors._files import FileGone, permission_findings, read_bounded, shown

LIMIT = 1 << 16
_MAINTAINER = Traits(category="maintainer")


class TokenDirConfig(CollectorConfig):
    """`path`: the directory that holds the store."""

    type: Literal["token-dir"]
    path: Annotated[str, Field(min_length=1)]

    def build(self, tools: Tools) -> Collector:
        return TokenDir(self)


class TokenDir(Collector):
    def __init__(self, config: TokenDirConfig) -> None:
        self._path = config.path

    async def look(self) -> AsyncIterator[Reading]:
        directory, files = await asyncio.to_thread(self._list)
        yield Observation(shown(directory), "credential-store", findings=permission_findings(directory))
        for name in sorted({stem for stem, _, _ in files}):
            described = (name, ".", "meta") in files
            if reading := await asyncio.to_thread(_read if described else _read_orphan, directory, name):
                yield reading

    def _list(self) -> tuple[Path, set[tuple[str, str, str]]]:
        """The directory and its files as (name, ".", suffix). Raises CollectError when it can't be listed."""
        try:
            directory = Path(self._path).expanduser()
            parts = (file.name.rpartition(".") for file in directory.iterdir())
            return directory, {part for part in parts if part[0] and part[2] in {"meta", "token"}}
        except OSError as error:
            reason = f"{error.strerror}; `path` names the directory, and expiryd's user must be able to list it"
            raise CollectError(f"cannot list {shown(self._path)}: {reason}") from None
        except (ValueError, RuntimeError) as error:  # NUL in the name; no home directory for `~`
            raise CollectError(f"{shown(self._path)} is no usable path: {error}") from None


def _read(directory: Path, name: str) -> Reading | None:
    """What NAME.meta says; None when it was removed since the directory was listed."""
    meta, token = directory / f"{name}.meta", directory / f"{name}.token"
    try:
        content = read_bounded(meta, LIMIT)
    except FileGone:
        return None
    except CollectError as error:
        return Blind(shown(name), str(error), "token", shown(name))
    keys = _parse(content)
    lifetime, generation, judged = _judge(keys, shown(meta))
    findings = _once([*permission_findings(meta), *permission_findings(token), *judged])
    title = "".join(sign for sign in keys.get("description", "") if sign.isprintable())[:200].strip()
    return Observation(
        shown(name),
        "token",
        title or shown(name),
        lifetime,
        generation,
        findings,
        traits=_MAINTAINER,
        identity=f"token {shown(name)}",
    )


def _read_orphan(directory: Path, name: str) -> Observation:
    """A NAME.token without its NAME.meta."""
    token = directory / f"{name}.token"
    detail = f"{shown(token)} has no .meta beside it, so nothing is known of its expiry; store the token again"
    findings = (*permission_findings(token), Finding("no-metadata", Severity.WARNING, detail))
    return Observation(shown(name), "token", shown(name), findings=findings, traits=_MAINTAINER)


def _parse(content: bytes) -> dict[str, str]:
    """`key: value` a line, split at the first colon; a description may hold anything, `expires:` too."""
    text = content.decode(errors="replace").removeprefix("\ufeff")
    pairs = (line.partition(":") for line in text.split("\n"))
    return {key: value.strip() for key, colon, value in pairs if colon}


def _judge(keys: dict[str, str], where: str) -> tuple[Lifetime | None, str, list[Finding]]:
    """The lifetime, the generation and what is wrong, from a `.meta` file's keys."""
    dates: dict[str, datetime] = {}
    findings = []
    for key in ("created", "expires"):
        if not (text := keys.get(key)):
            continue
        try:
            dates[key] = _moment(text)
        except (ValueError, OverflowError):
            detail = f"{where}: `{key}` is no time between the years 1971 and 9998; write it as 2030-01-31T12:00:00Z"
            findings.append(Finding("invalid-date", Severity.WARNING, detail))
    if not keys.get("expires"):
        detail = f"{where} has no `expires`; write it there, or give the item's date in the config"
        findings.append(Finding("no-expiry-info", Severity.WARNING, detail))
    created, expires = dates.get("created"), dates.get("expires")
    generation = "/".join(moment.isoformat() for moment in dates.values())
    if created and expires and expires < created:
        detail = f"{where}: `expires` lies before `created`; correct the wrong one"
        findings.append(Finding("invalid-lifetime", Severity.WARNING, detail))
        created = None  # no share of a negative lifetime is ever computed
    if keys.get("encrypted", "").lower() == "false":
        detail = f"{where} says that the token is stored unencrypted: install gpg and store it again"
        findings.append(Finding("unencrypted", Severity.WARNING, detail))
    lifetime = Lifetime(expires, created, basis=Basis.METADATA) if dates else None
    return lifetime, generation, findings


def _moment(text: str) -> datetime:
    """ISO 8601 as Python reads it, UTC where it tells no offset. Raises ValueError, OverflowError.

    The years outside 1971-9998 are stand-ins ("zero", "never"), and arithmetic on them leaves the calendar.
    """
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if not 1970 < moment.year <= 9998:
        raise ValueError("not a date anybody means")
    return moment


def _once(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding a code, the worst severity and every detail: two files' modes are one matter."""
    merged: dict[str, Finding] = {}
    for finding in findings:
        if before := merged.get(finding.code):
            severity = max(before.severity, finding.severity)
            finding = Finding(finding.code, severity, f"{before.detail}; {finding.detail}")  # noqa: PLW2901 - folded
        merged[finding.code] = finding
    return tuple(merged.values())
