"""TOML files and environment variables in, one frozen Config out; or every error at once, in plain words."""

from expiryd.config.cron import next_fire, parse_cron
from expiryd.config.errors import ConfigError, ConfigProblem
from expiryd.config.load import default_paths, load
from expiryd.config.model import (
    Config,
    DaemonConfig,
    HttpConfig,
    HttpToken,
    Retention,
)
from expiryd.config.policy import CategoryConfig, PolicyConfig
from expiryd.config.walk import check_secrets, secret_refs

__all__ = [
    "CategoryConfig",
    "Config",
    "ConfigError",
    "ConfigProblem",
    "DaemonConfig",
    "HttpConfig",
    "HttpToken",
    "PolicyConfig",
    "Retention",
    "check_secrets",
    "default_paths",
    "load",
    "next_fire",
    "parse_cron",
    "secret_refs",
]
