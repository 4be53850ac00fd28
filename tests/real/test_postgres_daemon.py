"""The installed command as a daemon on a real PostgreSQL: told once, also after a kill; alone; silent about secrets."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psycopg
import pytest
from tests.postgres import PASSWORD, Cluster, cluster

from .processes import Processes, Running, free_port, until

pytestmark = pytest.mark.real

COMMAND = Path(sys.executable).with_name("expiryd")
_numbers = count()


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster() as running:
        yield running


@pytest.fixture
def url(server: Cluster) -> str:
    """A new, empty database."""
    name = f"real_{next(_numbers)}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return server.url(name)


class Site:
    """A place with a config, a store of tokens and a folder for messages, on a database that others may share."""

    def __init__(self, directory: Path, processes: Processes, url: str) -> None:
        self._processes = processes
        self.state = directory / "state"
        self.messages = directory / "messages"
        for folder in (directory, self.state, self.messages):
            folder.mkdir(mode=0o700)
        self.port = free_port()
        secret = directory / "database-url"
        secret.touch(0o600)
        secret.write_text(url)
        tokens = directory / ".tokens"
        tokens.touch(0o600)
        tokens.write_text("DEPLOY_TOKEN=x8Zq31vTt0aKpW77yLd2\n")
        self.config = directory / "expiryd.toml"
        self.config.write_text(f"""
            [daemon]
            state_dir = "{self.state}"
            database = {{ file = "{secret}" }}
            log_level = "debug"
            [http]
            listen = "127.0.0.1:{self.port}"
            [policy]
            group_wait = "1s"
            [collectors.tokens]
            type = "env-file"
            path = "{tokens}"
            every = "1h"
            [collectors.tokens.items.DEPLOY_TOKEN]
            expires = 2020-01-01
            [notifiers.here]
            type = "file"
            directory = "{self.messages}"
        """)

    def run(self, *flags: str, ready: bool = True) -> Running:
        command = (COMMAND, "-c", self.config, "run", "--immediate", *flags)
        return self._processes.start(*command, port=self.port if ready else None)

    def asks(self, processes: Processes, *verb: str, code: int = 0) -> str:
        """What a command prints about this place."""
        asked = processes.start(COMMAND, "-c", self.config, *verb)
        assert asked.process.wait(30) == code, asked.said()
        return asked.said()

    def trail(self) -> str:
        return "".join(file.read_text() for file in sorted((self.state / "audit").glob("*.jsonl")))

    def alerts(self) -> list[str]:
        """What was told of the token."""
        texts = [file.read_text() for file in sorted(self.messages.glob("*.md"))]
        return [text for text in texts if "DEPLOY_TOKEN" in text]


@pytest.fixture
def site(tmp_path: Path, processes: Processes, url: str) -> Site:
    return Site(tmp_path / "site", processes, url)


def logged(daemon: Running, name: str) -> list[dict[str, Any]]:
    """The lines of its log with this event name."""
    lines = [json.loads(line) for line in daemon.said().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def settled(daemon: Running, event: str) -> None:
    until(lambda: logged(daemon, event), within=30, waiting_for=f"{event} in\n{daemon.said()}")


def rows(url: str) -> dict[str, int]:
    """How many rows each table holds."""
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        sizes = {}
        for (table,) in found:
            answer = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()
            assert answer is not None
            sizes[table] = answer[0]
        return sizes


def test_what_was_told_before_a_kill_is_not_told_again(site: Site, url: str) -> None:
    first = site.run()
    settled(first, "message.delivered")
    assert len(site.alerts()) == 1
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()

    second = site.run()
    settled(second, "collector.looked")
    assert logged(second, "daemon.ready")[0]["items"] > 0
    assert second.stop(within=20) == 0, second.said()
    assert len(site.alerts()) == 1
    assert any(rows(url).values())
    assert not list(site.state.glob("*.db*")), "the state is in PostgreSQL and nowhere else"


def test_the_audit_trail_has_everything_once_and_is_proven_over_a_kill(site: Site, processes: Processes) -> None:
    first = site.run()
    settled(first, "message.delivered")
    until(lambda: "message.delivered" in site.trail(), within=20, waiting_for="the trail")
    assert "follow from each other" in site.asks(processes, "audit", "verify"), "beside the daemon"
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    second = site.run()
    settled(second, "collector.looked")
    assert second.stop(within=20) == 0, second.said()

    assert "follow from each other" in site.asks(processes, "audit", "verify")
    lines = [json.loads(line) for line in site.trail().splitlines()]
    about = [line["action"] for line in lines if line["item"] == "tokens/DEPLOY_TOKEN"]
    assert about.count("alert.raised") == 1
    assert [line["item"] for line in lines if line["action"] == "look.ended"].count("tokens") == 2
    events = [line["detail"]["event"] for line in lines if "event" in line["detail"]]
    assert len(events) == len(set(events))


def test_a_second_daemon_on_the_same_database_is_refused(
    site: Site, tmp_path: Path, processes: Processes, url: str
) -> None:
    """It has a state directory of its own, as on another machine: only the database can tell."""
    first = site.run()
    settled(first, "daemon.ready")
    other = Site(tmp_path / "other", processes, url).run(ready=False)
    assert other.process.wait(30) == 1
    last = other.said().splitlines()[-1]
    assert "is in use by another expiryd: stop that one, or give this one a database of its own" in last
    assert "Traceback" not in other.said()
    assert first.process.poll() is None
    assert first.stop(within=20) == 0


def test_a_daemon_that_was_stopped_leaves_the_database_to_the_next(site: Site) -> None:
    for _ in range(2):
        daemon = site.run()
        settled(daemon, "collector.looked")
        assert daemon.stop(within=20) == 0, daemon.said()
    assert len(site.alerts()) == 1


def test_a_dry_run_knows_what_was_told_and_changes_nothing(site: Site, url: str) -> None:
    """Beside the daemon: it works on a copy."""
    daemon = site.run()
    settled(daemon, "message.delivered")
    trial = site.run("--dry-run", ready=False)
    settled(trial, "collector.looked")
    assert logged(trial, "daemon.ready")[0]["items"] > 0
    assert trial.stop(within=20) == 0, trial.said()
    assert not logged(trial, "message.delivered"), trial.said()
    assert len(site.alerts()) == 1
    assert daemon.stop(within=20) == 0, daemon.said()


def test_a_wrong_password_is_one_clear_line(tmp_path: Path, processes: Processes, url: str) -> None:
    daemon = Site(tmp_path / "site", processes, url.replace(PASSWORD, "wrong-canary-9Tq")).run(ready=False)
    assert daemon.process.wait(30) == 1
    assert "refuses this user or password" in daemon.said().splitlines()[-1]
    assert "wrong-canary-9Tq" not in daemon.said()
    assert "Traceback" not in daemon.said()


def test_the_password_is_seen_nowhere(site: Site, tmp_path: Path, processes: Processes, url: str) -> None:
    daemon = site.run()
    settled(daemon, "message.delivered")
    outputs = {
        "command line": _proc(daemon, "cmdline"),
        "environment": _proc(daemon, "environ"),
        "in other command lines": "".join(_read(file) for file in Path("/proc").glob("[0-9]*/cmdline")),
    }
    for path in ("/health", "/metrics", "/api/v1/items", "/api/v1/events"):
        with urlopen(f"http://127.0.0.1:{site.port}{path}", timeout=10) as answer:
            outputs[path] = answer.read().decode()
    other = Site(tmp_path / "other", processes, url).run(ready=False)
    other.process.wait(30)
    for verb in (("check-config",), ("status",), ("items",)):
        asked = processes.start(COMMAND, "-c", site.config, *verb)
        asked.process.wait(30)
        outputs[verb[0]] = asked.said()
    assert daemon.stop(within=20) == 0
    outputs |= {"log": daemon.said(), "log of the refused": other.said()}
    outputs |= {str(file): file.read_text(errors="replace") for file in _files(site)}
    assert {where for where, text in outputs.items() if PASSWORD in text} == set()
    with psycopg.connect(url) as connection:
        for table in rows(url):
            found = connection.execute(f'SELECT 1 FROM "{table}" AS t WHERE t::text LIKE %s', [f"%{PASSWORD}%"])
            assert found.fetchone() is None, table


def _files(site: Site) -> list[Path]:
    return [file for folder in (site.state, site.messages) for file in folder.rglob("*") if file.is_file()]


def _proc(daemon: Running, name: str) -> str:
    return _read(Path(f"/proc/{daemon.process.pid}/{name}"))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
