"""`expiryd forecast`, as installed, over a state in PostgreSQL: the same future as over the same state in SQLite."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.postgres import PASSWORD
from tests.rig import DAY, HOUR, MINUTE, Rig, expiring

from expiryd.app import load_config
from expiryd.core.matching import Matcher
from expiryd.core.model import Ack
from expiryd.core.silencing import Silence
from expiryd.engine.clock import SystemClock
from expiryd.foresight import foresee
from expiryd.secrets import Secrets
from expiryd.store.port import Change
from expiryd.store.sql import SqlStore

pytestmark = pytest.mark.postgres

COMMAND = Path(sys.executable).with_name("expiryd")
POLICY: dict[str, Any] = {
    "warning": "20d",
    "critical": "3d",
    "ladder": ["14d", "3d", "0d", "-1d"],
    "cooldown": {"expired": "1d", "critical": "1d"},
}
CONFIG = """
[daemon]
state_dir = "{state}"
{database}
[http]
listen = ""
[policy]
{policy}
[collectors.tokens]
type = "inventory"
path = "people.csv"
[windows.office]
times = ["mon-fri 08:00-18:00"]
[[routes]]
severity = ["critical", "expired"]
notify = ["oncall", "chat"]
[[routes]]
notify = ["chat"]
active = "office"
[notifiers.oncall]
type = "file"
directory = "{state}"
[notifiers.chat]
type = "file"
directory = "{state}"
"""


class Desk:
    """Two configurations over two databases in which the same was lived, and a terminal."""

    def __init__(self, directory: Path, postgres: str) -> None:
        self.directory, self.postgres = directory, postgres
        secret = directory / "database-url"
        secret.touch(0o600)
        secret.write_text(postgres)
        self.lite = self._site("lite", "")
        self.post = self._site("post", f'database = {{ file = "{secret}" }}')

    def _site(self, name: str, database: str) -> Path:
        (self.directory / name).mkdir(mode=0o700)
        config = self.directory / f"{name}.toml"
        policy = "\n".join(f"{key} = {_toml(value)}" for key, value in POLICY.items())
        config.write_text(CONFIG.format(state=self.directory / name, database=database, policy=policy))
        return config

    async def live(self) -> None:
        now = SystemClock().now().replace(microsecond=0)
        await _live(self.directory / "lite", now, lambda store: store)
        await _live(self.directory / "post", now, lambda _: SqlStore(self.postgres))

    async def types(self, config: Path, *words: str, code: int = 0) -> tuple[str, str]:
        command = [str(COMMAND), "-c", str(config), *words]
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.directory,
            env=os.environ | {"TMPDIR": str(self.directory)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        told, said = (stream.decode() for stream in await process.communicate())
        assert process.returncode == code, told + said
        assert PASSWORD not in told + said
        assert "Traceback" not in said
        return told, said

    async def foretells(self, config: Path, *words: str) -> list[dict[str, Any]]:
        told, _ = await self.types(config, "forecast", "--days", "30", "--format", "json", *words)
        rows: list[dict[str, Any]] = json.loads(told)
        return rows


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)


async def _live(state: Path, now: datetime, wrap: Callable[[SqlStore], Any]) -> None:
    """Ten items: told and not told, renewed, acknowledged, silenced, with a message that is still owed."""
    rig = Rig(state, receivers=("oncall", "chat"), settings={"policy": POLICY})
    rig.wrap = wrap
    async with rig:
        await rig.clock.advance(now - 2 * HOUR - rig.clock.now())
        # half an hour off the full one: the forecasts begin seconds apart, and nothing of theirs may lie between
        ends = {f"T{number}": now + (number * 2.5 - 2) * DAY + 30 * MINUTE for number in range(10)}
        rig.sources["tokens"].shows(*(expiring(name, end) for name, end in ends.items()))
        await rig.look()
        await rig.wait(HOUR)
        ends["T2"] += 20 * DAY
        rig.sources["tokens"].shows(
            *(expiring(name, end, generation="new" * (name == "T2")) for name, end in ends.items())
        )
        await rig.look()
        states = {str(each.id): each for each in (await rig.daemon.store.load()).items}
        acked = states["tokens/T3"]
        known = Ack("anna", now, "in hand", now + 2 * DAY)
        mute = Silence(Matcher.read({"item": "tokens/T4"}), now, now + 9 * DAY, "anna", "moving", now, "s1")
        change = Change(
            items=[replace(acked, alerts=tuple(replace(each, ack=known) for each in acked.alerts))], silences=[mute]
        )
        await rig.daemon.store.commit(change)


@pytest.fixture
def desk(tmp_path: Path, postgres_url: str) -> Desk:
    desk = Desk(tmp_path, postgres_url)
    asyncio.run(desk.live())
    return desk


def about(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Without the second at which a forecast began."""
    return [
        (row["notifier"], row["severity"], row["subject"], sorted(map(str, row["about"])))
        for row in rows
        if row["about"]
    ]


async def test_the_installed_command_foretells_the_same_as_on_sqlite(desk: Desk) -> None:
    lite, post = await desk.foretells(desk.lite), await desk.foretells(desk.post)
    assert len(post) > 10
    assert {row["notifier"] for row in post} == {"oncall", "chat"}
    assert about(post) == about(lite)
    apart = [
        abs(datetime.fromisoformat(a["at"]) - datetime.fromisoformat(b["at"])) for a, b in zip(lite, post, strict=True)
    ]
    assert max(apart) < timedelta(minutes=10)
    only = await desk.foretells(desk.post, "--item", "tokens/T9")
    assert {each["item"] for row in only for each in row["about"]} >= {"tokens/T9"}


async def test_from_the_same_moment_it_is_the_same_to_the_microsecond(desk: Desk) -> None:
    start = SystemClock().now()
    futures = []
    for config in (desk.lite, desk.post):
        found = await foresee(await load_config([config], {}, Secrets({})), {}, start, 30)
        futures.append([(one.at, one.notifier, one.message.subject, one.message.events) for one in found.tellings])
    assert futures[0] == futures[1]
    assert futures[0]


async def test_it_works_beside_the_daemon_changes_nothing_and_leaves_nothing(desk: Desk) -> None:
    """The daemon's lock is held meanwhile, as it is on its own connection that writes."""
    store = SqlStore(desk.postgres)
    await store.open()
    before, there = rows(desk.postgres), set(desk.directory.rglob("*"))
    assert await desk.foretells(desk.post)
    told, _ = await desk.types(desk.post, "whatif", "--set", "policy.critical=10d", "--format", "json")
    assert json.loads(told)
    assert rows(desk.postgres) == before
    assert set(desk.directory.rglob("*")) == there
    await store.ping()
    await store.aclose()


async def test_a_database_that_no_daemon_of_this_version_has_seen_is_named_with_what_to_do(
    desk: Desk, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP TABLE silence")
    for verb in ("forecast", "explain T1", "whatif --set policy.critical=10d"):
        _, said = await desk.types(desk.post, *verb.split(), code=1)
        assert "the PostgreSQL database test_" in said
        assert "start the daemon once (`expiryd run`)" in said


async def test_a_server_that_is_away_is_one_clear_line(desk: Desk) -> None:
    (desk.directory / "database-url").write_text(f"postgresql://expiryd:{PASSWORD}@127.0.0.1:1/state")
    _, said = await desk.types(desk.post, "forecast", code=1)
    assert "on 127.0.0.1 does not answer" in said


def rows(url: str) -> dict[str, list[Any]]:
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return {name: sorted(connection.execute(f'SELECT * FROM "{name}"').fetchall(), key=repr) for (name,) in tables}
