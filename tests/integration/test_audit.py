"""`expiryd audit` on the files of a daemon that lived: listed, proven, and searched for secrets."""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.rig import DAY, MINUTE, Rig, expiring

from expiryd.cli.main import call

CANARY = "canary-7d1e55a0"
CONFIG = """
[daemon]
state_dir = "{state}"
[http]
listen = ""
[notifiers.hook]
type = "webhook"
url = "https://hooks.invalid/x"
secret = {{ env = "HOOK_SECRET" }}
[notifiers.short]
type = "webhook"
url = "https://hooks.invalid/y"
secret = {{ env = "SHORT" }}
"""
ENVIRON = {"HOOK_SECRET": CANARY, "SHORT": "abc"}


async def lived(state: Path) -> None:
    async with Rig(state) as rig:
        rig.sources["tokens"].shows(expiring("T", rig.clock.now() + 3 * DAY))
        await rig.look()
        await rig.wait(MINUTE)
        await rig.audit()


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Of a daemon that lived and is gone."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "fingerprint.key").write_bytes(b"k" * 32)
    (state / "fingerprint.key").chmod(0o600)
    asyncio.run(lived(state))
    path = tmp_path / "expiryd.toml"
    path.write_text(CONFIG.format(state=state))
    return str(path)


def ran(config: str, *words: str) -> int:
    return call(["-c", config, "audit", *words], ENVIRON)


def trail(config: str) -> Path:
    return Path(config).parent / "state" / "audit" / "audit-000001.jsonl"


def test_it_lists_what_happened(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(config, "--format", "json", "--action", "message.delivered") == 0
    (line,) = json.loads(capsys.readouterr().out)
    assert (line["actor"], line["item"], line["detail"]["notifier"]) == ("system", "tokens/T", "slack")
    assert ran(config, "--ci") == 0
    told = capsys.readouterr().out
    assert "alert.raised" in told
    assert "outcome complete" in told
    assert ran(config, "--ci", "--actor", "nobody") == 0
    assert capsys.readouterr().out == "nothing on record\n"


def test_a_list_of_details_reads_as_words(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def reloaded() -> None:
        async with Rig(Path(config).parent / "state") as rig:
            await rig.reload(categories={"cicd": {"owner": "ann"}}, kinds={"token": {"owner": "bob"}})
            await rig.audit()

    asyncio.run(reloaded())
    assert ran(config, "--ci", "--action", "config.reloaded") == 0
    assert capsys.readouterr().out.rstrip().endswith("changed categories.cicd; kinds.token")


@pytest.mark.parametrize("name", ["audit-log", "audit-trail"])
def test_the_older_names_list_it_too(config: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["-c", config, name, "--user", "system", "--action", "look", "--ci"], ENVIRON) == 0
    assert "look.ended" in capsys.readouterr().out


def test_a_time_that_is_none_is_wrong_usage(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(config, "--since", "soon") == 64
    assert "--since: 'soon' is no time" in capsys.readouterr().err


def test_a_trail_that_holds_is_proven(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(config, "verify") == 0
    assert capsys.readouterr().out.endswith("audit: 4 lines in 1 file follow from each other, to the last one\n")


def test_a_changed_line_is_named(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = trail(config)
    path.write_text(path.read_text().replace("tokens/T", "tokens/X", 1))
    assert ran(config, "verify") == 1
    assert "audit-000001.jsonl:2: was changed: its hash is not that of its text" in capsys.readouterr().err


def test_a_cut_off_end_is_found_with_the_help_of_the_database(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = trail(config)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert ran(config, "verify") == 1
    assert "its end is missing" in capsys.readouterr().err


def test_without_the_database_the_end_is_not_said_to_be_proven(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = trail(config)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    for file in (path.parent.parent).glob("expiryd.db*"):
        file.unlink()
    assert ran(config, "verify") == 1
    assert "some may be missing" in capsys.readouterr().err


def test_a_database_of_an_older_version_is_named_with_what_to_do(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after restoring a backup made before an upgrade, when the daemon has not been started since."""
    database = Path(config).parent / "state" / "expiryd.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TABLE trail")
    before = database.read_bytes()
    assert ran(config, "verify") == 1
    told = capsys.readouterr().err
    assert f"the database {database} is not what this version of expiryd works with: start the daemon" in told
    assert "Traceback" not in told
    assert database.read_bytes() == before


def test_a_secret_in_any_output_is_found_and_never_printed(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(config, "exposure") == 0
    told = capsys.readouterr()
    assert told.out.startswith("1 secrets, ")
    assert "not searched: notifiers.short.secret: it is shorter" in told.err
    leak = trail(config).parent / "crash.txt"
    for form in (CANARY.encode(), base64.b64encode(CANARY.encode())):
        leak.write_bytes(b"x" * ((1 << 20) - 4) + form)
        assert ran(config, "exposure") == 1
        told = capsys.readouterr()
        assert f"{leak}: holds the secret of notifiers.hook.secret" in told.err
        assert CANARY not in told.out + told.err


@pytest.mark.parametrize("verb", [(), ("verify",)])
def test_without_a_trail_it_says_so(tmp_path: Path, verb: tuple[str], capsys: pytest.CaptureFixture[str]) -> None:
    path, state = tmp_path / "expiryd.toml", tmp_path / "none"
    state.mkdir()
    path.write_text(CONFIG.format(state=state))
    assert ran(str(path), *verb) == 1
    assert "there is no audit trail" in capsys.readouterr().err
    assert list(state.iterdir()) == [], "who asks makes nothing"


def test_without_its_key_nothing_is_proven_and_none_is_made(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    key = Path(config).parent / "state" / "fingerprint.key"
    key.unlink()
    assert ran(config, "verify") == 1
    assert f"{key}: the key of the trail is gone" in capsys.readouterr().err
    assert not key.exists()
