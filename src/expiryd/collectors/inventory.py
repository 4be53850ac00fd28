"""Watches the dates that people type into lists: TOML, CSV, JSON or YAML files of things that nothing else can ask."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator

from expiryd.api import (
    NO_TRAITS,
    Basis,
    Blind,
    CollectError,
    Collector,
    CollectorConfig,
    Finding,
    Lifetime,
    Measure,
    Observation,
    Reading,
    Severity,
    Tools,
    Traits,
)
from expiryd.collectors._files import Paths, expand, permission_findings, read_bounded, shown
from expiryd.collectors._sheets import ENDINGS, EXTRA, Sheet, read_sheet
from expiryd.collectors._typed import Problem, labels_of, lifetime_of, list_of, text_of

LIMIT = 64 << 20
_CHUNK = 500
_LONGEST_NAME = 512
_NAMED_ROWS = 10
_WIDE = "it has more fields than the header has columns, so its dates are not trusted: quote what holds commas"
_TOO_WIDE: tuple[Lifetime, tuple[Problem, ...]] = (Lifetime(basis=Basis.TYPED), (("malformed-row", _WIDE),))
_NO_DATE = ("missing-date", 'it has no date: give `expires` (or "never"), or `issued` and `lifetime`')
_KEYS = frozenset(
    {"name", "expires", "issued", "lifetime", "kind", "owner", "category", "runbook", "used_by", "labels", EXTRA}
)


def _by_ending(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        if not pattern.lower().endswith(ENDINGS):
            raise ValueError(f"an inventory's path ends in {', '.join(ENDINGS)}, which says how it is written")
    return patterns


class InventoryConfig(CollectorConfig):
    """`path`: files and globs. `timezone`: in which typed days end, when it isn't the daemon's."""

    type: Literal["inventory"]
    path: Annotated[Paths, AfterValidator(_by_ending)]
    timezone: ZoneInfo | None = None

    def build(self, tools: Tools) -> Collector:
        return Inventory(self, tools)


class Inventory(Collector):
    def __init__(self, config: InventoryConfig, tools: Tools) -> None:
        self._config = config
        self._zone = config.timezone or tools.timezone

    async def look(self) -> AsyncIterator[Reading]:
        paths, failures = await asyncio.to_thread(self._find)
        clerk = _Clerk(self._zone, frozenset(self._config.items))
        read_any = False
        for path in paths:
            rows = _read(path, clerk)
            try:
                while chunk := await asyncio.to_thread(_next_chunk, rows):
                    for reading in chunk:
                        yield reading
                read_any = True
            except CollectError as error:
                failures[shown(path)] = str(error)
        if read_any:
            for name, reason in failures.items():
                yield Blind(name, reason, kind="inventory")
        if failures:  # what stands in those files is not gone: the look is a partial one
            raise CollectError("; ".join(failures.values()))

    def _find(self) -> tuple[list[Path], dict[str, str]]:
        """The files that are meant, each once and in order, and why other entries of `path` mean none."""
        paths: dict[Path, None] = {}
        failures = {}
        for pattern in self._config.path:
            try:
                found = expand(pattern)
            except CollectError as error:
                failures[shown(pattern)] = str(error)
                continue
            if not found:
                failures[shown(pattern)] = f"{shown(pattern)} matches no file: correct it, or take it off `path`"
            paths.update(dict.fromkeys(found))
        return list(paths), failures


def _next_chunk(rows: Iterator[Observation]) -> list[Observation]:
    return list(islice(rows, _CHUNK))


def _read(path: Path, clerk: _Clerk) -> Iterator[Observation]:
    """The file's rows, then the file itself with what is wrong with it as a whole. Raises CollectError."""
    sheet = read_sheet(path, read_bounded(path, LIMIT))
    ledger = _Ledger(path, sheet)
    file = shown(path)
    for place, row in sheet.rows:
        ledger.rows += 1
        if not isinstance(row, dict):
            ledger.note("malformed-row", place)
            continue
        if not row.keys() <= _KEYS:
            ledger.keys.update(dict.fromkeys(str(key) for key in row.keys() - _KEYS))
        name = _name(row.get("name"))
        if name is None:
            ledger.note("missing-name", place)
            continue
        yield clerk.observe(name, row, f"{file}, {place}")
    yield ledger.observation()


def _name(value: object) -> str | None:
    name = value.strip() if isinstance(value, str) else str(value) if type(value) is int else ""
    return name if name and len(name) <= _LONGEST_NAME and name.isprintable() else None


def _has_no_date(lifetime: Lifetime) -> bool:
    return lifetime.expires_at is None and lifetime.issued_at is None and lifetime.basis is not Basis.NONE


class _Ledger:
    """What is wrong with a file as a whole: rows that cannot become items, keys that nobody reads."""

    def __init__(self, path: Path, sheet: Sheet) -> None:
        self.rows = 0
        self.keys = dict.fromkeys(column for column in sheet.columns if column not in _KEYS)
        self._path = path
        self._sheet = sheet
        self._places: dict[str, list[str]] = {}

    def note(self, code: str, place: str) -> None:
        self._places.setdefault(code, []).append(place)

    def observation(self) -> Observation:
        findings = (*permission_findings(self._path, secret=False), *self._findings())
        identity = shown(self._path)
        measure = Measure("rows", self.rows, "rows")
        return Observation(identity, "inventory", identity, findings=findings, measures=(measure,))

    def _findings(self) -> Iterator[Finding]:
        path = shown(self._path)
        if not self.rows:
            yield Finding("empty", Severity.WARNING, f"{path} lists nothing: fill it, or take it off `path`")
        if self.keys:
            names = _few([ascii(key)[1:-1][:40] for key in self.keys])
            known = ", ".join(sorted(_KEYS - {EXTRA}))
            detail = f"{path}: nobody reads {names}; known are {known}, and anything else goes into labels"
            yield Finding("unknown-key", Severity.WARNING, detail)
        if self._sheet.repeated:
            names = _few([ascii(key)[1:-1][:40] for key in self._sheet.repeated])
            detail = f"{path} gives {names} more than once in one place, and only the last counts: keep one"
            yield Finding("repeated-key", Severity.WARNING, detail)
        for code, places in self._places.items():
            what = {
                "missing-name": f"no name, or none that is printable and at most {_LONGEST_NAME} characters long",
                "malformed-row": "not a table of keys",
            }[code]
            yield Finding(code, Severity.WARNING, f"{path}: {what}, at {_few(places)}: nothing is watched there")


def _few(words: list[str]) -> str:
    more = len(words) - _NAMED_ROWS
    return ", ".join(words[:_NAMED_ROWS]) + (f" and {more} more" if more > 0 else "")


class _Clerk:
    """Turns rows into observations for one look. What rows have in common is read once and shared."""

    def __init__(self, zone: ZoneInfo, dated_elsewhere: frozenset[str]) -> None:
        self._zone = zone
        self._dated_elsewhere = dated_elsewhere
        self._names: dict[str, int] = {}
        self._lifetimes: dict[object, tuple[Lifetime, tuple[Problem, ...]]] = {}
        self._traits: dict[object, tuple[Traits, tuple[Problem, ...]]] = {}
        self._shared: dict[object, Traits] = {}

    def observe(self, name: str, row: Mapping[str, object], where: str) -> Observation:
        problems: list[Problem] = []
        identity = self._identity(name)
        if identity != name:
            text = f"{name} is listed more than once, this one is watched as {identity}: give each a name of its own"
            problems.append(("duplicate", text))
        if EXTRA in row:
            lifetime, odd = _TOO_WIDE
        else:
            lifetime, odd = self._lifetime(row)
        if not odd and name not in self._dated_elsewhere and _has_no_date(lifetime):
            odd = (_NO_DATE,)
        problems += odd
        traits, strange = self._traits_of(row)
        problems += strange
        kind = sys.intern(text_of(row, "kind", problems))
        findings = tuple(Finding(code, Severity.WARNING, f"{text} ({where})") for code, text in problems)
        return Observation(identity, kind, name, lifetime, findings=findings, traits=traits)

    def _identity(self, name: str) -> str:
        """The name itself, or `name#2` and so on when it is taken."""
        number = self._names.get(name, 0) + 1
        while number > 1 and f"{name}#{number}" in self._names:
            number += 1
        self._names[name] = number
        if number == 1:
            return name
        self._names[f"{name}#{number}"] = 1
        return f"{name}#{number}"

    def _lifetime(self, row: Mapping[str, object]) -> tuple[Lifetime, tuple[Problem, ...]]:
        key = (row.get("expires"), row.get("issued"), row.get("lifetime"))
        try:
            known = self._lifetimes.get(key)
        except TypeError:  # a list or table instead of a date
            return lifetime_of(*key, self._zone)
        if known is None:
            known = self._lifetimes[key] = lifetime_of(*key, self._zone)
        return known

    def _traits_of(self, row: Mapping[str, object]) -> tuple[Traits, tuple[Problem, ...]]:
        used_by, labels = row.get("used_by"), row.get("labels")
        if isinstance(used_by, list):
            used_by = tuple(used_by)
        if isinstance(labels, dict):
            labels = tuple(labels.items())
        key = (row.get("category"), row.get("owner"), row.get("runbook"), used_by, labels)
        try:
            known = self._traits.get(key)
        except TypeError:  # a list or table where it doesn't belong
            return self._share(row)
        if known is None:
            known = self._traits[key] = self._share(row)
        return known

    def _share(self, row: Mapping[str, object]) -> tuple[Traits, tuple[Problem, ...]]:
        problems: list[Problem] = []
        used_by = list_of(row.get("used_by"), problems)
        labels = labels_of(row.get("labels"), problems)
        category, owner, runbook = (text_of(row, key, problems) for key in ("category", "owner", "runbook"))
        if not (category or owner or runbook or used_by or labels):
            return NO_TRAITS, tuple(problems)
        traits = Traits(category, owner, runbook, used_by, labels)
        key = (category, owner, runbook, used_by, tuple(labels.items()))
        return self._shared.setdefault(key, traits), tuple(problems)
