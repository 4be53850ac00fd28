"""Watches the tokens in `.tokens` and `.env` files: which there are, which are placeholders, which tell an expiry."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from expiryd.api import (
    NO_TRAITS,
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
from expiryd.collectors._assignments import NAME, Assignment, Parsed, explain_placeholder, names_credential, parse
from expiryd.collectors._files import FileGone, Paths, expand, permission_findings, read_stamped, shown
from expiryd.collectors._jwt import bare, read_claims

LIMIT = 1 << 20
_SHOWN_DIGITS = 12
_SHORTEST_SECRET = 8  # what is shorter may be equal by chance, and is no copy
_KNOWN = {
    "cicd": (
        "AAR_TOKEN",
        "CI_BOT_TOKEN",
        "CI_ISSUE_AUTOMATION_TOKEN",
        "DEV_ORCHESTRATION_BOT_KEY",
        "PROD_ORCHESTRATION_BOT_KEY",
        "STAGING_ORCHESTRATION_BOT_KEY",
    ),
    "runtime": ("DISCORD_BOT_TOKEN", "DISCORD_CLIENT_SECRET", "BOT_JWT", "CF_DNS_API_TOKEN", "TUNNEL_TOKEN"),
    "maintainer": ("EXTERNAL_PR_MAINTAINER_TOKEN", "SECURITY_AUDIT_TOKEN", "EMERGENCY_OVERRIDE_TOKEN"),
}
_TRAITS = {name: traits for word, names in _KNOWN.items() for traits in [Traits(category=word)] for name in names}


class EnvFileConfig(CollectorConfig):
    """`path`: files, globs, directories. `names`: only these. `issued_from = "mtime"`: a file's age is its tokens'."""

    type: Literal["env-file"]
    path: Paths
    names: tuple[Annotated[str, Field(pattern=rf"^{NAME}$")], ...] | None = None
    issued_from: Literal["config", "mtime"] = "config"

    def build(self, tools: Tools) -> Collector:
        return EnvFile(self, tools, os.environ)


@dataclass(frozen=True, slots=True)
class _Source:
    """A file to read. `listed`: named in the config itself, so that its absence is worth an alert."""

    path: Path
    listed: bool


class EnvFile(Collector):
    def __init__(self, config: EnvFileConfig, tools: Tools, environ: Mapping[str, str]) -> None:
        self._config = config
        self._tools = tools
        self._environ = environ

    async def look(self) -> AsyncIterator[Reading]:
        sources, failures = await asyncio.to_thread(self._find)
        alone = len(self._config.path) == 1 and [source.listed for source in sources] == [True]
        unseen = dict.fromkeys(self._config.names or ())
        first: str | None = None
        for source in sources:
            prefix = "" if alone else f"{shown(source.path)}:"
            try:
                observations = await asyncio.to_thread(self._read, source.path, prefix)
            except CollectError as error:
                if source.listed or not isinstance(error, FileGone):
                    failures[shown(source.path)] = str(error)
                continue
            first = prefix if first is None else first
            for observation in observations:
                unseen.pop(observation.title, None)
                yield observation
        if first is None:
            raise CollectError("; ".join(failures.values()) or f"nothing is left of {', '.join(self._config.path)}")
        for path, reason in failures.items():
            yield Blind(path, reason, kind="credential-file")
        if failures:  # a partial look: what stood in those files is not gone, and no name may be called missing
            raise CollectError("; ".join(failures.values()))
        for name in unseen:
            detail = f"{name} is set in none of {', '.join(self._config.path)}: set it, or take it off `names`"
            yield _token(f"{first}{name}", name, Finding("missing", Severity.WARNING, detail))

    def _find(self) -> tuple[list[_Source], dict[str, str]]:
        """The files that are meant, each once and in order, and why other paths of the config mean none."""
        sources: dict[Path, _Source] = {}
        failures: dict[str, str] = {}
        for pattern in self._config.path:
            try:
                paths = expand(pattern)
            except CollectError as error:
                failures[shown(pattern)] = str(error)
                continue
            if not paths:
                failures[shown(pattern)] = f"{shown(pattern)} matches no file: correct it, or take it off `path`"
            for path in paths:
                try:
                    found = self._meant(path, listed=paths == [Path(pattern).expanduser()])
                except CollectError as error:
                    failures[shown(path)] = str(error)
                else:
                    for source in found:
                        sources.setdefault(source.path, source)
        return list(sources.values()), failures

    def _meant(self, path: Path, *, listed: bool) -> list[_Source]:
        """The file itself, or those of a directory that are in use. Raises CollectError when a listed one has none."""
        try:
            if not path.is_dir():
                return [_Source(path, listed)]
            chosen = [path / f"{stem}{self._suffix()}" for stem in (".tokens", ".env")]
            present = [_Source(file, listed=False) for file in chosen if file.exists() or file.is_symlink()]
        except OSError as error:
            raise CollectError(
                f"cannot look into {shown(path)}: {error.strerror}; let the user that runs expiryd in"
            ) from None
        if listed and not present:
            raise CollectError(f"{shown(path)} holds neither {chosen[0].name} nor {chosen[1].name}: create one")
        return present

    def _suffix(self) -> str:
        """Which of a directory's files is in use, by DevOnboarder's rule."""
        if self._environ.get("CI"):
            return ".ci"
        environment = self._environ.get("APP_ENV", "").lower()
        return {"production": ".prod", "development": ".dev"}.get(environment, "")

    def _read(self, path: Path, prefix: str) -> list[Observation]:
        """The file's own observation, then its tokens', titled with their names. Raises CollectError."""
        content, modified = read_stamped(path, LIMIT)
        parsed = parse(content)
        chosen = self._chosen(parsed, path)
        return [_file_observation(path, parsed), *(self._observe(each, path, prefix, modified) for each in chosen)]

    def _chosen(self, parsed: Parsed, path: Path) -> Iterator[Assignment]:
        for assignment in parsed.assignments.values():
            if self._config.names is not None:
                if assignment.name in self._config.names:
                    yield assignment
            elif (
                "tokens" in path.name.split(".")
                or assignment.name in _TRAITS
                or names_credential(assignment.name)
                or read_claims(bare(assignment.value)) is not None
            ):
                yield assignment

    def _observe(self, assignment: Assignment, path: Path, prefix: str, modified: datetime | None) -> Observation:
        name, value = assignment.name, assignment.value
        findings = []
        if len(assignment.lines) > 1:
            detail = f"{name} is set {len(assignment.lines)} times in {shown(path)} ({_lines(assignment.lines)}): "
            detail += "the last counts here, other readers may take another; keep one"
            findings.append(Finding("duplicate", Severity.WARNING, detail))
        if reason := explain_placeholder(value):
            tested = value.startswith("ci_test_") and path.name in {".tokens.ci", ".env.ci"}
            severity = Severity.INFO if tested else Severity.WARNING
            detail = f"{name} in {shown(path)} is a placeholder: {reason}; put the real value there"
            if tested:
                detail = f"{name} in {shown(path)} is a test value, as a committed file's should be"
            return _token(f"{prefix}{name}", name, *findings, Finding("placeholder", severity, detail))
        lifetime = None
        if claims := read_claims(bare(value)):
            lifetime = claims.lifetime
            findings += claims.findings
        elif self._config.issued_from == "mtime" and modified:
            lifetime = Lifetime(issued_at=modified, basis=Basis.POLICY)
        token = _token(f"{prefix}{name}", name, *findings, lifetime=lifetime)
        fingerprint = self._tools.fingerprint(bare(value))  # as the same token has it elsewhere
        return replace(
            token,
            generation=fingerprint[:_SHOWN_DIGITS],
            fingerprint=fingerprint if len(value) >= _SHORTEST_SECRET else "",
            identity=f"token {name} of {shown(path.parent)}/{_variant(path)}",
        )


def _token(identity: str, name: str, *findings: Finding, lifetime: Lifetime | None = None) -> Observation:
    return Observation(identity, "token", name, lifetime, findings=findings, traits=_TRAITS.get(name, NO_TRAITS))


def _variant(path: Path) -> str:
    """What tells files of one directory apart that are not in use together: `.tokens.prod` goes with `.env.prod`."""
    return shown(Path(path.name.removeprefix(".tokens").removeprefix(".env")))


def _file_observation(path: Path, parsed: Parsed) -> Observation:
    """What is wrong with the file itself, told once and not at each of its tokens."""
    findings = [*permission_findings(path)]
    if parsed.undecodable:
        detail = f"{shown(path)}, {_lines(parsed.undecodable)}: neither UTF-8 nor free of NUL; save it as UTF-8 text"
        findings.append(Finding("undecodable", Severity.WARNING, detail))
    if parsed.malformed:
        detail = f"{shown(path)}, {_lines(parsed.malformed)}: not NAME=value, so nothing was taken from there"
        findings.append(Finding("malformed-line", Severity.INFO, detail))
    return Observation(shown(path), "credential-file", findings=tuple(findings))


def _lines(numbers: list[int]) -> str:
    few = ", ".join(map(str, numbers[:5]))
    return f"line{'s' * (len(numbers) > 1)} {few}{' …' if len(numbers) > 5 else ''} ({len(numbers)} in all)"
