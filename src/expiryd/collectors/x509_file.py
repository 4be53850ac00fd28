"""Certificates and revocation lists in files: PEM, DER, PKCS#7, PKCS#12 and Java keystores."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

from expiryd.api import (
    Blind,
    CollectError,
    Collector,
    CollectorConfig,
    Finding,
    Observation,
    Reading,
    Secret,
    SecretError,
    SecretRef,
    Severity,
    Tools,
)
from expiryd.collectors._containers import Contents, Unopened, promising, split
from expiryd.collectors._files import FileGone, Paths, permission_findings, read_bounded, shown
from expiryd.collectors._walk import Candidate, Origin, Walk
from expiryd.collectors._x509 import Facts, Revocations, describe, describe_revocations, load, malformed, printable

LARGEST_FILE = 16 * 1024 * 1024
_CERTIFICATES_ONLY = frozenset({".crt", ".cer", ".cert", ".crl", ".p7b", ".p7c", ".p12", ".pfx"})
SUFFIXES = _CERTIFICATES_ONLY | {".pem", ".der", ".jks", ".jceks", ".ks", ".keystore", ".truststore"}
_HEAD = 4096
_FILES_A_STEP = 64
_TOLD = 5


class X509FileConfig(CollectorConfig):
    """`path`: files, globs (`**` too) and directories. `exclude`: globs on the whole path. `password`: of keystores."""

    type: Literal["x509-file"]
    path: Paths
    exclude: Paths = ()
    password: SecretRef | None = None

    def build(self, tools: Tools) -> X509Files:
        return X509Files(self, tools)


class X509Files(Collector):
    """Looks at every file in a thread, 64 at a time, and hands on what it saw before the next 64."""

    def __init__(self, config: X509FileConfig, tools: Tools) -> None:
        self._config = config
        self._tools = tools
        self._proven: set[str] = set()  # held certificates before, although their names don't say so

    async def look(self) -> AsyncIterator[Reading]:
        """Raises CollectError at the end when something could not be seen, lest it be taken for gone."""
        look = _Look(self._config, self._proven)
        if self._config.password is not None:
            try:
                look.password = await self._tools.secret(self._config.password)
            except SecretError as error:  # most files need none
                look.troubles.append(str(error))
        steps = look.steps()
        while step := await asyncio.to_thread(lambda: list(islice(steps, _FILES_A_STEP))):
            for readings in step:
                for reading in readings:
                    yield reading
        look.conclude()


class _Look:
    """One pass over all files. `troubles` is what keeps it from being complete."""

    def __init__(self, config: X509FileConfig, proven: set[str]) -> None:
        self._proven = proven
        self._patterns = config.path
        self._walk = Walk(config.path, config.exclude, SUFFIXES)
        self._fruitful = 0  # bit n: the n-th pattern led to something
        self.password: Secret | None = None
        self.troubles: list[str] = []

    def steps(self) -> Iterator[list[Reading]]:
        """The readings of one directory or file after the other; most of them are short, none is ever dropped."""
        for obstacle in self._walk:
            yield [] if obstacle is None else [self._blind(obstacle.path, obstacle.reason)]
        for candidate in self._walk.candidates:
            readings = list(self._readings(candidate))
            if readings:
                self._fruitful |= candidate.sources
            yield readings

    def conclude(self) -> None:
        """Raises CollectError naming what could not be seen, and each pattern that leads to nothing."""
        for number, pattern in enumerate(self._patterns):
            if not self._fruitful >> number & 1:
                self.troubles.append(f"{shown(pattern)} leads to no certificate; correct `path` or create the file")
        if self.troubles:
            more = len(self.troubles) - _TOLD
            told = "; ".join(self.troubles[:_TOLD]) + (f"; and {more} more" if more > 0 else "")
            raise CollectError(f"not everything could be looked at: {told}")

    def _readings(self, candidate: Candidate) -> Iterator[Reading]:
        path = candidate.path
        promised = candidate.origin is Origin.NAMED or self._walk.is_known(path)
        expected = promised or candidate.origin is Origin.GLOB or path in self._proven
        if not promised and not _promising(path, otherwise=expected):
            return
        try:
            contents = split(read_bounded(Path(path), LARGEST_FILE), self.password)
        except FileGone as error:  # what was only found may go at any time
            if candidate.origin is Origin.NAMED:
                yield from self._missing(candidate, str(error))
        except CollectError as error:
            if expected:
                yield self._blind(path, str(error))
        except Unopened as error:
            yield self._blind(path, f"{shown(path)}: {error}")
        else:
            yield from self._judged(candidate, contents, promised=promised)

    def _judged(self, candidate: Candidate, contents: Contents, *, promised: bool) -> Iterator[Observation]:
        path = candidate.path
        if contents.parts and not promised:
            self._proven.add(path)
        if contents.parts or (promised and contents.faults):
            yield from _observations(path, contents)
        elif candidate.origin is Origin.NAMED or (promised and not _is_content(path, contents)):
            yield _nothing(path, contents)

    def _missing(self, candidate: Candidate, reason: str) -> Iterator[Blind]:
        """If nothing else was asked for, not an item but the whole source is out of sight."""
        if len(self._patterns) > 1:
            yield self._blind(candidate.path, reason)
        else:
            self._fruitful |= candidate.sources  # told, and why
            self.troubles.append(reason)

    def _blind(self, path: str, reason: str) -> Blind:
        self.troubles.append(reason)
        return Blind(shown(path), reason, "certificate")


def _observations(path: str, contents: Contents) -> Iterator[Observation]:
    """One per certificate and list, and one for all that could not be read. What concerns the file goes to the first.

    The file's own certificate, which is its only one that signs no others, has the path for its id, whatever chain
    comes with it. All others are `path#name`, by their keystore's name for them or their own.
    """
    facts, faults = _facts(contents)
    about_file = contents.findings + _open_key(path, contents)
    own = _own([entry for _, entry in facts], broken=bool(faults))
    file = shown(path)
    if faults:
        detail = f"{len(faults)} of {len(faults) + len(facts)} entries of {file} can't be read ({faults[0]})"
        name = file if own is None else f"{file}#malformed"
        yield Observation(name, "certificate", Path(file).name, findings=(*about_file, malformed(detail)))
        about_file = ()
    taken: Counter[str] = Counter((file, f"{file}#malformed"))
    for alias, entry in sorted(facts, key=lambda pair: (pair[1] is not own, *_newest_first(pair[1]))):
        name = file
        if entry is not own:
            name = f"{file}#{printable(alias) or entry.title}"
            name = _distinct(name, taken)
        yield _observation(name, entry, about_file, own=entry is own)
        about_file = ()


def _distinct(name: str, taken: Counter[str]) -> str:
    """`name`, or the first free of `name~2`, `name~3`, …"""
    taken[name] += 1
    return name if taken[name] == 1 else _distinct(f"{name}~{taken[name]}", taken)


def _own(entries: Sequence[Facts | Revocations], *, broken: bool) -> Facts | Revocations | None:
    """The one entry that the file is about. An authority isn't when there is something beside it, if only broken."""
    certificates = [entry for entry in entries if isinstance(entry, Facts)]
    leaves = [entry for entry in certificates if not entry.authority]
    if len(leaves) == 1 or broken:
        few: Sequence[Facts | Revocations] = leaves
    else:
        few = certificates or entries
    return few[0] if len(few) == 1 else None


def _facts(contents: Contents) -> tuple[list[tuple[str, Facts | Revocations]], list[str]]:
    """Each different certificate and list with its alias, and why the others can't be read."""
    facts: dict[str, tuple[str, Facts | Revocations]] = {}
    faults = list(contents.faults)
    for part in contents.parts:
        try:
            entry = describe(load(part.der)) if part.kind == "certificate" else describe_revocations(part.der)
        except ValueError as error:
            faults.append(str(error))
        else:
            facts.setdefault(entry.fingerprint, (part.alias, entry))
    return list(facts.values()), faults


def _newest_first(entry: Facts | Revocations) -> tuple[float, str]:
    """So that of several of one name the newest has the name, and the others never swap theirs for their order."""
    end = entry.not_after if isinstance(entry, Facts) else entry.next_update
    return -end.timestamp() if end else 0.0, entry.fingerprint


def _observation(name: str, entry: Facts | Revocations, about_file: tuple[Finding, ...], *, own: bool) -> Observation:
    """An authority among others is as everybody has it: of its copies and successors there is nothing to say."""
    kin = entry if isinstance(entry, Facts) and (own or not entry.authority) else None
    return Observation(
        id=name,
        kind="certificate" if isinstance(entry, Facts) else "crl",
        title=entry.title,
        lifetime=entry.lifetime,
        generation=entry.generation,
        findings=about_file + entry.findings,
        traits=entry.traits,
        fingerprint=kin.mark if kin else "",
        identity=kin.identity if kin else "",
    )


def _is_content(path: str, contents: Contents) -> bool:
    """Whether a file with this name may well hold keys, requests or parameters and nothing else."""
    return contents.recognised and not contents.findings and Path(path).suffix.lower() not in _CERTIFICATES_ONLY


def _nothing(path: str, contents: Contents) -> Observation:
    file = shown(path)
    what = "a private key, a request or parameters, but" if contents.recognised else "nothing that is PEM, DER or JKS:"
    detail = f"{file} holds {what} no certificate; is it the right file, and was it written to the end?"
    finding = Finding("not-a-certificate", Severity.WARNING, detail)
    findings = (finding, *contents.findings, *_open_key(path, contents))
    return Observation(file, "certificate", Path(file).name, findings=findings)


def _open_key(path: str, contents: Contents) -> tuple[Finding, ...]:
    """Who else may read or replace a private key that is in the file. That it is a link is how links are used."""
    if not contents.private_key:
        return ()
    return tuple(found for found in permission_findings(Path(path)) if found.code == "unsafe-permissions")


def _promising(path: str, *, otherwise: bool) -> bool:
    """Whether the file begins like one that may hold a certificate; `otherwise` when it can't be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with os.fdopen(descriptor, "rb") as file:
            return promising(file.read(_HEAD))
    except OSError:
        return otherwise
