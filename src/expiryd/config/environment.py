"""Environment variables as configuration: `EXPIRYD_SECTION__KEY` wins over every file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

from expiryd.config.errors import ConfigProblem, unknown_key
from expiryd.config.model import Config, DaemonConfig, HttpConfig
from expiryd.config.policy import PolicyConfig

PREFIX = "EXPIRYD_"
_DELIMITER = "__"
_NAMED = ("categories", "kinds", "environments", "collectors", "notifiers", "windows", "maintenance")
_FIXED: dict[str, type[BaseModel]] = {"daemon": DaemonConfig, "http": HttpConfig, "policy": PolicyConfig}


class _Sections(BaseSettings):
    """The sections as tables of anything: what belongs in them is checked with what the files say."""

    daemon: dict[str, Any]
    http: dict[str, Any]
    policy: dict[str, Any]
    categories: dict[str, Any]
    kinds: dict[str, Any]
    environments: dict[str, Any]
    collectors: dict[str, Any]
    notifiers: dict[str, Any]
    windows: dict[str, Any]
    maintenance: dict[str, Any]


class _Variables(EnvSettingsSource):
    """Reads the given variables instead of the process's; JSON only for lists and tables, so `123` stays text."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(_Sections, env_prefix=PREFIX, env_nested_delimiter=_DELIMITER)
        self.env_vars = {name.lower(): value for name, value in environ.items()}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        return super().decode_complex_value(field_name, field, value) if value.lstrip()[:1] in {"[", "{"} else value


def read_environment(environ: Mapping[str, str], files: Mapping[str, Any]) -> dict[str, Any]:
    """The tables that the variables spell, to be merged over those of the `files`.

    A variable cannot hold `-`: `EXPIRYD_COLLECTORS__CI_TOKENS__PATH` means the collector `ci-tokens` when the
    files have one of that name.
    """
    wanted = {name: value for name, value in environ.items() if _section(name) in Config.model_fields}
    tables = _Variables(wanted)() if wanted else {}
    for section in _NAMED:
        if section in tables:
            tables[section] = _respell(tables[section], files.get(section))
    if "tokens" in (http := tables.get("http", {})):
        known = files.get("http")
        http["tokens"] = _respell(http["tokens"], known.get("tokens") if isinstance(known, Mapping) else None)
    return tables


def unknown_variables(environ: Mapping[str, str]) -> Iterator[ConfigProblem]:
    """Variables that look like configuration and are none. A typo must not be silent.

    A name without `__` is free for other uses (a secret, Kubernetes' service links), unless it is a key of ours
    with too few underscores.
    """
    slips = {
        slip: f"{PREFIX}{section}{_DELIMITER}{key}".upper()
        for section, model in _FIXED.items()
        for key in model.model_fields
        for slip in (f"{PREFIX}{section}_{key}".upper(), f"{PREFIX}{key}".upper())
    }
    for name in sorted(environ):
        if not name.startswith(PREFIX):
            continue
        if _DELIMITER in name:
            section = _section(name)
            if section not in Config.model_fields:
                yield ConfigProblem(name, unknown_key(section, Config.model_fields, "section"))
            elif section == "routes":
                yield ConfigProblem(name, "routes are a list, which a variable cannot spell: write them in a file")
        elif name in slips:
            yield ConfigProblem(name, f"means nothing; write {slips[name]}")


def variable_of(path: str) -> str:
    """The variable that would have set `daemon.log_level`."""
    return PREFIX + path.replace("-", "_").replace(".", _DELIMITER).upper()


def _section(name: str) -> str:
    head, delimiter, _ = name.removeprefix(PREFIX).partition(_DELIMITER)
    return head.lower() if name.startswith(PREFIX) and delimiter else ""


def _respell(tables: Any, known: Any) -> Any:
    if not (isinstance(tables, dict) and isinstance(known, Mapping)):
        return tables
    spellings = {name.replace("-", "_"): name for name in known}
    return {name if name in known else spellings.get(name, name): table for name, table in tables.items()}
