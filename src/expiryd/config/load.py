"""Reads the files and the environment into one Config, or says everything that is wrong with them at once."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from expiryd.api import CollectorConfig, ItemConfig, NotifierConfig, SecretRef
from expiryd.config.connectivity import ConnectivityConfig
from expiryd.config.cron import parse_cron
from expiryd.config.environment import PREFIX, read_environment, unknown_variables, variable_of
from expiryd.config.errors import ConfigError, ConfigProblem, Key, explain, spell, unknown_key
from expiryd.config.model import Config, DaemonConfig, HttpConfig
from expiryd.config.policy import CategoryConfig, PolicyConfig, check_hours, check_thresholds
from expiryd.config.routing import MaintenanceConfig, RouteConfig, WindowConfig, check_references
from expiryd.config.section import check_name
from expiryd.config.templating import with_templates
from expiryd.config.walk import anchor
from expiryd.registry import PluginError, Registry

Tables = dict[str, Any]

SYSTEM_CONFIG = Path("/etc/expiryd/expiryd.toml")
LOCAL_CONFIG = Path("config/expiryd.toml")
_AT = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
_ENV_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def default_paths(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The config file when no `-c` names one: `$EXPIRYD_CONFIG`, the system's, else the working directory's."""
    if named := environ.get("EXPIRYD_CONFIG"):
        return (Path(named),)
    return (SYSTEM_CONFIG if SYSTEM_CONFIG.exists() else LOCAL_CONFIG,)


def load(
    paths: Sequence[Path],
    *,
    environ: Mapping[str, str],
    collectors: Registry[CollectorConfig],
    notifiers: Registry[NotifierConfig],
    above: Mapping[str, Any] = MappingProxyType({}),
) -> Config:
    """The effective configuration. Raises ConfigError with every problem of every file, section and plugin.

    Later files win over earlier ones, then come `conf.d/*.toml`, the overlay of `$EXPIRYD_ENV`, the variables and the
    tables of `above`, which are for trying something out.
    Tables are merged, lists and values replaced. Relative paths are meant beside the first file.
    """
    problems: list[ConfigProblem] = []
    raw = _merged(paths, environ, problems)
    raw = _merge(_merge(raw, read_environment(environ, raw)), above)
    problems.extend(unknown_variables(environ))
    problems.extend(_with_nul((), raw))
    directory = _directory(paths)
    config = _validated(raw, {"collectors": collectors, "notifiers": notifiers}, directory, problems)
    if problems:
        raise ConfigError(_with_variable(problem, environ) for problem in problems)
    anchored: Config = anchor(config, directory)
    return anchored


def _directory(paths: Sequence[Path]) -> Path:
    """Of the first file as it was named: what a ConfigMap's links lead to changes with each of its versions."""
    return Path(os.path.normpath(paths[0].absolute())).parent if paths else Path.cwd()


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────


def _merged(paths: Sequence[Path], environ: Mapping[str, str], problems: list[ConfigProblem]) -> Tables:
    merged: Tables = {}
    declared: dict[tuple[str, str], Path] = {}
    folders = dict.fromkeys(path.parent / "conf.d" for path in paths)
    parts = [part for folder in folders for part in sorted(folder.glob("*.toml"))]
    for path in (*paths, *parts):
        tables = _read(path, problems)
        if path in parts or path == paths[0]:
            problems.extend(_doubled(tables, path, declared))
        merged = _merge(merged, tables)
    for path in _overlays(paths, environ.get("EXPIRYD_ENV", ""), problems):
        merged = _merge(merged, _read(path, problems))
    return merged


def _read(path: Path, problems: list[ConfigProblem]) -> Tables:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 text (byte {error.start})"
    except RecursionError:
        message = "is nested too deeply"
    except ValueError as error:  # TOMLDecodeError is one; so is what int() says of a number of thousands of digits
        text = str(error)
        at = _AT.search(text)
        where = f":{at[1]}:{at[2]}" if at and at[1] else ""
        problems.append(ConfigProblem(f"{path}{where}", f"is not TOML: {_AT.sub('', text)}"))
        return {}
    problems.append(ConfigProblem(str(path), message))
    return {}


def _with_nul(path: tuple[str | int, ...], value: object) -> Iterator[ConfigProblem]:
    """TOML can write the character (`\\u0000`), but no file, host or command can have it."""
    if isinstance(value, str) and "\0" in value:
        yield ConfigProblem(spell(path), "holds the character NUL, which nothing can be called")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _with_nul((*path, key), inner)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _with_nul((*path, place), inner)


def _doubled(tables: Tables, path: Path, declared: dict[tuple[str, str], Path]) -> Iterator[ConfigProblem]:
    """Two files of equal rank that both say what a name is: one of them would be lost without a word."""
    for section in ("collectors", "notifiers"):
        for name, table in _table(tables.get(section)).items():
            if "type" not in _table(table):
                continue
            first = declared.setdefault((section, name), path)
            if first != path:
                yield ConfigProblem(spell((section, name)), f"is declared in {first} and again in {path}; rename one")


def _overlays(paths: Sequence[Path], name: str, problems: list[ConfigProblem]) -> list[Path]:
    if not name:
        return []
    if not _ENV_NAME.fullmatch(name):
        problems.append(ConfigProblem("EXPIRYD_ENV", "must be a plain name such as production"))
        return []
    wanted = [path.with_name(f"{path.stem}.{name}{path.suffix}") for path in paths]
    found = [path for path in wanted if path.exists()]
    if wanted and not found:
        missing = " or ".join(map(str, wanted))
        problems.append(ConfigProblem("EXPIRYD_ENV", f"asks for {missing}, which is not there"))
    return found


def _merge(below: Tables, above: Mapping[str, Any]) -> Tables:
    return {**below, **{key: _laid_over(below.get(key), value) for key, value in above.items()}}


def _laid_over(known: object, value: object) -> object:
    if isinstance(known, dict) and isinstance(value, dict) and not _is_reference(known):
        return _merge(known, value)
    return value


def _is_reference(table: Tables) -> bool:
    """A reference to a secret is one value: `{ env = … }` over `{ file = … }` must not become both."""
    return bool(table) and table.keys() <= SecretRef.model_fields.keys()


def _table(value: object) -> Tables:
    return value if isinstance(value, dict) else {}


def _with_variable(problem: ConfigProblem, environ: Mapping[str, str]) -> ConfigProblem:
    variable = variable_of(problem.path)
    if variable in environ and not problem.path.startswith(PREFIX):
        return ConfigProblem(problem.path, f"{problem.message} (set by {variable})")
    return problem


# ── sections ──────────────────────────────────────────────────────────────────────────────────────────


def _validated(
    raw: Tables, registries: Mapping[str, Registry[Any]], directory: Path, problems: list[ConfigProblem]
) -> Config | None:
    """Each section and each plugin on its own, so that one mistake hides no other."""
    sections: Tables = {}
    for key, value in raw.items():
        if key not in Config.model_fields:
            problems.append(ConfigProblem(spell((key,)), unknown_key(key, Config.model_fields, "section")))
        elif key in _LISTS:
            sections[key] = _list(_LISTS[key], value, key, problems)
        elif not isinstance(value, dict):
            problems.append(ConfigProblem(key, "must be a table of keys"))
        elif key in _FIXED:
            sections[key] = _model(_FIXED[key], value, (key,), problems)
        else:
            sections[key] = dict(_entries(key, value, registries.get(key), problems))
    known = {section: _table(raw.get(section)) for section in ("collectors", "notifiers", "windows")}
    problems.extend(check_references(sections.get("routes", ()), sections.get("maintenance", {}), known))
    problems.extend(check_hours(sections.get("policy"), known["windows"]))
    sections["notifiers"] = {
        name: notifier if notifier is None else with_templates(notifier, name, directory, problems)
        for name, notifier in sections.get("notifiers", {}).items()
    }
    return None if problems else Config(**sections)


_FIXED: Mapping[str, type[BaseModel]] = {
    "daemon": DaemonConfig,
    "http": HttpConfig,
    "policy": PolicyConfig,
    "connectivity": ConnectivityConfig,
}
"""Sections of one table."""
_NAMED: Mapping[str, type[BaseModel]] = {
    "categories": CategoryConfig,
    "kinds": CategoryConfig,
    "environments": CategoryConfig,
    "windows": WindowConfig,
    "maintenance": MaintenanceConfig,
}
"""Sections of named tables. Those of plugins have a registry instead."""
_LISTS: Mapping[str, type[BaseModel]] = {"routes": RouteConfig}
"""Sections that are a list of tables: `[[section]]`."""


def _list(model: type[BaseModel], value: object, key: str, problems: list[ConfigProblem]) -> list[BaseModel | None]:
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        problems.append(ConfigProblem(key, f"must be a list of tables: write [[{key}]] before each"))
        return []
    return [_model(model, table, (key, place), problems) for place, table in enumerate(value)]


def _entries(
    section: str, tables: Tables, registry: Registry[Any] | None, problems: list[ConfigProblem]
) -> Iterator[tuple[str, BaseModel | None]]:
    for name, table in tables.items():
        at = (section, name)
        try:
            check_name(name)
        except ValueError as error:
            problems.append(ConfigProblem(spell(at), str(error)))
        if not isinstance(table, dict):
            problems.append(ConfigProblem(spell(at), "must be a table of keys"))
        elif registry is None:
            yield name, _model(_NAMED[section], table, at, problems)
        else:
            yield name, _plugin(registry, table, at, problems)


def _plugin(
    registry: Registry[Any], table: Tables, at: tuple[str, str], problems: list[ConfigProblem]
) -> BaseModel | None:
    kind = table.get("type")
    if not isinstance(kind, str):
        message = (
            f"must be text: one of {', '.join(registry.names)}"
            if "type" in table
            else (f"is required: one of {', '.join(registry.names)}")
        )
        problems.append(ConfigProblem(spell((*at, "type")), message))
        return None
    try:
        model = registry.load(kind)
    except PluginError as error:
        problems.append(ConfigProblem(spell((*at, "type")), str(error)))
        return None
    plugin = _model(model, table, at, problems)
    if issubclass(model, CollectorConfig):
        problems.extend(_rhythm(table, at))
    if isinstance(plugin, CollectorConfig):
        problems.extend(_questions(plugin, at))
    return plugin


def _rhythm(table: Tables, at: tuple[str, str]) -> Iterator[ConfigProblem]:
    """Asked of what was typed, so that a wrong schedule is told also beside another wrong key."""
    schedule = table.get("schedule")
    if isinstance(schedule, str):
        try:
            parse_cron(schedule)
        except ValueError as error:
            yield ConfigProblem(spell((*at, "schedule")), str(error))


def _questions(plugin: CollectorConfig, at: tuple[str, str]) -> Iterator[ConfigProblem]:
    """What a collector's model cannot ask itself: the order of the thresholds."""
    levels: list[tuple[tuple[str, ...], CollectorConfig | ItemConfig]] = [(at, plugin)]
    levels += (((*at, "items", name), item) for name, item in plugin.items.items())
    for place, said in levels:
        try:
            check_thresholds(said.critical, said.warning, said.info)
        except ValueError as error:
            yield ConfigProblem(spell(place), str(error))


def _model(
    model: type[BaseModel], table: Tables, at: tuple[Key, ...], problems: list[ConfigProblem]
) -> BaseModel | None:
    try:
        return model.model_validate(table)
    except ValidationError as error:
        problems.extend(explain(error, table, model, at))
    except (TypeError, AttributeError, LookupError, ArithmeticError) as error:
        # A validator of a plugin that takes the type of what was typed for granted.
        problems.append(ConfigProblem(spell(at), f"the plugin's own check failed ({type(error).__name__})"))
    return None
