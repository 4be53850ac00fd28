"""Known values are planted wherever a secret may stand, and looked for in everything that leaves the process."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import jwt
import pytest
from tests.acceptance.installed import Daemon, Place, expiring_in
from tests.fakes import github
from tests.fakes.github import FakeGithub
from tests.fakes.http import Reply
from tests.fakes.smtp import PASSWORD, USERNAME, FakeSmtp, Pki

PATHS = [
    *("/metrics", "/health", "/health/status", "/health/metrics", "/-/healthy", "/-/ready", "/openapi.json"),
    *("/api/v1/status", "/api/v1/items", "/api/v1/alerts", "/api/v1/events", "/api/v1/collectors", "/api/v1/notifiers"),
]
CANARIES = {
    "an opaque token": "opaque-canary-4d8e21aa90",
    "a quoted token": "quoted canary 77aa31",
    "an expired token": jwt.encode({"exp": 1_000_000_000, "jti": "canary-jti"}, "k" * 32, algorithm="HS256"),
    "a token that expires soon": expiring_in(3),
    "a token on a malformed line": "malformed-canary-0c1f",
    "the SMTP password": PASSWORD,
    "the GitHub token": github.TOKEN,
}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with Place(tmp_path) as place:
        place.configure(
            daemon=f'state_dir = "{place.state}"\nlog_level = "debug"\nlog_file = "{tmp_path / "expiryd.log"}"',
            categories_cicd='lifetime = "1d"',
            collectors_jwt=f'type = "jwt"\npath = "{tmp_path / ".tokens"}"',
        )
        (tmp_path / ".tokens").write_text(
            f"AAR_TOKEN={CANARIES['an opaque token']}\n"
            f'CI_BOT_TOKEN="{CANARIES["a quoted token"]}"\n'
            f"DISCORD_BOT_TOKEN={CANARIES['an expired token']}\n"
            f"BOT_JWT={CANARIES['a token that expires soon']}\n"
            f"this is no line {CANARIES['a token on a malformed line']}\n"
        )
        yield place


def spellings(secret: str) -> Iterator[bytes]:
    """As it is, and as it might be dressed up on its way out."""
    yield secret.encode()
    yield quote(secret, safe="").encode()
    yield base64.b64encode(secret.encode()).rstrip(b"=")
    if secret.count(".") == 2:
        yield from (part.encode() for part in secret.split(".")[1:])  # a token's claims and its signature alone


async def outputs(daemon: Daemon, *heard: bytes) -> dict[str, bytes]:
    """All that can be seen from outside, by where."""
    found = {}
    for path in PATHS:
        status, text = await daemon.get(path)
        assert status in {200, 503}, path
        found[f"answer of {path}"] = text.encode()
    found |= {f"notification {number}": body for number, body in enumerate(heard)}
    found |= {"arguments": Path(f"/proc/{daemon.process.pid}/cmdline").read_bytes()}
    return found


def files(place: Place) -> dict[str, bytes]:
    """What it wrote, everywhere but in the watched file and the configuration, where the secrets come from."""
    given = {".tokens", "expiryd.toml"}
    return {
        str(path): path.read_bytes()
        for path in place.directory.rglob("*")
        if path.is_file() and path.name not in given and path.suffix != ".pem"
    }


def search(found: dict[str, bytes], secrets: dict[str, str]) -> list[str]:
    return [
        f"{what} in {where}"
        for where, content in found.items()
        for what, secret in secrets.items()
        if any(spelling in content for spelling in spellings(secret))
    ]


@pytest.mark.parametrize("refuses", [False, True], ids=["well receivers", "receivers that refuse and echo"])
async def test_no_secret_is_found_in_anything_that_leaves_the_process(place: Place, refuses: bool) -> None:
    pki = Pki.make(place.directory)
    async with FakeSmtp(security="starttls", context=pki.context(), login=True) as smtp, FakeGithub() as hub:
        place.configure(
            notifiers_mail=f'type = "email"\nhost = "127.0.0.1"\nport = {smtp.port}\nusername = "{USERNAME}"\n'
            'password = { env = "SMTP" }\nsender = "expiryd@example.org"\nrecipients = "team@example.org"\n'
            f'ca_file = "{pki.ca_file}"',
            notifiers_github=f'type = "github-issue"\nrepository = "{github.REPOSITORY}"\napi_url = "{hub.url}"\n'
            'token = { env = "GITHUB" }',
        )
        if refuses:
            place.slack.faulty = Reply(403, "no", echo=True)
            hub.faulty = Reply(401, "no", echo=True)
        environ = {"SMTP": "wrong-" + PASSWORD if refuses else PASSWORD, "GITHUB": github.TOKEN}
        daemon = await place.run("--immediate", ready=False, **environ)
        told = {"slack", "mail", "github"}
        log = place.directory / "expiryd.log"
        await daemon.until(log.exists, "the log")
        word = '"message.postponed"' if refuses else '"message.delivered"'

        def spoken() -> bool:
            lines = [line for line in log.read_text().splitlines() if word in line]
            return all(any(f'"notifier": "{name}"' in line for line in lines) for name in told)

        await daemon.until(spoken, "every receiver to be spoken to")
        heard = [seen.body for seen in (*place.slack.seen, *hub.seen) if seen.body] + [
            mail.as_bytes() for mail in smtp.mails
        ]
        assert len(heard) >= (1 if refuses else 3)  # only Slack is sent a body before it can refuse
        found = await outputs(daemon, *heard)
        assert all(found.values()), "every output was there to be searched"
        database = place.state / "expiryd.db"
        assert b"BOT_JWT" in database.read_bytes() + database.with_suffix(".db-wal").read_bytes()
        secrets = CANARIES | {"the webhook": urlsplit(place.slack.webhook_url).path.rpartition("/")[2]}
        assert search(found | files(place), secrets) == []
        assert await daemon.end() == 0
        assert search(files(place), secrets) == []


async def test_the_environment_of_a_child_it_starts_holds_no_secret_of_ours(place: Place) -> None:
    note = place.directory / "child-environment"
    script = place.directory / "password"
    script.write_text(f"#!/bin/sh\ntr '\\0' '\\n' < /proc/self/environ > {note}\necho {PASSWORD}\n")
    script.chmod(0o700)
    place.configure(
        notifiers_slack=f'type = "slack"\nwebhook_url = {{ command = ["{script}"] }}',
        notifiers_github=f'type = "github-issue"\nrepository = "{github.REPOSITORY}"\ntoken = {{ env = "GITHUB" }}\n'
        'api_url = "http://127.0.0.1:1"',
    )
    daemon = await place.run("--immediate", ready=False, GITHUB=github.TOKEN)
    await daemon.until(note.exists, "the command to be run")
    assert await daemon.end() == 0
    assert "PATH=" in note.read_text()
    assert github.TOKEN not in note.read_text()
