"""The configuration as frozen values: what `expiryd.toml` may say, and what it means when it says nothing."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    SerializeAsAny,
    field_validator,
    model_validator,
)

from expiryd.api import CollectorConfig, Duration, NotifierConfig, PositiveDuration, SecretRef
from expiryd.config.connectivity import ConnectivityConfig
from expiryd.config.policy import CategoryConfig, PolicyConfig
from expiryd.config.routing import MaintenanceConfig, RouteConfig, WindowConfig
from expiryd.config.section import MEBIBYTE, Name, Section, parse_size
from expiryd.core.steady import HOLD, JUMP, Steadiness

DAY = timedelta(days=1)
_TOKEN_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_LISTEN = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[^\s:\[\]/]*):(?P<port>\d{1,5})")
_DATABASE_FORM = 'write "postgresql://user@host/name", { env = "NAME" } or { file = "/path" }'


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


class Retention(Section):
    """How long the past is kept."""

    looks: PositiveDuration = 90 * DAY
    events: PositiveDuration = 400 * DAY
    size: Annotated[int, BeforeValidator(parse_size), Field(ge=MEBIBYTE)] = 512 * MEBIBYTE
    audit: PositiveDuration = 400 * DAY
    audit_size: Annotated[int, BeforeValidator(parse_size), Field(ge=MEBIBYTE)] = 512 * MEBIBYTE


class DaemonConfig(Section):
    """`[daemon]`: where it keeps its state, how it speaks of itself, how it stops."""

    state_dir: Path = Path("/var/lib/expiryd")
    database: Annotated[SecretStr | SecretRef | None, BeforeValidator(_database)] = None
    timezone: ZoneInfo = ZoneInfo("UTC")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    log_file: Path | None = None
    event_loop: Literal["auto", "uvloop", "asyncio"] = "auto"
    drain: Annotated[Duration, Field(ge=timedelta(0))] = timedelta(seconds=10)
    clock_jump: PositiveDuration = JUMP
    clock_hold: Annotated[Duration, Field(ge=timedelta(0))] = HOLD
    retention: Retention = Retention()

    @property
    def steadiness(self) -> Steadiness:
        return Steadiness(self.clock_jump, self.clock_hold)


class HttpToken(Section):
    """`[http.tokens.NAME]`: who may ask over HTTP. The token itself is not kept, only its SHA-256."""

    hash: str
    role: Literal["viewer", "operator", "auditor", "admin"] = "viewer"

    @field_validator("hash")
    @classmethod
    def _a_hash(cls, value: str) -> str:
        if not _TOKEN_HASH.fullmatch(value):
            raise ValueError('write "sha256:" and the 64 hexadecimal digits of: printf %s "$TOKEN" | sha256sum')
        return value


class HttpConfig(Section):
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


class Config(Section):
    """All of it, validated. `collectors` and `notifiers` hold the plugins' own models."""

    daemon: DaemonConfig = DaemonConfig()
    http: HttpConfig = HttpConfig()
    policy: PolicyConfig = PolicyConfig()
    categories: Mapping[Name, CategoryConfig] = {}
    kinds: Mapping[Name, CategoryConfig] = {}
    environments: Mapping[Name, CategoryConfig] = {}
    collectors: Mapping[Name, SerializeAsAny[CollectorConfig]] = {}
    notifiers: Mapping[Name, SerializeAsAny[NotifierConfig]] = {}
    routes: tuple[RouteConfig, ...] = ()
    windows: Mapping[Name, WindowConfig] = {}
    maintenance: Mapping[Name, MaintenanceConfig] = {}
    connectivity: ConnectivityConfig = ConnectivityConfig()

    def changed_sections(self, after: Config) -> list[str]:
        """Names of what differs: `policy`, `collectors.ci-tokens`. No values."""
        changed = []
        for section in type(self).model_fields:
            old, new = getattr(self, section), getattr(after, section)
            if old == new:
                continue
            if isinstance(old, Mapping) and isinstance(new, Mapping):
                changed += [f"{section}.{name}" for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
            else:
                changed.append(section)
        return changed

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of all that is effective, whatever files it came from. No secret goes into it."""
        plain = self.model_dump(mode="json", fallback=lambda value: type(value).__name__)
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
