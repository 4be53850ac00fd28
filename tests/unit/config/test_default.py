"""The configuration that `make run` starts loads cleanly and needs no credential."""

from __future__ import annotations

from pathlib import Path

from expiryd.config import check_secrets, load, secret_refs
from expiryd.registry import discover

ROOT = Path(__file__).parents[3]


def test_the_default_configuration_loads_and_names_no_secret() -> None:
    collectors, notifiers = discover()
    config = load([ROOT / "config" / "expiryd.toml"], environ={}, collectors=collectors, notifiers=notifiers)
    assert config.daemon.state_dir == ROOT / "var"
    assert secret_refs(config) == []
    assert check_secrets(config, {}) == []
    assert {plugin.type for plugin in config.collectors.values()} >= {"x509-file", "env-file", "token-dir", "inventory"}
