"""The configuration as frozen values: what `expiryd.toml` may say, and what it means when it says nothing."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    SerializeAsAny,
    field_validator,
    model_validator,
)

from expiryd.api import CollectorConfig, Duration, NotifierConfig, SecretRef, Severity, format_duration
from expiryd.core.model import SELF

DAY = timedelta(days=1)
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_TOKEN_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_LISTEN = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[^\s:\[\]/]*):(?P<port>\d{1,5})")
_DATABASE_FORM = 'write "postgresql://user@host/name", { env = "NAME" } or { file = "/path" }'

PositiveDuration = Annotated[Duration, Field(gt=timedelta(0))]


def check_name(text: str) -> str:
    """Raises ValueError unless it may name a collector, notifier, category or token."""
    if text == SELF:
        raise ValueError("this name is the daemon's own; choose another one")
    if not NAME.fullmatch(text):
        raise ValueError(
            "a name has small letters, digits, - and _, starts with a letter or digit and is no longer "
            "than 63 characters, such as ci-tokens"
        )
    return text


Name = Annotated[str, AfterValidator(check_name)]


def check_thresholds(critical: timedelta | None, warning: timedelta | None, info: timedelta | None) -> None:
    """Raises ValueError unless critical ≤ warning ≤ info, as far as they are given."""
    given = [(n, t) for n, t in (("critical", critical), ("warning", warning), ("info", info)) if t is not None]
    for (milder_name, sooner), (name, later) in pairwise(given):
        if sooner > later:
            raise ValueError(
                f"{milder_name} ({format_duration(sooner)}) must not be longer than {name} ({format_duration(later)})"
            )


def _never(value: object) -> object:
    return None if value == "never" else value


def _listen(text: str) -> str:
    match = _LISTEN.fullmatch(text)
    if text and (match is None or int(match["port"]) > 65_535):
        raise ValueError('write host:port such as "127.0.0.1:9783" or "[::1]:9783", or "" to switch it off')
    return text


def _database(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        scheme = urlsplit(value).scheme
    except ValueError:
        scheme = ""
    if scheme not in {"postgresql", "postgres"}:
        raise ValueError(_DATABASE_FORM)
    return SecretStr(value)


def _severity(word: object) -> object:
    if isinstance(word, str):
        try:
            severity = Severity.of(word)
        except KeyError:
            severity = Severity.UNKNOWN
        if severity > Severity.HEALTHY:
            return severity
        raise ValueError("a cooldown belongs to expired, critical, warning or info")
    return word


Cooldown = Mapping[
    Annotated[Severity, BeforeValidator(_severity)],
    Annotated[PositiveDuration | None, BeforeValidator(_never)],
]
"""By severity, how long before the same is said again. None, written `never`: it is said once."""

DEFAULT_COOLDOWN: Mapping[Severity, timedelta | None] = {
    Severity.EXPIRED: DAY,
    Severity.CRITICAL: DAY,
    Severity.WARNING: 7 * DAY,
    Severity.INFO: None,
}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Retention(_Section):
    """How long the past is kept."""

    looks: PositiveDuration = 90 * DAY
    events: PositiveDuration = 400 * DAY


class DaemonConfig(_Section):
    """`[daemon]`: where it keeps its state, how it speaks of itself, how it stops."""

    state_dir: Path = Path("/var/lib/expiryd")
    database: Annotated[SecretStr | SecretRef | None, BeforeValidator(_database)] = None
    timezone: ZoneInfo = ZoneInfo("UTC")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    log_file: Path | None = None
    event_loop: Literal["auto", "uvloop", "asyncio"] = "auto"
    drain: Annotated[Duration, Field(ge=timedelta(0))] = timedelta(seconds=10)
    retention: Retention = Retention()


class HttpToken(_Section):
    """`[http.tokens.NAME]`: who may ask over HTTP. The token itself is not kept, only its SHA-256."""

    hash: str
    role: Literal["viewer", "operator", "auditor", "admin"] = "viewer"

    @field_validator("hash")
    @classmethod
    def _a_hash(cls, value: str) -> str:
        if not _TOKEN_HASH.fullmatch(value):
            raise ValueError('write "sha256:" and the 64 hexadecimal digits of: printf %s "$TOKEN" | sha256sum')
        return value


class HttpConfig(_Section):
    """`[http]`: health, metrics, API and page."""

    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:9783"
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tokens: Mapping[Name, HttpToken] = {}

    @property
    def address(self) -> tuple[str, int] | None:
        """Host (empty: every address) and port to listen on, or None when HTTP is switched off."""
        match = _LISTEN.fullmatch(self.listen)
        return (match["host"].strip("[]"), int(match["port"])) if match else None

    @model_validator(mode="after")
    def _certificate_with_key(self) -> HttpConfig:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together")
        return self


class PolicyConfig(_Section):
    """`[policy]`: what counts as how bad, and how often it is said again."""

    critical: PositiveDuration = 7 * DAY
    warning: PositiveDuration = 30 * DAY
    info: PositiveDuration = 45 * DAY
    cooldown: Cooldown = DEFAULT_COOLDOWN
    group_wait: Annotated[Duration, Field(ge=timedelta(0))] = timedelta(seconds=30)
    blind_after: Annotated[int, Field(ge=1)] = 2

    @field_validator("cooldown")
    @classmethod
    def _over_the_defaults(cls, value: Mapping[Severity, timedelta | None]) -> Mapping[Severity, timedelta | None]:
        return {**DEFAULT_COOLDOWN, **value}

    @model_validator(mode="after")
    def _in_order(self) -> PolicyConfig:
        check_thresholds(self.critical, self.warning, self.info)
        return self


class CategoryConfig(_Section):
    """`[categories.NAME]`: what differs from the policy for the items of one category."""

    critical: PositiveDuration | None = None
    warning: PositiveDuration | None = None
    info: PositiveDuration | None = None
    cooldown: Cooldown | None = None
    lifetime: PositiveDuration | None = None
    owner: str = ""
    runbook: str = ""
    labels: Mapping[str, str] = {}

    @model_validator(mode="after")
    def _in_order(self) -> CategoryConfig:
        check_thresholds(self.critical, self.warning, self.info)
        return self


class Config(_Section):
    """All of it, validated. `collectors` and `notifiers` hold the plugins' own models."""

    daemon: DaemonConfig = DaemonConfig()
    http: HttpConfig = HttpConfig()
    policy: PolicyConfig = PolicyConfig()
    categories: Mapping[Name, CategoryConfig] = {}
    collectors: Mapping[Name, SerializeAsAny[CollectorConfig]] = {}
    notifiers: Mapping[Name, SerializeAsAny[NotifierConfig]] = {}

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of all that is effective, whatever files it came from. No secret goes into it."""
        plain = self.model_dump(mode="json", fallback=lambda value: type(value).__name__)
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
