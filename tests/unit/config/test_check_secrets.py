"""Every reference is checked at its place in the config, and nothing of a value is said."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from expiryd.api import SecretRef
from expiryd.config import Config, DaemonConfig, check_secrets


def test_each_problem_names_the_place_in_the_config() -> None:
    missing = Config(daemon=DaemonConfig(database=SecretRef(file=Path("/nowhere/dsn"))))
    (problem,) = check_secrets(missing, {})
    assert str(problem) == "daemon.database: cannot read file /nowhere/dsn: /nowhere/dsn: No such file or directory"
    assert check_secrets(Config(daemon=DaemonConfig(database=SecretRef(env="DSN"))), {"DSN": "x"}) == []


def test_a_password_in_plain_text_is_told_without_repeating_it() -> None:
    config = Config(daemon=DaemonConfig(database=SecretStr("postgresql://u:c4n4ry@h/d")))
    (problem,) = check_secrets(config, {})
    assert problem.path == "daemon.database"
    assert "plain text" in problem.message
    assert "c4n4ry" not in str(problem)
